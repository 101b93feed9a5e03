"""How figures look. Nothing is set globally: figures are drawn inside :func:`drawing`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.colors import Colormap

from reports.captions import data_name
from reports.results import Results, System

DPI, PRINT_DPI = 160, 300
INK = "#1b1b1b"
MUTED = "#5f5f5f"

# Okabe and Ito's palette without its yellow, too light on white: told apart by colour-blind
# readers. Markers and dashes repeat the distinction for greyscale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titley": 1.0,  # not searched for, which would take a fifth of the drawing time
    "axes.labelsize": 10,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "pdf.compression": 1,  # a tenth of the time for a tenth of the size
    "pdf.fonttype": 42,  # TrueType: those who check submissions refuse Type 3
    "svg.hashsalt": "figure",  # the same records, the same file
    "savefig.facecolor": "white",
}


_IN_PRINT = 7.5
LEAST = 7.0
"""Points: the usual letters of a figure that is made for a width, and the smallest of any."""


@contextmanager
def drawing(width: float | None = None) -> Iterator[None]:
    """The settings that every figure is made and saved under.

    Args:
        width: in inches, of figures that are printed in that size; None for those of the page.
    """
    with mpl.rc_context(_RC):
        if width is not None:
            mpl.rcParams.update(
                {
                    **{"font.size": _IN_PRINT, "axes.labelsize": _IN_PRINT},
                    **{"axes.titlesize": _IN_PRINT, "axes.linewidth": 0.6},
                    **{"xtick.labelsize": LEAST, "ytick.labelsize": LEAST},
                    **{"lines.markersize": 4, "xtick.major.pad": 2, "ytick.major.pad": 2},
                }
            )
        yield


def points(size: float) -> float:
    """A size of the page's figures as it is in the figures being made, in points."""
    scaled = size * mpl.rcParams["font.size"] / _RC["font.size"]
    return float(max(LEAST, scaled))


def shrink() -> float:
    """What inches around letters are multiplied by in the figures being made."""
    return float(mpl.rcParams["font.size"] / _RC["font.size"])


def colour_map(higher_is_better: bool, signed: bool = False) -> Colormap:
    """Viridis: even in lightness, so it reads in greyscale and to colour-blind readers.

    Bright is always good. Differences go from orange, worse, over white to purple, better: two
    hues that every kind of colour vision tells apart.
    """
    if signed:
        return mpl.colormaps["PuOr" if higher_is_better else "PuOr_r"]
    return mpl.colormaps["viridis" if higher_is_better else "viridis_r"]


def subtitle(results: Results, systems: Sequence[System], seeds: bool = True) -> str:
    """The data set, its size and, where asked, the seeds; synthetic data are named as such."""
    about = f"{data_name(results)} · {len(results.label)} test samples"
    return f"{about} · {_seeds(systems)}" if seeds else about


def _seeds(systems: Sequence[System]) -> str:
    seeds = sorted({seed for system in systems for seed in system.seeds})
    listed = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        return f"seed {listed}"
    fewest, most = (bound(len(system.seeds) for system in systems) for bound in (min, max))
    number = str(most) if fewest == most else f"{fewest} to {most}"
    return f"mean of {number} seeds ({listed})"


def series_style(place: int) -> dict[str, Any]:
    """Colour, marker and dashes of the n-th line where lines are no systems."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _DASHES[place % len(_DASHES)],
    }


def line_styles(systems: Sequence[System]) -> dict[str, dict[str, Any]]:
    """For each system's key a colour and a marker by model, and a dash pattern by regime.

    Several settings of one model under one regime count as several models.
    """
    seen: Counter[tuple[str, str]] = Counter()
    colours: dict[tuple[str, int], int] = {}
    dashes: dict[str, int] = {}
    styles = {}
    for system in systems:
        title, regime = system.title, system.regime.name
        place = colours.setdefault((title, seen[title, regime]), len(colours))
        seen[title, regime] += 1
        dash = dashes.setdefault(regime, len(dashes))
        styles[system.key] = {
            "color": COLOURS[place % len(COLOURS)],
            # The marker moves on when the colours come round again, so no pair repeats early.
            "marker": _MARKERS[(place + place // len(COLOURS)) % len(_MARKERS)],
            "linestyle": _DASHES[dash % len(_DASHES)],
        }
    return styles
