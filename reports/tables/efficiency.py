"""Table 9: what models cost, from the measurements that ``benchmark efficiency`` kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmark.efficiency.bert import BertBase
from benchmark.efficiency.kept import Efficiency
from benchmark.systems import shown, slug
from reports.published import Published
from reports.sources import Sources
from reports.tables.table import Cell, Column, Row, Table

MODEL, WITH_BERT, TIME = "Model alone", "With BERT-base", "Batch 16"
COLUMNS = (
    Column("Total, M", MODEL),
    Column("Trainable, M", MODEL),
    Column("Active, M", MODEL),
    Column("GFLOPs", MODEL),
    Column("GFLOPs, top-k", MODEL),
    Column("Total, M", WITH_BERT),
    Column("Active, M", WITH_BERT),
    Column("GFLOPs", WITH_BERT),
    Column("Median, ms", TIME),
    Column("p95, ms", TIME),
    Column("Samples/s", TIME),
    Column("Memory, MB", TIME),
    Column("Batch", "Saturated"),
    Column("Samples/s", "Saturated"),
)


def efficiency_tables(sources: Sources) -> list[Table]:
    """A table for each device and number of threads that was measured on this data set's shapes."""
    by_device: dict[tuple[str, int], list[Efficiency]] = defaultdict(list)
    for one in sources.efficiency:
        by_device[one.device, one.threads].append(one)
    several = len(by_device) > 1
    return [
        _table(sources, sorted(found, key=_label), several)
        for _, found in sorted(by_device.items())
    ]


def _table(sources: Sources, found: Sequence[Efficiency], several: bool) -> Table:
    first, paper = found[0], sources.paper
    where = f"{first.device}, {first.threads} CPU thread{'s' if first.threads > 1 else ''}"
    made = [Row(_label(one), _cells(one, paper)) for one in found]
    done = {one.title for one in found}
    made += [
        Row(f"published: {title}", _printed(paper, title), "published")
        for title in paper.efficiency
        if title not in done
    ]
    bert = BertBase()
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
        COLUMNS,
        tuple(made),
        corner="Model",
        notes=_notes(paper),
    )


def _label(one: Efficiency) -> str:
    return one.name + (f" ({shown(one.changes)})" if one.changes else "")


def _cells(one: Efficiency, paper: Published) -> tuple[Cell, ...]:
    printed = paper.efficiency.get(one.title, {})
    bert = BertBase()
    encoder = bert.flops(one.text_tokens)
    on_gpu = one.peak_memory_mb is not None  # as the paper's: a CPU's time is no counterpart
    return (
        Cell(one.parameters / 1e6, decimals=2),
        Cell(one.trainable / 1e6, decimals=2),
        Cell(one.active / 1e6, decimals=2),
        Cell(one.flops / 1e9, decimals=4),
        Cell(one.sparse_flops / 1e9, decimals=4),
        Cell(
            (one.parameters + bert.parameters) / 1e6,
            published=printed.get("params_total_M"),
            decimals=2,
        ),
        Cell(
            (one.active + bert.parameters) / 1e6,
            published=printed.get("params_active_M"),
            decimals=2,
        ),
        Cell((one.flops + encoder) / 1e9, published=printed.get("gflops_per_sample"), decimals=2),
        Cell(one.latency_ms, published=printed.get("latency_ms") if on_gpu else None, decimals=2),
        Cell(one.latency_p95_ms, decimals=2),
        Cell(one.throughput, decimals=0),
        Cell(one.peak_memory_mb, published=printed.get("vram_MB"), decimals=0)
        if on_gpu
        else Cell(text="–"),
        Cell(one.saturating_batch, decimals=0),
        Cell(one.saturated_throughput, decimals=0),
    )


def _printed(paper: Published, title: str) -> tuple[Cell, ...]:
    names = {5: "params_total_M", 6: "params_active_M", 7: "gflops_per_sample"}
    names |= {8: "latency_ms", 11: "vram_MB"}
    digits = {11: 0}
    return tuple(
        Cell(published=paper.efficiency[title].get(names.get(i, "")), decimals=digits.get(i, 2))
        for i in range(len(COLUMNS))
    )


def _notes(paper: Published) -> tuple[str, ...]:
    if not paper.efficiency:
        return ()
    return (
        "Published: QA-MoE paper, Table 9 (one RTX 4090, BERT included), not like for like: its "
        "GFLOPs fit multiply-adds counted once, and its active parameters are fewer than any "
        "top-3 of 8 experts can leave (`benchmark audit`).",
    )
