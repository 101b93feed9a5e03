"""What a file is that is no feature package: said by its first bytes, or by how it is laid out."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.data import columns
from benchmark.data.dataset import SPLITS
from benchmark.data.schema import KNOWN_KEYS, OTHER_NAMES, PLAIN_LABELS, SPLIT_NAMES

HEAD_BYTES = 512

_UNPACKED = "Unpack it first"
_JOBLIB = (
    "Load it with joblib.load where you trust it, and save the result with pickle.dump: its arrays"
    " lie between the pickle's own bytes"
)
_COMPRESSED = f"{_UNPACKED}; if joblib wrote it: {_JOBLIB[0].lower()}{_JOBLIB[1:]}"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a git-lfs pointer: the file's name and size, without its content",
        "Fetch the content with 'git lfs pull' in the repository that it is from",
    ),
    (b"\x1f\x8b", "compressed with gzip", _UNPACKED),
    (b"BZh", "compressed with bzip2", _COMPRESSED),
    (b"\xfd7zXZ", "compressed with xz", _COMPRESSED),
    (b"\x5d\x00\x00", "compressed with lzma", _COMPRESSED),
    (b"\x04\x22\x4d\x18", "compressed with lz4", _COMPRESSED),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACKED),
    *(
        (bytes([0x78, level]), "compressed with zlib, as joblib does", _JOBLIB)
        for level in (0x01, 0x5E, 0x9C, 0xDA)
    ),
    (b"Rar!", "a RAR archive", _UNPACKED),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACKED),
    (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        "a file of torch.save, in its old form",
        "Load it with torch.load and save numpy arrays with pickle.dump",
    ),
    (
        b"PAR1",
        "a parquet table",
        "Features: save them as .npz. Transcripts: pandas.read_parquet(...).to_csv(...)",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file",
        "Computational sequences of the CMU SDK (.csd) are read by 'benchmark data align'; save"
        " arrays of another layout as .npz",
    ),
    (b"\x93NUMPY", "one numpy array (.npy)", "Save all columns together with np.savez"),
    (b"MATLAB", "a MATLAB file", "Read it with scipy.io.loadmat and save the columns as .npz"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "Save the table as 'CSV UTF-8'"),
)


def what_it_is(path: Path, head: bytes) -> str | None:
    """What the first bytes say that a file is, and what to do; None where they say nothing.

    Args:
        path: the file.
        head: its first HEAD_BYTES bytes.
    """
    for start, kind, remedy in _SIGNATURES:
        if head.startswith(start):
            return f"is {kind}. {remedy}."
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    if head[257:262] == b"ustar":
        return f"is a tar archive. {_UNPACKED}."
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "is a web page (HTML): the link led to a page about the file, or to a log-in, and not"
            " to the file. Open it in a browser and download from there."
        )
    return None


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return "is a damaged ZIP archive. Fetch it again."
    if any(name.endswith("data.pkl") for name in names):
        return (
            "is a file of torch.save (.pt). Load it with torch.load, turn its tensors into numpy"
            " arrays (.numpy()) and save them with pickle.dump."
        )
    if names and all(name.endswith(".npy") for name in names):
        return "is a numpy archive. Give its name the ending .npz."
    if any(name.startswith("xl/") for name in names):
        return "is an Excel workbook. Save the table as 'CSV UTF-8'."
    return f"is a ZIP archive. {_UNPACKED}."


def pickled_with(path: Path, error: object) -> str | None:
    """Which library's objects keep a pickle from being read, and what to do; None: not known."""
    said = str(error)
    if "torch" in said:
        return "it holds torch tensors. Turn them into numpy arrays (.numpy()) and save it again."
    if "pandas" in said:
        return "it holds pandas tables. Save their columns as lists and numpy arrays (.to_numpy())."
    if "joblib" in said or _mentions(path, b"joblib.numpy_pickle"):
        return f"joblib wrote it. {_JOBLIB}."
    return None


def _mentions(path: Path, word: bytes) -> bool:
    """Whether the beginning of a file has a word: a first array is named before its bytes."""
    try:
        with path.open("rb") as stream:
            return word in stream.read(64 * 2**20)
    except OSError:
        return False


def layout_of(data: Any) -> str:
    """How plain data that is no package are laid out, and what to do."""
    if isinstance(data, list | tuple):
        return f"holds a {type(data).__name__} of {len(data)}{_items(data)}"
    if not isinstance(data, Mapping):
        return f"holds a {type(data).__name__}, not a dict of {', '.join(SPLITS)}"
    splits = [name for name in data if isinstance(name, str) and name.lower() in SPLIT_NAMES]
    lists = [name for name in splits if isinstance(data[name], list | tuple)]
    if lists:
        return f"split '{lists[0]}' is a list of {len(data[lists[0]])}{_items(data[lists[0]])}"
    absent = next(split for split in SPLITS if not isinstance(data.get(split), Mapping))
    found = columns.printable(list(data)[:8])
    missing = f"split '{absent}' is missing (found: {found})"
    other = next((n for n in splits if n not in SPLITS and SPLIT_NAMES[n.lower()] == absent), None)
    if other is not None:
        return f"{missing}. Did you mean '{other}'? --split-names {other}={absent}"
    keys = {str(name).partition(".")[0].lower() for name in data}
    if keys & {*KNOWN_KEYS, *OTHER_NAMES, PLAIN_LABELS}:
        return (
            f"{missing}: these are the columns of one set, without {', '.join(SPLITS)}. Save it as"
            " {'train': {...}, 'valid': {...}, 'test': {...}}; for the answers of a trained model"
            " give it to 'benchmark predict'"
        )
    if len(data) > len(SPLITS) and all(isinstance(value, Mapping) for value in data.values()):
        return (
            f"{missing}: a dictionary of {len(data)} samples by id. Gather them by split, one array"
            " (N, T, d) per modality"
        )
    return f"{missing}. A split of another name: --split-names NAME={absent}"


def _items(data: Any) -> str:
    """Of what a list is, and what to do about it."""
    first = data[0] if len(data) else None
    if isinstance(first, list | tuple):
        return (
            " tuples, as MAG-BERT's packages have them ((words, visual, acoustic), label, segment):"
            " there are no text features in it. Save per split 'id', 'audio', 'vision' as padded"
            " (N, T, d) arrays and 'labels', and encode the words with 'benchmark data encode'"
        )
    if isinstance(first, Mapping):
        return (
            " dictionaries, one per sample. Gather them by split into columns: 'id', 'labels' and"
            " one array (N, T, d) per modality"
        )
    return f" items; a package is a dict of {', '.join(SPLITS)}"
