"""Plan files: what to run, as YAML. Named ones come from the entry-point group ``benchmark.plans``.

An entry ``paper = "some_package.paper"`` names a package whose ``table6.yaml`` is the plan
``paper/table6``; ``paper`` is all of its plans together, and a run that several of them need is
done once. A file of your own has the same form: ``--config mine.yaml``.
The keys are those of :class:`benchmark.plan.PlanConfig`.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, unknown
from benchmark.hygiene import one_line
from benchmark.plugins import Plugin, plugins
from benchmark.yamlfile import parse_yaml, read_yaml

SUFFIX = ".yaml"


def plan_names() -> list[str]:
    """Every named plan, sorted."""
    return sorted(_named())


def named_plan(name: str) -> dict[str, Any]:
    """The content of a named plan, or of all the plans of a package, as one.

    Raises:
        BenchmarkError: for an unknown name, or a file that is no plan.
    """
    declared, plans = plugins("plan"), _named()
    if (owner := name.partition("/")[0]) in declared:
        _files(declared[owner])  # says what is wrong with a broken one
    if name in plans:
        where = str(plans[name])
        try:
            text = plans[name].read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BenchmarkError(f"cannot read {where}: {one_line(error, 200)}") from None
        return _mapping(parse_yaml(text, where), where)
    within = [other for other in plans if other.startswith(f"{name}/")]
    if not within:
        together = {other.partition("/")[0] for other in plans}
        raise unknown("plan", name, [*plans, *together], "Your own file: --config FILE.")
    runs = [run for other in within for run in _products(named_plan(other))]
    return {"title": f"{name}: {len(within)} plans", "runs": runs}


def read_plan(path: Path) -> dict[str, Any]:
    """The content of a plan file. Raises BenchmarkError where it cannot be read or is no plan."""
    return _mapping(read_yaml(path), str(path))


def _products(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The products of a plan, complete."""
    from benchmark.config import build
    from benchmark.plan import PlanConfig, Product

    return [
        {key: getattr(product, key) for key in Product.model_fields}
        for product in build(PlanConfig, values, values.get("title", "a plan")).products
    ]


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise BenchmarkError(f"{where} must hold lines of name: value")
    return values


def _named() -> dict[str, Traversable]:
    """The plans of every package; a broken package has none."""
    found: dict[str, Traversable] = {}
    for plugin in plugins("plan").values():
        with suppress(BenchmarkError):  # said by `list plans`, and where it is asked for
            found |= _files(plugin)
    return found


def _files(plugin: Plugin) -> dict[str, Traversable]:
    """The plans of a package by name. Raises BenchmarkError where it is broken."""
    try:
        inside = list(files(plugin.load()).iterdir())
    except (OSError, TypeError, ValueError) as error:
        raise plugin.broken(f"{type(error).__name__}: {error}") from error
    return {
        f"{plugin.name}/{file.name.removesuffix(SUFFIX)}": file
        for file in inside
        if file.name.endswith(SUFFIX)
    }
