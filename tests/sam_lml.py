"""Small SAM-LML models for tests."""

from __future__ import annotations

import torch

from baselines.sam_lml import SAMLML
from baselines.sam_lml_config import SAMLMLConfig
from benchmark.interface import DataSpec
from tests.batches import make_spec

SMALL = {"width": 8, "heads": 2, "layers": 1, "scorer_width": 6, "head_width": 6}


def make_sam_lml(spec: DataSpec | None = None, seed: int = 0, **settings: object) -> SAMLML:
    torch.manual_seed(seed)
    config = SAMLMLConfig(**{**SMALL, **settings})  # type: ignore[arg-type]
    return SAMLML(config, spec or make_spec())
