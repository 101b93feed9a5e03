"""Every registered model and preset at sizes that make tests quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

import torch
from pydantic import ValidationError

from baselines.imder import IMDer
from benchmark.config import build
from benchmark.data.small import make_spec
from benchmark.interface import ModelConfig, MultimodalModel
from benchmark.registry import model_class, model_names

SMALL: dict[str, dict[str, object]] = {
    "qamoe": {"width": 16, "encoder_heads": 2},
    "mult": {"width": 8, "heads": 2, "layers": 1},
    "mmim": {"fusion_width": 32},
    "misa": {"width": 16, "feed_forward": 32, "dropout": 0.0},
    "tfn": {"hidden_text": 16, "text_out": 8, "hidden_vision": 8, "dropout_post": 0.0},
    "lmf": {"hidden_text": 16, "hidden_vision": 16, "dropout_audio": 0.0, "dropout_vision": 0.0},
    "sam_lml": {"width": 8, "heads": 2, "layers": 1, "head_width": 8, "lowq_probability": 0.1},
    "emoe": {
        **{"width": 16, "heads": 2, "layers": 1, "kernel_text": 2, "kernel_audio": 2},
        **{"kernel_vision": 2, "text_dropout": 0.1, "output_dropout": 0.0},
    },
    "c_mib": {"width": 16, "layers": 1, "hidden": 64, "residual_dropout": 0.0},
    "mm_boosting": {"width": 8, "heads": 2, "layers": 1, "dropout": 0.0},
    "momke": {"width": 16, "layers": 2, "dropout": 0.0},
    "pase": {"width": 16, "layers": 2, "dropout": 0.0, "sinkhorn_iterations": 20},
    "mctn": {"hidden": 16},
    "mma": {
        **{"width": 16, "heads": 2, "layers": 2, "rank": 4},
        "top_k": 6,  # with fewer, an adapter that no step chose has no gradient
        **{"dropout": 0.0, "adapter_dropout": 0.0, "head_dropout": 0.0},
    },
    "smil": {"priors": 4, "dropout": 0.0},
    "imder": {**IMDer.trial, "attention_dropout_audio": 0.0, "embedding_dropout": 0.0},
    "mmin": {
        **{"width": 16, "blocks": 2},
        **{"text_dropout": 0.0, "teacher_dropout": 0.0, "dropout": 0.0},
    },
}
"""A model that is not here is tested at its defaults."""

PRESETS = [
    (name, preset) for name in model_names() for preset in {"paper": 0, **model_class(name).presets}
]
"""Every model with every preset it has."""


def small_config(name: str, preset: str = "paper") -> ModelConfig:
    """The preset's settings, with those that say how large it is made small."""
    kind = model_class(name)
    given = kind.presets[preset].model if preset in kind.presets else {}
    return build(kind.Config, {**given, **SMALL.get(name, {})}, name)


def real_config(name: str, preset: str = "paper") -> ModelConfig:
    """The preset's settings as they are; of a sampler few steps."""
    kind = model_class(name)
    given = kind.presets[preset].model if preset in kind.presets else {}
    few_steps = {"sampler": "geometric", "steps": 3} if name == "imder" else {}
    return build(kind.Config, {**given, **few_steps}, name)


def different(
    presets: Sequence[tuple[str, str]], config: Callable[[str, str], ModelConfig] = small_config
) -> list[tuple[str, str]]:
    """Of presets that are one model with the settings that they are tested at, the first."""
    first = {
        (name, config(name, preset).model_dump_json()): (name, preset)
        for name, preset in reversed(presets)
    }
    return sorted(first.values(), key=presets.index)


def options(name: str) -> Iterator[ModelConfig]:
    """The small settings with each value, other than the default, of each that has a few.

    A value that needs another setting beside it is left out.
    """
    base = small_config(name)
    for field, about in type(base).model_fields.items():
        values: tuple[Any, ...] = ()
        if get_origin(about.annotation) is Literal:
            values = get_args(about.annotation)
        elif about.annotation is bool:
            values = (True, False)
        for value in values:
            if value != about.default:
                with suppress(ValidationError):
                    yield type(base)(**{**base.model_dump(), field: value})


def small_model(name: str, preset: str = "paper") -> MultimodalModel:
    """A new one, always with the same weights."""
    torch.manual_seed(0)
    return model_class(name)(small_config(name, preset), make_spec())
