"""Every number of a report, worked out once: what tables, figures and the frame select from.

Measured first (:mod:`reports.measured`), then what is made of that and of the records: differences
to a reference, regret, the gate's effect, and what reliability scores and log-variances are worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from benchmark.questions import Question
from reports.answer import Answer, Found, Key, ordered
from reports.differences import differences
from reports.families import families
from reports.floors import Floor
from reports.measured import Measured
from reports.published import Published
from reports.regret import regrets
from reports.reliability.audit import audit
from reports.reliability.gate import gates
from reports.reliability.mechanism import mechanism
from reports.results import Results
from reports.routing import routings
from reports.statistics.inference import marks
from reports.subjects import Subject
from reports.surface import Surfaces, surfaces
from reports.uneven import Rates, uneven
from reports.views import SELECTIONS, VALUE, view


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one data set's results. Worked out when first asked for.

    Attributes:
        results: the records.
        floors: the constant predictions.
        paper: the published numbers.
        rates: (η_t, η_a, η_v) that were asked for, besides the named ones.
    """

    results: Results
    floors: Sequence[Floor]
    paper: Published
    rates: Sequence[Rates] = ()
    _surfaces: dict[tuple[str, str, str], Surfaces] = field(default_factory=dict)

    @cached_property
    def measured(self) -> Measured:
        """What each system scores."""
        return Measured(self.results, self.paper)

    @cached_property
    def rows(self) -> Found:
        """Every answer."""
        found = {**self.measured.rows, **differences(self.measured), **regrets(self.measured)}
        found |= gates(self.results) | routings(self.results.compared)
        found |= uneven(self.results, self.rates) | families(self.results)
        return found | mechanism(self.results, found) | audit(self.results.compared)

    @property
    def surfaces(self) -> Mapping[tuple[str, str, str], Surfaces]:
        """(metric, noise rule, missing rule) -> the landscapes of the systems that are compared."""
        results = self.results.compared
        return {
            (metric, noise, missing): self.surface(metric, noise, missing)
            for noise, missing in results.variants("grid", "noise_rule", "missing_rule")
            for metric in SELECTIONS[results.task].grid
        }

    def surface(self, metric: str, noise: str, missing: str) -> Surfaces:
        """The landscapes of any metric under a pair of rules, in its raw unit."""
        asked = metric, noise, missing
        if asked not in self._surfaces:
            self._surfaces[asked] = surfaces(self.results.compared, *asked)
        return self._surfaces[asked]

    def get(
        self, subject: Subject, asked: Iterable[Question], metric: str, quantity: str = VALUE
    ) -> Answer | None:
        """An answer; None where no run of the subject was asked everything."""
        return self.rows.get(Key(subject.key, ordered(asked), metric, quantity))

    def marks(
        self, subjects: Sequence[Subject], asked: Iterable[Question], metric: str
    ) -> list[str]:
        """Which of several subjects may be called best and second: "best", "second" or ""."""
        questions = ordered(asked)
        found = [self.measured.estimate(subject, questions, metric) for subject in subjects]
        return marks(found, view(metric).higher_is_better)
