"""Open a submission that anybody may have made: nothing of it is run, nothing leaves its folder.

What is read is what the card names, under names that a record's files have, of the sizes and
hashes that it states.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.files import check_regular, is_inside, read_at_most, replace_file, scratch
from benchmark.hygiene import one_line
from benchmark.packs.card import CARD, Card, System, read_card
from benchmark.packs.making import PLAIN
from benchmark.records import CHECKPOINT, INPUTS, RunRecord

INDEX = "index.json"
"""Of a folder of packs: their names and hashes."""
CARD_BYTES = 8 * 2**20
PACK_BYTES = 4 * 2**30
_SCHEMES = ("https", "http", "s3", "gs", "hf")
"""Where a stranger's card may send us."""
_PIN = "#sha256="
_NAMES = "|".join(re.escape(name) for name in (*PLAIN, CHECKPOINT, INPUTS))
_PLACE = re.compile(rf"runs/[0-9a-f]{{12}}/({_NAMES})")


@dataclass(frozen=True)
class Pack:
    """An opened submission.

    Attributes:
        source: where it is from.
        sha256: of the zip, or of the card of a folder: what pins it.
        card: its card.
        folder: where its files are, the card's hashes found to hold.
    """

    source: str
    sha256: str
    card: Card
    folder: Path

    def records(self, system: System) -> list[RunRecord]:
        """The runs of a system, by seed."""
        return [RunRecord(self.folder / "runs" / run_id) for run_id in system.runs]

    def has_checkpoints(self, system: System) -> bool:
        """Whether every run can be evaluated anew: its weights are here or have an address."""
        return all(
            {f"runs/{run_id}/{name}" for name in (CHECKPOINT, INPUTS)} <= self.card.files.keys()
            for run_id in system.runs
        )

    def fetch_checkpoints(self, system: System) -> None:
        """Bring the weights that lie elsewhere. Raises BenchmarkError where they are not those."""
        for run_id in system.runs:
            place = f"runs/{run_id}/{CHECKPOINT}"
            file, path = self.card.files[place], self.folder / place
            if not path.exists():
                if file.url.partition("://")[0] not in _SCHEMES:
                    raise BenchmarkError(
                        f"{self.source}: the card's address of {place} is none of "
                        f"{', '.join(_SCHEMES)}"
                    )
                content = read_address(file.url, file.bytes)
                _check(place, content, file.bytes, file.sha256)
                replace_file(path, content)


@contextmanager
def opened(source: str) -> Iterator[Pack]:
    """A submission, from a zip, a folder, or the address of a zip; ``...#sha256=HEX`` pins it.

    Raises:
        BenchmarkError: where it is none, damaged, or not safe.
    """
    source, _, pin = source.partition(_PIN)
    with scratch() as folder:
        if not is_address(source) and Path(source).is_dir():
            content, read = _of_folder(Path(source))
        else:
            content, read = _of_zip(source, _bytes_of(source))
        found = hashlib.sha256(content).hexdigest()
        if pin and pin != found:
            raise BenchmarkError(f"{source}: it is not what was pinned: its SHA-256 is {found}")
        yield Pack(source, found, _unpacked(source, read, folder), folder)


def sources(place: str) -> list[str]:
    """The submissions at a place: a pack, a folder of packs, or the address of either.

    A folder is read by its index.json, which pins every pack, where it has one; an address of a
    folder must have one.

    Raises:
        BenchmarkError: where there are none.
    """
    path = Path(place)
    if is_address(place):
        if place.partition(_PIN)[0].endswith(".zip"):
            return [place]
        base = place.rstrip("/")
        return _indexed(base, read_address(f"{base}/{INDEX}", CARD_BYTES))
    if not path.is_dir() or (path / CARD).exists():
        return [place]
    if (path / INDEX).is_file():
        return _indexed(place.rstrip("/"), (path / INDEX).read_bytes()[:CARD_BYTES])
    found = [
        str(one) for one in sorted(path.iterdir()) if one.suffix == ".zip" or (one / CARD).is_file()
    ]
    if not found:
        raise BenchmarkError(f"{place}: holds no pack (.zip, or a folder with {CARD})")
    return found


def index_of(packs: dict[str, bytes]) -> bytes:
    """The index of a folder of packs: name -> its bytes."""
    pinned = {name: hashlib.sha256(content).hexdigest() for name, content in packs.items()}
    return json.dumps({"packs": pinned}, indent=1, sort_keys=True).encode()


