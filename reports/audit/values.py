"""What an audit reads: a paper's file as rows of printed numbers, and how exact they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.metrics import LOWER_IS_BETTER, PAPER_NAMES
from benchmark.yamlfile import read_yaml
from reports.published import papers, read_paper

LOWER = frozenset(PAPER_NAMES[name] for name in LOWER_IS_BETTER if name in PAPER_NAMES)
"""The papers' names of metrics of which less is better."""

Values = Mapping[str, Mapping[str, Any]]
"""condition -> metric -> printed value, or None for a dash."""


@dataclass(frozen=True)
class Finding:
    """One line of an audit.

    Attributes:
        where: table or section.
        claim: what is printed.
        recomputed: what the printed numbers give.
        verdict: in a few words; begins with "ok" where nothing is wrong.
    """

    where: str
    claim: str
    recomputed: str
    verdict: str

    @property
    def is_ok(self) -> bool:
        """Whether the claim stands."""
        return self.verdict.startswith("ok")


@dataclass(frozen=True)
class Row:
    """The printed numbers of one model in one table on one data set."""

    table: str
    dataset: str
    model: str
    values: Values

    @property
    def name(self) -> str:
        """For people: data set and model."""
        return f"{self.dataset}, {self.model}"


@dataclass(frozen=True)
class Paper:
    """A paper's file, and what its ``_meta`` says of its test sets."""

    content: Mapping[str, Any]

    @property
    def meta(self) -> Mapping[str, Any]:
        """The file's ``_meta``."""
        found: Mapping[str, Any] = self.content.get("_meta", {})
        return found

    @property
    def reference(self) -> str:
        """The model that the paper proposes."""
        return str(self.meta.get("reference", ""))

    @property
    def binary_counts(self) -> dict[str, tuple[int, int]]:
        """Data set -> (positive, negative) test samples."""
        return {k: (v["positive"], v["negative"]) for k, v in self._sets() if "positive" in v}

    @property
    def test_sizes(self) -> dict[str, dict[str, int]]:
        """Data set -> metric -> the number of samples that it is a share of."""
        return {k: dict(v["counts"]) for k, v in self._sets() if "counts" in v}

    @property
    def experts(self) -> dict[str, tuple[int, int]]:
        """Model -> (active experts, experts)."""
        return {k: (v[0], v[1]) for k, v in self.meta.get("experts", {}).items()}

    def _sets(self) -> list[tuple[str, Mapping[str, Any]]]:
        return list(self.meta.get("test_sets", {}).items())

    def rows(self) -> list[Row]:
        """Every row of every table that is by data set."""
        return [
            Row(table, dataset, model, values)
            for table, content in self.content.items()
            if isinstance(content, dict)
            for dataset, models in content.get("datasets", {}).items()
            for model, values in models.items()
        ]

    def tables_with(self, condition: str | None) -> list[list[Row]]:
        """Rows by table and data set, where some row has the condition (None: any)."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows():
            groups.setdefault((row.table, row.dataset), []).append(row)
        return [
            group
            for group in groups.values()
            if condition is None or any(condition in row.values for row in group)
        ]

    def look_up(self, path: str) -> Any:
        """A number or a row by its path: "table1/CMU-MOSI/QA-MoE/clean/ACC7".

        Raises:
            BenchmarkError: where the file has no such entry.
        """
        node: Any = self.content
        for part in path.split("/"):
            inner = node.get("datasets") or node.get("models") if isinstance(node, dict) else None
            node = inner if inner and part not in node else node
            if not isinstance(node, dict) or part not in node:
                raise BenchmarkError(f"the claims name '{path}', but there is no '{part}'")
            node = node[part]
        return node


def read(name_or_path: str) -> Paper:
    """A paper by its name, or from a YAML file of the same form.

    Raises:
        BenchmarkError: for an unknown name, or a file that cannot be read.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if name_or_path not in papers():
            raise BenchmarkError(
                f"unknown paper '{name_or_path}'. Available: {', '.join(papers())}; or a YAML file "
                "of the same form."
            )
        return Paper(read_paper(name_or_path))
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path} must hold tables by name")
    return Paper(content)


def decimals_of(row: Row, metric: str) -> int:
    """The digits after the point that a row prints of a metric: the most that any value has."""
    numbers = [values.get(metric) for values in row.values.values()]
    return max((_decimals(number) for number in numbers if number is not None), default=1)


def _decimals(number: float) -> int:
    return max(1, len(str(float(number)).partition(".")[2]))


def tolerance(digits: int) -> float:
    """How far a mean of printed numbers may be from a printed mean: a rounding and a little."""
    return 0.6 * 10.0**-digits


def shown(number: float, digits: int) -> str:
    """A number with its digits."""
    return f"{number:.{digits}f}"


def table_title(table: str) -> str:
    """ "table1" -> "Table 1"."""
    return re.sub(r"^table(\d+)$", r"Table \1", table)


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Sequence[str], int]:
    """The metrics in which two rows differ, each with both values, and how many they share."""
    shared = [m for m in first if m in second and None not in (first[m], second[m])]
    return [f"{m} {first[m]:g}/{second[m]:g}" for m in shared if first[m] != second[m]], len(shared)
