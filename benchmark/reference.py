"""The reference pages, made from the code: ``python -m benchmark.reference docs``.

Commands and their options come from the command line's own parser, settings from the typed classes
that read them, and ``plan.schema.json`` is what an editor checks a plan file against. Models and
commands of other packages are left out, whatever is installed here.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from benchmark.cards import SettingRow, card_facts, deviations, setting_rows, shown
from benchmark.config import EvaluationConfig, TrainingConfig
from benchmark.errors import BenchmarkError
from benchmark.interface import MultimodalModel, Preset
from benchmark.plan import PlanConfig
from benchmark.plugins import Plugin, plugins
from benchmark.registry import model_class, model_facts
from protocols.regimes import Regime
from protocols.settings import Settings

DISTRIBUTION = "robust-msa-benchmark"
MADE = "<!-- Made by `python -m benchmark.reference docs`: change the code, not this page. -->"
SHARED: dict[str, type[Settings]] = {
    "training": TrainingConfig,
    "regime": Regime,
    "evaluation": EvaluationConfig,
}


def pages() -> dict[str, str]:
    """Every generated file by its name."""
    return {
        "commands.md": commands_page(),
        "settings.md": settings_page(),
        "python.md": python_page(),
        "plan.schema.json": json.dumps(plan_schema(), indent=1, ensure_ascii=False) + "\n",
    }


def own(plugin: Plugin) -> bool:
    """Whether this distribution declares it."""
    return any(entry.dist and entry.dist.name == DISTRIBUTION for entry in plugin.entries)


def own_models() -> dict[str, type[MultimodalModel]]:
    """Name -> class of the models of this distribution."""
    return {name: model_class(name) for name, plugin in plugins("model").items() if own(plugin)}


def commands_page() -> str:
    """Every command with its arguments and options."""
    from benchmark.cli import app

    foreign = {name for name, plugin in plugins("command").items() if not own(plugin)}
    group = typer.main.get_group(app)
    found = [(name, c) for name, c in _leaves(group, "benchmark") if name.split()[1] not in foreign]
    listed = [
        f"- [`{name}`](#{name.replace(' ', '-')}): {_first_line(c.help)}" for name, c in found
    ]
    sections = [
        "\n\n".join(filter(None, (f"## {name}", _help(command.help), _parameters(command))))
        for name, command in found
    ]
    intro = (
        "`benchmark COMMAND --help` says the same. A user's mistake is one message and exit code 2;"
        " 1 says that\nsomething asked for failed. An environment variable, where an option has"
        " one, stands in place of it."
    )
    return "\n\n".join(["# Commands", MADE, intro, "\n".join(listed), *sections]) + "\n"


def settings_page() -> str:
    """Every key that ``--set`` and a plan file take."""
    intro = (
        "Each is a key of `--set section.name=value`, and of a plan file under its section."
        " Values are YAML: `true`,\n`null`, `[a, b]`. `benchmark show MODEL --all` prints the same."
        " A.3 and Eq. 7 are places in the seed\npaper; A1 to A30 number what it leaves open"
        " (`qamoe/config.py`, [readings](qa-moe-readings.md))."
    )
    parts = ["# Settings", MADE, intro]
    for section, kind in SHARED.items():
        parts += [f"## {section}", _settings_table(setting_rows(kind, section))]
    for name, model in own_models().items():
        parts += [f"## {name}: {model.card.title}", _card(model_facts(name))]
        parts += [_settings_table(setting_rows(model.Config, "model"))]
        parts += _presets(model.presets)
    return "\n\n".join(filter(None, parts)) + "\n"


def python_page() -> str:
    """The functions that a user's own code calls."""
    import benchmark
    import protocols

    found = [(f"benchmark.{name}", getattr(benchmark, name)) for name in benchmark.__all__]
    found += [("protocols.degrade", protocols.degrade)]
    intro = (
        "What your own code calls; [own-model.md](own-model.md) has it at work. The contract of a"
        " model is\n`benchmark/interface.py` ([add a model](add-a-model.md))."
    )
    sections = [
        f"## {name}\n\n```text\n{_signature(name, one)}\n\n{inspect.getdoc(one)}\n```"
        for name, one in found
    ]
    return "\n\n".join(["# Python", MADE, intro, *sections]) + "\n"


def _signature(name: str, function: Any) -> str:
    signature, lines = inspect.signature(function), list[str]()
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and "*" not in lines:
            lines.append("*")
        stars = "**" if one.kind is one.VAR_KEYWORD else ""
        value = "..." if callable(one.default) else repr(one.default)
        default = "" if one.default is one.empty else f" = {value}"
        lines.append(f"{stars}{one.name}: {one.annotation}{default}")
    inside = "".join(f"    {line},\n" for line in lines)
    return f"{name}(\n{inside}) -> {signature.return_annotation}"


