"""Fill a run's prediction table: the checkpoint's answers under every condition.

Samples go through in chunks; a chunk's corruption is drawn once per draw and noise rule and only
scaled after that, and nothing is predicted twice. A part of a model that sees only some of the
modalities runs once for each of their states, not once per condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.dataset import Split
from benchmark.errors import BenchmarkError
from benchmark.interface import BranchedModel, DataSpec, MultimodalModel, Output, Relation
from benchmark.table import PredictionTable
from benchmark.untouched import on_a_copy
from protocols.availability import contains, mask_of
from protocols.conditions import JOINT_LEVEL, NO_RULE, Condition, Joint
from protocols.degradation import StandIns, degrade, keyed_noise, lose, stand_ins_of
from protocols.draws import joint_levels
from protocols.missing import as_bools
from protocols.modalities import MODALITIES, Modalities, Modality
from protocols.rules import REWRITING, NoiseRule

CPU_BATCH = 64
CUDA_BATCH = 2048

T = TypeVar("T")
SigmaRef = Mapping[Modality, Tensor]


def batch_size_for(device: torch.device) -> int:
    """Samples per forward pass: what fits a CPU's caches, or what fills a GPU."""
    return CPU_BATCH if device.type == "cpu" else CUDA_BATCH


@torch.inference_mode()
def predict(model: MultimodalModel, samples: Modalities, batch_size: int) -> Output:
    """The model's output for all samples, in eval mode, batch by batch; labels are withheld.

    The samples may lie elsewhere than the model: batches go to where it is.
    """
    model.eval()
    device = next(model.parameters()).device

    def output_of(part: slice) -> Output:
        return on_a_copy(model, samples.select(part).without_label().to(device).as_float32())

    return _join(_in_chunks(len(samples), batch_size, output_of))


@torch.inference_mode()
def fill_table(
    model: MultimodalModel,
    split: Split,
    spec: DataSpec,
    sigma_ref: SigmaRef,
    conditions: Sequence[Condition],
    report: Callable[[int], None] = lambda rows: None,
    batch_size: int | None = None,
    split_name: str = "test",
    made_with: Mapping[str, Any] | None = None,
    centre: SigmaRef | None = None,
) -> PredictionTable:
    """Predict a split under each condition.

    Args:
        model: the checkpoint, on the split's device.
        split: the split.
        spec: of the data set.
        sigma_ref: reference standard deviations of the noise.
        conditions: the rows to make, in canonical order.
        report: told after each chunk how many rows' worth of work is done.
        batch_size: samples per forward pass; by default what suits the device.
        split_name: the split's part of the key of the corruption draws.
        made_with: what the rows are made with: commit, device, packages, date.
        centre: the train means that one noise rule fills missing modalities with.

    Returns:
        The table with one row per condition.

    Raises:
        BenchmarkError: where the model's output has another shape than the contract says, or is
            not finite: with the condition and the number of samples.
    """
    model.eval()

    def rows_of(part: slice) -> dict[str, NDArray[np.floating]]:
        outputs = on_a_copy(
            lambda own: _rows(
                model, spec, own, split, part, split_name, sigma_ref, centre, conditions
            ),
            split.part(part).without_label(),
        )
        report(round(len(conditions) * min(1.0, part.stop / len(split))))
        return outputs

    size = batch_size or batch_size_for(split.device)
    chunks = _in_chunks(len(split), size, rows_of)
    routing = [chunk.pop("routing") for chunk in chunks if "routing" in chunk]
    joined = {name: np.concatenate([c[name] for c in chunks], axis=1) for name in chunks[0]}
    for name, values in joined.items():
        _require_finite(name, values, conditions)
    assert split.samples.label is not None
    return PredictionTable(
        conditions=tuple(conditions),
        present=spec.present,
        task=spec.task,
        sample_ids=split.sample_ids,
        label=split.samples.label.cpu().numpy().astype(np.float64),
        available=split.samples.available.cpu().numpy(),
        prediction=joined["prediction"],
        log_variance=joined.get("log_variance"),
        reliability=joined.get("reliability"),
        joint_levels={
            (c.joint, c.draw): torch.stack(
                joint_levels(c.joint, c.draw, split_name, split.sample_ids)  # type: ignore[arg-type]
            ).numpy()
            for c in conditions
            if c.joint
        },
        routing=(np.sum(routing, axis=0) / len(split)).astype(np.float32) if routing else None,
        blocks=(dict(made_with or {}),),
    )


