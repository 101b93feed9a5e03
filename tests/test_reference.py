"""The generated reference is current; the plan schema says of a plan what its reader says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark import reference
from benchmark.commands.run import read_request
from benchmark.data.synthetic import tiny
from benchmark.errors import BenchmarkError
from benchmark.plan import plan_conditions, plan_runs
from benchmark.planfile import named_plan, plan_names
from tests.test_docs import DOCS, ROOT

SCHEMA = json.loads((DOCS / "plan.schema.json").read_text())
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
SOUND: tuple[dict[str, Any], ...] = (
    {},
    {"models": ["lmf"], "seeds": [1, 2], "protocol": "I,II", "title": "mine"},
    {"training": {"clip_norm": None, "epochs": 3}, "evaluation": {"draws": 1}},
    {"models": ["qamoe"], "model": {"topk": 4, "fusion": "precision"}},
    {"runs": [{"regimes": ["missing"], "regime": {"rate": 0.3}}]},
)
UNSOUND: tuple[dict[str, Any], ...] = (
    {"model": 3},
    {"modles": ["lmf"]},
    {"seeds": ["one"]},
    {"regimes": []},
    {"models": "lmf"},
    {"runs": [{"seed": [1]}]},
    {"runs": {"models": ["lmf"]}},
)
UNSOUND_SETTINGS: tuple[dict[str, Any], ...] = (
    {"training": {"epochs": 0}},
    {"training": {"optimiser": "adam"}},
    {"training": {"schedule": "linear"}},
    {"evaluation": {"draws": 1001}},
    {"regime": {"rate": 1.5}},
    {"regime": {"noise_rule": "rain"}},
    {"model": {"topk": "many"}},
)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is one of a schema's, for the keywords that pydantic writes."""
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (kind != "boolean" and value is True)):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    if isinstance(value, int | float):
        over = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        return over and (low is None or low < value) and (high is None or value < high)
    if isinstance(value, list):
        enough = schema.get("minItems", 0) <= len(value)
        return enough and all(fits(one, schema.get("items", {})) for one in value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        open_ = schema.get("additionalProperties", True)
        return all(fits(x, known[key]) if key in known else open_ for key, x in value.items())
    return True


def test_the_pages_are_current() -> None:
    for name, content in reference.pages().items():
        assert (DOCS / name).read_text() == content, "python -m benchmark.reference docs"


def test_every_setting_of_every_model_is_there() -> None:
    page = (DOCS / "settings.md").read_text()
    for name, model in reference.own_models().items():
        section = page.partition(f"\n## {name}: ")[2].partition("\n## ")[0]
        assert all(f"`model.{field}`" in section for field in model.Config.model_fields), name


def test_the_command_writes_them(tmp_path: Path) -> None:
    reference.main([str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == set(reference.pages())
    with pytest.raises(BenchmarkError, match="no folder"):
        reference.main([str(tmp_path / "absent")])


def test_the_schema_takes_every_plan_that_there_is() -> None:
    for name in plan_names():
        assert fits(named_plan(name), SCHEMA), name


def planned(plan: dict[str, Any]) -> None:
    """Read a plan to the end: its runs and their conditions. Raises BenchmarkError."""
    for product in read_request(plan, {}, [], None).products:
        plan_runs(product, tiny())
        plan_conditions(product, tiny())


@pytest.mark.parametrize("plan", SOUND)
def test_what_is_a_plan(plan: dict[str, Any]) -> None:
    planned(plan)
    assert fits(plan, SCHEMA)


@pytest.mark.parametrize("plan", UNSOUND)
def test_what_is_no_plan(plan: dict[str, Any]) -> None:
    with pytest.raises(BenchmarkError):
        planned(plan)
    assert not fits(plan, SCHEMA)


@pytest.mark.parametrize("settings", UNSOUND_SETTINGS)
def test_what_is_no_setting(settings: dict[str, Any]) -> None:
    with pytest.raises(BenchmarkError):
        planned({"models": ["qamoe"], **settings})
    assert not fits(settings, SCHEMA)


def test_the_citation_names_this_version() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = project.partition('\nversion = "')[2].partition('"')[0]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
