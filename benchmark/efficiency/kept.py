"""Measurements of models' costs, kept beside the records: ``<runs-dir>/.efficiency/<id>.json``.

A report shows them again; the id is of what was measured and where.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.files import JSON_BYTES, read_text, replace_file
from benchmark.records import RunStore

FOLDER = ".efficiency"


@dataclass(frozen=True)
class Efficiency:
    """One model on one device.

    Attributes:
        title: the model's, as tables print it.
        name: the title with its preset and what it must say of its source.
        changes: the settings that are not the preset's.
        identity: of the model: registered name, version, departures. It is untrained: weights do
            not matter.
        dataset: whose shapes the inputs have.
        text_tokens: T of the text, which the BERT-base encoder in front would read.
        device: in words; threads: CPU threads.
        parameters, trainable: of the model, text encoder excluded.
        active: parameters that one modality's pass of a sample needs at least; analytic.
        flops: per sample, two per multiply-add, as computed.
        sparse_flops: the same if only the chosen experts were computed; analytic.
        latency_ms, latency_p95_ms: of a batch of 16, median and 95th percentile.
        throughput: samples per second at that batch.
        saturating_batch, saturated_throughput: where a larger batch gives no more.
        peak_memory_mb: of the device, at a batch of 16; None on a CPU.
        passes: timed passes.
        commit: of the code.
    """

    title: str
    name: str
    changes: Mapping[str, Any]
    identity: Mapping[str, Any]
    dataset: str
    text_tokens: int
    device: str
    threads: int
    parameters: int
    trainable: int
    active: int
    flops: float
    sparse_flops: float
    latency_ms: float
    latency_p95_ms: float
    throughput: float
    saturating_batch: int
    saturated_throughput: float
    peak_memory_mb: float | None
    passes: int
    commit: str | None

    @property
    def key(self) -> str:
        """The identity of what was measured and where."""
        named = ("identity", "dataset", "text_tokens", "device", "threads")
        values = {name: asdict(self)[name] for name in named}
        canonical = json.dumps(values, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def save(store: RunStore, found: Efficiency) -> None:
    """Keep a measurement; the same of the same model on the same device replaces it."""
    folder = store.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(found), indent=1, sort_keys=True)
    replace_file(folder / f"{found.key}.json", content.encode())


def kept(store: RunStore) -> list[Efficiency]:
    """Every measurement beside the records; a file that is none is passed over."""
    found = []
    for path in sorted((store.root / FOLDER).glob("*.json")):
        try:
            found.append(Efficiency(**json.loads(read_text(path, JSON_BYTES))))
        except (BenchmarkError, ValueError, TypeError, RecursionError):
            continue
    return found
