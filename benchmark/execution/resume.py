"""The resume state of a run under way: what may be gone on from, and what is set aside.

The file is a line of JSON, which says what the state is of and its hash, and then torch's form of
it. A state is gone on from only by the code and on the kind of device that wrote it: weights could
move to another device, but the states of its random numbers cannot, and a run of two halves is
neither device's. Whatever does not fit is renamed to :data:`SET_ASIDE`, where it stays until the
run is finished, and the run starts anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.data.arrays import BROKEN
from benchmark.environment import versions
from benchmark.files import remove, replace_file
from benchmark.records.underway import EPOCH, first_line
from benchmark.registry import model_facts
from benchmark.spec import RunSpec
from benchmark.train import State

SET_ASIDE = "resume.pt.set-aside"

_CODE = ("robust-msa-benchmark", "torch")


class UnusableError(Exception):
    """A resume state that a run cannot go on from, and why."""


def origin_of(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """What a state must be of: the run, the code that trains, the device's kind."""
    facts, known = model_facts(spec.model), versions()
    return {
        "run": spec.run_id,
        **{name: known[name] for name in _CODE},
        "model's file": facts["source_sha256"] if facts["version"] is None else None,
        "device": device.type,
    }


@contextmanager
def saving(path: Path, origin: dict[str, Any]) -> Iterator[Callable[[State], None]]:
    """What saves a run's states, one after another, while its training goes on.

    A state is copied at once and written beside the next epoch. What fails is raised where the next
    state is saved, or at the end: none is being written any more when this is left.
    """
    with ThreadPoolExecutor(1, "resume state") as beside:
        last: Future[None] | None = None

        def save(state: State) -> None:
            nonlocal last
            if last is not None:
                last.result()
            last = beside.submit(save_state, path, on_the_host(state), origin)

        yield save
        if last is not None:
            last.result()


def save_state(path: Path, state: State, origin: dict[str, Any]) -> None:
    """Replace the state in one step: a kill leaves the old one or the new one.

    It is made in memory first: a full disk is then an OSError that says so, not torch's own.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    facts[EPOCH] = state["epoch"]
    replace_file(path, json.dumps({**origin, **facts}).encode(), b"\n", content)


def on_the_host(state: Any) -> Any:
    """A copy of nested values with every tensor on the CPU; what is trained on changes none of it.

    What comes from a device is one copy for each type of number: a copy waits for the device,
    whatever its size, and a state has hundreds of tensors.
    """
    tensors: dict[int, Tensor] = {}
    _map_tensors(state, lambda x: tensors.setdefault(id(x), x.detach()))
    copies = {key: x.clone() for key, x in tensors.items() if x.device.type == "cpu"}
    away = {key: x for key, x in tensors.items() if key not in copies}
    for kind in {x.dtype for x in away.values()}:
        own = {key: x for key, x in away.items() if x.dtype == kind}
        copied = torch.cat([x.flatten() for x in own.values()]).cpu()
        parts = copied.split([x.numel() for x in own.values()])
        copies |= {key: part.view(own[key].shape) for key, part in zip(own, parts, strict=True)}
    return _map_tensors(state, lambda x: copies[id(x)])


def _map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_tensors(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map_tensors(inner, change) for inner in value)
    return value


def load_state(path: Path, origin: dict[str, Any], device: torch.device) -> State:
    """The state, its tensors on the device.

    Raises:
        UnusableError: where it is damaged, or of another origin.
    """
    if not path.is_file():
        raise UnusableError("it is no file")
    with path.open("rb") as stream:
        try:
            length, stated = first_line(stream)
        except (ValueError, RecursionError):
            raise UnusableError("it is damaged, or of an older version") from None
        for name, value in origin.items():
            if stated.get(name) != value:
                raise UnusableError(f"its {name} is {stated.get(name)}, and now it is {value}")
        if stated.get("bytes") != path.stat().st_size - length:
            raise UnusableError("it is damaged: its size is not what was written")
        content = stream.read()
    if stated.get("sha256") != hashlib.sha256(content).hexdigest():
        raise UnusableError("it is damaged: its content has another hash")
    try:
        state: State = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except (pickle.UnpicklingError, RuntimeError, *BROKEN):  # made to have the right hash
        raise UnusableError("it is damaged: it holds more than tensors and numbers") from None
    if not isinstance(state, dict):
        raise UnusableError(f"it is damaged: it holds a {type(state).__name__}")
    return state


def set_aside(path: Path, why: str) -> str:
    """Rename a state that cannot be gone on from, and say so in one line."""
    remove(path.with_name(SET_ASIDE))
    path.replace(path.with_name(SET_ASIDE))
    return f"cannot go on from its {path.name} ({why}): it starts anew; set aside as {SET_ASIDE}"
