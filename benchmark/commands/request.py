"""From a plan file and a command line to the request: what ``run``, ``search`` and others do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.plan import PlanConfig, Product

MOST_SEEDS = 1000
"""Of one range; a longer one is a slip."""


def find_plan(name: str | None, config: Path | None) -> dict[str, Any]:
    """The content of a named plan or of a file; nothing where neither is given."""
    from benchmark.planfile import named_plan, read_plan

    if name and config:
        raise BenchmarkError("--plan and --config are both plans: give one of them")
    if name:
        return named_plan(name)
    return read_plan(config) if config else {}


def read_request(
    plan: dict[str, Any],
    given: dict[str, Any],
    settings: list[str],
    epochs: int | None,
    where: str = "the plan",
) -> PlanConfig:
    """The request: the plan, then what the command line gives, then ``--set`` and ``--epochs``.

    Raises:
        BenchmarkError: for a key or value that does not fit.
    """
    from benchmark.config import build
    from benchmark.plan import PlanConfig, Product

    overrides = {key: value for key, value in given.items() if value is not None}
    parsed = [parse_setting(setting) for setting in settings]
    if epochs is not None:
        parsed.append(("training", "epochs", epochs))
    runs = plan.get("runs", ())
    if not isinstance(runs, list | tuple) or not all(isinstance(run, dict) for run in runs):
        raise BenchmarkError(f"{where}: 'runs' must be a list of products, each with its keys")
    for place, run in enumerate(runs, 1):
        build(Product, run, f"{where}, entry {place} of its runs")
    chosen = {key: overrides.pop(key) for key in ("models", "regimes") if runs and key in overrides}
    values = _overridden(plan, overrides, parsed, where)
    if runs:
        shared = {key: value for key, value in overrides.items() if key in Product.model_fields}
        values["runs"] = [_overridden(run, shared, parsed, where) for run in runs]
    request = build(PlanConfig, values, where)
    if not runs:
        return request.model_copy(update={"models": _models(request.models)})
    products = [p.model_copy(update={"models": _models(p.models)}) for p in request.runs]
    return request.model_copy(update={"runs": _narrowed(products, **chosen)})


def _overridden(
    values: dict[str, Any],
    overrides: dict[str, Any],
    parsed: list[tuple[str, str, Any]],
    where: str,
) -> dict[str, Any]:
    from benchmark.plan import SECTIONS

    joined = {**values, **overrides}
    for section in SECTIONS:
        if not isinstance(joined.get(section, {}), dict):
            raise BenchmarkError(
                f"{where}: '{section}' must hold settings, one 'name: value' a line"
            )
    for section, key, value in parsed:
        joined[section] = {**joined.get(section, {}), key: value}
    return joined


def _models(models: tuple[str, ...]) -> tuple[str, ...]:
    from benchmark.registry import sound_models, usual_models

    if models == ("all",):
        return tuple(sound_models())
    return models or tuple(usual_models())


def _narrowed(
    products: list[Product], models: tuple[str, ...] = (), regimes: tuple[str, ...] = ()
) -> tuple[Product, ...]:
    """The part of the products that is about some of their models and regimes.

    An installed model that no product names joins those that have no settings of a model.

    Raises:
        BenchmarkError: for one that no product has.
    """
    from benchmark.errors import unknown

    def keep(found: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
        named = {*wanted, *(name for name in found if name.partition("-")[0] in wanted)}
        return tuple(name for name in found if not wanted or name in named)

    named = {name for product in products for name in product.models}
    guests = tuple(name for name in models if name not in named and name in _models(("all",)))
    products = [
        product
        if product.model
        else product.model_copy(update={"models": (*product.models, *guests)})
        for product in products
    ]
    wanted = {"models": () if models == ("all",) else models, "regimes": regimes}
    for key, names in wanted.items():
        known = {name for product in products for name in getattr(product, key)}
        for name in names:
            if not keep(tuple(known), (name,)):
                raise unknown(f"{key[:-1]} in this plan", name, known)
    parts = [
        product.model_copy(
            update={key: keep(getattr(product, key), names) for key, names in wanted.items()}
        )
        for product in products
    ]
    return tuple(part for part in parts if part.models and part.regimes)


def parse_setting(text: str) -> tuple[str, str, Any]:
    """``model.topk=4`` to ("model", "topk", 4); values are YAML. Raises BenchmarkError."""
    from benchmark.errors import unknown
    from benchmark.hygiene import cut
    from benchmark.plan import SECTIONS
    from benchmark.yamlfile import parse_yaml

    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise BenchmarkError(
            f"--set {cut(text, 80)}: write it as section.name=value, as in model.topk=4"
        )
    if section not in SECTIONS:
        raise unknown("section in --set", section, SECTIONS)
    return section, key, parse_yaml(value, f"--set {cut(name, 80)}")


def names(text: str | None) -> tuple[str, ...] | None:
    """Names separated by commas; None for None."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def seeds_of(text: str | None) -> tuple[int, ...] | None:
    """Integers and ranges of them, "1-5,9"; None for None. Raises BenchmarkError."""
    from benchmark.hygiene import cut

    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
        if not match:
            raise BenchmarkError(
                f"--seeds {cut(text, 80)}: integers and ranges with commas, as in 1-5,9"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + MOST_SEEDS:
            raise BenchmarkError(
                f"--seeds {cut(part, 80)}: a range goes up, over at most {MOST_SEEDS} seeds"
            )
        found += range(first, last + 1)
    return tuple(found)
