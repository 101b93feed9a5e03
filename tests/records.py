"""Tiny but complete records, made without training: random predictions under every condition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from safetensors.numpy import save

from benchmark.config import TrainingConfig
from benchmark.metrics import PRIMARY
from benchmark.records import RunRecord, RunStore
from benchmark.registry import model_class, model_facts
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable
from protocols.conditions import PROTOCOLS, Condition, Joint, Protocol, conditions_of
from protocols.draws import joint_levels
from protocols.modalities import MODALITIES, Modality, Task
from protocols.regimes import Regime
from protocols.rules import NoiseRule
from protocols.settings import AnySettings

JOINT: Joint = "uniform_0.7"


def make_run_spec(
    model: str = "qamoe",
    regime: str | Regime = "clean",
    seed: int = 1111,
    dataset: str = "synthetic",
    task: Task = "regression",
    epochs: int = 3,
    **model_config: object,
) -> RunSpec:
    """A run's spec; its model settings are made up unless given."""
    card = model_class(model).card
    return RunSpec(
        dataset=dataset,
        data_sha256=f"{sum(map(ord, dataset)):064x}",
        task=task,
        model=model,
        version=1,
        changes={f"model.{key}": value for key, value in model_config.items()},
        title=card.title,
        source=card.source,
        config=AnySettings(**(model_config or {"width": 8, "topk": 2})),
        training=TrainingConfig(epochs=epochs, select_on=PRIMARY[task]),
        regime=Regime(kind=regime) if isinstance(regime, str) else regime,  # type: ignore[arg-type]
        seed=seed,
    )


def make_table(
    task: Task = "regression",
    n: int = 24,
    draws: int = 1,
    present: tuple[Modality, ...] = MODALITIES,
    classes: int = 3,
    seed: int = 0,
    error: float = 0.5,
    protocols: Sequence[Protocol] = PROTOCOLS,
    noise_rules: Sequence[NoiseRule] = ("seed_a1",),
) -> PredictionTable:
    """Predictions whose error grows with noise and with each missing modality.

    Reliabilities fall and log-variances rise in the same way.
    """
    generator = np.random.default_rng(seed)
    conditions = conditions_of(protocols, present, noise_rules, draws, JOINT)
    sample_ids = tuple(f"sample-{i}" for i in range(n))
    if task == "regression":
        label = generator.uniform(-3, 3, n).round(1)
    else:
        label = generator.integers(0, classes, n).astype(np.float64)
    badness = np.array([_badness(c, present) for c in conditions])
    noise = generator.normal(size=(len(conditions), n, 1 if task == "regression" else classes))
    signal = label[:, None] if task == "regression" else 2.0 * np.eye(classes)[label.astype(int)]
    prediction = signal * (1 - 0.6 * badness[:, None, None]) + error * noise
    reliability = (1 - badness)[:, None, None] * generator.uniform(0.8, 1, (len(badness), n, 3))
    return PredictionTable(
        conditions=conditions,
        present=present,
        task=task,
        sample_ids=sample_ids,
        label=label,
        available=np.tile([m in present for m in MODALITIES], (n, 1)),
        prediction=(prediction[..., 0] if task == "regression" else prediction).astype(np.float32),
        log_variance=(2 * badness[:, None] + 0.1 * noise[..., 0]).astype(np.float32),
        reliability=reliability.astype(np.float32),
        joint_levels={
            (joint, draw): np.stack(
                [x.numpy() for x in joint_levels(JOINT, draw, "test", sample_ids)]
            )
            for joint in sorted({c.joint for c in conditions} - {""})
            for draw in range(draws)
        },
    )


def _badness(condition: Condition, present: tuple[Modality, ...]) -> float:
    """From 0, clean, to 1, nothing available."""
    intensity = 0.35 if condition.joint else condition.intensity
    missing = 1 - condition.mask.bit_count() / len(present)
    return 1 - (1 - 0.7 * intensity) * (1 - missing)


def make_history(epochs: int = 3, task: Task = "regression", seed: int = 0) -> pd.DataFrame:
    """Curves as the trainer writes them."""
    generator = np.random.default_rng(seed)
    loss = np.exp(-0.2 * np.arange(epochs)) + 0.02 * generator.normal(size=epochs)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "learning_rate": 5e-4 * np.cos(np.linspace(0, 1.5, epochs)),
            "train_loss": loss,
            f"valid_{PRIMARY[task]}": loss + 0.1,
            "best": 1.0,
        }
    )


def make_record(
    store: RunStore,
    model: str = "qamoe",
    regime: str | Regime = "clean",
    seed: int = 1111,
    dataset: str = "synthetic",
    task: Task = "regression",
    n: int = 24,
    draws: int = 1,
    rng_seed: int = 0,
    table: PredictionTable | None = None,
    epochs: int = 3,
    error: float = 0.5,
    **model_config: object,
) -> RunRecord:
    """Commit a record of a run that was never trained.

    Args:
        store: where it goes.
        model, regime, seed, dataset, task, epochs: of the run.
        n: test samples.
        draws: corruption draws.
        rng_seed: of the random predictions; together with ``seed``.
        table: another table than :func:`make_table`'s.
        error: standard deviation of the predictions' error.
    """
    spec = make_run_spec(model, regime, seed, dataset, task, epochs, **model_config)
    mixed = 100_003 * rng_seed + seed
    if table is None:
        table = make_table(task, n, draws, seed=mixed, error=error)
    environment = {
        "model": model_facts(spec.model),
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "device": "a test",
        "device_type": "cpu",
        "data_sha256": spec.data_sha256,
        "synthetic": dataset.startswith("synthetic"),
        "floors": {"mean": 0.0, "median": 0.0} if task == "regression" else {"majority": 0},
        "parameters": 1234,
        "seconds_training": 30.0,
        "seconds_table": 4.0,
        "finished": "2026-01-02T03:04:05Z",
    }
    checkpoint = save({"weight": np.zeros(3, dtype=np.float32)})
    history = make_history(epochs, task, mixed)
    return store.commit(spec, environment, history, checkpoint, table)
