"""What the paper's mechanism needs of reliability scores, and what the intervals say of it.

It needs two things: that the scores fall where a modality degrades, and that weighing by them
helps. Each is a claim about one number with an interval; a verdict says where that interval lies
and never more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.metrics import PRIMARY
from benchmark.questions import Question
from protocols.modalities import LETTERS
from reports.reliability.gate import effect, pairs
from reports.reliability.scores import follows
from reports.reliability.uncertainty import worth
from reports.results import Results, System
from reports.statistics.functionals import Estimate
from reports.views import View, view

Verdict = Literal["supported", "contradicted", "undecided"]

_ROUNDING = 1e-9
"""A score that never moves has an AUROC of 0.5 up to rounding, and an interval of no width."""


@dataclass(frozen=True)
class Claim:
    """One thing that the mechanism needs.

    Attributes:
        text: what should be so.
        estimate: the number that it is about, in printed units; None where nothing was run.
        threshold: what the number must lie above or below.
        above: which of the two.
        decimals: for printing.
        needed: whether the mechanism stands or falls with it.
    """

    text: str
    estimate: Estimate | None
    threshold: float
    above: bool
    decimals: int
    needed: bool = True

    @property
    def verdict(self) -> Verdict:
        """Where the whole 95 % interval lies; undecided where it holds the threshold."""
        if self.estimate is None:
            return "undecided"
        low, high = self.estimate.interval
        if low > self.threshold + _ROUNDING:
            return "supported" if self.above else "contradicted"
        if high < self.threshold - _ROUNDING:
            return "contradicted" if self.above else "supported"
        return "undecided"


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


def noise_rules(results: Results) -> list[str]:
    """The noise rules along which every level was evaluated with everything available."""
    rules = {rule for name in ("II", "grid") for (rule,) in results.variants(name, "noise_rule")}
    return sorted(rules)


def answered_questions(results: Results) -> dict[str, Question]:
    """Where the log-variance is judged: on clean input and on each mixture of Protocol III."""
    chosen = [h for h in results.overview if h.questions[0].protocol in ("clean", "III")]
    return {headline.title: headline.questions[0] for headline in chosen}


def claims_of(results: Results, system: System, noise_rule: str) -> list[Claim]:
    """Everything that is claimed of one system with reliability scores."""
    claims = []
    for modality in results.present:
        found = follows(system, noise_rule, modality)
        name = f"r_{LETTERS[modality]}"
        if found is not None:
            claims += [
                Claim(f"{name} falls as λ rises", found.correlation, 0.0, False, 3),
                Claim(f"{name} is lower where {modality} is missing", found.auroc, 0.5, True, 3),
            ]
    for name, question in answered_questions(results).items():
        judged = worth(system, question)
        if judged is not None:
            text = f"the log-variance ranks errors better than chance ({name})"
            claims.append(Claim(text, judged.gain, 0.0, True, 3, needed=False))
    return [*claims, *_gate_claims(results, system, noise_rule)]


def _gate_claims(results: Results, system: System, noise_rule: str) -> list[Claim]:
    shown = view(PRIMARY[results.task])
    grids = results.variants("grid", "noise_rule", "missing_rule")
    own = [pair for pair in pairs(results) if pair.on.key == system.key]
    text = f"the gate improves {shown.title} over the λ×η grid"
    found = [
        effect(pair, shown.name, noise, missing)
        for pair in own
        for noise, missing in grids
        if noise == noise_rule
    ]
    made = [
        Claim(text, _scaled(e.mean, shown), 0.0, shown.higher_is_better, shown.decimals)
        for e in found
        if e is not None
    ]
    return made or [Claim(text, None, 0.0, shown.higher_is_better, shown.decimals)]


def _scaled(estimate: Estimate, shown: View) -> Estimate:
    return Estimate(estimate.per_seed * shown.scale, estimate.samples * shown.scale)
