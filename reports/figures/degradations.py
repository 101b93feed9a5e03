"""The page of small multiples: one sample under each family of degradation.

``python -m reports.figures.degradations out.png`` draws it. No report does: it shows inputs, not
results, and to degrade them takes torch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from protocols.modalities import MODALITIES, Modality
from protocols.rewriting import rewrite, with_unknown
from protocols.rules import FAMILIES, NOISE_RULES, REWRITING, NoiseRule
from reports.figures.layout import axes_at, new_figure
from reports.figures.style import DPI, MUTED, drawing

LEVELS = (0.3, 0.7)
DATASET = "synthetic"
TRANSCRIPT = "The story was slow at first, but the ending really made up for all of it."
"""What families that act on words are shown on; synthetic data have none."""
_CHANNELS = 20
"""Of a modality's channels as many are shown."""
_LEFT, _TOP, _WIDTH, _HEIGHT = 2.75, 0.95, 1.5, 0.62
_ACROSS, _DOWN, _BELOW = _WIDTH + 0.12, _HEIGHT + 0.16, 0.1
_AFTER_CLEAN = 0.2

Picture = NDArray[np.float32]
"""(channels, steps)."""


def degraded() -> dict[tuple[str, float], dict[Modality, Picture]]:
    """(rule, λ) -> the longest test sample's real steps under it; ("", 0) is the clean sample.

    For a rule about what stands in for a missing modality, all three are missing.
    """
    import torch

    from benchmark.data.registry import load_dataset
    from protocols.degradation import degrade, keyed_noise
    from protocols.missing import as_bools

    data = load_dataset(DATASET, None)
    split = data.splits["test"]
    lengths = torch.stack([split.samples.masks[m].sum(1) for m in MODALITIES])
    place = int(lengths.sum(0).argmax())
    rows, ids = slice(place, place + 1), split.sample_ids[place : place + 1]
    sample = split.part(rows)

    def pictures(features: dict[Modality, torch.Tensor]) -> dict[Modality, Picture]:
        steps = {m: features[m][0][sample.masks[m][0]] for m in MODALITIES}
        return {m: x[:, :_CHANNELS].T.numpy() for m, x in steps.items()}

    found = {("", 0.0): pictures(dict(sample.features))}
    for rule in NOISE_RULES:
        noise = keyed_noise(rule, 0, "test", ids, sample)
        available = as_bools(0 if FAMILIES[rule].fills else 7)
        for level in LEVELS:
            made = degrade(sample, level, available, noise, data.sigma_ref, data.centre)
            found[rule, level] = pictures(dict(made.features))
    return found


def degradations_figure(found: dict[tuple[str, float], dict[Modality, Picture]]) -> Figure:
    """A line for each family, a column for each modality and level."""
    lines = len(NOISE_RULES) + 1
    width = _LEFT + _ACROSS * len(MODALITIES) * len(LEVELS) + 0.1
    height = _TOP + _DOWN * lines + _AFTER_CLEAN + _BELOW
    figure = new_figure(width, height)
    reach = {m: 2.5 * float(found["", 0.0][m].std()) for m in MODALITIES}
    for line, rule in enumerate(("", *NOISE_RULES)):
        bottom = height - _TOP - _DOWN * line - _HEIGHT - (_AFTER_CLEAN if line else 0)
        _name(figure, rule, bottom)
        for column, m in enumerate(MODALITIES):
            for place, level in enumerate(LEVELS if rule else (0.0,)):
                left = _LEFT + _ACROSS * (len(LEVELS) * column + place)
                axis = axes_at(figure, left, bottom, _WIDTH, _HEIGHT)
                if m == "text" and rule in REWRITING:
                    words = "\n".join(wrap(_rewritten(rule, level), 29))
                    axis.text(0.03, 0.5, words, va="center", fontsize=6.5)
                else:
                    axis.imshow(
                        found[rule, level][m],
                        aspect="auto",
                        cmap="RdBu_r",
                        vmin=-reach[m],
                        vmax=reach[m],
                        interpolation="nearest",
                    )
                axis.set_xticks([])
                axis.set_yticks([])
                if line == 1:
                    axis.set_title(f"λ = {level:g}", fontsize=9)
                elif line == 0:
                    axis.set_title(m, fontsize=11, loc="left")
    up = height - 0.1
    title = f"One test sample of the {DATASET} data under each family of degradation"
    figure.text(0.1 / width, up / height, title, va="top", fontsize=13, fontweight="bold")
    facts = (
        f"Each panel: real steps across, the first {_CHANNELS} channels down; red above, blue "
        "below, white zero. What fills a missing modality is shown with all three missing, what "
        "acts on words on words."
    )
    figure.text(0.1 / width, (up - 0.27) / height, facts, va="top", color=MUTED)
    return figure


def _rewritten(rule: NoiseRule, level: float) -> str:
    """The transcript under a family that acts on it; a word stands for a token."""
    key = (0, "test", "")
    words = rewrite(rule, TRANSCRIPT, level, key).split()
    if rule == "unk":
        kept = with_unknown(range(1, len(words) + 1), 0, (), level, key)
        words = [words[place - 1] if place else "[UNK]" for place in kept]
    return " ".join(words)


def _name(figure: Figure, rule: NoiseRule | str, bottom: float) -> None:
    width, height = figure.get_size_inches()
    middle = (bottom + _HEIGHT) / height
    name = rule or "clean"
    figure.text(0.1 / width, middle, name, va="top", fontsize=10, fontweight="bold")
    if rule in FAMILIES:
        words = wrap(FAMILIES[rule].severity, 46)[:4]
        below = middle - 0.17 / height
        figure.text(0.1 / width, below, "\n".join(words), va="top", color=MUTED, fontsize=6.8)


def main(path: Path) -> None:
    """Draw the page into a file."""
    with drawing():
        degradations_figure(degraded()).savefig(path, dpi=DPI)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
