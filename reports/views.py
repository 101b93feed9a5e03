"""How metrics are shown: names, units, decimals and direction, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from benchmark.metrics import LOWER_IS_BETTER, PAPER_NAMES, PRIMARY
from protocols.conditions import LEVELS
from protocols.modalities import Task

UNBOUNDED, SHARE = (-math.inf, math.inf), (0.0, 1.0)
_POSITIVE, _CORRELATION = (0.0, math.inf), (-1.0, 1.0)

VALUE = "value"
"""A metric as it is. What else is made of it has these names:"""
AREA_IN_INTENSITY, AREA_IN_RATE = "Area in λ", "Area in η"
DROP = f"Drop at ({LEVELS[-1]:g}, {LEVELS[-1]:g})"
WORST, STEEPEST, RISES = "Worst cell", "Steepest step", "Non-monotone steps"
DIFFERENCE, REGRET = "Difference", "Regret"
GATE, BETTER, WORSE = "Gate on − off", "Cells better", "Cells worse"
MISSING, RHO, AUROC = "Where it is missing", "ρ(r, λ)", "AUROC"
MECHANISM = "The mechanism"
EQUITY, WORST_LOSS = "Equity index", "Worst to lose"
SEEN, UNSEEN = "Seen families", "Unseen families"
GAIN_SEEN, GAIN_UNSEEN = "Gain on seen families", "Gain on unseen families"
DETECTED, PERMUTED, HEAD_ROOM = "AUROC of noise", "Permuted − own scores", "Own − fixed weights"

_BOUNDS: Mapping[str, tuple[float, float]] = {
    **{"mae": _POSITIVE, "corr": _CORRELATION},
    **{"r_text": SHARE, "r_audio": SHARE, "r_vision": SHARE},
    **{"routing_text": SHARE, "routing_audio": SHARE, "routing_vision": SHARE},
    **{"aurc": _POSITIVE, "aurc_random": _POSITIVE, "aurc_oracle": _POSITIVE},
    "way_to_oracle": (-math.inf, 1.0),
    **{"s_correlation": _CORRELATION, "nll": UNBOUNDED, "nll_gain": UNBOUNDED, "ence": _POSITIVE},
}
"""What is printed as it is, and where it can lie; every other metric is a share."""

_OTHER_TITLES: Mapping[str, str] = {
    "acc5": "ACC5",
    "acc3": "ACC3",
    "acc2_has0": "ACC2 (with 0)",
    "f1_has0": "F1 (with 0)",
    "f1_macro": "F1 macro",
    "uar": "UAR",
    "acc_ovr": "ACC one vs rest",
    "f1_ovr": "F1 one vs rest",
}


@dataclass(frozen=True)
class View:
    """One metric as it is printed.

    Attributes:
        name: the metric's name in :mod:`benchmark.metrics`.
        title: the name in tables.
        scale: what a value is multiplied by (100 for per cent).
        decimals: digits after the point.
        higher_is_better: its direction.
        bounds: the least and the most that it can be, unscaled.
    """

    name: str
    title: str
    scale: float
    decimals: int
    higher_is_better: bool
    bounds: tuple[float, float] = UNBOUNDED

    @property
    def heading(self) -> str:
        """The title with its direction: "ACC7 ↑"."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"

    @property
    def unit(self) -> str:
        """The title with its unit, for axes: "ACC7 (%)"."""
        return f"{self.title} (%)" if self.scale == 100 else self.title

    @property
    def paper_name(self) -> str:
        """The paper's column for this metric, or "" where it has none."""
        return PAPER_NAMES.get(self.name, "")


@cache
def view(metric: str, quantity: str = VALUE) -> View:
    """The view of a metric, or of what else is made of it."""
    title = PAPER_NAMES.get(metric) or _OTHER_TITLES.get(metric, metric)
    raw = metric in _BOUNDS
    scale, decimals = _UNITS.get(quantity) or ((1.0, 3) if raw else (100.0, 1))
    own = _BOUNDS.get(metric, SHARE) if quantity == VALUE else UNBOUNDED
    bounds = {RHO: _CORRELATION, AUROC: SHARE, MISSING: SHARE, EQUITY: SHARE, DETECTED: SHARE}.get(
        quantity, own
    )
    return View(metric, title, scale, decimals, metric not in LOWER_IS_BETTER, bounds)


_UNITS = {
    **{DROP: (100.0, 1), RISES: (1.0, 0), BETTER: (1.0, 0), WORSE: (1.0, 0)},
    EQUITY: (1.0, 3),
}
"""Quantities whose unit is not the metric's: scale and decimals."""


@dataclass(frozen=True)
class Selection:
    """The metrics that a task's tables and figures show, the paper's first."""

    main: tuple[str, ...]
    fixed: tuple[str, ...]
    random: tuple[str, ...]
    noise: tuple[str, ...]
    grid: tuple[str, ...]


SELECTIONS: Mapping[Task, Selection] = {
    "regression": Selection(
        main=("acc7", "acc2_non0", "f1_non0", "mae", "corr"),
        fixed=("acc2_non0", "f1_non0", "mae"),
        random=("acc7", "f1_non0", "mae"),
        noise=("acc2_non0", "mae", "acc7"),
        grid=("acc7", "mae"),
    ),
    "classification": Selection(
        main=("acc", "f1_weighted", "f1_macro"),
        fixed=("acc", "f1_weighted"),
        random=("acc", "f1_weighted"),
        noise=("acc", "f1_weighted"),
        grid=("acc",),
    ),
}
"""Task -> what is shown where."""


def headlines(task: Task) -> tuple[str, ...]:
    """The metrics of landscapes and leaderboards; the one that selects checkpoints leads."""
    return tuple(sorted(SELECTIONS[task].grid, key=lambda metric: metric != PRIMARY[task]))
