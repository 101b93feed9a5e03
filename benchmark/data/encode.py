"""From a CSV of transcripts to a data set of token-level text features.

Texts go through the encoder batched by length, longest first. States are kept as float16 in a file
beside the data set until all are there, so that an encoding that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from benchmark.data.cards import Card
from benchmark.data.dataset import SPLITS
from benchmark.data.encoder import Encoder, Tokens
from benchmark.data.importer import Say, check_folder, check_name, store_package
from benchmark.data.manifest import MANIFEST, Encoding, Manifest, Source, read_manifest
from benchmark.data.package import Package, RawSplit, TaskChoice
from benchmark.data.segments import Segments, read_segments
from benchmark.data.tensorfile import file_sha256
from benchmark.data.transcripts import Columns, Transcripts, read_transcripts
from benchmark.errors import BenchmarkError
from protocols.modalities import Modality

STATES = "states.npy"
STATE = "state.json"
TOKENS_PER_BATCH = 2048
"""Padding included: what suits a CPU's caches and leaves a small GPU room."""
TOKENIZED_AT_ONCE = 4096
MARK_SECONDS = 5.0
"""Between two notes of how far it is: what a kill can cost."""
UNKNOWN_SHARE = 0.05
"""More unknown tokens than this are worth a warning."""
MAX_TOKENS = 50
"""As many steps as the field's feature packages have for text."""

Report = Callable[[int, int], None]
"""Told (tokens encoded, tokens in all)."""


def encode_transcripts(
    path: Path,
    columns: Columns,
    load: Callable[[], Encoder],
    name: str,
    data_dir: Path,
    task: TaskChoice = "auto",
    max_tokens: int = MAX_TOKENS,
    overwrite: bool = False,
    report: Report = lambda done, total: None,
    say: Say = lambda message: None,
    folders: Mapping[Modality, Path] = MappingProxyType({}),
    steps: Mapping[Modality, int] = MappingProxyType({}),
    card: Card | None = None,
) -> Manifest:
    """Encode a CSV of transcripts and import the result as data set ``name``.

    Stopped at any moment and called again with the same file, encoder and ``max_tokens`` it encodes
    only what is still to do, and ends in the same bytes (on a CPU) as if it had not been stopped.
    ``load`` is called once the file is known to be sound. ``folders`` hold audio and vision
    features, one file per sample, of up to ``steps`` steps.

    Raises:
        BenchmarkError: as :func:`read_transcripts`, :func:`read_segments` and
            :func:`store_package`; another process encodes under that name.
    """
    check_name(name)
    check_folder(data_dir)
    transcripts = _in_split_order(read_transcripts(path, columns, task))
    source = Source(name=path.name, sha256=file_sha256(path), bytes=path.stat().st_size)
    extracted = {
        m: read_segments(folder, m, transcripts.ids, steps.get(m)) for m, folder in folders.items()
    }
    encoder = load()
    facts = asdict(encoder.facts)
    inputs = _inputs_sha256(transcripts, facts, max_tokens, extracted)
    encoding = Encoding(**facts, max_tokens=max_tokens, inputs_sha256=inputs)
    if (data_dir / name / MANIFEST).exists() and not overwrite:
        current = read_manifest(data_dir / name)
        if current.encoding == encoding:
            say(f"{data_dir / name}: already encoded from the same transcripts; nothing changed.")
            return current
        raise BenchmarkError(
            f"{data_dir / name}: another data set of that name is there (from"
            f" {current.source.name}). Use --replace to overwrite it, or another --name."
        )
    work = data_dir / f".{name}.encoding"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{work}.lock", timeout=0):
            states, lengths, notes = _encode_all(
                transcripts.texts, encoder, max_tokens, work, report
            )
            extracted["text"] = Segments(states, lengths, "", notes)
            package = _package(transcripts, path.name, extracted, encoding)
            manifest = store_package(
                replace(package, card=card, options=columns.scale.recorded()),
                source,
                name,
                data_dir,
                overwrite,
                say,
            )
            shutil.rmtree(work)
    except Timeout:
        raise BenchmarkError(f"{work}: another process is encoding under the name {name}") from None
    except OSError as error:
        raise BenchmarkError(
            f"{work}: cannot be written: {error.strerror or error}. What is encoded stays there;"
            " the same command goes on from it."
        ) from None
    return manifest


def _in_split_order(found: Transcripts) -> Transcripts:
    """The same rows, train first, then valid, then test: each split is then one block of states."""
    place = np.array([SPLITS.index(split) for split in found.splits])
    order = np.argsort(place, kind="stable")

    def of(values: Sequence[str]) -> tuple[str, ...]:
        return tuple(values[k] for k in order)

    return replace(
        found,
        ids=of(found.ids),
        texts=of(found.texts),
        label=found.label[order],
        splits=of(found.splits),
    )


def _inputs_sha256(
    transcripts: Transcripts,
    facts: dict[str, object],
    max_tokens: int,
    extracted: Mapping[Modality, Segments],
) -> str:
    """All that the finished data set depends on, so that the same request is known again."""
    rows = list(zip(transcripts.ids, transcripts.splits, transcripts.texts, strict=True))
    digest = hashlib.sha256(json.dumps([facts, max_tokens, transcripts.task, rows]).encode())
    digest.update(json.dumps(transcripts.class_names).encode())
    digest.update(transcripts.label.tobytes())
    for segments in extracted.values():
        digest.update(segments.sha256.encode())
    return digest.hexdigest()


