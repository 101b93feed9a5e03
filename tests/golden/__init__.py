"""What each model computes, kept: predictions and losses of fixed weights on a fixed batch.

A number of today and one of a year ago share a table only while these are the same. A model whose
computation is changed on purpose gets a new ``version`` in its card; ``python -m tests.golden``
then writes its new file. Nothing here is drawn at random, so that a new initialisation or another
generator changes nothing; what a loss draws itself comes from one seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.config import TrainingConfig
from benchmark.contract_cases import FIRST
from benchmark.data.small import make_spec
from benchmark.interface import DataSpec, Loss, ModelConfig, MultimodalModel, Output, Progress
from benchmark.registry import model_class, model_names
from benchmark.train import Callbacks, fit
from protocols.modalities import MODALITIES, Modalities
from protocols.regimes import REGIME_KINDS, REGIME_VERSION, Regime, RegimeKind
from protocols.settings import Settings
from tests.batches import make_dataset
from tests.small_models import PRESETS, small_config

FOLDER = Path(__file__).parent
DEFAULTS = FOLDER / "defaults.json"
SAMPLES = 7
TOLERANCE = 1e-4

OURS = [
    n for n in model_names() if model_class(n).__module__.split(".")[0] in ("qamoe", "baselines")
]
WITH_DEFAULTS = [*OURS, "training", "regime"]
KEPT = [(name, preset) for name, preset in PRESETS if name in OURS]


def wave(name: str, *shape: int) -> Tensor:
    """Numbers in [-1, 1] that follow from a name and a shape alone, in single precision."""
    phase = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
    number = np.arange(int(np.prod(shape)), dtype=np.int64)
    angles = (number * number * 40503 + phase) % 62832 / 10000  # squares: no two rows are alike
    return torch.from_numpy(np.sin(angles).astype(np.float32).reshape(shape))


def fixed_batch(spec: DataSpec) -> Modalities:
    """Samples of different lengths; one lacks audio, one lacks everything."""
    available = torch.ones(SAMPLES, len(MODALITIES), dtype=torch.bool)
    available[1, 1], available[2] = False, False
    features, masks = {}, {}
    for position, m in enumerate(MODALITIES):
        steps = torch.arange(spec.lengths[m])
        masks[m] = steps < (2 + torch.arange(SAMPLES)[:, None] % (spec.lengths[m] - 1))
        real = masks[m] & available[:, position, None]
        values = 1.5 * wave(m, SAMPLES, spec.lengths[m], spec.widths[m])
        features[m] = values * real[..., None]
    label = 3 * wave("label", SAMPLES)
    if spec.task == "classification":
        label = torch.arange(SAMPLES) % spec.classes
    return Modalities(features, masks, available, label)


def fix_weights(model: nn.Module) -> None:
    """Parameters are waves, small where there are many; buffers are positive, as variances are."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = (4 / max(p.shape[-2:])) ** 0.5 if p.dim() > 1 else 0.5
            p.copy_(scale * wave(name, *p.shape))
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(0.75 + 0.25 * wave(name, *buffer.shape))


def fingerprint(name: str, preset: str) -> dict[str, Any]:
    """The version of a model, and for both tasks its predictions and each phase's loss."""
    kind = model_class(name)
    found: dict[str, Any] = {"version": kind.card.version}
    for task, classes in (("regression", 1), ("classification", 4)):
        spec = make_spec(task, classes)  # type: ignore[arg-type]
        batch = fixed_batch(spec)
        model: MultimodalModel = kind(small_config(name, preset), spec)
        fix_weights(model)
        prediction = model.eval()(batch).prediction.detach()
        torch.manual_seed(0)
        model.train()
        losses = {
            phase.name: phase.loss(batch, FIRST, **({"clean": batch} if phase.needs_clean else {}))
            for phase in model.phases()
        }
        found[task] = {
            "prediction": rounded(prediction),
            "losses": {phase: rounded(loss) for phase, (loss, _) in losses.items()},
        }
    return found


def rounded(values: Tensor) -> Any:
    """Numbers with eight digits, nested as the tensor is."""
    return json.loads(
        json.dumps(values.double().tolist()), parse_float=lambda x: float(f"{float(x):.8g}")
    )


