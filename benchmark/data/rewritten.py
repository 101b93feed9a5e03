"""Text states of rewritten transcripts: how they lie in a data set's file, and how they are read.

For each split, noise rule, draw and level (or joint distribution of Protocol III) two tensors:
which steps are real, (N, T) bool, and the states of the real steps alone, sample after sample,
(L, d) float16.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmark.data.manifest import Rewriting, rewrite_again
from benchmark.errors import BenchmarkError
from protocols.conditions import JOINT_LEVEL, JOINTS, LEVELS, Condition, draws_of
from protocols.modalities import MODALITIES, Modalities
from protocols.rules import FAMILIES

STEPS = (*(f"{level:g}" for level in LEVELS if level > 0), *JOINTS)
"""What a transcript is rewritten at: each level λ > 0, and each joint distribution."""
TEXT = MODALITIES.index("text")


def tensor_name(split: str, rule: str, draw: int, step: str, part: str) -> str:
    """The name of one tensor of the file; ``part`` is "mask" or "states"."""
    return f"{split}/{rule}/{draw}/{step}/{part}"


@dataclass(frozen=True)
class Rewritten:
    """The rewritten transcripts of one split.

    Attributes:
        folder: of the data set.
        split: "valid" or "test".
        facts: which there are.
        rows: (n,) long, the samples of the split that are meant; None for all.
    """

    folder: Path
    split: str
    facts: Rewriting
    rows: Tensor | None = None

    def select(self, rows: Tensor) -> Rewritten:
        """Some of the samples."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def put(
        self, samples: Modalities, part: slice, rule: str, draw: int, level: float, joint: str
    ) -> Modalities:
        """B samples, those of ``part``, with the text of a rule, draw, and λ or joint distribution.

        Where text is missing it stays so.

        Raises:
            BenchmarkError: where the file cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / self.facts.file
        step = joint if level == JOINT_LEVEL else f"{level:g}"
        names = [tensor_name(self.split, rule, draw, step, kind) for kind in ("mask", "states")]
        try:
            with safe_open(path, framework="pt") as tensors:
                every, states = (tensors.get_tensor(name) for name in names)
        except (OSError, SafetensorError) as error:
            raise BenchmarkError(
                f"{path}: cannot be read: {error}. {rewrite_again(self.folder)}"
            ) from None
        rows = torch.arange(len(every)) if self.rows is None else self.rows
        mask = every[rows[part]]
        owner = torch.zeros(len(every), dtype=torch.bool).index_fill(0, rows[part], True)
        features = torch.zeros(*mask.shape, states.shape[1])
        order = torch.argsort(rows[part])  # states lie in the order of the split
        features[order] = features[order].masked_scatter(
            mask[order][..., None], states[owner.repeat_interleave(every.sum(1))].float()
        )
        there = samples.available[:, TEXT]
        x, real = samples.features["text"], samples.masks["text"]
        return Modalities(
            {**samples.features, "text": torch.where(there[:, None, None], features.to(x), x)},
            {**samples.masks, "text": torch.where(there[:, None], mask.to(real.device), real)},
            samples.available,
            samples.label,
        )


def require_rewritten(name: str, facts: Rewriting | None, conditions: Iterable[Condition]) -> None:
    """Refuse conditions whose transcripts were not rewritten.

    Raises:
        BenchmarkError: with the command that rewrites them.
    """
    for (rule, _), draws in draws_of(conditions).items():
        family = FAMILIES.get(rule)  # type: ignore[call-overload]
        if family is None or not family.rewrites:
            continue
        if facts is None or facts.families.get(rule) != family.version or facts.draws < draws:
            raise BenchmarkError(
                f"the noise rule '{rule}' acts on transcripts before their encoder, and {name} has "
                f"none that were rewritten for it with {draws} draw{'s' * (draws > 1)}. Of an "
                "imported data set with transcripts: "
                f"benchmark data rewrite {name} --encoder NAME --draws {draws}"
            )
