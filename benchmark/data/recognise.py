"""What a file is that is no feature package: said by its first bytes, or by how it is laid out."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data import columns
from benchmark.data.dataset import SPLITS
from benchmark.data.schema import KNOWN_KEYS, PLAIN_LABELS, SPLIT_NAMES, meant_by
from benchmark.hygiene import one_line

HEAD_BYTES = 512

_UNPACKED = "Unpack it first"
_JOBLIB = (
    "Load it with joblib.load where you trust it, and save the result with joblib.dump without"
    " compression, or with pickle.dump"
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
    (
        b"\x93NUMPY",
        "one numpy array (.npy)",
        "Save all columns together with np.savez. If np.save was given a dict: load it with"
        " np.load(..., allow_pickle=True).item() where you trust it, and save it with pickle.dump."
        " One array per sample goes beside a CSV: 'benchmark data encode --audio-folder'",
    ),
    (b"ARROW1", "an Arrow table (feather)", "Transcripts: pandas.read_feather(...).to_csv(...)"),
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
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--", b"<body")):
        return (
            "is a web page (HTML): the link led to a page about the file, or to a log-in, and not"
            " to the file. Open it in a browser and download from there."
        )
    if re.match(rb"[\[{]\s*[\"\[{\]}]", text):
        return (
            f"is JSON: it begins with {_beginning(head)}. A message of the server? Then fetch it"
            " again. Transcripts: pandas.read_json(...).to_csv(...)."
        )
    return None


def _beginning(head: bytes) -> str:
    return repr(one_line(head.decode("utf-8", "replace"), 60))


def text_in_place(path: Path) -> str | None:
    """That a file which is no pickle is plain text, and how it begins; None where it is not."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return None
    printable = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    if not printable or not re.search(rb"[A-Za-z]{3}", head):
        return None
    return (
        f"is text: it begins with {_beginning(head)}. A message instead of the file? Then fetch it"
        " again. A table of transcripts (CSV) goes to 'benchmark data encode'."
    )


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
    if "joblib" in said or mentions_joblib(path):
        return f"joblib wrote it. {_JOBLIB}."
    return None


def mentions_joblib(path: Path) -> bool:
    """Whether the beginning of a file names joblib, as it does before the bytes of an array."""
    try:
        with path.open("rb") as stream:
            return b"joblib.numpy_pickle" in stream.read(64 * 2**20)
    except OSError:
        return False


GATHER = "Gather them by split into columns: 'id', 'labels' and one array (N, T, d) per modality"
PACKAGE = (
    "a package is a dict of train, valid and test, each with id, text, audio, vision and labels"
)


def layout_of(data: Any) -> str:
    """How plain data that is no package are laid out, and what to do."""
    if isinstance(data, list | tuple):
        return f"holds a {type(data).__name__} of {len(data)}{_items(data)}"
    if not isinstance(data, Mapping):
        return f"holds one {type(data).__name__}; {PACKAGE}"
    named = [name for name in data if isinstance(name, str) and name.lower() in SPLIT_NAMES]
    for name in named:
        odd = _no_columns(data[name], f"split '{name}'")
        if odd is not None:
            return odd
    absent = next(split for split in SPLITS if data.get(split) is None)
    missing = f"split '{absent}' is missing (found: {columns.printable(list(data)[:8])})"
    if absent in data:
        missing = f"split '{absent}' is None"
    other = {n: SPLIT_NAMES[n.lower()] for n in named if n not in SPLITS}
    if other and len(set(other.values())) == len(other):
        pairs = ",".join(f"{old}={new}" for old, new in other.items())
        return f"{missing}. Did you mean {', '.join(other)}? --split-names {pairs}"
    if not named:
        told = _of_names(data) or _by_id(data)
        return f"{missing}{told}" if told else f"{missing}. {OTHER_SPLIT.format(absent)}"
    alone = " for the answers of a trained model: 'benchmark predict'" if absent == "train" else ""
    cut = " or cut one from train, whole videos of it" if absent == "valid" else ""
    return f"{missing}. {OTHER_SPLIT.format(absent)};{cut or alone or ' all three are needed'}"


