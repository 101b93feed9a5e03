"""From the host to a GPU while that computes: pinned memory and a stream of its own."""

from __future__ import annotations

import threading

import torch

from benchmark.environment import has_streams
from protocols.modalities import Modalities

_of_this_thread = threading.local()


def to_device(samples: Modalities, device: torch.device) -> Modalities:
    """The samples on the device; for a thread of its own, which waits for the copy alone.

    What computes there meanwhile goes on: the copy has a stream to itself, and memory that the
    device reads without the host's help. Call :func:`used_here` before using the result.
    """
    if not has_streams(device):
        return samples.to(device)
    if not hasattr(_of_this_thread, "stream"):
        _of_this_thread.stream = torch.cuda.Stream(device)
    with torch.cuda.stream(_of_this_thread.stream):
        there = samples.pin().to(device, non_blocking=True)
    _of_this_thread.stream.synchronize()
    return there


def used_here(samples: Modalities) -> None:
    """Keep the samples' memory until what this thread's stream does with them is done."""
    if has_streams(samples.device):
        for x in samples.tensors():
            x.record_stream(torch.cuda.current_stream(samples.device))