def _indexed(base: str, content: bytes) -> list[str]:
    try:
        packs = json.loads(content)["packs"]
        pairs = [(str(name), str(digest)) for name, digest in sorted(packs.items())]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BenchmarkError(
            f"{base}/{INDEX}: no index of packs ({one_line(error, 100)})"
        ) from None
    for name, digest in pairs:
        if not re.fullmatch(r"[\w.-]+\.zip", name) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise BenchmarkError(
                f"{base}/{INDEX}: '{one_line(name, 60)}' is no pack's name or hash"
            )
    return [f"{base}/{name}{_PIN}{digest}" for name, digest in pairs]


def is_address(source: str) -> bool:
    """Whether it is a URL."""
    return "://" in source


def read_address(url: str, limit: int) -> bytes:
    """What is at a URL, at most ``limit`` bytes. Raises BenchmarkError."""
    import fsspec

    if not is_address(url):
        raise BenchmarkError(f"'{one_line(url, 100)}' is no address")
    try:
        with fsspec.open(url, "rb") as stream:
            content: bytes = stream.read(limit + 1)
    except Exception as error:  # noqa: BLE001, every file system has errors of its own
        why = f"{type(error).__name__}: {one_line(error, 200)}"
        raise BenchmarkError(f"cannot read {one_line(url, 200)}: {why}") from None
    if len(content) > limit:
        raise BenchmarkError(f"{one_line(url, 200)}: has more than {limit:,} bytes")
    return content


def _bytes_of(source: str) -> bytes:
    if is_address(source):
        return read_address(source, PACK_BYTES)
    if check_regular(Path(source)) > PACK_BYTES:
        raise BenchmarkError(f"{source}: has more than {PACK_BYTES:,} bytes")
    return Path(source).read_bytes()


Read = Callable[[str, int], bytes]
"""(name, limit) -> a file of the pack; BenchmarkError where it is not there or has more bytes."""


def _of_zip(source: str, content: bytes) -> tuple[bytes, tuple[Sequence[str], Read]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        names = [member.filename for member in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise BenchmarkError(f"{source}: no pack: {one_line(error, 100)}") from None

    def read(name: str, limit: int) -> bytes:
        try:
            with archive.open(name) as stream:
                found = stream.read(limit + 1)
        except (KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError) as error:
            raise BenchmarkError(
                f"{source}: cannot read {one_line(name, 80)}: {one_line(error, 100)}"
            ) from None
        return _bounded(source, name, found, limit)

    return content, (names, read)


def _of_folder(folder: Path) -> tuple[bytes, tuple[Sequence[str], Read]]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    names = [path.relative_to(folder).as_posix() for path in paths]

    def read(name: str, limit: int) -> bytes:
        path = folder / name
        if not is_inside(path, folder):
            raise BenchmarkError(f"{folder}: {one_line(name, 80)} leads outside of it")
        return _bounded(str(folder), name, read_at_most(path, limit + 1), limit)

    return read(CARD, CARD_BYTES), (names, read)


def _bounded(source: str, name: str, content: bytes, limit: int) -> bytes:
    if len(content) > limit:
        raise BenchmarkError(
            f"{source}: {one_line(name, 80)} has more than the {limit:,} bytes that it may have"
        )
    return content


def _unpacked(source: str, listing: tuple[Sequence[str], Read], folder: Path) -> Card:
    """The card; the files that it names are then in the folder."""
    names, read = listing
    for name in names:
        if name != CARD and not _PLACE.fullmatch(name):
            outside = name.startswith("/") or ".." in name.split("/") or "\\" in name
            what = "leads outside of the pack" if outside else "is no file of a pack"
            raise BenchmarkError(f"{source}: not opened: '{one_line(name, 80)}' {what}")
    if len(set(names)) < len(names):
        raise BenchmarkError(f"{source}: holds a file twice")
    card = read_card(read(CARD, CARD_BYTES), source)
    files = card.files
    if unlisted := sorted(set(names) - {CARD, *files}):
        raise BenchmarkError(f"{source}: its card does not name {one_line(unlisted[0], 80)}")
    if sum(file.bytes for file in files.values()) > PACK_BYTES:
        raise BenchmarkError(f"{source}: its files are said to have over {PACK_BYTES:,} bytes")
    for name, file in files.items():
        if not _PLACE.fullmatch(name):
            raise BenchmarkError(f"{source}: its card names '{one_line(name, 80)}', no pack's file")
        if name not in names and file.url:
            continue
        content = read(name, file.bytes)
        _check(f"{source}: {name}", content, file.bytes, file.sha256)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return card


def _check(where: str, content: bytes, size: int, digest: str) -> Any:
    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
        raise BenchmarkError(f"{where}: it is not the file that the card pins: another SHA-256")