def _require_finite(
    name: str, values: NDArray[np.floating], conditions: Sequence[Condition]
) -> None:
    """A number that is none would be left out of some means, and spoil others, without a word."""
    size = values.shape[1]
    broken = (~np.isfinite(values.reshape(*values.shape[:2], -1))).any(axis=-1).sum(axis=1)
    for condition, count in zip(conditions, broken.tolist(), strict=True):
        if count:
            further = int((broken > 0).sum()) - 1
            also = f", and so under {further} further conditions" if further else ""
            raise BenchmarkError(
                f"the model's {_words(name)} is not finite for {count} of {size} samples under "
                f"this condition: {condition}{also}"
            )


def _words(name: str) -> str:
    return name.replace("_", "-")


def _in_chunks(total: int, size: int, run: Callable[[slice], T]) -> list[T]:
    """``run`` over consecutive slices; where the device runs out of memory, over halves of them."""
    results: list[T] = []
    start = 0
    while start < total:
        try:
            results.append(run(slice(start, min(total, start + size))))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size //= 2
        else:
            start += size
    return results


def _rows(
    model: MultimodalModel,
    spec: DataSpec,
    samples: Modalities,
    split: Split,
    part: slice,
    split_name: str,
    sigma_ref: SigmaRef,
    centre: SigmaRef | None,
    conditions: Sequence[Condition],
) -> dict[str, NDArray[np.floating]]:
    """Every condition for the samples of a part of a split: name -> (R, B, ...), routing summed."""
    sample_ids, device = split.sample_ids[part], samples.device
    levels = sorted({c.intensity for c in conditions})
    steps = samples.masks
    if isinstance(model, BranchedModel):
        answer = _branched(model, steps)
    else:
        answer = _whole(model, steps)
    level_of = dict(zip(levels, torch.tensor(levels).to(device), strict=True))
    rows: list[dict[str, Tensor]] = []
    noise = {}
    for (rule, draw, intensity, joint), group in groupby(conditions, key=level_key):
        stand_ins: StandIns = {}
        if rule == NO_RULE:
            noisy = samples
        else:
            if (rule, draw) not in noise:  # drawn and moved once, scaled for every level
                drawn = keyed_noise(rule, draw, split_name, sample_ids, samples).to(device)
                noise = {(rule, draw): drawn}
            level = level_of[intensity]
            if intensity == JOINT_LEVEL:
                level = joint_levels(joint, draw, split_name, sample_ids)[0].to(device)
            drawn = noise[rule, draw]
            noisy = degrade(samples, level, samples.available, drawn, sigma_ref, centre)
            if rule in REWRITING:
                noisy = split.with_rewritten(noisy, part, rule, draw, intensity, joint)
            stand_ins = stand_ins_of(samples, level, drawn, sigma_ref, centre)
        asked = list(group)
        outputs = answer(noisy, stand_ins, [c.mask for c in asked])
        for condition, output in zip(asked, outputs, strict=True):
            rows.append(_kept(output))
            _require_shapes(rows[-1], rows[0], len(samples), spec, condition)
    stacked = {name: torch.stack([r[name] for r in rows]) for name in rows[0]}
    return {
        name: (x if name == "routing" else x.float()).cpu().numpy() for name, x in stacked.items()
    }


def _kept(output: Output) -> dict[str, Tensor]:
    """What the table keeps of an output; the rest may be large and is let go at once."""
    fields = ("prediction", "log_variance", "reliability")
    kept = {name: x for name in fields if (x := getattr(output, name)) is not None}
    if output.routing is not None:  # its mean is kept: per sample it would outweigh all the rest
        kept["routing"] = output.routing.sum(dim=0, dtype=torch.float64)
    return kept


