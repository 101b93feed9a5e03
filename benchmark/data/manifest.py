"""What an imported data set is: the page that lies beside its arrays."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.data.cards import Card
from benchmark.data.tensorfile import file_sha256
from benchmark.errors import BenchmarkError
from benchmark.files import JSON_BYTES, read_text, replace_file
from benchmark.hygiene import one_line
from protocols.modalities import Modality, Task

FORMAT: Literal[1] = 1
"""Version of the layout on disk."""
MANIFEST = "manifest.json"
FEATURES = "features.safetensors"
SAMPLES = "samples.parquet"
VERIFIED = ".verified.json"
"""Which files were found sound, so that they are hashed once and not for every run."""

PerModality = dict[Modality, int]


class Rows(NamedTuple):
    """The samples of one split: N ids, (N,) labels, (N, 3) availability in the order t, a, v."""

    split: str
    ids: tuple[str, ...]
    label: NDArray[Any]
    available: NDArray[np.bool_]


def content_sha256(
    task: Task,
    classes: int,
    sigma_ref: Mapping[Modality, float],
    features_sha256: str,
    rows: Iterable[Rows],
) -> str:
    """The data set's identity: all that a result depends on, and no name, path or date."""
    facts = [FORMAT, task, classes, sorted(sigma_ref.items()), features_sha256]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for row in rows:
        digest.update(json.dumps([row.split, *row.ids]).encode())
        digest.update(np.ascontiguousarray(row.label).tobytes())
        digest.update(np.ascontiguousarray(row.available).tobytes())
    return digest.hexdigest()


class Source(BaseModel):
    """Where the data came from: the file's name (not its folder), SHA-256 and size in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str
    bytes: int


class Encoding(BaseModel):
    """How text features were made from transcripts.

    Attributes:
        name: of the encoder, as the user gave it.
        revision: its commit on the hub, where it came from there.
        sha256: over its weights.
        width: channels of a state.
        max_tokens: where longer texts were cut.
        inputs_sha256: over transcripts, labels, splits and all of the above.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    revision: str | None
    sha256: str
    width: int
    max_tokens: int
    inputs_sha256: str


class Rewriting(BaseModel):
    """Which text states of rewritten transcripts lie beside the features.

    Attributes:
        content: SHA-256 of their file.
        families: noise rule -> its version.
        draws: corruption draws, seeded 0, 1, ...
        encoder: its name.
        weights: SHA-256 over its weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: str = Field(pattern="^[0-9a-f]{64}$")
    families: dict[str, int]
    draws: int
    encoder: str
    weights: str

    @property
    def file(self) -> str:
        """The file's name: made anew, it does not take the place of what a manifest promises."""
        return f"rewritten-{self.content[:12]}.safetensors"


class Manifest(BaseModel):
    """The manifest of an imported data set.

    Attributes:
        format: version of this layout.
        name: as the user calls it.
        sha256: hash of features, masks, ids and labels; enters every run's identity.
        task, classes: what the labels are for; 1 class for regression.
        widths, lengths: d_m and T_m of the modalities that the set has.
        counts: samples per split.
        label_range: smallest and largest sentiment; None for classification.
        class_counts: split -> samples per class; empty for regression.
        mean, std: audio and vision -> per channel, over the valid train steps.
        constant: audio and vision -> channels that never change in train; they are zero here.
        sigma_ref: modality -> reference std of the noise on channels that vary in train (text: one
            number over all channels).
        nonfinite: split -> modality -> values replaced.
        missing: split -> modality -> samples that lack it by nature.
        source: the imported file.
        files: file name -> SHA-256.
        notes: what else the import saw.
        class_names: the classes by number, where the source names them.
        encoding: what made the text features, where transcripts were encoded here.
        options: option -> value of what the user had changed on the way.
        card: the user's own data card.
        rewriting: what else was made of the transcripts; no part of the identity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    sha256: str
    task: Task
    classes: int
    widths: PerModality
    lengths: PerModality
    counts: dict[str, int]
    label_range: tuple[float, float] | None
    class_counts: dict[str, list[int]]
    mean: dict[Modality, list[float]]
    std: dict[Modality, list[float]]
    constant: dict[Modality, list[int]]
    sigma_ref: dict[Modality, float]
    nonfinite: dict[str, PerModality]
    missing: dict[str, PerModality]
    source: Source
    files: dict[str, str]
    notes: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    encoding: Encoding | None = None
    options: dict[str, str] = {}
    card: Card | None = None
    rewriting: Rewriting | None = None

    def stored(self) -> dict[str, str]:
        """The files with the data: name -> SHA-256."""
        found = {name: self.files.get(name, "") for name in (FEATURES, SAMPLES)}
        return found | ({self.rewriting.file: self.rewriting.content} if self.rewriting else {})

    def write(self, folder: Path) -> None:
        """Write the manifest into ``folder``, in one step."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        replace_file(folder / MANIFEST, f"{text}\n".encode())


def changed_files(folder: Path, manifest: Manifest, remembered: bool = False) -> list[str]:
    """The files in ``folder`` whose SHA-256 is not the imported one, unreadable ones included.

    Args:
        folder: of the data set.
        manifest: what they should be.
        remembered: a file that was found sound before is not read again while its size, time of
            change and inode are the same. What was found is kept beside the data, if it can be.
    """
    known = _remembered(folder) if remembered else {}
    sound, wrong = {}, []
    for name, wanted in manifest.stored().items():
        try:
            status = (folder / name).stat()
            mark = [wanted, status.st_size, status.st_mtime_ns, status.st_ino]
            if known.get(name) != mark and file_sha256(folder / name) != wanted:
                wrong.append(name)
            else:
                sound[name] = mark
        except OSError:
            wrong.append(name)
    if remembered and sound != known:
        with suppress(OSError):  # read-only data are compared again the next time
            replace_file(folder / VERIFIED, json.dumps(sound).encode())
    return wrong


def _remembered(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(folder / VERIFIED, JSON_BYTES))
    except (BenchmarkError, ValueError, RecursionError):  # none yet, or damaged: compare
        return {}
    return found if isinstance(found, dict) else {}


def import_again(folder: Path) -> str:
    """What to do about a damaged data set."""
    name, place = shlex.quote(folder.name), shlex.quote(str(folder.parent))
    command = f"benchmark data import PATH --name {name} --data-dir {place} --replace"
    return f"Import the data set again: {command}"


def rewrite_again(folder: Path) -> str:
    """What to do about damaged states of rewritten transcripts."""
    name, place = shlex.quote(folder.name), shlex.quote(str(folder.parent))
    command = f"benchmark data rewrite {name} --encoder NAME --data-dir {place}"
    return f"Rewrite the transcripts again: {command}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``.

    Raises:
        BenchmarkError: it is absent, damaged, or of another format.
    """
    path = folder / MANIFEST
    again = import_again(folder)
    try:
        return Manifest.model_validate_json(read_text(path, JSON_BYTES))
    except BenchmarkError as error:
        raise BenchmarkError(f"{error}. {again}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BenchmarkError(
            f"{path}: damaged at {one_line(where, 60)}: {one_line(first['msg'])}. {again}"
        ) from None