OTHER_SPLIT = "A split of another name: --split-names NAME={}"


def by_id(split: Mapping[Any, Any]) -> bool:
    """Whether a dict has samples by their id, instead of columns."""
    read = {*KNOWN_KEYS, PLAIN_LABELS}
    if not split or any(key in read or meant_by(key) for key in split):
        return False
    values = list(split.values())
    if all(isinstance(value, Mapping) for value in values):
        return True
    return all(isinstance(x, np.ndarray) and x.ndim < 3 for x in values)


def _no_columns(split: Any, what: str) -> str | None:
    """What is in a split's place that is no dict of columns; None where it is one, or nothing."""
    if isinstance(split, list | tuple):
        return f"{what} is a {type(split).__name__} of {len(split)}{_items(split)}"
    if isinstance(split, np.ndarray):
        return f"{what} is one array of shape {split.shape}; {PACKAGE}"
    if isinstance(split, Mapping):
        return f"{what} is{_by_id(split)[1:]}" if by_id(split) else None
    return None if split is None else f"{what} is a {type(split).__name__}; {PACKAGE}"


def _of_names(data: Mapping[Any, Any]) -> str:
    """What the keys of a dict without splits say."""
    inner = [value for value in data.values() if isinstance(value, Mapping)]
    if len(inner) == len(data) and all({*SPLIT_NAMES} & {str(k).lower() for k in x} for x in inner):
        if all(isinstance(value, Mapping) for x in inner for value in x.values()):
            return (
                f": each of its {len(data)} keys has a package of its own. Save one of them alone"
            )
        return (
            ": the splits are inside. Turn it round: {'train': {'text': ..., 'labels': ...}, ...}"
        )
    joined = [re.match(r"([a-z]+)[_/-](.+)", columns.shown(key), re.IGNORECASE) for key in data]
    flat = [found for found in joined if found and found[1].lower() in SPLIT_NAMES]
    if flat and len(flat) == len(data):
        return (
            f": name its columns split.name, '{flat[0][1]}.{flat[0][2]}' for '{flat[0][0]}' (.npz),"
            " or nest them by split (pickle)"
        )
    if any(key in {*KNOWN_KEYS, PLAIN_LABELS} or meant_by(key) for key in data):
        return (
            f": these are the columns of one set, without {', '.join(SPLITS)}. Save it as"
            " {'train': {...}, 'valid': {...}, 'test': {...}}; for the answers of a trained model"
            " give it to 'benchmark predict'"
        )
    return ""


def _by_id(data: Mapping[Any, Any]) -> str:
    kinds = {type(value) for value in data.values()}
    if by_id(data) and np.ndarray in kinds:
        return (
            f": a dictionary of {len(data)} arrays by id. It goes beside a CSV of transcripts:"
            " 'benchmark data encode --audio-folder FILE'"
        )
    if by_id(data) or (len(data) > len(SPLITS) and len(kinds) == 1):
        return f": a dictionary of {len(data)} samples by id. {GATHER}"
    return ""


def _items(data: Any) -> str:
    """Of what a list is, and what to do about it."""
    first = data[0] if len(data) else None
    if isinstance(first, list | tuple) and first and isinstance(first[0], list | tuple):
        return (
            " tuples, as MAG-BERT's packages have them ((words, visual, acoustic), label, segment):"
            " there are no text features in it. Save per split 'id', 'audio', 'vision' as padded"
            " (N, T, d) arrays and 'labels', and encode the words with 'benchmark data encode'"
        )
    if isinstance(first, list | tuple):
        return f" {type(first).__name__}s, one per sample. {GATHER}"
    if isinstance(first, Mapping) and {*first} & {*KNOWN_KEYS, PLAIN_LABELS, "label"}:
        return f" dictionaries, one per sample. {GATHER}"
    if isinstance(first, Mapping):
        return (
            " with dictionaries by dialogue or sample, as MMGCN's and DialogueRNN's packages of"
            f" IEMOCAP and MELD have them. {GATHER}; a dialogue is the video of its utterances:"
            " ids 'dialogue$_$utterance'"
        )
    return f" items; {PACKAGE}"
