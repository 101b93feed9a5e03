"""What a run may go on from: a table of faults of ``resume.pt``."""

from __future__ import annotations

import errno
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from benchmark.execution import execute as module
from benchmark.execution import resume
from benchmark.execution.execute import Stopped, execute
from benchmark.execution.resume import SET_ASIDE, UnusableError, load_state, origin_of, saving
from benchmark.plan import PlanConfig, plan_conditions, plan_runs
from benchmark.records import CHECKPOINT, HISTORY, PREDICTIONS, RunStore
from benchmark.records.underway import RESUME

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tiny):
    request = PlanConfig(
        dataset="tiny",
        models=("qamoe",),
        regimes=("spectrum",),
        protocol="clean",
        seeds=(1,),
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": 3},
    )
    return plan_runs(request, tiny)[0], plan_conditions(request, tiny)


@pytest.fixture(scope="module")
def straight(tiny, run, tmp_path_factory) -> Path:
    """The record of the run without any interruption."""
    store = RunStore(tmp_path_factory.mktemp("straight"))
    execute(run[0], tiny, run[1], store, lambda event: None)
    return store.path(run[0].run_id)


@pytest.fixture(scope="module")
def state(tiny, run, tmp_path_factory) -> bytes:
    """Its resume state after the first epoch."""
    store = RunStore(tmp_path_factory.mktemp("state"))

    def stop(event) -> None:
        if event.kind == "epoch" and event.done == 2:
            raise Stopped

    assert execute(run[0], tiny, run[1], store, stop) == "stopped"
    return (store.partial(run[0].run_id) / RESUME).read_bytes()


def with_line(state: bytes, **changes: object) -> bytes:
    line, rest = state.split(b"\n", 1)
    return json.dumps({**json.loads(line), **changes}).encode() + b"\n" + rest


def flipped(state: bytes, place: float) -> bytes:
    content = bytearray(state)
    content[int(place * (len(content) - 1))] ^= 4
    return bytes(content)


def with_content(state: bytes, content: object) -> bytes:
    """Something else than a state, with the right size and hash."""
    made = io.BytesIO()
    torch.save(content, made)
    facts = {"bytes": len(made.getvalue()), "sha256": sha256(made.getvalue()).hexdigest()}
    return with_line(state, **facts).split(b"\n", 1)[0] + b"\n" + made.getvalue()


FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda s: b"", "damaged"),
    "random": (lambda s: bytes(range(256)) * 40, "damaged"),
    "one byte short": (lambda s: s[:-1], "its size"),
    "half": (lambda s: s[: len(s) // 2], "its size"),
    "longer": (lambda s: s + b"\0", "its size"),
    "a flip in the middle": (lambda s: flipped(s, 0.5), "another hash"),
    "a flip at the end": (lambda s: flipped(s, 1.0), "another hash"),
    "a list": (lambda s: b"[]\n" + s, "damaged"),
    "deep": (lambda s: b"[" * 4000 + b"\n", "damaged"),
    "torch's own form": (lambda s: s.split(b"\n", 1)[1], "older version"),
    "another run": (lambda s: with_line(s, run="0" * 12), "its run is 0"),
    "another version": (lambda s: with_line(s, **{"robust-msa-benchmark": "0"}), "is 0, and now"),
    "another torch": (lambda s: with_line(s, torch="1.0"), "its torch is 1.0"),
    "another source": (lambda s: with_line(s, **{"model's file": "f0"}), "its model's file is f0"),
    "another device": (lambda s: with_line(s, device="cuda"), "its device is cuda, and now"),
    "an object": (lambda s: with_content(s, Path("x")), "more than tensors"),
    "no state": (lambda s: with_content(s, [1]), "holds a list"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_gone_on_from_is_set_aside(
    tiny, run, straight, state, tmp_path, fault
) -> None:
    change, said = FAULTS[fault]
    store, events = RunStore(tmp_path), []
    partial = store.partial(run[0].run_id)
    partial.mkdir(parents=True)
    (partial / RESUME).write_bytes(change(state))
    aside = []

    def listen(event) -> None:
        events.append(event)
        if event.kind == "epoch":
            aside.append((partial / SET_ASIDE).is_file())

    assert execute(run[0], tiny, run[1], store, listen) == "done"
    (note,) = [event.message for event in events if event.kind == "note"]
    assert said in note
    assert "\n" not in note
    assert aside == [True] * 3  # all three epochs were trained, with the old state beside them
    assert not partial.exists()
    for name in (CHECKPOINT, HISTORY, PREDICTIONS):
        assert (store.path(run[0].run_id) / name).read_bytes() == (straight / name).read_bytes()


def test_a_sound_state_is_gone_on_from(tiny, run, straight, state, tmp_path) -> None:
    store, events = RunStore(tmp_path), []
    store.partial(run[0].run_id).mkdir(parents=True)
    (store.partial(run[0].run_id) / RESUME).write_bytes(state)
    execute(run[0], tiny, run[1], store, events.append)
    assert [event.done for event in events if event.kind == "epoch"] == [2, 3]
    assert not [event for event in events if event.kind == "note"]
    for name in (CHECKPOINT, HISTORY, PREDICTIONS):
        assert (store.path(run[0].run_id) / name).read_bytes() == (straight / name).read_bytes()


def test_a_state_that_does_not_fit_the_model_any_more_is_set_aside(
    tiny, run, state, tmp_path, monkeypatch
) -> None:
    """The code of a model with a version was changed without a new one."""
    store, events = RunStore(tmp_path), []
    store.partial(run[0].run_id).mkdir(parents=True)
    (store.partial(run[0].run_id) / RESUME).write_bytes(state)
    wider = run[0].config.model_copy(update={"width": 24})
    made = module.make_model
    monkeypatch.setattr(
        module, "make_model", lambda spec, data: made(replace(spec, config=wider), data)
    )
    assert execute(run[0], tiny, run[1], store, events.append) == "done"
    (note,) = [event.message for event in events if event.kind == "note"]
    assert "size mismatch" in note
    assert len([event for event in events if event.kind == "epoch"]) == 3


def test_what_is_written_to_another_device_is_not_read(run, state, tmp_path) -> None:
    path = tmp_path / RESUME
    path.write_bytes(state)
    origin = origin_of(run[0], CPU)
    assert load_state(path, origin, CPU)["epoch"] == 1
    with pytest.raises(UnusableError, match="its device is cpu, and now it is cuda"):
        load_state(path, origin_of(run[0], torch.device("cuda")), CPU)


def test_an_unversioned_model_is_known_by_its_file(run, monkeypatch) -> None:
    facts = {"version": None, "source_sha256": "aa"}
    monkeypatch.setattr(resume, "model_facts", lambda name: facts)
    assert origin_of(run[0], CPU)["model's file"] == "aa"
    monkeypatch.setitem(facts, "version", 3)
    assert origin_of(run[0], CPU)["model's file"] is None


def test_a_state_is_written_while_training_goes_on(run, tmp_path, monkeypatch) -> None:
    path, origin, release = tmp_path / RESUME, origin_of(run[0], CPU), threading.Event()
    write = resume.replace_file
    monkeypatch.setattr(resume, "replace_file", lambda *a: release.wait(30) and write(*a))
    weights = torch.zeros(3)
    with saving(path, origin) as save:
        save({"epoch": 1, "weights": weights})
        weights.add_(1)  # the next epoch
        assert not path.exists()
        release.set()
    assert load_state(path, origin, CPU)["weights"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_state_that_cannot_be_written_ends_its_run(tmp_path, monkeypatch, epochs) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(resume, "replace_file", full)
    seen = []

    def train() -> None:
        with saving(tmp_path / RESUME, {}) as save:
            for epoch in range(epochs):
                seen.append(epoch)
                save({"epoch": epoch})

    with pytest.raises(OSError, match="No space left"):
        train()
    assert seen == list(range(epochs))
