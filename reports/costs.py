"""What models cost, number by number: from the measurements that ``benchmark efficiency`` kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.efficiency.bert import BertBase
from benchmark.efficiency.kept import Efficiency
from benchmark.systems import shown
from reports.published import Published

MODEL, WITH_BERT, TIME, SATURATED = "Model alone", "With BERT-base", "Batch 16", "Saturated"


@dataclass(frozen=True)
class Cost:
    """One number that is measured of every model.

    Attributes:
        name: for machines.
        title, group: its column's.
        of: the number of a measurement; None where the device does not tell it.
        decimals: digits after the point.
        printed: the paper's name of it, or "".
        timed: whether it is the device's doing; then a paper's GPU is no counterpart of a CPU.
    """

    name: str
    title: str
    group: str
    of: Callable[[Efficiency], float | None]
    decimals: int = 2
    printed: str = ""
    timed: bool = False

    def published(self, paper: Published, one: Efficiency) -> float | None:
        """What the paper prints for a measured model."""
        on_gpu = one.peak_memory_mb is not None
        printed = paper.efficiency.get(one.title, {}).get(self.printed)
        return printed if on_gpu or not self.timed else None


def _with_bert(parameters: Callable[[Efficiency], int]) -> Callable[[Efficiency], float]:
    return lambda one: (parameters(one) + BertBase().parameters) / 1e6


COSTS = (
    Cost("parameters_m", "Total, M", MODEL, lambda x: x.parameters / 1e6),
    Cost("trainable_m", "Trainable, M", MODEL, lambda x: x.trainable / 1e6),
    Cost("active_m", "Active, M", MODEL, lambda x: x.active / 1e6),
    Cost("gflops", "GFLOPs", MODEL, lambda x: x.flops / 1e9, 4),
    Cost("gflops_topk", "GFLOPs, top-k", MODEL, lambda x: x.sparse_flops / 1e9, 4),
    Cost(
        *("parameters_with_bert_m", "Total, M", WITH_BERT, _with_bert(lambda x: x.parameters)),
        printed="params_total_M",
    ),
    Cost(
        *("active_with_bert_m", "Active, M", WITH_BERT, _with_bert(lambda x: x.active)),
        printed="params_active_M",
    ),
    Cost(
        *("gflops_with_bert", "GFLOPs", WITH_BERT),
        lambda x: (x.flops + BertBase().flops(x.text_tokens)) / 1e9,
        printed="gflops_per_sample",
    ),
    Cost(
        *("latency_ms", "Median, ms", TIME, lambda x: x.latency_ms),
        printed="latency_ms",
        timed=True,
    ),
    Cost("latency_p95_ms", "p95, ms", TIME, lambda x: x.latency_p95_ms),
    Cost("samples_per_second", "Samples/s", TIME, lambda x: x.throughput, 0),
    Cost(
        *("memory_mb", "Memory, MB", TIME, lambda x: x.peak_memory_mb, 0),
        printed="vram_MB",
        timed=True,
    ),
    Cost("saturating_batch", "Batch", SATURATED, lambda x: x.saturating_batch, 0),
    Cost("saturated_per_second", "Samples/s", SATURATED, lambda x: x.saturated_throughput, 0),
)


def label_of(one: Efficiency) -> str:
    """The measured model's name, with the settings that are not its preset's."""
    return one.name + (f" ({shown(one.changes)})" if one.changes else "")


def place_of(one: Efficiency) -> str:
    """Where it was measured."""
    return f"{one.device}, {one.threads} CPU thread{'s' if one.threads > 1 else ''}"


def only_published(paper: Published, found: Sequence[Efficiency]) -> list[str]:
    """The models that the paper prints costs of and nobody measured."""
    return [title for title in paper.efficiency if title not in {one.title for one in found}]
