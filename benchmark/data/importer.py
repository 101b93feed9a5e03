"""Import: from a feature package to ``<data-dir>/<name>/``, complete or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.data.adjust import Adjustments
from benchmark.data.cards import Card
from benchmark.data.dataset import SPLITS
from benchmark.data.manifest import (
    FEATURES,
    SAMPLES,
    Manifest,
    Rows,
    Source,
    changed_files,
    content_sha256,
    read_manifest,
)
from benchmark.data.package import (
    UNCHANGED,
    Package,
    TaskChoice,
    check_is_package,
    read_package,
)
from benchmark.data.registry import registered
from benchmark.data.scan import Scan, as_float32, row_chunks, scan_package
from benchmark.data.standardise import Moments, Scale, fill_nonfinite
from benchmark.data.tensorfile import Entry, file_sha256, write_tensors
from benchmark.errors import BenchmarkError
from protocols.modalities import MODALITIES, Modality

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Say = Callable[[str], None]
Scans = dict[tuple[str, Modality], Scan]


def import_package(
    path: Path,
    name: str,
    data_dir: Path,
    task: TaskChoice = "auto",
    replace: bool = False,
    say: Say = lambda message: None,
    asked: Adjustments = UNCHANGED,
    card: Card | None = None,
) -> Manifest:
    """Import a feature package as data set ``name``; returns its manifest.

    Audio and vision are standardised per channel with train statistics, text is kept as it is.
    Importing the same content again changes nothing.

    Args:
        path: the package (MMSA schema): pickle, .npz or .safetensors.
        name: the data set's name and folder.
        data_dir: where data sets lie; created if absent.
        task: which labels to take; "auto" takes sentiment where there is one.
        replace: overwrite other content under the same name.
        say: called with what happens, line by line.
        asked: what to change on the way.
        card: the user's own data card, kept in the manifest.

    Raises:
        BenchmarkError: a broken package, another data set under that name, or a folder that cannot
            be written.
    """
    check_name(name)
    check_folder(data_dir)  # now, not after minutes of work
    check_is_package(path)
    with ThreadPoolExecutor(1) as second:
        digest = second.submit(file_sha256, path)  # while this thread unpickles
        package = read_package(path, task, asked)
        try:
            source = Source(name=path.name, sha256=digest.result(), bytes=path.stat().st_size)
        except OSError as error:
            raise BenchmarkError(f"{path}: cannot be read: {error.strerror}") from None
    return store_package(replaced(package, card=card), source, name, data_dir, replace, say)


def check_name(name: str) -> None:
    """Refuse a name that cannot be a folder's, or that a registered data set has."""
    if not NAME.fullmatch(name):
        raise BenchmarkError(
            f"'{name}' cannot be a data set's name: use letters, digits, '.', '_' and '-'."
        )
    if name in registered():
        raise BenchmarkError(f"'{name}' is a built-in data set: import under another --name.")


def check_folder(data_dir: Path) -> None:
    """Refuse a data folder that is a file or that cannot be written to; it may not exist yet."""
    if data_dir.exists() and not data_dir.is_dir():
        raise BenchmarkError(f"{data_dir}: is a file; --data-dir must be a folder.")
    if data_dir.exists() and not os.access(data_dir, os.W_OK):
        raise _unwritable(data_dir, os.strerror(errno.EACCES))


def _unwritable(data_dir: Path, reason: str) -> BenchmarkError:
    return BenchmarkError(
        f"{data_dir}: cannot be written: {reason}. Nothing was imported. Name a folder that you may"
        " write to and that has room, with --data-dir."
    )


def store_package(
    package: Package, source: Source, name: str, data_dir: Path, replace: bool, say: Say
) -> Manifest:
    """Standardise and write a checked package; see :func:`import_package`.

    The package's arrays are released as they are written.
    """
    scans, moments = scan_package(package)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / f".{name}.lock"):
            for remains in data_dir.glob(f".{name}~*"):  # of an import that was killed
                shutil.rmtree(remains)
            folder = Path(tempfile.mkdtemp(prefix=f".{name}~", dir=data_dir))
            try:
                manifest = _write(package, source, name, scans, moments, folder)
                return _settle(manifest, folder, data_dir / name, replace, say)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise _unwritable(data_dir, error.strerror or str(error)) from None


def _settle(manifest: Manifest, folder: Path, target: Path, replace: bool, say: Say) -> Manifest:
    """Move the finished folder to its place, unless the same or another data set is there."""
    if target.exists():
        current = _existing(target, replace)
        same = current is not None and current.sha256 == manifest.sha256
        if current is not None and same and not changed_files(target, current):
            told = {"options": manifest.options, "card": manifest.card, "notes": manifest.notes}
            current = current.model_copy(update={k: v for k, v in told.items() if v})
            say(f"{target}: already imported with identical content; nothing changed.")
            if manifest.options or manifest.card:  # said anew, of the same content
                current.write(target)
            return current
        if not same and not replace:
            raise BenchmarkError(
                f"{target}: another data set of that name is there (from"
                f" {current.source.name if current else 'an unknown file'}). Use --replace to"
                " overwrite it, or another --name. Runs made with the old data keep their own hash."
            )
        with tempfile.TemporaryDirectory(prefix=f".{manifest.name}~", dir=target.parent) as old:
            target.rename(Path(old) / "old")
            folder.rename(target)
        say(f"{target}: {'was damaged; written again' if same else 'replaced'}.")
        return manifest
    folder.rename(target)
    say(f"{target}: imported.")
    return manifest


