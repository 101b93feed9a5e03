"""The one reader of YAML: YAML 1.2's core schema, bounded, and an error of one line.

Read are mappings with text keys, lists, texts, numbers, ``true``, ``false`` and ``null``; ``off``
and ``2024-01-01`` are texts, ``1e-3`` is a number. Aliases, tags and repeated keys are refused,
as are texts beyond the limits here: no few bytes can ask for much memory or time.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from benchmark.errors import BenchmarkError
from benchmark.files import read_text
from benchmark.hygiene import one_line

MAX_BYTES = 2**20
MAX_DEPTH = 16
MAX_EVENTS = 50_000
"""Each costs 20 microseconds: a megabyte of commas would take ten seconds."""
MAX_DIGITS = 30
"""Of a whole number: 2^64 has 20."""

_SCHEMA = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN"),
)


def _resolvers() -> dict[str | None, list[tuple[str, re.Pattern[str]]]]:
    """First character -> (tag, pattern), as PyYAML keeps them."""
    found: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in _SCHEMA:
        for character in first:
            found.setdefault(character, []).append((tag, re.compile(f"(?:{pattern})$")))
    found[""] = [("tag:yaml.org,2002:null", re.compile("$"))]
    return found


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The C library's where PyYAML was built with it: ten times as fast."""

    yaml_implicit_resolvers = _resolvers()

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be a text", key.start_mark)
            if key.value in found:
                said = f"the key '{one_line(key.value, 60)}' is there twice"
                raise ConstructorError(None, None, said, key.start_mark)
            found[key.value] = self.construct_object(value, deep=True)
        return found

    def construct_yaml_map(self, node: Any) -> Any:
        yield self.construct_mapping(node)

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > MAX_DIGITS:
            said = f"a whole number of {len(node.value)} characters"
            raise ConstructorError(None, None, said, node.start_mark)
        return int(node.value)

    def construct_yaml_float(self, node: Any) -> float:
        text = node.value.lower()
        if text[-1].isalpha():
            return float(text.replace(".", ""))
        if not math.isfinite(number := float(text)):
            raise ConstructorError(None, None, "a number too large for a float", node.start_mark)
        return number


for _kind, _make in (
    ("map", _Loader.construct_yaml_map),
    ("int", _Loader.construct_yaml_int),
    ("float", _Loader.construct_yaml_float),
):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _make)


class _Dumper(yaml.SafeDumper):
    """Writes what the loader reads as the same: "1e-3" as a text stands in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """Escaped in double quotes where PyYAML writes a line end that is read as a space."""
        style = '"' if set(data) & set("\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_text)

_Dumper.yaml_implicit_resolvers = {  # what YAML 1.1 takes for no text ("off") is quoted too
    character: [*_resolvers().get(character, []), *theirs]
    for character, theirs in yaml.SafeDumper.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML text.

    Raises:
        BenchmarkError: no YAML, or beyond what is read here; one line with the place.
    """
    if len(text) > MAX_BYTES:
        raise BenchmarkError(f"{where} is too long for YAML: {len(text):,} characters")
    try:
        _check_events(text)
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what cannot be encoded
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise BenchmarkError(f"{where}{place}: is no YAML for us: {one_line(why)}") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises BenchmarkError; see :func:`parse_yaml`."""
    return parse_yaml(read_text(path, MAX_BYTES), str(path))


def to_yaml(values: Any) -> str:
    """Plain values as YAML that :func:`parse_yaml` reads as the same."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _check_events(text: str) -> None:
    """Look the text over before anything is built of it. Raises YAMLError."""
    depth = 0
    event: Any
    for count, event in enumerate(yaml.parse(text, _Loader)):
        why = f"more than {MAX_EVENTS:,} values" if count > MAX_EVENTS else ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            why = "anchors and aliases (&name, *name) are not read; write the value out"
        elif getattr(event, "tag", None) not in (None, "!"):
            why = f"tags ({event.tag}) are not read"
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                why = f"nested more than {MAX_DEPTH} deep"
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if why:
            raise ConstructorError(None, None, why, event.start_mark)
