"""What the paper's mechanism needs of reliability scores, and what the intervals say of it.

It needs two things: that the scores fall where a modality degrades, and that weighing by them
helps. Each is a claim about one number with an interval; a verdict says where that interval lies
and never more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.metrics import PRIMARY
from benchmark.questions import Question, fixed_questions, grid_questions, noise_questions
from protocols.modalities import LETTERS
from reports.answer import Answer, Key, ordered
from reports.results import Results, System
from reports.statistics.inference import Estimate
from reports.views import AUROC, GATE, RHO, view

Verdict = Literal["supported", "contradicted", "undecided"]
_OF_DIFFERENCES: Mapping[str, Verdict] = {"better": "supported", "worse": "contradicted"}


@dataclass(frozen=True)
class Claim:
    """One thing that the mechanism needs.

    Attributes:
        text: what should be so.
        about: the number that it is about.
        threshold: what the number must lie above or below.
        above: which of the two.
        answer: the number; None where nothing was run.
        needed: whether the mechanism stands or falls with it.
    """

    text: str
    about: Key
    threshold: float
    above: bool
    answer: Answer | None
    needed: bool = True

    @property
    def verdict(self) -> Verdict:
        """What is said of the number, of a difference in the words of claims."""
        said = self.answer.verdict if self.answer else "undecided"
        return _OF_DIFFERENCES.get(said, said)  # type: ignore[arg-type]


def verdict_of(found: Estimate, threshold: float, above: bool) -> Verdict:
    """Where the whole 95 % interval lies; undecided where it holds the threshold, and with fewer
    than three seeds."""
    side = found.side_of(threshold)
    if side == 0:
        return "undecided"
    return "supported" if (side > 0) == above else "contradicted"


def conclusion(claims: Sequence[Claim]) -> str:
    """The mechanism as a whole: every needed claim holds, one fails, or neither is shown."""
    needed = [claim for claim in claims if claim.needed]
    failed = [claim.text for claim in needed if claim.verdict == "contradicted"]
    if failed:
        return f"contradicted: {'; '.join(failed)}"
    if any(claim.verdict == "undecided" for claim in needed):
        held = sum(claim.verdict == "supported" for claim in needed)
        return f"undecided: {held} of {len(needed)} needed claims are supported, none contradicted"
    return "supported: every needed claim is"


def claims_of(
    results: Results, system: System, noise_rule: str, found: Mapping[Key, Answer]
) -> list[Claim]:
    """Everything that is claimed of one system with reliability scores.

    Args:
        results: the data set's.
        system: the system.
        noise_rule: along which the scores should fall.
        found: the answers; the gate's effect is claimed whether there is one or not.
    """
    along = ordered(noise_questions(noise_rule, results.present))
    subsets = ordered(fixed_questions(results.present))
    made = []
    for m in results.present:
        name = f"r_{LETTERS[m]}"
        for text, asked, quantity, threshold, above in (
            (f"{name} falls as λ rises", along, RHO, 0.0, False),
            (f"{name} is lower where {m} is missing", subsets, AUROC, 0.5, True),
        ):
            about = Key(system.key, asked, f"r_{m}", quantity)
            made.append(Claim(text, about, threshold, above, found.get(about)))
    for headline in results.overview:
        about = Key(system.key, headline.questions, "way_to_oracle")
        text = f"the log-variance ranks errors better than chance ({headline.title})"
        made.append(Claim(text, about, 0.0, True, found.get(about), needed=False))
    made = [claim for claim in made if claim.answer]
    return [*made, *_of_gate(results, system, noise_rule, found)]


def _of_gate(
    results: Results, system: System, noise_rule: str, found: Mapping[Key, Answer]
) -> list[Claim]:
    shown = view(PRIMARY[results.task])
    text = f"the gate improves {shown.title} over the λ×η grid"
    keys = [
        Key(system.key, ordered(grid_questions(noise, missing)), shown.name, GATE)
        for noise, missing in results.variants("grid", "noise_rule", "missing_rule")
        if noise == noise_rule
    ]
    known = [key for key in keys if key in found]
    none = Key(system.key, (Question("grid", noise_rule),), shown.name, GATE)
    return [
        Claim(text, key, 0.0, shown.higher_is_better, found.get(key)) for key in known or [none]
    ]
