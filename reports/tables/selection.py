"""The price of selection (:mod:`reports.selection`): one table, mixed into no other."""

from __future__ import annotations

from reports import captions
from reports.selection import HABITS, Price, prices, traces
from reports.sources import Sources
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view


def selection_tables(everything: Sources) -> list[Table]:
    """A table of the systems all of whose runs were diagnosed; none without any."""
    results = everything.results
    metrics = SELECTIONS[results.task].main
    shown, made = [], []
    for system in results.systems:
        found = traces(system.records[0].path.parent, system)
        if not found:
            continue
        shown.append(system)
        said = prices(found, results.task)
        for habit in HABITS:
            pairs = [(said[habit, metric], view(metric)) for metric in metrics]
            cells = [c for price, one in pairs for c in _cells(price, one)]
            made.append(Row(habit, tuple(cells), section=system.label, seeds=len(found)))
    if not shown:
        return []
    first = next(iter(HABITS))
    return [
        Table(
            "price-of-selection",
            "The price of selection: the same trainings by the habits of the field",
            (
                *captions.common(results.only(shown), []),
                "A diagnostic: the clean test split after every epoch of the same trainings. Every "
                f'line but "{first}" and the last epoch chooses by the test split, so its '
                "numbers are no estimates of anything; what they look better by, against that "
                "line, is the price. No other number of this report is chosen by the test split.",
                *captions.metric_note(results, metrics),
            ),
            tuple(
                Column(title, view(metric).heading)
                for metric in metrics
                for title in ("reported", "looks better by")
            ),
            tuple(made),
            corner="What is reported",
        )
    ]


def _cells(price: Price, shown: View) -> tuple[Cell, Cell]:
    values = price.values * shown.scale
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    reported = Cell(float(values.mean()), std, decimals=shown.decimals)
    return reported, Cell(price.gain * shown.scale, decimals=shown.decimals)
