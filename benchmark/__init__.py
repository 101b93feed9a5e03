"""The harness: data, training, the prediction table, runs, tracking and the command line.

It names no model: models, data sets and commands are found through entry points.

::

    import benchmark
    result = benchmark.evaluate(predict, dataset="mosi", data_dir="data", name="My model")
    frame = benchmark.results("runs")

Importing it costs nothing: a function is loaded when it is first asked for. What is about reports
lies on the floor above, which registers it in the entry-point group ``benchmark.functions``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.checkpoint import load_checkpoint
    from benchmark.data.registry import load_dataset
    from benchmark.evaluation import evaluate

_OURS = {
    "evaluate": "benchmark.evaluation",
    "load_checkpoint": "benchmark.checkpoint",
    "load_dataset": "benchmark.data.registry",
}
_OFFERED = ("results", "landscape")

__all__ = ["evaluate", "landscape", "load_checkpoint", "load_dataset", "results"]


def __getattr__(name: str) -> Any:
    if name in _OURS:
        from importlib import import_module

        return getattr(import_module(_OURS[name]), name)
    if name in _OFFERED:
        from benchmark.plugins import offered

        return offered(name)
    raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