def plan_schema() -> dict[str, Any]:
    """A JSON schema of plan files: the sections that a plan keeps open are spelt out.

    A setting of a model that is not among ours is admitted, as a plug-in may have it.
    """
    schema = PlanConfig.model_json_schema()
    sections = {name: _partial(kind) for name, kind in SHARED.items()}
    sections["regime"]["properties"].pop("kind")  # it is what ``regimes`` names
    fields: dict[str, dict[str, Any]] = {}
    for name, model in own_models().items():
        for field, described in _partial(model.Config)["properties"].items():
            said = f"{name}: {described.pop('description', '')}"
            described.pop("default", None)
            known = fields.setdefault(field, {"anyOf": [], "description": ""})
            if described not in known["anyOf"]:
                known["anyOf"].append(described)
            known["description"] = "; ".join(filter(None, (known["description"], said)))
    sections["model"] = {"type": "object", "properties": fields}
    for where in (schema, schema["$defs"]["Product"]):
        for name in sections:
            where["properties"][name] = {"$ref": f"#/$defs/{name}"}
        where["description"] = inspect.cleandoc(where["description"])
    schema["$defs"] |= sections
    schema["title"] = "A plan of benchmark run"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _partial(kind: type[Settings]) -> dict[str, Any]:
    """The schema of a group of settings, of which a plan gives some."""
    schema = kind.model_json_schema()
    schema.pop("title", None)
    schema.pop("description", None)
    for described in schema["properties"].values():
        described.pop("title", None)
    return schema


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, below in children.items():
        if not below.hidden:
            yield from _leaves(below, f"{name} {child}")


def _first_line(text: str | None) -> str:
    return _help(text).split("\n\n")[0].replace("\n", " ")


def _help(text: str | None) -> str:
    """A command's help, its example as code."""
    whole = inspect.cleandoc(text or "").replace("\f", "")
    prose, found, example = whole.partition("Example: ")
    if not found:
        return whole
    line, _, rest = example.partition("\n\n")
    return "\n\n".join(filter(None, (prose.strip(), f"```\n{' '.join(line.split())}\n```", rest)))


def _parameters(command: Any) -> str:
    rows = [
        (_spelling(one), _default(one), _meaning(one))
        for one in command.params
        if not getattr(one, "hidden", False) and one.name != "help"
    ]
    if not rows:
        return "It takes nothing."
    return _table(("option", "default", "meaning"), rows)


def _spelling(one: Any) -> str:
    if not one.opts[0].startswith("-"):
        return f"`{one.metavar or one.name.upper()}`"
    return ", ".join(f"`{option}`" for option in (*one.opts, *one.secondary_opts))


def _default(one: Any) -> str:
    if one.required:
        return "required"
    value = one.default
    if value is None or value == "" or callable(value):
        return ""
    if isinstance(value, bool):
        return f"`{one.opts[0]}`" if value else ""
    return f"`{value}`"


def _meaning(one: Any) -> str:
    variable = f" Environment: `{one.envvar}`." if one.envvar else ""
    return (one.help or "") + variable


def _settings_table(rows: list[SettingRow]) -> str:
    if not rows:
        return "It has no settings of its own."
    cells = [(f"`{row.name}`", f"`{row.default}`", row.values, row.meaning) for row in rows]
    return _table(("setting", "default", "values", "meaning"), cells)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _card(card: dict[str, Any]) -> str:
    lines = [f"- {what}: {text}" for what, text in card_facts(card)]
    if departures := deviations(card):
        lines.append("- departs from the original:")
    return "\n".join([*lines, *(f"    - {' '.join(one.split())}" for one in departures)])


def _presets(presets: Any) -> list[str]:
    lines = [f"- `{n}`: {_changes(preset)}" for n, preset in presets.items() if n != "paper"]
    return (
        ["\n".join(["Presets beside `paper`, which is the defaults:", "", *lines])] if lines else []
    )


def _changes(preset: Preset) -> str:
    changes = [
        f"`{section}.{key}={shown(value)}`"
        for section, values in (("model", preset.model), ("training", preset.training))
        for key, value in values.items()
    ]
    return ", ".join(changes) or "the defaults"


def main(arguments: list[str]) -> None:
    """Write the files into a folder. Raises BenchmarkError where it is no folder."""
    folder = Path(arguments[0] if arguments else "docs")
    if not folder.is_dir():
        raise BenchmarkError(f"there is no folder {folder}")
    for name, content in pages().items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
