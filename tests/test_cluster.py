"""Runs on a Ray cluster of two nodes on this machine: what is lost, and what never is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import BenchmarkError
from benchmark.execution import hosts
from benchmark.execution.cluster import RayWorkers
from benchmark.execution.events import Event
from benchmark.execution.executor import Cluster, Execution, forecast, run_plan
from benchmark.plan import PlanConfig, Planned, plan_conditions, plan_runs
from benchmark.records import RECORD_FILES, RunStore
from tests.tiny import QUICK

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[scale]'")

SAME = ("predictions.npz", "history.csv", "checkpoint.safetensors", "metrics.json")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    from ray.cluster_utils import Cluster as Nodes

    made = Nodes(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    yield made
    made.shutdown()


def plan_of(tiny, epochs: int = 2, seeds=(1, 2, 3)) -> list[Planned]:
    request = PlanConfig(
        dataset="tiny",
        models=("qamoe",),
        regimes=("spectrum",),
        seeds=seeds,
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": epochs},
        evaluation={"draws": 1},
    )
    conditions = plan_conditions(request, tiny)
    return [Planned(spec, conditions) for spec in plan_runs(request, tiny)]


def on(nodes, data_dir: Path, runs_dir: Path) -> Execution:
    RunStore(runs_dir).prepare()
    return Execution("tiny", data_dir, runs_dir, "cpu", 99, cluster=Cluster(nodes.address))


@pytest.fixture
def here(tiny, data_dir, tmp_path_factory, request) -> Path:
    """The runs of a plan by the local pool; the test says of how many epochs, or of 2."""
    folder, plan = tmp_path_factory.mktemp("here"), plan_of(tiny, getattr(request, "param", 2))
    results = run_plan(plan, Execution("tiny", data_dir, folder, "cpu", 2), lambda event: None)
    assert set(results.values()) == {"done"}
    return folder


def assert_same(plan: list[Planned], one: Path, two: Path) -> None:
    for planned in plan:
        for name in SAME:
            files = [folder / planned.spec.run_id / name for folder in (one, two)]
            assert files[0].read_bytes() == files[1].read_bytes(), name
    assert not any((two / ".partial").glob("*/resume.pt"))


@pytest.fixture
def nothing_shared(monkeypatch) -> None:
    """Workers that do not see the runs folder."""
    real = RayWorkers._connect

    def connect(workers: RayWorkers) -> None:
        real(workers)
        workers.marker = Path("/nowhere")

    monkeypatch.setattr(RayWorkers, "_connect", connect)


@pytest.mark.parametrize("shared", [pytest.param(True, marks=pytest.mark.long), False])
def test_the_same_bytes_as_on_one_machine(
    nodes, tiny, data_dir, here, tmp_path, request, shared
) -> None:
    if not shared:
        request.getfixturevalue("nothing_shared")
    plan = plan_of(tiny)
    broken = replace(
        plan[0].spec,
        training=plan[0].spec.training.model_copy(update={"learning_rate": 1e30}),
    )
    events: list[Event] = []
    how = on(nodes, data_dir, tmp_path)
    results = run_plan([Planned(broken, plan[0].conditions), *plan], how, events.append)
    assert results.pop(broken.run_id) == "failed"
    assert set(results.values()) == {"done"}
    assert "DivergedError" in RunStore(tmp_path).unfinished()[broken.run_id]
    assert_same(plan, here, tmp_path)
    kinds = [e.kind for e in events if e.run_id == plan[0].spec.run_id and e.kind != "step"]
    assert kinds[:3] == ["started", "epoch", "epoch"]
    assert kinds[-1] == "finished"
    names = {path.name for path in (tmp_path / plan[0].spec.run_id).iterdir()}
    assert names >= set(RECORD_FILES)
    again = run_plan(plan, how, events.append)
    assert set(again.values()) == {"kept"}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("here", [24], indirect=True)
def test_a_run_goes_on_where_its_node_is_killed(
    nodes, tiny, data_dir, here, tmp_path, monkeypatch, nothing_shared
) -> None:
    """Each of two nodes has a run; one of them is killed."""
    monkeypatch.setattr(hosts, "LOOK_SECONDS", 0.2)
    plan, told, notes = plan_of(tiny, 24, (1, 2)), set(), []

    def listen(event: Event) -> None:
        if event.kind == "epoch":
            told.add(event.run_id)
        if event.kind == "note":
            notes.append(event.message)
        if len(told) == len(plan) and nodes.worker_nodes:
            nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)

    try:
        results = run_plan(plan, on(nodes, data_dir, tmp_path), listen)
    finally:
        nodes.add_node(**NODE)
    assert set(results.values()) == {"done"}
    assert len(notes) == 1
    assert "its host was lost" in notes[0]
    assert_same(plan, here, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("here", [24], indirect=True)
def test_a_run_whose_worker_ends_is_done_again_alone_and_once(
    nodes, tiny, data_dir, here, tmp_path
) -> None:
    plan, kills = plan_of(tiny, 24, (1, 2)), 0
    doomed, notes = plan[0].spec.run_id, []

    def listen(event: Event) -> None:
        nonlocal kills
        if event.kind == "note":
            notes.append(event.message)
        if event.kind == "epoch" and event.run_id == doomed and kills < 2 and event.done > 3:
            kills += 1
            os.kill(worker_of(tmp_path, doomed), signal.SIGKILL)

    results = run_plan(plan, on(nodes, data_dir, tmp_path), listen)
    assert [results[p.spec.run_id] for p in plan] == ["failed", "done"]
    assert len(notes) == 1
    assert "done again alone" in notes[0]
    assert "ended, again" in RunStore(tmp_path).unfinished()[doomed]
    rest = run_plan(plan, on(nodes, data_dir, tmp_path), lambda event: None)
    assert [rest[p.spec.run_id] for p in plan] == ["done", "kept"]
    assert_same(plan, here, tmp_path)


def worker_of(runs_dir: Path, run_id: str) -> int:
    """The process that has the lock of a run open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == runs_dir / ".locks" / run_id:
                return int(link.parts[2])
        except OSError:
            continue
    raise AssertionError("no process has the run")


