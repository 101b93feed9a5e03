"""Where and with what a run was made: the provenance that goes into every record."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import BenchmarkError

PACKAGES = ("robust-msa-benchmark", "torch", "numpy", "pandas", "scipy", "safetensors", "mlflow")


def choose_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        BenchmarkError: for any other name, or for ``cuda`` on a machine without it.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise BenchmarkError(f"unknown device '{name}': choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise BenchmarkError(
            "--device cuda: this torch sees no CUDA device "
            f"(torch {torch.__version__}). Use --device cpu, or install a CUDA build of torch "
            "and check `nvidia-smi`."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def has_streams(device: torch.device) -> bool:
    """Whether work there can be put on streams and recorded: on CUDA itself, not on a stand-in."""
    return device.type == "cuda" and torch.backends.cuda.is_built()


def compute_with(threads: int) -> None:
    """CPU threads of this process; and full single precision on a GPU, which torch leaves to cuDNN.

    By default cuDNN rounds the factors of a product to TF32, with 10 bits of mantissa.
    """
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def describe(device: torch.device) -> dict[str, Any]:
    """Commit, package versions, device, threads, interpreter and operating system."""
    commit, dirty = source_commit()
    on_gpu = device.type == "cuda"
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
    }


def made_with(run_id: str, device: torch.device) -> dict[str, Any]:
    """What a prediction table keeps of where its rows were made, beside the day."""
    here = describe(device)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "run_id": run_id,
        **{name: here[name] for name in ("commit", "dirty", "device", "versions")},
    }


def now() -> str:
    """The time as records keep it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def versions() -> dict[str, str | None]:
    """The packages that numbers depend on; None for one that is not installed."""
    return {name: _version(name) for name in PACKAGES}


@cache
def source_commit() -> tuple[str | None, bool | None]:
    """The commit of the source tree and whether it has changes; None outside a git checkout."""
    root = Path(__file__).resolve().parent.parent
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or not (root / ".git").exists():
        return None, None
    return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache  # a package's metadata are parsed each time: 5 ms, and many times for each record
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _cpu_name() -> str:
    """With the instructions that torch uses: with others, random normals have other last bits."""
    cpuinfo, name = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