def _require_shapes(
    kept: Mapping[str, Tensor],
    first: Mapping[str, Tensor],
    size: int,
    spec: DataSpec,
    condition: Condition,
) -> None:
    """Of one output of ``size`` samples; the same fields as under the first condition."""
    logits = (size,) if spec.task == "regression" else (size, spec.classes)
    wanted = {"prediction": logits, "log_variance": (size,), "reliability": (size, len(MODALITIES))}
    for name, shape in wanted.items():
        if (name in kept) != (name in first):
            raise BenchmarkError(
                f"the model gives a {_words(name)} under some conditions only; it is "
                f"{'there' if name in kept else 'missing'} under this one: {condition}"
            )
        if name in kept and kept[name].shape != shape:
            raise BenchmarkError(
                f"the model's {_words(name)} has the shape {tuple(kept[name].shape)} where the "
                f"contract has {shape}, for {size} samples under this condition: {condition}"
            )


Answer = Callable[[Modalities, StandIns, Sequence[int]], list[Output]]
"""(noisy samples, what stands in for what is missing, masks) -> the output under each mask."""


Steps = Mapping[Modality, Tensor]
"""The real steps of the clean samples: what is missing has them, whatever noise made of the text's
while it was there."""


def _whole(model: MultimodalModel, steps: Steps) -> Answer:
    """A forward pass for each mask."""
    available = torch.stack([as_bools(mask) for mask in range(8)]).to(steps["text"].device)

    def under(mask: int, noisy: Modalities, stand_ins: StandIns) -> Output:
        masks = {m: (noisy.masks if contains(mask, m) else steps)[m] for m in MODALITIES}
        return model(replace(lose(noisy, available[mask], stand_ins), masks=masks))

    def answer(noisy: Modalities, stand_ins: StandIns, masks: Sequence[int]) -> list[Output]:
        return [under(mask, noisy, stand_ins) for mask in masks]

    return answer


def _branched(model: BranchedModel, steps: Steps) -> Answer:
    """Each branch and relation once for each state of its modalities; only fusion for each mask.

    A state is which of them are there, at a level. Of zeros alone a part is the same at all levels.
    """
    constant: dict[tuple[Modality | Relation, int], Mapping[str, Tensor]] = {}

    def answer(noisy: Modalities, stand_ins: StandIns, masks: Sequence[int]) -> list[Output]:
        found = {} if stand_ins else dict(constant)

        def branch(m: Modality, there: int) -> Mapping[str, Tensor]:
            if (m, there) not in found:
                x = noisy.features[m]
                if not there:
                    x = stand_ins[m] if stand_ins else torch.zeros_like(x)
                found[m, there] = model.encode(m, x, (noisy.masks if there else steps)[m])
            return found[m, there]

        def under(mask: int) -> Output:
            encoded = {m: branch(m, mask & mask_of([m])) for m in MODALITIES}
            states = {relation: mask & mask_of(relation) for relation in model.relations}
            new = [state[0] for state in states.items() if state not in found]
            for relation, tensors in model.relate(new, encoded).items() if new else ():
                found[relation, states[relation]] = tensors
            return model.fuse({**encoded, **{state[0]: found[state] for state in states.items()}})

        outputs = [under(mask) for mask in masks]
        if not stand_ins:
            constant.update({state: x for state, x in found.items() if not state[1]})
        return outputs

    return answer


def level_key(condition: Condition) -> tuple[NoiseRule, int, float, Joint]:
    """What the rows of one level share: all but what is missing."""
    return (
        condition.noise_rule,  # type: ignore[return-value]
        condition.draw,
        condition.intensity,
        condition.joint,
    )


def _join(parts: Sequence[Output]) -> Output:
    """Consecutive batches' outputs as one; extras are left out."""

    def cat(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    prediction = cat("prediction")
    assert prediction is not None
    return Output(prediction, cat("log_variance"), cat("reliability"), cat("routing"))