def _existing(target: Path, replace: bool) -> Manifest | None:
    try:
        return read_manifest(target)
    except BenchmarkError:
        if replace:  # a damaged import is what --replace is for
            return None
        raise


def _write(
    package: Package,
    source: Source,
    name: str,
    scans: Scans,
    moments: dict[Modality, Moments],
    folder: Path,
) -> Manifest:
    folder.chmod(0o755)  # mkdtemp makes it private; the data need not be
    present = package.present  # now, before the arrays are let go
    widths = {m: package.splits["train"].features[m].shape[2] for m in present}
    lengths = {m: package.splits["train"].features[m].shape[1] for m in present}
    scales: dict[Modality, Scale] = {m: Scale.of(moments[m]) for m in present if m != "text"}
    sigma = {m: 1.0 if m != "text" else float(np.float32(moments[m].pooled_std)) for m in present}
    features_sha = write_tensors(folder / FEATURES, list(_entries(package, scans, scales)))
    rows = [_rows(package, scans, split) for split in SPLITS]
    samples_sha = _write_samples(package, rows, folder / SAMPLES)
    labels = {s: package.splits[s].label for s in SPLITS}
    regression = package.task == "regression"
    everything = np.concatenate(list(labels.values()))
    manifest = Manifest(
        name=name,
        sha256=content_sha256(package.task, package.classes, sigma, features_sha, rows),
        task=package.task,
        classes=package.classes,
        widths=widths,
        lengths=lengths,
        counts={s: len(labels[s]) for s in SPLITS},
        label_range=(float(everything.min()), float(everything.max())) if regression else None,
        class_counts={}
        if regression
        else {s: np.bincount(x, minlength=package.classes).tolist() for s, x in labels.items()},
        mean={m: scale.mean.tolist() for m, scale in scales.items()},
        std={m: scale.std.tolist() for m, scale in scales.items()},
        constant={m: np.flatnonzero(scale.constant).tolist() for m, scale in scales.items()},
        sigma_ref=sigma,
        nonfinite={s: {m: scans[s, m].nonfinite for m in present} for s in SPLITS},
        missing={s: {m: int((~scans[s, m].available).sum()) for m in present} for s in SPLITS},
        source=source,
        files={FEATURES: features_sha, SAMPLES: samples_sha},
        notes=(*package.notes, *_notes(scans)),
        class_names=package.class_names,
        encoding=package.encoding,
        options=dict(package.options),
        card=package.card,
    )
    manifest.write(folder)
    return manifest


def _notes(scans: Scans) -> Iterator[str]:
    for (split, m), scan in scans.items():
        if scan.trimmed:
            yield (
                f"{split}: {m}: {scan.trimmed} samples had non-zero rows past their stated length;"
                " those rows were set to zero"
            )


def _entries(package: Package, scans: Scans, scales: dict[Modality, Scale]) -> Iterator[Entry]:
    for split in SPLITS:
        for m in package.present:
            values = package.splits[split].features[m]
            scan = scans[split, m]
            half = m == "text" and values.dtype.kind == "f" and values.dtype.itemsize == 2
            pieces = _pieces(package, split, m, scan, scales.get(m), half)
            dtype = "float16" if half else "float32"
            yield Entry(f"{split}.{m}.features", dtype, values.shape, pieces)
            yield Entry(f"{split}.{m}.mask", "bool", values.shape[:2], (scan.mask,))


def _pieces(
    package: Package, split: str, modality: Modality, scan: Scan, scale: Scale | None, half: bool
) -> Iterator[NDArray[Any]]:
    """The stored features, chunk by chunk; the source array is let go at the end."""
    values = package.splits[split].features.pop(modality)
    keep = scan.keep
    for rows in row_chunks(values):
        piece = as_float32(values[rows])
        if np.may_share_memory(piece, values):
            piece = piece.copy()
        if scale is not None:
            scale.apply(piece, keep[rows])
        else:
            fill_nonfinite(piece)
            piece[~keep[rows]] = 0
        yield piece.astype(np.float16) if half else piece


def _rows(package: Package, scans: Scans, split: str) -> Rows:
    raw = package.splits[split]
    columns = [
        scans[split, m].available if (split, m) in scans else np.zeros(len(raw.ids), bool)
        for m in MODALITIES
    ]
    return Rows(split, raw.ids, raw.label, np.stack(columns, axis=1))


def _write_samples(package: Package, rows: list[Rows], path: Path) -> str:
    """Write one row per sample; returns the SHA-256 of the file."""
    import pandas as pd

    frames = []
    for split, ids, label, available in rows:
        text = list(package.splits[split].raw_text)
        frame = pd.DataFrame({"id": list(ids), "split": split, "raw_text": text, "label": label})
        for k, m in enumerate(MODALITIES):
            frame[f"{m}_available"] = available[:, k]
        frames.append(frame)
    pd.concat(frames, ignore_index=True).to_parquet(path, index=False)
    return file_sha256(path)
