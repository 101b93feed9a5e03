"""The efficiency table: each layer type against its formula, experts, BERT-base, what is kept."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmark.efficiency.bert import BertBase
from benchmark.efficiency.flops import count_flops
from benchmark.efficiency.kept import Efficiency, kept, save
from benchmark.efficiency.measure import measure
from benchmark.interface import ModelConfig, MultimodalModel, Output
from benchmark.plan import Product, plan_runs
from benchmark.records import RunStore
from qamoe.model import QAMoE
from reports.published import published
from reports.sources import Sources
from reports.tables.efficiency import efficiency_tables
from tests.batches import make_batch, make_spec
from tests.report_records import cell, labels_of
from tests.tiny import benchmark

B, T, D, H = 3, 7, 8, 12


class Wrapped(MultimodalModel):
    """One layer as a model; what it is given does not depend on the batch."""

    Config = ModelConfig

    def __init__(self, layer: nn.Module, call) -> None:
        super().__init__(None, make_spec())
        self.layer, self.call = layer, call

    def forward(self, batch) -> Output:
        return Output(self.call(self.layer))

    def loss(self, output, batch, progress):
        raise AssertionError("nothing is trained")


def recurrent(gates: int, directions: int) -> int:
    return 2 * directions * B * T * gates * H * (D + H)


def attention(width: int) -> int:
    """Projections of q, k, v and out, then scores and mixing."""
    return 2 * B * T * 4 * width * width + 2 * 2 * B * T * T * width


X = torch.randn(B, T, D)
LAYERS = {
    "linear": (nn.Linear(D, H), lambda f: f(X), 2 * B * T * D * H),
    "convolution": (
        nn.Conv1d(D, H, 3, padding=1),
        lambda f: f(X.transpose(1, 2)),
        2 * B * T * D * H * 3,
    ),
    "lstm": (nn.LSTM(D, H, batch_first=True), lambda f: f(X)[0], recurrent(4, 1)),
    "two-way lstm": (
        nn.LSTM(D, H, batch_first=True, bidirectional=True),
        lambda f: f(X)[0],
        recurrent(4, 2),
    ),
    "gru": (nn.GRU(D, H, batch_first=True), lambda f: f(X)[0], recurrent(3, 1)),
    "attention": (
        nn.MultiheadAttention(D, 2, batch_first=True),
        lambda f: f(X, X, X, need_weights=False)[0],
        attention(D),
    ),
    "transformer layer": (
        nn.TransformerEncoderLayer(D, 2, H, batch_first=True, norm_first=True),
        lambda f: f(X),
        attention(D) + 2 * 2 * B * T * D * H,
    ),
    "fused attention": (
        nn.Identity(),
        lambda f: nn.functional.scaled_dot_product_attention(X, X, X),
        2 * 2 * B * T * T * D,
    ),
    "outer product": (
        nn.Identity(),
        lambda f: torch.einsum("bti,btj->btij", X, X),
        B * T * D * D,
    ),
    "element-wise": (nn.Identity(), lambda f: X * X + X * 2.0, 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_operations_of_a_layer_are_its_formulas(name: str) -> None:
    layer, call, expected = LAYERS[name]
    counted = count_flops(Wrapped(layer, call), make_batch(2))
    assert counted.total == expected
    if isinstance(layer, nn.Linear):
        assert counted.modules["layer"] == expected


def test_an_outer_product_by_broadcasting_counts_once() -> None:
    model = Wrapped(nn.Identity(), lambda f: X[..., :, None] * X[..., None, :])
    assert count_flops(model, make_batch(2)).total == B * T * D * D


def test_counting_leaves_torch_as_it_was() -> None:
    before = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    count_flops(Wrapped(nn.Linear(D, H), lambda f: f(X)), make_batch(2))
    assert (torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()) == before


def test_bert_base_by_its_configuration() -> None:
    """109,482,240 parameters; 50 tokens take 4.25 G multiply-adds, and 0.05 G for attention."""
    bert = BertBase()
    assert bert.parameters == 109_482_240
    assert bert.flops(50) / 2e9 == pytest.approx(4.25 + 0.046, abs=0.005)


def test_bert_base_is_what_transformers_builds() -> None:
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        model = transformers.BertModel(transformers.BertConfig())
    assert sum(p.numel() for p in model.parameters()) == BertBase().parameters


def measured(tiny, passes: int = 20, **settings) -> Efficiency:
    small = {"width": 16, "encoder_heads": 2, **settings}
    (spec,) = plan_runs(Product(models=("qamoe",), regimes=("clean",), model=small), tiny)
    return measure(QAMoE(spec.config, tiny.spec), tiny, torch.device("cpu"), spec, passes)


def test_the_saving_of_the_experts_is_their_share(tiny) -> None:
    """An expert of d = 16, h = 32: 2dh + 2h + hd + d weights, 6dh operations and 2d to mix."""
    found = measured(tiny, experts=8, topk=3)
    expert = 16 * 64 + 64 + 32 * 16 + 16
    assert found.parameters - found.active == 5 * expert
    assert found.flops - found.sparse_flops == pytest.approx(3 * 5 * (6 * 16 * 32 + 2 * 16))
    dense = measured(tiny, experts=8, topk=8)
    assert (dense.active, dense.sparse_flops) == (dense.parameters, dense.flops)
    assert dense.flops == found.flops
    assert found.trainable == found.parameters
    assert found.latency_p95_ms >= found.latency_ms > 0
    assert found.saturated_throughput >= found.throughput
    assert found.peak_memory_mb is None


def test_a_slow_model_is_timed_for_as_long_as_people_wait(tiny, monkeypatch) -> None:
    """Of a model that takes a second for a pass, all 100 passes would be minutes."""
    clock = SimpleNamespace(perf_counter=lambda ticks=count(): float(next(ticks)))
    monkeypatch.setattr("benchmark.efficiency.measure.time", clock)
    found = measured(tiny, passes=100)
    assert (found.passes, found.latency_ms, found.throughput) == (20, 1000.0, 16.0)
    assert (found.saturating_batch, found.saturated_throughput) == (16, 16.0)


def test_a_measurement_is_kept_and_told_again(tiny, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    first = measured(tiny)
    save(store, first)
    save(store, first)
    (tmp_path / ".efficiency" / "broken.json").write_text("{")
    assert kept(store) == [first]
    assert store.records() == []
    answers = SimpleNamespace(paper=published("toy"), floors=())
    sources = Sources(answers, None, kept(store))  # type: ignore[arg-type]
    (table,) = efficiency_tables(sources)
    label = next(name for name in labels_of(table.rows) if name.startswith("QA-MoE"))
    total = cell(table, label, "Total, M", "With BERT-base")
    assert total.value == pytest.approx((first.parameters + 109_482_240) / 1e6)
    assert total.published == 113.2
    assert cell(table, label, "Active, M", "With BERT-base").published == 38.4
    assert cell(table, label, "Median, ms", "Batch 16").published is None  # not on a GPU
    assert "published: MulT" in labels_of(table.rows)
    assert any("AMD" in text or first.device in text for text in table.caption)


def test_the_command_measures_and_the_report_needs_no_model(tmp_path: Path, data_dir: Path) -> None:
    common = ("--dataset", "tiny", "--data-dir", data_dir, "--runs-dir", tmp_path)
    chosen = ("--plan", "paper/table9", "--models", "lmf")
    done = benchmark("efficiency", *common, *chosen, "--passes", "20", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "LMF" in done.stdout
    (found,) = kept(RunStore(tmp_path))
    assert (found.identity, found.threads) == ({"name": "lmf", "version": 1}, 1)
