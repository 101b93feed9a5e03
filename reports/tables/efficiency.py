"""Table 9: what models cost, from the measurements that ``benchmark efficiency`` kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmark.efficiency.bert import BertBase
from benchmark.efficiency.kept import Efficiency
from benchmark.systems import slug
from reports.costs import COSTS, label_of, only_published, place_of
from reports.published import Published
from reports.sources import Sources
from reports.tables.table import DASH, Cell, Column, Row, Table


def efficiency_tables(sources: Sources) -> list[Table]:
    """A table for each device and number of threads that was measured on this data set's shapes."""
    by_device: dict[tuple[str, int], list[Efficiency]] = defaultdict(list)
    for one in sources.efficiency:
        by_device[one.device, one.threads].append(one)
    several = len(by_device) > 1
    return [
        _table(sources.paper, sorted(found, key=label_of), several)
        for _, found in sorted(by_device.items())
    ]


def _table(paper: Published, found: Sequence[Efficiency], several: bool) -> Table:
    first, where, bert = found[0], place_of(found[0]), BertBase()
    made = [Row(label_of(one), _cells(one, paper)) for one in found]
    for title in only_published(paper, found):
        printed = paper.efficiency[title]
        cells = (Cell(published=printed.get(c.printed), decimals=c.decimals) for c in COSTS)
        made.append(Row(f"published: {title}", tuple(cells), "published"))
    return Table(
        slug(f"table9-efficiency {where}") if several else "table9-efficiency",
        "Table 9: computational efficiency",
        (
            f"Measured on: {where}. Shapes of {first.dataset}; median and 95th percentile of "
            f"{first.passes} passes of a batch of 16 after warm-up; saturated: the batch whose "
            "double gives less than 5 % more. Memory: the device's peak, not told on a CPU.",
            "GFLOPs per sample, two operations per multiply-add, counted as computed (matrix "
            "products, convolutions, recurrent layers, attention, outer products). Active and "
            "top-k are analytic: what the chosen experts of one modality need at least, while "
            "all are computed.",
            f"With BERT-base: {bert.parameters / 1e6:.2f} M parameters from its configuration and "
            f"{bert.flops(first.text_tokens) / 1e9:.2f} GFLOPs for {first.text_tokens} tokens, by "
            "formula.",
        ),
        tuple(Column(cost.title, cost.group) for cost in COSTS),
        tuple(made),
        corner="Model",
        notes=_notes(paper),
    )


def _cells(one: Efficiency, paper: Published) -> tuple[Cell, ...]:
    return tuple(
        Cell(text=DASH)
        if (value := cost.of(one)) is None
        else Cell(value, published=cost.published(paper, one), decimals=cost.decimals)
        for cost in COSTS
    )


def _notes(paper: Published) -> tuple[str, ...]:
    if not paper.efficiency:
        return ()
    return (
        "Published: QA-MoE paper, Table 9 (one RTX 4090, BERT included), not like for like: its "
        "GFLOPs fit multiply-adds counted once, and its active parameters are fewer than any "
        "top-3 of 8 experts can leave (`benchmark audit`).",
    )