def test_another_version_on_a_host_is_refused_with_both(
    nodes, tiny, data_dir, tmp_path, monkeypatch
) -> None:
    ours = {**hosts._facts(), "torch": "0.1"}
    monkeypatch.setattr(hosts, "_facts", lambda: ours)
    with pytest.raises(BenchmarkError, match=r"has torch [1-9].*, and this one has 0\.1"):
        run_plan(plan_of(tiny), on(nodes, data_dir, tmp_path), lambda event: None)


def test_a_plan_for_the_cluster_is_estimated_there(nodes, tiny, data_dir, tmp_path) -> None:
    plan = plan_of(tiny)
    expected = forecast(plan, on(nodes, data_dir, tmp_path))
    assert expected.at_a_time == 2
    assert "2 hosts, 2 CPUs, 0 GPUs" in expected.where
    assert len(expected.costs) == 3
    assert min(cost.seconds for cost in expected.costs) > 0


def test_a_run_that_fits_no_host_is_refused(nodes, tiny, data_dir, tmp_path) -> None:
    how = replace(on(nodes, data_dir, tmp_path), cluster=Cluster(nodes.address, 1.0, 0.5))
    with pytest.raises(BenchmarkError, match="no host of the cluster has room"):
        run_plan(plan_of(tiny), how, lambda event: None)
    how = replace(how, cluster=Cluster("127.0.0.1:1"))
    with pytest.raises(BenchmarkError, match="no Ray cluster answers"):
        run_plan(plan_of(tiny), how, lambda event: None)


@pytest.mark.long
def test_without_an_address_no_cluster_that_runs_here_is_joined(
    nodes, tiny, data_dir, tmp_path
) -> None:
    mode = os.environ.get(hosts.TOKEN_MODE)
    joined = hosts.Hosts(Cluster(None))
    try:
        assert len(joined.nodes) == 1
        assert joined.head != nodes.address
    finally:
        joined.close()
    assert os.environ.get(hosts.TOKEN_MODE) == mode  # Ray sets it, for all that begins after it
    workers = on(nodes, data_dir, tmp_path)
    results = run_plan(plan_of(tiny, seeds=(1,)), workers, lambda event: None)
    assert list(results.values()) == ["done"]


def command(nodes, data_dir: Path, runs_dir: Path, epochs: int) -> list[str]:
    return [
        *(sys.executable, "-m", "benchmark", "run", *QUICK, "--regime", "spectrum"),
        *("--data-dir", str(data_dir), "--runs-dir", str(runs_dir), "--tracking-uri", "none"),
        *("--seeds", "1,2", "--epochs", str(epochs)),
        *("--executor", "ray", "--address", nodes.address),
    ]


def begin(nodes, data_dir: Path, runs_dir: Path, epochs: int) -> subprocess.Popen[str]:
    """A driver that has a run under way."""
    since = time.time()
    process = subprocess.Popen(
        command(nodes, data_dir, runs_dir, epochs),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None:
        states = list(runs_dir.glob(".partial/*/resume.pt"))
        if any(state.stat().st_mtime > since for state in states):
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    return process


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("here", [24], indirect=True)
def test_a_driver_that_is_killed_or_interrupted_goes_on(
    nodes, tiny, data_dir, here, tmp_path
) -> None:
    process = begin(nodes, data_dir, tmp_path, 24)
    process.kill()
    process.communicate()
    process = begin(nodes, data_dir, tmp_path, 24)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "same command" in error
    assert "Traceback" not in error
    again = subprocess.run(
        command(nodes, data_dir, tmp_path, 24), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert_same(plan_of(tiny, 24, (1, 2)), here, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_second_interrupt_ends_a_driver_at_once(nodes, data_dir, tmp_path) -> None:
    process = begin(nodes, data_dir, tmp_path, 400)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr is not None
    assert any("again stops at once" in line for line in process.stderr)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
    assert list(tmp_path.glob(".partial/*/resume.pt"))
