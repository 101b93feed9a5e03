"""A model that computes something else has a new version; see :mod:`tests.golden`."""

from __future__ import annotations

import copy

import pytest

from protocols.regimes import REGIME_KINDS
from tests import golden


@pytest.mark.parametrize(("name", "preset"), golden.KEPT)
def test_what_a_model_computes_is_what_its_version_did(name: str, preset: str) -> None:
    kept = golden.read(golden.file_of(name, preset))
    assert not golden.complaint(kept, golden.fingerprint(name, preset), f"{name} ({preset})")


@pytest.mark.parametrize("kind", REGIME_KINDS)
def test_what_is_trained_is_what_the_versions_of_trainer_and_regime_did(kind) -> None:
    kept = golden.read(golden.file_of("training", kind))
    assert not golden.complaint(kept, golden.curves(kind), f"training ({kind})")


@pytest.mark.parametrize("name", golden.WITH_DEFAULTS)
def test_the_defaults_are_those_of_the_version(name: str) -> None:
    kept = golden.read(golden.DEFAULTS).get(name)
    assert not golden.default_complaint(kept, golden.defaults_of(name), name)


def test_no_file_outlives_its_model() -> None:
    wanted = {*golden.kept_files(), golden.DEFAULTS}
    assert set(golden.FOLDER.glob("*.json")) == wanted
    assert set(golden.read(golden.DEFAULTS)) == set(golden.WITH_DEFAULTS)


def test_a_change_is_noticed() -> None:
    name, preset = golden.KEPT[0]
    kept = golden.fingerprint(name, preset)
    now = copy.deepcopy(kept)
    now["regression"]["prediction"][3] += 1e-3
    assert "version is still" in golden.complaint(kept, now, name)
    assert "run python" in golden.complaint(kept, {**now, "version": 99}, name)
    defaults = golden.defaults_of(name)
    first = next(iter(defaults["defaults"]))
    changed = {**defaults, "defaults": {**defaults["defaults"], first: "other"}}
    assert f"{first} changed" in golden.default_complaint(defaults, changed, name)
    added = {**defaults, "defaults": {**defaults["defaults"], "new": 1}}
    assert "new is new" in golden.default_complaint(defaults, added, name)
