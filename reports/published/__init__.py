"""The numbers that papers print: one YAML file per paper, all of the same form.

A published number is shown only beside runs on the data set that it was printed for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from benchmark.yamlfile import parse_yaml

QA_MOE = "qa_moe"

DATASET_NAMES: Mapping[str, str] = {
    "mosi": "CMU-MOSI",
    "mosei": "CMU-MOSEI",
    "iemocap": "IEMOCAP",
    "mintrec": "MIntRec",
}
"""Our short name of a data set -> its name in the papers. Any other data set has no numbers."""


@dataclass(frozen=True)
class Published:
    """What one paper printed for one data set; empty for a data set that it does not have.

    Attributes:
        dataset: the data set's name in the paper, or "".
        tables: table -> model title -> condition -> metric -> value or None (a dash).
        reference: the title of the model that the paper proposes.
        efficiency: model title -> what its efficiency table prints; it is about no data set.
    """

    dataset: str
    tables: Mapping[str, Mapping[str, Any]]
    reference: str = ""
    efficiency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def value(self, table: str, model: str, condition: str, metric: str) -> float | None:
        """A printed number, or None where the paper has none."""
        found = self.tables.get(table, {}).get(model, {}).get(condition, {}).get(metric)
        return None if found is None else float(found)

    def models(self, table: str) -> list[str]:
        """The models of a table, in the printed order."""
        return list(self.tables.get(table, {}))


def published(dataset: str, paper: str = QA_MOE) -> Published:
    """The numbers that a paper printed for one of our data sets."""
    name = DATASET_NAMES.get(dataset.lower(), "")
    content = read_paper(paper)
    tables = {
        key: table["datasets"][name]
        for key, table in content.items()
        if name in table.get("datasets", {})
    }
    costs = content.get("table9", {}).get("models", {})
    return Published(name, tables, content["_meta"]["reference"], costs)


def papers() -> list[str]:
    """The papers whose tables are here."""
    found = (file.name for file in files(__name__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


@cache
def read_paper(paper: str) -> dict[str, Any]:
    """A paper's file as it is."""
    text = files(__name__).joinpath(f"{paper}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text, f"{paper}.yaml")
    return content