def same(one: Any, other: Any) -> bool:
    """Whether two fingerprints agree: names exactly, numbers to the tolerance."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(np.shape(one) == np.shape(other)) and np.allclose(one, other, TOLERANCE, TOLERANCE)


def kept_files() -> dict[Path, Callable[[], dict[str, Any]]]:
    """Every file of a fingerprint -> what makes it."""
    models = {file_of(*kept): partial(fingerprint, *kept) for kept in KEPT}
    return models | {file_of("training", kind): partial(curves, kind) for kind in REGIME_KINDS}


def file_of(name: str, preset: str) -> Path:
    """Where a fingerprint is kept."""
    return FOLDER / f"{name}-{preset}.json"


def curves(kind: RegimeKind) -> dict[str, Any]:
    """The versions of trainer and regime, and the curves of a linear model that they train.

    Its weights begin as waves; order, dropout and corruption are those of a seed.
    """
    data = make_dataset()

    def linear() -> MultimodalModel:
        model = Linear(data.spec)
        fix_weights(model)
        return model

    rows: list[Mapping[str, float]] = []
    settings = TrainingConfig(epochs=3, learning_rate=0.01, select_on="mae")
    silent = Callbacks(lambda done, loss: None, lambda done, row: rows.append(row), lambda s: None)
    fit(linear, data.training_data(), settings, Regime(kind=kind), 1, silent)
    kept = {name: [row[name] for row in rows] for name in ("learning_rate", "train_loss")}
    kept["valid_mae"] = [row["valid_mae"] for row in rows]
    return {"version": [TrainingConfig.version, REGIME_VERSION], **kept}


class Linear(MultimodalModel):
    """A linear map of the mean of all features, behind dropout."""

    Config = ModelConfig

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(None, spec)
        self.out = nn.Linear(sum(spec.widths.values()), 1)

    def forward(self, batch: Modalities) -> Output:
        """Predict."""
        x = torch.cat([batch.features[m].mean(1) for m in MODALITIES], dim=1)
        return Output(self.out(nn.functional.dropout(x, 0.2, self.training))[:, 0])

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The mean squared error."""
        return (output.prediction - batch.label).square().mean(), {}


def defaults_of(name: str) -> dict[str, Any]:
    """The version and the defaults of settings: what a run's identity departs from.

    Of a model, of the trainer ("training") or of the regimes ("regime").
    """
    shared: dict[str, tuple[int, Settings]] = {
        "training": (TrainingConfig.version, TrainingConfig()),
        "regime": (REGIME_VERSION, Regime()),
    }
    if name in shared:
        version, settings = shared[name]
        return {"version": version, "defaults": settings.model_dump(mode="json")}
    kind = model_class(name)
    return {"version": kind.card.version, "defaults": kind.Config().model_dump(mode="json")}


def complaint(kept: dict[str, Any] | None, now: dict[str, Any], what: str) -> str:
    """What is wrong with what is kept, and what to do; empty where it is what is so now."""
    if kept is None or kept["version"] != now["version"]:
        return f"{what}: nothing kept for version {now['version']}: run python -m tests.golden"
    if not same({**kept, "version": 0}, {**now, "version": 0}):
        return (
            f"{what} changed and the version is still {now['version']}. Was it meant? Then raise"
            " its version (a model's is in its card) and run python -m tests.golden"
        )
    return ""


def default_complaint(kept: dict[str, Any] | None, now: dict[str, Any], what: str) -> str:
    """The same for defaults; a new option only has to be recorded."""
    if kept is None or kept["version"] != now["version"]:
        return f"{what}: nothing kept for version {now['version']}: run python -m tests.golden"
    old, new = kept["defaults"], now["defaults"]
    moved = [key for key in old if key not in new or old[key] != new[key]]
    if moved:
        return (
            f"{what}: {', '.join(moved)} changed and the version is still {now['version']}: old"
            " runs would pass for new ones. Raise the version and run python -m"
            " tests.golden"
        )
    added = [key for key in new if key not in old]
    return f"{what}: {', '.join(added)} is new: run python -m tests.golden" if added else ""


def read(path: Path) -> Any:
    """A kept file; None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None
