"""Models by name, from the entry-point group ``benchmark.models``: in-tree ones and anybody's.

``pip install`` of a package that declares one makes its model known here; nothing else changes.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import build
from benchmark.errors import BenchmarkError, unknown
from benchmark.plugins import plugins
from benchmark.strangers import strangers

if TYPE_CHECKING:  # names cost no torch, a class does
    from benchmark.interface import MultimodalModel


def model_names() -> list[str]:
    """Every registered name, sorted, those of broken models included."""
    return list(plugins("model"))


def sound_models() -> list[str]:
    """The names of the models that can be used; what is left out is said on stderr."""
    names = []
    for name in model_names():
        try:
            build(model_class(name).Config, {}, f"{name}'s model")
        except BenchmarkError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            names.append(name)
    return names


def usual_models() -> list[str]:
    """The sound models that are run where none is named: the usual ones, or all without any."""
    names = sound_models()
    return [name for name in names if model_class(name).usual] or names


@cache
def model_class(name: str) -> type[MultimodalModel]:
    """The class of a registered model.

    Raises:
        BenchmarkError: for an unknown name, or an entry that cannot be imported or is no model.
    """
    known = plugins("model")
    if name not in known:
        raise unknown("model", name, known)
    found = known[name].load()
    with strangers(known[name].broken):
        problem = _problem(found)
    if problem:
        raise known[name].broken(problem)
    return found


def _problem(found: Any) -> str:
    """Why what an entry names is no model; "" where it is one."""
    from pydantic import TypeAdapter, ValidationError

    from benchmark.interface import ModelCard, ModelConfig, MultimodalModel, Preset

    if not (isinstance(found, type) and issubclass(found, MultimodalModel)):
        return "it is no subclass of benchmark.interface.MultimodalModel"
    if inspect.isabstract(found):
        return f"it does not define {', '.join(sorted(found.__abstractmethods__))}"
    config, card = getattr(found, "Config", None), getattr(found, "card", None)
    if not (isinstance(config, type) and issubclass(config, ModelConfig)):
        return "its 'Config' is no subclass of ModelConfig"
    if not isinstance(card, ModelCard):
        return "it has no 'card' (a ModelCard)"
    try:
        TypeAdapter(ModelCard).validate_python(asdict(card))
    except ValidationError as error:
        first = error.errors()[0]
        return f"its card's {first['loc'][0]}: {first['msg']}"
    if not isinstance(found.presets, Mapping):
        return "its 'presets' are no mapping"
    if wrong := [k for k, preset in {**found.presets}.items() if not isinstance(preset, Preset)]:
        return f"its preset {wrong[0]} is no Preset"
    return "" if isinstance(found.search_space, Mapping) else "its 'search_space' is no mapping"


def model_facts(name: str, preset: str = "") -> dict[str, Any]:
    """What a record keeps of a model: its card, and the hash of the file that defines its class.

    The card is the preset's, where that has one of its own.

    The hash stands for the version of a model whose card has none.
    """
    kind = model_class(name)
    source = inspect.getsourcefile(kind)
    content = Path(source).read_bytes() if source else b""
    card = kind.presets[preset].card if preset in kind.presets else None
    return {**asdict(card or kind.card), "source_sha256": hashlib.sha256(content).hexdigest()}
