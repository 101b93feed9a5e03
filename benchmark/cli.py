"""The command line: parse, call, print. Heavy imports happen inside the commands.

Commands of packages above the harness join through the entry-point group ``benchmark.commands``.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer

from benchmark.commands.check import app as check_app
from benchmark.commands.efficiency import efficiency
from benchmark.commands.list import app as list_app
from benchmark.commands.predict import predict
from benchmark.commands.run import run
from benchmark.commands.search import search
from benchmark.commands.tracking import sync, ui
from benchmark.data.commands import app as data_app
from benchmark.errors import BenchmarkError

app = typer.Typer(
    name="benchmark",
    help="How multimodal sentiment models behave as their inputs degrade.",
    epilog="Begin with: benchmark run --models qamoe --epochs 3; then benchmark report",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(efficiency)
app.command()(search)
app.command()(predict)
app.add_typer(data_app, name="data")
app.add_typer(list_app, name="list")
app.add_typer(check_app, name="check")
app.command()(ui)
app.command()(sync)
for _entry in sorted(entry_points(group="benchmark.commands"), key=lambda e: e.name):
    try:
        app.command(name=_entry.name)(_entry.load())
    except ImportError as _error:  # somebody's broken package must not take the rest away
        print(f"warning: command '{_entry.name}' cannot be loaded: {_error}", file=sys.stderr)


def main() -> None:
    """The console script: a user's mistake is one message and exit code 2, never a traceback."""
    try:
        app()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
