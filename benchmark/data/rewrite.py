"""A data set's transcripts rewritten and encoded again: text that was hurt before its encoder.

The encoder must be the one that made the set's text features: it is given the clean transcripts
first, and what it makes of them is compared with what the set holds. Features, labels and the set's
identity stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, Split
from benchmark.data.encode import batches_of, half, tokenize
from benchmark.data.encoder import Encoder, Tokens
from benchmark.data.manifest import SAMPLES, Manifest, Rewriting, read_manifest
from benchmark.data.rewritten import STEPS, TEXT, tensor_name
from benchmark.data.store import load
from benchmark.data.tensorfile import Entry, write_tensors
from benchmark.errors import BenchmarkError
from protocols.conditions import JOINTS
from protocols.draws import joint_levels
from protocols.rewriting import rewrite, with_unknown
from protocols.rules import FAMILIES, REWRITING, NoiseRule

SPLITS = ("valid", "test")
"""Those that are evaluated; training sees none of it."""
ALIKE = 0.05
"""By so many reference standard deviations two makings of the same state may differ."""

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class _Texts:
    """The transcripts of a split; "" where the text is missing."""

    split: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]


def rewrite_transcripts(
    name: str,
    data_dir: Path,
    load_encoder: Callable[[], Encoder],
    draws: int,
    report: Report = lambda done, total: None,
) -> Manifest:
    """Rewrite the transcripts of validation and test for every family that does so, and encode.

    Args:
        name: of an imported data set with text and transcripts.
        data_dir: where it is.
        load_encoder: what gives the encoder, called once the data set is known to have both.
        draws: corruption draws, seeded 0, 1, ...
        report: told (tensors made, tensors in all).

    Raises:
        BenchmarkError: the set has no transcripts, the encoder is not the one that made its text,
            or the folder cannot be written to.
    """
    folder = data_dir / name
    dataset, manifest = load(data_dir, name), read_manifest(folder)
    texts = _texts(folder, manifest)
    encoder = load_encoder()
    if encoder.unknown is None:
        raise BenchmarkError(
            f"encoder {encoder.facts.name} has no token for what it does not know: 'unk' needs one"
        )
    way = _as_it_was(dataset, texts, encoder, manifest)
    jobs = [
        (one, rule, draw, step)
        for one in texts
        for rule in REWRITING
        for draw in range(draws)
        for step in STEPS
    ]
    entries: list[Entry] = []
    for done, (one, rule, draw, step) in enumerate(jobs, 1):
        tokens = _tokens(one, rule, draw, step, way)
        told = partial(report, done, len(jobs))
        entries += _entries((one.split, rule, draw, step), tokens, way, told)
    try:
        with FileLock(data_dir / f".{name}.rewriting.lock", timeout=0):
            manifest = _store(folder, manifest, entries, draws, encoder)
    except Timeout:
        raise BenchmarkError(f"{folder}: another process rewrites its transcripts") from None
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return manifest


def _store(
    folder: Path, manifest: Manifest, entries: Sequence[Entry], draws: int, encoder: Encoder
) -> Manifest:
    """Write the states, then the manifest that names them, then let the former states go."""
    temporary = folder / f".rewritten.{os.getpid()}"
    try:
        facts = Rewriting(
            content=write_tensors(temporary, entries),
            families={rule: FAMILIES[rule].version or 0 for rule in REWRITING},
            draws=draws,
            encoder=encoder.facts.name,
            weights=encoder.facts.sha256,
        )
        temporary.replace(folder / facts.file)
    finally:
        temporary.unlink(missing_ok=True)
    manifest = manifest.model_copy(update={"rewriting": facts})
    manifest.write(folder)
    for former in (*folder.glob("rewritten-*.safetensors"), *folder.glob(".rewritten.*")):
        if former.name != facts.file:  # of another time, or of a process that was killed
            former.unlink()
    return manifest


def _texts(folder: Path, manifest: Manifest) -> list[_Texts]:
    """The transcripts of both splits. Raises BenchmarkError where there are none."""
    import pandas as pd

    rows = pd.read_parquet(folder / SAMPLES)
    if "text" not in manifest.widths or not (rows["raw_text"].astype(str) != "").any():
        raise BenchmarkError(
            f"{folder}: it has no transcripts (raw_text): words can be lost only where they are"
        )
    found = []
    for split in SPLITS:
        part = rows[rows["split"] == split]
        texts = part["raw_text"].where(part["text_available"], "")
        found.append(_Texts(split, tuple(part["id"]), tuple(texts)))
    return found


@dataclass(frozen=True)
class _Encoder:
    """An encoder as the data set's text features were made with it.

    Attributes:
        encoder: itself.
        limit: the tokens of a text that it is given.
        steps: the states of a text that are kept.
    """

    encoder: Encoder
    limit: int
    steps: int

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return tokenize(texts, self.encoder, self.limit)

    def states(
        self, tokens: Sequence[Tokens]
    ) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.float32]]]]:
        """Rows of like length, and the states of each."""
        for rows in batches_of(np.array([len(t) for t in tokens], np.int64)):
            found = self.encoder.states([tokens[row] for row in rows])
            yield rows, [states[: self.steps] for states in found]


def _as_it_was(
    dataset: Dataset, texts: Sequence[_Texts], encoder: Encoder, manifest: Manifest
) -> _Encoder:
    """The encoder, given as much of long texts as it was when the features were made: what is kept
    of them, or all. Raises BenchmarkError where it does not make those features.
    """
    steps = manifest.lengths["text"]
    found: dict[str, list[str]] = {}
    for limit in (steps, max(steps, encoder.limit)):
        way = _Encoder(encoder, limit, steps)
        found = {t.split: _differing(dataset.splits[t.split], t, way, manifest) for t in texts}
        if not any(found.values()):
            return way
    split, ids = next((split, ids) for split, ids in found.items() if ids)
    raise BenchmarkError(
        f"encoder {encoder.facts.name} did not make the text features of {manifest.name}: "
        f"{len(ids)} of {len(dataset.splits[split])} {split} samples have other states than it "
        f"makes of their transcripts (the first: {ids[0]}). Name the encoder that made them; where "
        "nobody knows it, encode the transcripts anew: benchmark data encode"
    )


def _differing(split: Split, own: _Texts, way: _Encoder, manifest: Manifest) -> list[str]:
    """The samples whose text features are not what the encoder makes of their transcripts."""
    made = np.zeros(split.samples.features["text"].shape, np.float32)
    mask = np.zeros(made.shape[:2], bool)
    there = split.samples.available[:, TEXT].numpy()
    wrong = there
    if way.encoder.facts.width == made.shape[2]:
        for rows, states in way.states(way.tokenize(own.texts)):
            for row, values in zip(rows, states, strict=True):
                made[row, : len(values)], mask[row, : len(values)] = values, True
        off = np.abs(made - split.samples.features["text"].float().numpy()).max(axis=(1, 2))
        other = (mask != split.samples.masks["text"].numpy()).any(axis=1)
        wrong = there & (other | (off > ALIKE * manifest.sigma_ref["text"]))
    return [own.ids[row] for row in np.flatnonzero(wrong)]


def _tokens(own: _Texts, rule: NoiseRule, draw: int, step: str, way: _Encoder) -> list[Tokens]:
    """What the encoder is given of each sample."""
    if step in JOINTS:
        levels = joint_levels(step, draw, own.split, own.ids)[0].tolist()
    else:
        levels = [float(step)] * len(own.ids)
    keys = [(draw, own.split, sample_id) for sample_id in own.ids]
    given = zip(own.texts, levels, keys, strict=True)
    tokens = way.tokenize([rewrite(rule, text, x, key) for text, x, key in given])
    if rule != "unk":
        return tokens
    unknown, special = way.encoder.unknown, way.encoder.special
    assert unknown is not None
    return [
        with_unknown(t, unknown, special, x, key)
        for t, x, key in zip(tokens, levels, keys, strict=True)
    ]


def _entries(
    place: tuple[str, str, int, str],
    tokens: Sequence[Tokens],
    way: _Encoder,
    told: Callable[[], None],
) -> list[Entry]:
    """The two tensors of one rule, draw and step; states are made when they are written."""
    lengths = np.array([min(len(t), way.steps) for t in tokens], np.int64)
    facts = way.encoder.facts
    shape = int(lengths.sum()), facts.width

    def states() -> Iterator[NDArray[Any]]:
        packed = np.zeros(shape, np.float16)
        starts = np.cumsum(lengths) - lengths
        for rows, made in way.states(tokens):
            for row, values in zip(rows, made, strict=True):
                packed[starts[row] : starts[row] + len(values)] = half(values, facts.name)
        told()
        yield packed

    mask = np.arange(way.steps) < lengths[:, None]
    return [
        Entry(tensor_name(*place, "mask"), "bool", mask.shape, [mask]),
        Entry(tensor_name(*place, "states"), "float16", shape, states()),
    ]
