"""Models whose training steps may be recorded change nothing that a replay would not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.data.small import make_spec
from benchmark.execution.resume import on_the_host
from benchmark.interface import MultimodalModel, Phase, Progress
from benchmark.registry import model_class
from tests.batches import make_batch
from tests.small_models import small_model
from tests.test_contract import every_model


def state_of(value: Any, seen: set[int]) -> Any:
    """What Python holds, down to the identity of tensors, whose content a replay does change."""
    if isinstance(value, Tensor):
        return ("tensor", id(value))
    if id(value) in seen:
        return None
    if isinstance(value, dict):
        return [(str(k), state_of(v, seen | {id(value)})) for k, v in value.items()]
    if hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return state_of(vars(value), seen | {id(value)})
    if isinstance(value, torch.nn.Module):
        return state_of(vars(value), seen | {id(value)})
    if isinstance(value, list | tuple | set) or type(value).__name__ == "deque":
        return [state_of(v, seen | {id(value)}) for v in value]
    return repr(value)


def changes_python_state(model: MultimodalModel) -> bool:
    """Whether the second to fourth steps of an epoch change what Python holds."""
    batch = make_batch(6, make_spec())
    model.train()
    changed = False
    for epoch in (0, 9):
        model.begin_epoch(Progress(epoch, 10, 0, 4))
        for step in range(4):
            before = state_of(model, set())
            for phase in model.phases():
                progress = Progress(epoch, 10, step, 4)
                if phase.active(progress):
                    clean = {"clean": batch} if phase.needs_clean else {}
                    phase.loss(batch, progress, **clean)
            changed |= step > 0 and state_of(model, set()) != before
    return changed


@every_model
def test_what_is_recordable_holds_its_state_in_tensors(name: str) -> None:
    assert model_class(name).recordable
    assert not changes_python_state(small_model(name))


def test_a_memory_in_a_list_is_seen() -> None:
    model = small_model("lmf")
    model.seen, begun = [], model.phases  # type: ignore[assignment]

    def phases() -> Sequence[Phase]:
        model.seen.append(torch.zeros(1))  # type: ignore[union-attr,operator]
        return begun()

    assert not changes_python_state(model)
    model.phases = phases  # type: ignore[method-assign]
    assert changes_python_state(model)


def test_a_state_is_copied_to_the_host_unchanged() -> None:
    one = torch.arange(3)
    state = {"a": [one, {"b": torch.ones(2, 2, dtype=torch.half)}, one], "c": (None, 1.5)}
    state["d"], state["e"] = torch.tensor(2.5), torch.ones(2, 3).T
    copied = on_the_host(state)
    assert copied["c"] == (None, 1.5)
    for tensor in (one, state["a"][1]["b"], state["d"], state["e"]):
        tensor.add_(1)
    state["a"].append("more")
    assert copied["a"][0].tolist() == copied["a"][2].tolist() == [0, 1, 2]
    assert torch.equal(copied["a"][1]["b"], torch.ones(2, 2, dtype=torch.half))
    assert copied["d"].item() == 2.5
    assert torch.equal(copied["e"], torch.ones(3, 2))
    assert len(copied["a"]) == 3
