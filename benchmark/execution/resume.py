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
from pathlib import Path
from typing import Any

import torch

from benchmark.environment import versions
from benchmark.files import remove, replace_file
from benchmark.registry import model_facts
from benchmark.spec import RunSpec
from benchmark.train import State

RESUME = "resume.pt"
SET_ASIDE = "resume.pt.set-aside"

_CODE = ("robust-msa-benchmark", "torch")
_LINE_BYTES = 4096


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


def save_state(path: Path, state: State, origin: dict[str, Any]) -> None:
    """Replace the state in one step: a kill leaves the old one or the new one.

    It is made in memory first: a full disk is then an OSError that says so, not torch's own.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    replace_file(path, b"".join([json.dumps({**origin, **facts}).encode(), b"\n", content]))


def load_state(path: Path, origin: dict[str, Any], device: torch.device) -> State:
    """The state, its tensors on the device.

    Raises:
        UnusableError: where it is damaged, or of another origin.
    """
    if not path.is_file():
        raise UnusableError("it is no file")
    with path.open("rb") as stream:
        line = stream.readline(_LINE_BYTES)
        try:
            stated = json.loads(line)
        except (ValueError, RecursionError):
            stated = None
        if not isinstance(stated, dict):
            raise UnusableError("it is damaged, or of an older version")
        for name, value in origin.items():
            if stated.get(name) != value:
                raise UnusableError(f"its {name} is {stated.get(name)}, and now it is {value}")
        if stated.get("bytes") != path.stat().st_size - len(line):
            raise UnusableError("it is damaged: its size is not what was written")
        content = stream.read()
    if stated.get("sha256") != hashlib.sha256(content).hexdigest():
        raise UnusableError("it is damaged: its content has another hash")
    state: State = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    return state


def set_aside(path: Path, why: str) -> str:
    """Rename a state that cannot be gone on from, and say so in one line."""
    remove(path.with_name(SET_ASIDE))
    path.replace(path.with_name(SET_ASIDE))
    return f"cannot go on from its {path.name} ({why}): it starts anew; set aside as {SET_ASIDE}"
