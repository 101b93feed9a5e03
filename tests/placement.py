"""A GPU's stand-in that every machine has: torch's meta device, made to refuse what a GPU would.

A tensor there has a shape and no content, so whatever reads one fails by itself; the two modes
here refuse tensors of two devices in one operator, and copies from or to the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

THERE = "meta"
_MADE_OF_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
_LOOKS_AT_VALUES = ("aten._linalg_check_errors", "aten.multinomial")
"""Operators that ask the device whether a matrix was invertible, or weights were probabilities."""


class PlacementError(Exception):
    """A GPU would refuse it, or wait for the host."""


class _OneDevice(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given: list[Tensor] = []
        asked = (function, _described((args, *kwargs.items()), given))
        # a CPU tensor without dimensions is a number, which goes along with the launch
        places = {x.device.type for x in given if x.device.type == THERE or x.dim()}
        to = kwargs.get("device")
        if to is not None and given:
            places.add(torch.device(to).type)
        if len(places) > 1:
            raise PlacementError(f"{function} has tensors on {' and '.join(sorted(places))}")
        if THERE in places:
            if str(function).startswith(_LOOKS_AT_VALUES):
                raise PlacementError(f"{function} waits to see whether its values are sound")
            if kwargs.get("generator") is not None:
                raise PlacementError(f"{function} draws from a generator on the host")
        if asked in _KNOWN:
            return _alike(_KNOWN[asked])
        made = function(*args, **kwargs)
        if all(x.device.type == THERE for x in given) and _is_new(function, made):
            _KNOWN[asked] = _alike(made)  # whose shape nobody changes in place
        return made


_KNOWN: dict[Any, Any] = {}
"""What operators gave there: always alike, and many work it out in Python, in milliseconds."""


def _described(argument: Any, tensors: list[Tensor]) -> Any:
    """What the shape of an operator's result depends on; the tensors among it are collected."""
    if isinstance(argument, Tensor):
        tensors.append(argument)
        return argument.shape, argument.stride(), argument.dtype, argument.device
    if isinstance(argument, (list, tuple)):
        return tuple([_described(one, tensors) for one in argument])
    return type(argument), argument


def _is_new(function: OpOverload, made: Any) -> bool:
    """Whether it is tensors there that share nothing with what the operator was given."""
    schema = function._schema
    if any(one.alias_info for one in (*schema.arguments, *schema.returns)):
        return False
    parts = made if isinstance(made, (list, tuple)) else (made,)
    return all(x is None or (isinstance(x, Tensor) and x.device.type == THERE) for x in parts)


def _alike(made: Any) -> Any:
    if isinstance(made, Tensor):
        return torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device=THERE)
    return made and type(made)(_alike(one) for one in made)


class _NoNumbers(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _MADE_OF_NUMBERS:
            source = kwargs.get("device") or (
                args[0].device if function is Tensor.new_tensor else torch.get_default_device()
            )
            if torch.device(source).type == THERE and not isinstance(args[-1], Tensor):
                raise PlacementError(f"{function.__name__} copies Python numbers to the device")
        if function is Tensor.__getitem__ and args[0].device.type == THERE:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list) for part in index):
                raise PlacementError("an index that is a list is copied to the device")
        return function(*args, **kwargs)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Refuse, for tensors on :data:`THERE`, what a GPU refuses or has to wait for.

    No generator is on that device: what draws from one, draws on the host.

    Raises:
        PlacementError: from the operator that does it. What reads a tensor's content raises
            torch's own error.
    """
    with _OneDevice(), _NoNumbers():
        yield
