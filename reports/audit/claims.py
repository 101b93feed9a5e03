"""Claims that a paper makes in words or across tables, as its file lists them, recomputed.

Each entry of ``_meta: claims`` has ``where``, ``claim`` and one of these:

- ``difference: [a, b]``: a minus b, two numbers by their paths, is ``printed`` or ``at_most``.
- ``quotient: [number, number]``, ``printed``.
- ``same: [row, row]``: two rows that must agree. ``unlike: [row, row]``: two that should not.
- ``mean: row-of-conditions``, ``metric``, ``against``: their mean beside a printed number.
- ``steps: row-of-conditions``, ``metric``: how often a grid gets better as it gets worse inputs.
- ``without_bert: row``, ``tokens``: the row's ``gflops_per_sample`` and ``params_active_M`` cannot
  both hold where the operations are nearly BERT-base's and the parameters fewer than it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmark.efficiency.bert import BertBase
from benchmark.errors import BenchmarkError
from reports.audit.values import LOWER, Finding, Paper, differing

Entry = Mapping[str, Any]

_NEARLY_ALL = 0.9


def claims(paper: Paper) -> list[Finding]:
    """Every listed claim, recomputed. Raises BenchmarkError for an entry of no known kind."""
    found = []
    for entry in paper.meta.get("claims", []):
        kind = next((kind for kind in _KINDS if kind in entry), None)
        if kind is None:
            raise BenchmarkError(
                f"the claim '{entry.get('claim')}' has none of the kinds {', '.join(_KINDS)}"
            )
        recomputed, verdict = _KINDS[kind](paper, entry)
        found.append(Finding(str(entry["where"]), str(entry["claim"]), recomputed, verdict))
    return found


def _difference(paper: Paper, entry: Entry) -> tuple[str, str]:
    first, second = (float(paper.look_up(path)) for path in entry["difference"])
    found = first - second
    if "at_most" in entry:
        holds = found <= entry["at_most"] + 1e-9
    else:
        holds = abs(found - entry["printed"]) <= 0.05 + 1e-9
    return f"{first:g} − {second:g} = {found:.2f}", _verdict(entry, holds)


def _quotient(paper: Paper, entry: Entry) -> tuple[str, str]:
    above, below = entry["quotient"]
    found = above / below
    close = abs(found - entry["printed"]) <= 0.005 * entry["printed"]
    return f"{above:g} / {below:g} = {found:.1f}", _verdict(entry, close)


def _same(paper: Paper, entry: Entry) -> tuple[str, str]:
    first, second = (_row(paper, path) for path in entry["same"])
    different, shared = differing(first, second)
    if different:
        return f"{len(different)} of {shared} differ: {', '.join(different)}", "contradiction"
    return f"all {shared} equal", "ok"


def _unlike(paper: Paper, entry: Entry) -> tuple[str, str]:
    first, second = (_row(paper, path) for path in entry["unlike"])
    different, shared = differing(first, second)
    if different:
        return f"{shared - len(different)} of {shared} equal", "ok"
    return f"all {shared} equal", "suspicious: two experiments with the same numbers"


def _row(paper: Paper, path: str) -> Mapping[str, Any]:
    """A row, or a single number as a row of its own."""
    found = paper.look_up(path)
    return found if isinstance(found, Mapping) else {"value": found}


def _mean(paper: Paper, entry: Entry) -> tuple[str, str]:
    metric, against = entry["metric"], float(paper.look_up(entry["against"]))
    values = [row[metric] for row in paper.look_up(entry["mean"]).values()]
    found = float(np.mean(values))
    close = abs(found - against) <= entry.get("within", 1.0)
    return f"mean of {len(values)} cells {found:.2f}, printed {against:g}", _verdict(entry, close)


def _steps(paper: Paper, entry: Entry) -> tuple[str, str]:
    cells: Mapping[str, Any] = paper.look_up(entry["steps"])
    metric = entry["metric"]
    places = {_levels(condition): values[metric] for condition, values in cells.items()}
    sign = -1 if metric in LOWER else 1
    parts, rises = [], 0
    names = [name for name, _ in next(iter(places))]
    for axis, name in enumerate(names):
        up, steps = 0, 0
        for place, value in places.items():
            after = [
                other
                for other in places
                if other[axis][1] > place[axis][1]
                and _elsewhere(other, axis) == _elsewhere(place, axis)
            ]
            if after:
                following = min(after, key=lambda other: other[axis][1])
                steps += 1
                up += sign * (places[following] - value) > 0
        parts.append(f"{up} of {steps} steps along {name} go up")
        rises += up
    return ", ".join(parts), _verdict(entry, rises == 0)


def _without_bert(paper: Paper, entry: Entry) -> tuple[str, str]:
    row, bert = _row(paper, entry["without_bert"]), BertBase()
    operations, parameters = bert.flops(entry["tokens"]) / 2e9, bert.parameters / 1e6
    share = operations / row["gflops_per_sample"]
    runs = share > _NEARLY_ALL and row["params_active_M"] < parameters
    text = (
        f"BERT-base alone, {entry['tokens']} tokens: {operations:.2f} G multiply-adds, "
        f"{100 * share:.0f} % of {row['gflops_per_sample']:g}, and {parameters:.1f} M parameters"
    )
    return text, _verdict(entry, not runs)


Place = tuple[tuple[str, float], ...]


def _levels(condition: str) -> Place:
    """ "eta=0.1,lambda=0.2" -> (("eta", 0.1), ("lambda", 0.2))."""
    found = re.findall(r"(\w+)=([\d.]+)", condition)
    return tuple((name, float(value)) for name, value in found)


def _elsewhere(place: Place, axis: int) -> Place:
    return tuple(level for i, level in enumerate(place) if i != axis)


def _verdict(entry: Entry, holds: bool) -> str:
    """What the entry says of a claim that does not hold, or that it does."""
    if holds:
        return f"ok{': ' + entry['but'] if 'but' in entry else ''}"
    return str(entry.get("otherwise", "differs"))


_KINDS: dict[str, Callable[[Paper, Entry], tuple[str, str]]] = {
    "difference": _difference,
    "quotient": _quotient,
    "same": _same,
    "unlike": _unlike,
    "mean": _mean,
    "steps": _steps,
    "without_bert": _without_bert,
}
