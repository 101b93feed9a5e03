"""Files of joblib.dump: read like a pickle where uncompressed, and no more trusted than one."""

from __future__ import annotations

import collections
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.importer import import_package
from benchmark.data.picklefile import read_pickle
from benchmark.errors import BenchmarkError
from tests.packages import import_and_load, make_package
from tests.test_unpickle import DATA, check_equal

joblib = pytest.importorskip("joblib")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_joblib_writes(tmp_path: Path, protocol: int) -> None:
    joblib.dump(DATA, tmp_path / "a.pkl", protocol=protocol)
    check_equal(read_pickle(tmp_path / "a.pkl"))


def test_a_package_is_the_same_from_joblib_as_from_pickle(tmp_path: Path) -> None:
    data = make_package()
    expected, _ = import_and_load(tmp_path, data)
    joblib.dump(data, tmp_path / "p.joblib")
    found = import_package(tmp_path / "p.joblib", "other", tmp_path / "data")
    assert (found.sha256, found.files) == (expected.sha256, expected.files)


def test_arrays_past_the_first_megabyte(tmp_path: Path) -> None:
    """The pickle goes on behind arrays that are longer than any buffer."""
    data = {"a": np.arange(2**19, dtype=np.float64), "b": ["x"] * 9, "c": np.ones((3, 4), ">f4").T}
    joblib.dump(data, tmp_path / "a.pkl")
    found = read_pickle(tmp_path / "a.pkl")
    np.testing.assert_array_equal(found["a"], data["a"])
    np.testing.assert_array_equal(found["c"], data["c"])
    assert found["b"] == data["b"]


@pytest.mark.parametrize("kind", [collections.OrderedDict, dict])
def test_plain_containers(tmp_path: Path, kind: Any) -> None:
    data = kind(a=np.ones(3), b=kind(c=1))
    for write in (joblib.dump, lambda x, path: path.write_bytes(pickle.dumps(x))):
        write(data, tmp_path / "a.pkl")
        found = read_pickle(tmp_path / "a.pkl")
        assert type(found) is dict
        assert found["b"] == {"c": 1}
    filled = collections.defaultdict(list, {"a": [1]})
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(filled))
    assert read_pickle(tmp_path / "a.pkl") == {"a": [1]}


def written(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.pkl"
    joblib.dump({"a": np.arange(40.0), "b": np.array(["x", "y"], object), "c": [1, "z"]}, path)
    return path.read_bytes()


def test_damage_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    """Every cut, and every byte of the frame around the arrays changed."""
    whole = written(tmp_path)
    path = tmp_path / "a.pkl"
    draw = np.random.default_rng(0)
    for cut in draw.choice(len(whole), 60, replace=False):
        path.write_bytes(whole[:cut])
        with pytest.raises(BenchmarkError):
            read_pickle(path)
    started = time.monotonic()
    for place in draw.choice(len(whole), 200, replace=False):
        path.write_bytes(whole[:place] + bytes([draw.integers(256)]) + whole[place + 1 :])
        try:
            read_pickle(path)
        except BenchmarkError:
            continue
    assert time.monotonic() < started + 60


class _Call:
    def __reduce__(self) -> Any:
        return print, ("executed",)


@pytest.mark.parametrize(
    "evil",
    [
        [np.ones(3), _Call()],
        {"a": np.ones(3), "b": {(1, 2): 3}},
        [np.ones(3), {(1, 2)}],
        [np.ones(3), frozenset({(1,)})],
        [np.array([_Call()], object)],
    ],
)
def test_only_arrays_and_plain_data(tmp_path: Path, evil: Any, capsys: Any) -> None:
    joblib.dump(evil, tmp_path / "a.pkl")
    with pytest.raises(BenchmarkError):
        read_pickle(tmp_path / "a.pkl")
    assert "executed" not in capsys.readouterr().out


def test_a_stated_size_is_held_against_the_file(tmp_path: Path) -> None:
    whole = written(tmp_path)
    assert whole.count(b"K(") == 1  # the shape, (40,)
    (tmp_path / "a.pkl").write_bytes(whole.replace(b"K(", b"J\xff\xff\xff\x7f"))
    with pytest.raises(BenchmarkError, match=r"past the end|damaged"):
        read_pickle(tmp_path / "a.pkl")