def _encode_all(
    texts: Sequence[str], encoder: Encoder, max_tokens: int, work: Path, report: Report
) -> tuple[NDArray[np.float16], NDArray[np.int64], tuple[str, ...]]:
    """(N, T, d) states on disk, (N,) numbers of tokens, and what to know of the tokens."""
    tokens = tokenize(texts, encoder, max_tokens)
    lengths = np.array([len(t) for t in tokens], np.int64)
    if not lengths.any():
        raise BenchmarkError("every text is empty: there is nothing to encode.")
    shape = (len(texts), int(lengths.max()), encoder.facts.width)
    key = hashlib.sha256(json.dumps([asdict(encoder.facts), tokens]).encode()).hexdigest()
    states, done = _open(work, key, shape)
    batches = list(batches_of(lengths))
    total, finished = int(lengths.sum()), sum(int(lengths[b].sum()) for b in batches[:done])
    report(finished, total)
    marked = time.monotonic()
    for k, rows in enumerate(batches[done:], done + 1):
        for row, values in zip(rows, encoder.states([tokens[r] for r in rows]), strict=True):
            states[row, : lengths[row]] = half(values, encoder.facts.name)
        finished += int(lengths[rows].sum())
        report(finished, total)
        if time.monotonic() >= marked + MARK_SECONDS:
            _mark(work, key, k, states)
            marked = time.monotonic()
    _mark(work, key, len(batches), states)
    return states, lengths, tuple(_token_notes(texts, tokens, encoder, max_tokens))


def tokenize(texts: Sequence[str], encoder: Encoder, max_tokens: int) -> list[Tokens]:
    """The tokens of each text, none for an empty one."""
    tokens: list[Tokens] = []
    for start in range(0, len(texts), TOKENIZED_AT_ONCE):
        tokens += encoder.tokenize(texts[start : start + TOKENIZED_AT_ONCE], max_tokens)
    return [t if text else [] for t, text in zip(tokens, texts, strict=True)]


def _token_notes(
    texts: Sequence[str], tokens: Sequence[Tokens], encoder: Encoder, max_tokens: int
) -> Iterator[str]:
    """Texts that were cut, and an encoder that does not know the texts' words."""
    full = [text for text, t in zip(texts, tokens, strict=True) if len(t) == max_tokens]
    lengths = encoder.full_lengths(full) if full else []
    cut = sum(length > max_tokens for length in lengths)
    if cut:
        yield (
            f"{cut} of {len(texts)} texts are longer than {max_tokens} tokens (up to"
            f" {max(lengths)}) and were cut there (--max-tokens sets where)"
        )
    total = sum(map(len, tokens))
    unknown = sum(t.count(encoder.unknown) for t in tokens) if encoder.unknown is not None else 0
    if unknown > UNKNOWN_SHARE * total:
        yield (
            f"{unknown / total:.0%} of the tokens are unknown to the encoder"
            f" {encoder.facts.name}: it was not made for these texts (another language?), and"
            " their features say little"
        )


def batches_of(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Row numbers of texts of like length, longest first, about TOKENS_PER_BATCH a batch."""
    order = np.argsort(-lengths, kind="stable")[: int((lengths > 0).sum())]
    start = 0
    while start < len(order):
        size = max(1, TOKENS_PER_BATCH // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def half(values: NDArray[np.float32], name: str) -> NDArray[np.float16]:
    """States as they are kept. Raises BenchmarkError where half precision cannot hold them."""
    if not np.abs(values).max(initial=0) <= np.finfo(np.float16).max:  # true for NaN as well
        raise BenchmarkError(
            f"encoder {name} gives states that float16 cannot hold, or that are no numbers"
            f" (largest: {np.abs(values).max():g}): use another encoder."
        )
    return values.astype(np.float16)


def _open(work: Path, key: str, shape: tuple[int, int, int]) -> tuple[NDArray[np.float16], int]:
    """The file of states, and how many batches of it are done; a new one if it is another's."""
    path = work / STATES
    try:
        state = json.loads((work / STATE).read_text())
        if state["key"] == key:
            states = np.lib.format.open_memmap(path, mode="r+")
            if (states.shape, states.dtype) == (shape, np.float16):
                return states, int(state["batches"])
    except (OSError, ValueError, LookupError, TypeError):  # none yet, or damaged: begin anew
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape), 0


def _mark(work: Path, key: str, batches: int, states: NDArray[np.float16]) -> None:
    """Note that so many batches are safely on disk."""
    assert isinstance(states, np.memmap)
    states.flush()
    fresh = work / f"{STATE}~"
    fresh.write_text(json.dumps({"key": key, "batches": batches}))
    fresh.replace(work / STATE)


def _package(
    transcripts: Transcripts,
    source: str,
    parts: Mapping[Modality, Segments],
    encoding: Encoding,
) -> Package:
    """The encoded transcripts, and what was extracted elsewhere, as a package."""
    splits = {}
    start = 0
    for split in SPLITS:
        rows = slice(start, start + transcripts.splits.count(split))
        start = rows.stop
        splits[split] = RawSplit(
            ids=transcripts.ids[rows],
            raw_text=transcripts.texts[rows],
            features={m: part.values[rows] for m, part in parts.items()},
            lengths={m: part.lengths[rows] for m, part in parts.items()},
            label=transcripts.label[rows],
        )
    notes = (*transcripts.notes, *(note for part in parts.values() for note in part.notes))
    classes = len(transcripts.class_names) or 1
    return Package(
        source,
        splits,
        transcripts.task,
        classes,
        notes,
        class_names=transcripts.class_names,
        encoding=encoding,
    )
