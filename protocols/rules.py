"""The rules' names, and the version of what each part of a degradation means.

A rule's formula is where it is applied: noise in :mod:`protocols.degradation`, missing modalities
in :mod:`protocols.expectation` and :mod:`protocols.missing`.
"""

from __future__ import annotations

from typing import Literal, get_args

NoiseRule = Literal["seed_a1", "gaussian_all", "gaussian_av"]
NOISE_RULES: tuple[NoiseRule, ...] = get_args(NoiseRule)

MissingRule = Literal["bernoulli", "at_least_one", "imder_batch"]
MISSING_RULES: tuple[MissingRule, ...] = get_args(MissingRule)

RULE_VERSIONS: dict[str, int] = {"zeroing": 1, "degradation": 2, "draw": 1, "missing": 1}
"""Raised whenever the same seed or level would give another input than before. What is missing
belongs to the numbers that are read off a table, the rest to the rows that it changes
(:func:`protocols.conditions.version_of`)."""
