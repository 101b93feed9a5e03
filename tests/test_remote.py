"""A remote worker without a cluster: what arrives, what goes back, what becomes of it."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from benchmark.errors import BenchmarkError
from benchmark.execution import remote
from benchmark.execution.cluster import RayWorkers, _Worker
from benchmark.execution.events import Event
from benchmark.execution.execute import execute
from benchmark.execution.executor import Cluster, Execution, Job
from benchmark.execution.hosts import need_ray
from benchmark.execution.remote import Ready, RemoteWorker, data_files, is_shared
from benchmark.plan import PlanConfig, Planned, plan_conditions, plan_runs
from benchmark.records import CHECKPOINT, RunStore
from benchmark.records.parcel import pack, unpack

NOWHERE = Path("/nowhere")


@pytest.fixture
def how(data_dir, tmp_path) -> Execution:
    return Execution("tiny", data_dir, tmp_path / "driver", "cpu", 1)


@pytest.fixture(autouse=True)
def _often(monkeypatch) -> None:
    monkeypatch.setattr(remote, "STATE_SECONDS", 0.0)


def job_of(tiny, protocol: str = "I") -> Job:
    request = PlanConfig(
        dataset="tiny",
        models=("qamoe",),
        regimes=("clean",),
        protocol=protocol,
        seeds=(1,),
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": 4},
    )
    (spec,) = plan_runs(request, tiny)
    return Job(Planned(spec, plan_conditions(request, tiny)), False)


def carry(worker: RemoteWorker, job: Job, store: RunStore, stop_at: int = 99) -> list:
    """What a driver does: the events and the outcome, the parcels' names among them."""
    heard, answer = worker.begin(job, pack(store, job.run_id)), None
    said = []
    while True:
        for message in heard:
            if isinstance(message, dict):
                unpack(store, job.run_id, message)
                said.append(sorted(message))
            elif isinstance(message, str):
                return [*said, message]
            else:
                said.append(message)
                if message.kind == "epoch":
                    answer = message.done >= stop_at
        heard, answer = worker.hear(answer), None


def test_a_run_goes_there_and_back_and_on_elsewhere(tiny, how, data_dir, tmp_path) -> None:
    job, store = job_of(tiny), RunStore(how.runs_dir)
    store.prepare()
    first = RemoteWorker(how, tiny.sha256, NOWHERE)
    assert first.prepare() == Ready(first.prepare().host, False, "")
    assert carry(first, job, store, stop_at=2)[-1] == "stopped"
    assert (store.partial(job.run_id) / "resume.pt").is_file()
    assert not store.path(job.run_id).exists()
    second = RemoteWorker(how, tiny.sha256, NOWHERE)
    second.prepare()
    said = carry(second, job, store)
    assert said[-1] == "done"
    begun, finished = (
        next(i for i, e in enumerate(said) if isinstance(e, Event) and e.kind == kind)
        for kind in ("started", "finished")
    )
    assert said[begun].done >= 1  # of the state that the first left
    assert f"record/{CHECKPOINT}" in said[finished - 1]  # there before it is told
    alone = RunStore(tmp_path / "alone")
    execute(job.planned.spec, tiny, job.planned.conditions, alone, lambda event: None)
    for name in ("predictions.npz", "metrics.json", "history.csv", CHECKPOINT, "inputs.json"):
        one, two = (s.path(job.run_id) / name for s in (store, alone))
        assert one.read_bytes() == two.read_bytes()
    more = job_of(tiny, "all")
    assert more.run_id == job.run_id
    said = carry(second, more, store)
    parcels = [message for message in said if isinstance(message, list)]
    assert said[-1] == "done"
    assert parcels == [["record/metrics.json", "record/predictions.npz"]]
    assert store.record(job.run_id).covers(more.planned.conditions)
    assert carry(second, more, store) == [Event(more.run_id, "kept"), "kept"]


def test_a_data_set_is_sent_where_it_is_lacking_and_compared(
    tiny, how, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lacking = RemoteWorker(replace(how, data_dir=tmp_path / "none"), tiny.sha256, NOWHERE)
    assert "unknown data set 'tiny'" in lacking.prepare().problem
    files = data_files(how)
    assert files is not None
    damaged = {name: content.copy() for name, content in files.items()}
    damaged["samples.parquet"][-20:] = 0
    assert "tiny" in lacking.prepare(damaged).problem
    assert not lacking.prepare(files).problem  # nothing damaged stays on the host
    other = RemoteWorker(how, "0" * 64, NOWHERE)
    assert "is not the driver's" in other.prepare().problem
    assert data_files(replace(how, dataset="synthetic-tiny")) is None


def test_sent_files_are_written_once_a_host(tiny, how, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere, files = replace(how, data_dir=None), data_files(how)
    writes = []
    real = remote.replace_file
    monkeypatch.setattr(
        remote, "replace_file", lambda path, content: (writes.append(path), real(path, content))
    )
    for _ in range(2):
        assert not RemoteWorker(elsewhere, tiny.sha256, NOWHERE).prepare(files).problem
    assert len(writes) == 3


def test_a_folder_is_shared_where_its_locks_hold(tmp_path) -> None:
    marker = tmp_path / "driver"
    assert not is_shared(marker)
    with FileLock(marker):
        assert is_shared(marker)
    assert not is_shared(marker)  # it is seen, but the driver's lock does not hold here


def test_a_run_that_does_not_fit_its_gpu_is_put_off_once(tiny, how) -> None:
    pytest.importorskip("ray")
    workers = RayWorkers(how, Cluster(gpus=0.25))
    killed = []
    workers.ray = SimpleNamespace(
        kill=killed.append, exceptions=SimpleNamespace(RayError=RuntimeError)
    )
    job = job_of(tiny)
    full = Event(job.run_id, "failed", message="OutOfMemoryError: CUDA out of memory. Tried ...")

    def fail(alone: bool) -> list:
        worker = _Worker("actor", None, job, Ready("host", True, ""), alone=alone)
        workers.busy.append(worker)
        return list(workers._hear(worker, [full, "failed"]))

    ((_, note),) = fail(alone=False)
    assert note.kind == "note"
    assert "does not fit beside" in note.message
    assert list(workers.alone) == [job]
    assert fail(alone=True) == [(job.run_id, full), (job.run_id, "failed")]
    assert len(workers.alone) == 1
    assert killed == ["actor"]


def test_without_ray_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchmarkError, match=r"pip install 'robust-msa-benchmark\[scale\]'"):
        need_ray()
