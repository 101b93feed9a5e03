"""The one reader of YAML: YAML 1.2's core schema, bounded, and an error of one line.

Read are mappings with text keys, lists, texts, numbers, ``true``, ``false`` and ``null``; ``off``
and ``2024-01-01`` are texts, ``1e-3`` is a number. Aliases, tags and repeated keys are refused,
as are texts beyond the limits here: no few bytes can ask for much memory or time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
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
_ANCHORS = "anchors and aliases (&name, *name) are not read; write the value out"
MAX_DIGITS = 30
"""Of a whole number: 2^64 has 20."""

_TAG = "tag:yaml.org,2002:"
_SCHEMA = (
    (_TAG + "bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_TAG + "int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        _TAG + "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    (_TAG + "null", r"~|null|Null|NULL|", "~nN"),
)


def _resolvers() -> dict[str | None, list[tuple[str, re.Pattern[str]]]]:
    """First character -> (tag, pattern), as PyYAML keeps them."""
    found: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in _SCHEMA:
        for character in first:
            found.setdefault(character, []).append((tag, re.compile(f"(?:{pattern})$")))
    found[""] = [(_TAG + "null", re.compile("$"))]
    return found


_RESOLVERS = _resolvers()
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it was built: many times as fast."""


class _Dumper(yaml.SafeDumper):
    """Writes what the loader reads as the same: "1e-3" as a text stands in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """Escaped in double quotes where PyYAML writes a line end that is read as a space."""
        style = '"' if set(data) & set("\x85\u2028\u2029") else None
        return self.represent_scalar(_TAG + "str", data, style)


_Dumper.add_representer(str, _Dumper.represent_text)

_Dumper.yaml_implicit_resolvers = {  # what YAML 1.1 takes for no text ("off") is quoted too
    character: [*_RESOLVERS.get(character, []), *theirs]
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
        return _document(_events(text))
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


def _events(text: str) -> Iterator[Any]:
    """What a text consists of, looked at before anything is built of it. Raises YAMLError."""
    depth = 0
    event: Any
    for count, event in enumerate(yaml.parse(text, _LOADER)):
        why = f"more than {MAX_EVENTS:,} values" if count > MAX_EVENTS else ""
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            depth += isinstance(event, yaml.CollectionStartEvent)
            if event.anchor:
                why = _ANCHORS
            elif event.tag not in (None, "!"):
                why = f"tags ({event.tag}) are not read"
            elif depth > MAX_DEPTH:
                why = f"nested more than {MAX_DEPTH} deep"
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            why = _ANCHORS
        if why:
            raise _refused(event, why)
        yield event


def _document(events: Iterator[Any]) -> Any:
    """The value of the one document; None where there is none."""
    value = None
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            value = _value(next(events), events)
            break
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            raise _refused(event, "a second document begins here")
    return value


def _value(event: Any, events: Iterator[Any]) -> Any:
    """The value that begins with an event."""
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_value(event, events))
        return items
    found: dict[str, Any] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        if not isinstance(key, yaml.ScalarEvent):
            raise _refused(key, "a key must be a text")
        if key.value in found:
            raise _refused(key, f"the key '{one_line(key.value, 60)}' is there twice")
        found[key.value] = _value(next(events), events)
    return found


@lru_cache(maxsize=1024)  # thousands of records have the same few
def _kind(text: str) -> str:
    """What a text without quotes is: null, bool, int, float, or nothing but a text."""
    patterns = _RESOLVERS.get(text[:1], ())
    tag = next((tag for tag, pattern in patterns if pattern.match(text)), "")
    return tag.removeprefix(_TAG)


def _scalar(event: Any) -> Any:
    text: str = event.value
    kind = _kind(text) if event.implicit[0] else ""
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        if len(text) > MAX_DIGITS:
            raise _refused(event, f"a whole number of {len(text)} characters")
        return int(text)
    if kind == "float":
        if text[-1].isalpha():
            return float(text.lower().replace(".", ""))
        if not math.isfinite(number := float(text)):
            raise _refused(event, "a number too large for a float")
        return number
    return text


def _refused(event: Any, why: str) -> yaml.MarkedYAMLError:
    return ConstructorError(None, None, why, event.start_mark)
