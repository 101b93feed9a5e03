"""Record a training step as a CUDA graph and replay it.

The models here are small: on a GPU, launching a step's kernels one by one takes 4 to 13 times as
long as running them (``python -m tests.speed.gpu``). A replayed graph launches them all at once;
the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

from benchmark.environment import has_streams
from benchmark.errors import BenchmarkError
from benchmark.interface import Progress
from protocols.modalities import Modalities

Step = Callable[[Modalities, Progress], None]
"""Train on one batch; what it has to tell it adds up on the device."""


class Replayed:
    """A step of one phase and epoch: its first batch as it is, its second recorded, then replayed.

    The first batch runs as it is, so that what is made at first use is there: optimiser states,
    libraries' workspaces. A batch of another size, the epoch's last one, runs as it is too. What is
    constant within an epoch, the learning rate say, is part of the record.

    Args:
        step: the step.
        generator: what it draws from, besides torch's own generator of the device.
    """

    def __init__(self, step: Step, generator: torch.Generator) -> None:
        self._step, self._generator = step, generator
        self._size: int | None = None
        self._input: Modalities | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Modalities, progress: Progress) -> None:
        """Train on a batch.

        Raises:
            BenchmarkError: where the step cannot be recorded, because it waits for the device.
        """
        if self._size != len(batch):
            self._step(batch, progress)
            self._size = self._size or len(batch)
            return
        if self._graph is None or self._input is None:
            self._input = batch.clone()
            self._graph = self._record(self._input, progress)
        self._input.copy_(batch)
        self._graph.replay()

    def _record(self, batch: Modalities, progress: Progress) -> torch.cuda.CUDAGraph:
        """The graph of a step on what will lie in ``batch``; nothing runs yet."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        stream = torch.cuda.current_stream()
        try:
            # other threads may go on using the device: the one that fetches data does
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._step(batch, progress)
        except RuntimeError as error:
            raise BenchmarkError(
                "a training step cannot be recorded for the GPU, because it waits for the device; "
                f"mend that, or leave `recordable` of the model false ({error})"
            ) from error
        return graph


@contextmanager
def beside_the_default_stream(device: torch.device) -> Iterator[None]:
    """Run on a stream of its own, since the default one cannot be recorded; a CPU has neither."""
    if not has_streams(device):
        yield
        return
    default, own = torch.cuda.current_stream(device), _own_stream(device)
    own.wait_stream(default)
    with torch.cuda.stream(own):
        yield
    default.wait_stream(own)


@cache  # memory is kept for reuse by stream: more of them would keep more of it
def _own_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
