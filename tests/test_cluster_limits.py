"""Ray clusters that lack something: GPU memory, their head, or a user's patience."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.registry import load_dataset
from benchmark.execution.events import Event
from benchmark.execution.executor import Cluster, Execution, run_plan
from benchmark.execution.hosts import LEAVE_SECONDS, LOOK_SECONDS
from benchmark.plan import PlanConfig, make_plan
from benchmark.records import RunStore
from tests.tiny import QUICK

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[scale]'")

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
HEAD = {**NODE, "include_dashboard": False}
SILENCE = 5.0
GREEDY = """
import os, pathlib, time, ray, torch
from pydantic import Field
from benchmark.interface import ModelCard, ModelConfig, MultimodalModel, Output, task_loss


class GreedyConfig(ModelConfig):
    wants: float = Field(0.0, description="GPUs that it needs for itself")
    told: str = Field("", description="where it writes what it was given")


class Greedy(MultimodalModel):
    Config = GreedyConfig
    card = ModelCard(title="Greedy", citation="a test, 2026", source="official code read")

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.task, self.config = spec.task, config
        self.out = torch.nn.Linear(spec.widths["text"], spec.classes)

    def forward(self, batch):
        return Output(self.out(batch.features["text"].mean(1))[:, 0])

    def loss(self, output, batch, progress):
        given = ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
        if progress.step == progress.epoch == 0:
            line = f"{given} {os.environ['CUDA_VISIBLE_DEVICES']}\\n"
            told, latest = pathlib.Path(self.config.told), time.monotonic() + 60
            with told.open("a") as stream:
                stream.write(line)
            while len(told.read_text().splitlines()) < 4 and time.monotonic() < latest:
                time.sleep(0.05)  # those that share the GPUs are there at the same time
        if given < self.config.wants:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return task_loss(output, batch.label, self.task, "l1"), {}
"""


@pytest.fixture
def gpus(tmp_path, monkeypatch) -> Iterator[str]:
    """The address of a cluster with two GPUs in its books, whose hosts know the model."""
    from ray.cluster_utils import Cluster as Nodes

    (tmp_path / "greedy_model.py").write_text(GREEDY)
    metadata = tmp_path / "greedy_model-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greedy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[benchmark.models]\ngreedy = greedy_model:Greedy\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    nodes = Nodes(initialize_head=True, head_node_args={**HEAD, "num_cpus": 4, "num_gpus": 2})
    yield nodes.address
    nodes.shutdown()


@pytest.mark.long
def test_a_run_out_of_gpu_memory_is_done_again_on_a_whole_gpu_once(gpus, data_dir, tmp_path):
    """Of four runs that share two GPUs one needs a whole one, and one needs more than there is."""
    told = tmp_path / "told"
    common = {"models": ["greedy"], "regimes": ["clean"]}
    wants = [{"wants": x, "told": str(told)} for x in (0.5, 1.0, 1.5)]
    request = PlanConfig.model_validate(
        {
            "dataset": "tiny",
            "protocol": "clean",
            "training": {"epochs": 2},
            "runs": [
                {**common, "seeds": [1, 2], "model": wants[0]},
                *({**common, "seeds": [1], "model": one} for one in wants[1:]),
            ],
        }
    )
    plan = make_plan(request, load_dataset("tiny", data_dir))
    how = Execution("tiny", data_dir, tmp_path / "runs", "cpu", 99, cluster=Cluster(gpus, 1.0, 0.5))
    RunStore(how.runs_dir).prepare()
    events: list[Event] = []
    results = run_plan(plan, how, events.append)
    assert [results[p.spec.run_id] for p in plan] == ["done", "done", "done", "failed"]
    notes = {e.run_id: e.message for e in events if e.kind == "note"}
    assert list(notes) == [p.spec.run_id for p in plan[2:]] or len(notes) == 2
    assert all("does not fit beside other runs" in note for note in notes.values())
    lines = [line.split() for line in told.read_text().splitlines()]
    assert sorted(lines[:4]) == [["0.5", "0"], ["0.5", "0"], ["0.5", "1"], ["0.5", "1"]]
    assert [given for given, _ in lines[4:]] == ["1.0", "1.0"]
    assert "out of memory" in RunStore(how.runs_dir).unfinished()[plan[3].spec.run_id]


IMPATIENT = f"""
from benchmark.cli import main
from benchmark.execution import hosts
hosts.HEAD_SECONDS = {SILENCE}
main()
"""


def command(data_dir: Path, runs_dir: Path) -> list[str]:
    """A driver's, which waits for a silent head for no longer than it takes to see it."""
    return [
        *(sys.executable, "-c", IMPATIENT, "run", *QUICK, "--regime", "spectrum"),
        *("--data-dir", str(data_dir), "--runs-dir", str(runs_dir), "--tracking-uri", "none"),
        *("--seeds", "1", "--epochs", "150"),
    ]


@pytest.fixture(scope="module")
def alone(data_dir, tmp_path_factory) -> Path:
    """The same run without a cluster."""
    runs = tmp_path_factory.mktemp("alone")
    subprocess.run(command(data_dir, runs), check=True, capture_output=True)
    return runs


def kill_head(nodes: Any) -> None:
    """The machine is gone, with all that was on it."""
    for processes in nodes.head_node.all_processes.values():
        for one in processes:
            one.process.kill()


def freeze_head(nodes: Any) -> None:
    """It takes connections and answers none."""
    os.kill(nodes.head_node.all_processes["gcs_server"][0].process.pid, signal.SIGSTOP)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lose", [kill_head, freeze_head])
def test_a_lost_head_ends_the_driver_in_time_and_nothing_is_lost(lose, data_dir, alone, tmp_path):
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args=HEAD)
    nodes.add_node(**NODE)
    try:
        process = subprocess.Popen(
            [*command(data_dir, tmp_path), "--executor", "ray", "--address", nodes.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while not list(tmp_path.glob(".partial/*/resume.pt")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        lose(nodes)
        begun = time.monotonic()
        _, error = process.communicate(timeout=90)
        took = time.monotonic() - begun
    finally:
        kill_head(nodes)
        nodes.shutdown()
    # the last look before it, its silence, leaving Ray, and a busy machine
    assert took < LOOK_SECONDS + SILENCE + LEAVE_SECONDS + 15
    assert process.returncode == 2, error
    assert "does not answer any more" in error
    assert "Traceback" not in error
    assert list(tmp_path.glob(".partial/*/resume.pt"))
    nodes = Nodes(initialize_head=True, head_node_args=HEAD)
    try:
        subprocess.run(
            [*command(data_dir, tmp_path), "--executor", "ray", "--address", nodes.address],
            check=True,
            capture_output=True,
        )
    finally:
        nodes.shutdown()
    [record] = RunStore(alone).records()
    for name in ("predictions.npz", "history.csv", "checkpoint.safetensors", "metrics.json"):
        there = tmp_path / record.run_id / name
        assert there.read_bytes() == (record.path / name).read_bytes(), name
