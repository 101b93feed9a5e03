"""What tables, figures and the page are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.efficiency.kept import Efficiency
from reports.answers import Answers
from reports.floors import Floor, floors
from reports.published import Published, published
from reports.results import Results
from reports.uneven import Rates

Links = Callable[[], Mapping[str, str]]
"""Says run id -> where a browser shows the run in MLflow."""


@dataclass(frozen=True)
class Sources:
    """What every table is made of.

    Attributes:
        answers: of all systems.
        results: the systems that are shown.
        efficiency: what was measured of the cost of models on this data set's shapes.
    """

    answers: Answers
    results: Results
    efficiency: Sequence[Efficiency] = ()

    @staticmethod
    def of(
        results: Results, efficiency: Sequence[Efficiency] = (), rates: Sequence[Rates] = ()
    ) -> Sources:
        """The sources of one data set's results, and of what was measured of its models' cost."""
        about = [one for one in efficiency if one.dataset == results.dataset]
        answers = Answers(results, floors(results), published(results.dataset), rates)
        return Sources(answers, results, about)

    @property
    def floors(self) -> Sequence[Floor]:
        """The best constant predictions."""
        return self.answers.floors

    @property
    def paper(self) -> Published:
        """The published numbers."""
        return self.answers.paper

    @property
    def compared(self) -> Sources:
        """The sources of tables that compare models: without variants and specialists."""
        return replace(self, results=self.results.compared)
