"""On a CUDA device: no host synchronisation inside the step, and the CPU's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmark.config import TrainingConfig
from benchmark.data import dataset as datasets
from benchmark.execution.resume import load_state, saving
from benchmark.predict import fill_table
from benchmark.registry import model_class
from benchmark.train import Callbacks, Fitted, State, fit, stream_seed
from protocols.conditions import PROTOCOLS, conditions_of
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from protocols.training import degrade_training_batch
from tests.batches import make_dataset
from tests.small_models import small_model
from tests.test_contract import every_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@every_model
@pytest.mark.parametrize("rule", ["bernoulli", "at_least_one", "imder_batch"])
def test_the_step_never_waits_for_the_device(name: str, rule) -> None:
    from benchmark.interface import Progress

    data = make_dataset().to("cuda")
    model = small_model(name).to("cuda").train()
    generator = torch.Generator(device="cuda").manual_seed(0)
    regime = Regime(kind="spectrum", missing_rule=rule)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    order = torch.randperm(16).to("cuda")

    def step(number: int) -> None:
        batch = data.splits["train"].samples.select(order)
        degraded = degrade_training_batch(batch, regime, generator, data.sigma_ref, MODALITIES)
        for phase in model.phases():
            clean = {"clean": batch} if phase.needs_clean else {}
            loss, _ = phase.loss(degraded, Progress(0, 1, number, 4), **clean)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()

    step(0)  # allocations and lazy initialisation
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in (1, 2, 3):  # some terms begin after the first steps
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_model
def test_the_table_is_that_of_the_cpu(name: str) -> None:
    data = make_dataset()
    conditions = conditions_of(PROTOCOLS, MODALITIES, ("seed_a1",), 1, "uniform_0.7")
    model = small_model(name).eval()
    tables = []
    for device in ("cpu", "cuda"):
        moved = data.to(device)
        tables.append(
            fill_table(
                model.to(device), moved.splits["test"], moved.spec, moved.sigma_ref, conditions
            )
        )
    torch.testing.assert_close(
        torch.from_numpy(tables[0].prediction),
        torch.from_numpy(tables[1].prediction),
        atol=2e-4,
        rtol=1e-3,
    )


def fitted_on_the_gpu(name: str, regime: Regime) -> tuple[Fitted, list]:
    """Three epochs of four steps, the last of them smaller."""
    rows: list = []
    fitted = fit(
        lambda: small_model(name),
        make_dataset().to("cuda").training_data(),
        TrainingConfig(epochs=3, learning_rate=1e-3, batch_size=5, select_on="mae"),
        regime,
        0,
        Callbacks(lambda done, loss: None, lambda done, row: rows.append(row), lambda s: None),
    )
    return fitted, rows


@every_model
def test_a_run_trains_on_the_gpu(name: str) -> None:
    fitted, rows = fitted_on_the_gpu(name, Regime(kind="clean"))
    torch.manual_seed(stream_seed(0, "weights and dropout"))
    untrained = small_model(name).state_dict()
    assert len(rows) == 3
    assert all(x.is_cuda and x.isfinite().all() for x in fitted.model.state_dict().values())
    moved = [not torch.equal(x.cpu(), untrained[k]) for k, x in fitted.model.state_dict().items()]
    assert any(moved)


@every_model
def test_replayed_steps_train_as_steps_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for recordable in (True, False):
        monkeypatch.setattr(model_class(name), "recordable", recordable)
        found.append(fitted_on_the_gpu(name, Regime(kind="spectrum"))[1])
    for replayed, launched in zip(*found, strict=True):
        assert replayed == pytest.approx(launched, rel=1e-3, abs=1e-4, nan_ok=True)


def test_data_that_do_not_fit_stream_to_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset()
    monkeypatch.setattr(datasets, "CHUNK_BYTES", data.splits["train"].samples.bytes // 3)
    order = torch.randperm(len(data.splits["train"]))
    found = [list(data.to("cuda", room).splits["train"].batches(order, 4)) for room in (None, 0)]
    for resident, streamed in zip(*found, strict=True):
        assert streamed.device.type == "cuda"
        for m in MODALITIES:
            assert torch.equal(resident.features[m], streamed.features[m])


def test_a_run_goes_on_from_a_state_written_beside_it(tmp_path: Path) -> None:
    path, rows = tmp_path / "resume.pt", [[], []]
    states: list[bytes] = []

    def train(save: Callable[[State], None], rows: list, resume: State | None) -> None:
        fit(
            lambda: small_model("qamoe"),
            make_dataset().to("cuda").training_data(),
            TrainingConfig(epochs=3, learning_rate=1e-3, batch_size=5, select_on="mae"),
            Regime(kind="spectrum"),
            0,
            Callbacks(lambda *_: None, lambda done, row: rows.append(row), save),
            resume,
        )

    with saving(path, {}) as save:

        def kept(state: State) -> None:
            save(state)
            if state["epoch"] == 1:
                save(state)  # waits for the first
                states.append(path.read_bytes())

        train(kept, rows[0], None)
    path.write_bytes(states[0])
    train(lambda state: None, rows[1], load_state(path, {}, torch.device("cuda")))
    for straight, resumed in zip(rows[0][1:], rows[1], strict=True):
        assert resumed == pytest.approx(straight, rel=1e-3, abs=1e-4, nan_ok=True)
