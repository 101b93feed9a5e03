"""The command line: parse, call, print. Heavy imports happen inside the commands.

Commands of packages above the harness join through the entry-point group ``benchmark.commands``.
"""

from __future__ import annotations

import errno
import gc
import inspect
import os
import re
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Annotated, NoReturn

import typer

from benchmark.commands.check import app as check_app
from benchmark.commands.efficiency import efficiency
from benchmark.commands.evaluate import evaluate
from benchmark.commands.list import app as list_app
from benchmark.commands.pack import pack, verify
from benchmark.commands.predict import predict
from benchmark.commands.run import run
from benchmark.commands.search import search
from benchmark.commands.show import show
from benchmark.commands.tracking import sync, ui
from benchmark.data.commands import app as data_app
from benchmark.errors import BenchmarkError
from benchmark.hygiene import message, one_line
from benchmark.plugins import Plugin, plugins
from benchmark.strangers import strangers

app = typer.Typer(
    name="benchmark",
    epilog="Begin with: benchmark run --models qamoe --epochs 3; then benchmark report",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
RUNS, LOOK, SHARE = "Runs", "What there is", "Submissions"
TRACKING, REST = "MLflow", "Results, and commands of other packages"

_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    RUNS: (run, search, predict, evaluate, efficiency),
    LOOK: (show,),
    SHARE: (pack, verify),
    TRACKING: (ui, sync),
}
for _panel, _group in _COMMANDS.items():
    for _command in _group:
        app.command(rich_help_panel=_panel)(_command)
for _name, _app in (("list", list_app), ("data", data_app), ("check", check_app)):
    app.add_typer(_app, name=_name, rich_help_panel=LOOK)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"benchmark {metadata.version('robust-msa-benchmark')}")
        raise typer.Exit


@app.callback()
def _benchmark(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_say_version)
    ] = False,
) -> None:
    """How multimodal sentiment models behave as their inputs degrade."""


def _join(plugin: Plugin) -> None:
    """Add a package's command; a broken one is listed as that, and fails where it is asked for."""
    try:
        command = plugin.load()
        alone = typer.Typer()
        with strangers(plugin.broken):  # what it takes, looked at while it can harm no other
            alone.command()(command)
            typer.main.get_command(alone)
    except BenchmarkError as error:
        _join_broken(plugin.name, error)
    else:
        app.command(name=plugin.name, rich_help_panel=REST)(command)


def _join_broken(name: str, error: BenchmarkError) -> None:
    whatever = {"allow_extra_args": True, "ignore_unknown_options": True}

    said = f"broken: {one_line(error)}"

    @app.command(name=name, help=said, context_settings=whatever, rich_help_panel=REST)
    def command() -> None:
        raise error


_OBJECTS = 50_000
"""So many new ones are looked through for cycles."""

OURS = frozenset(typer.main.get_group(app).commands)
"""Nobody takes the place of a command of ours."""

for _plugin in plugins("command").values():
    if _plugin.name not in OURS:
        _join(_plugin)


def _flow(commands: typer.Typer) -> None:
    """Let help fill the window: a docstring breaks lines for the code, and examples begin one."""
    for command in commands.registered_commands:
        text = command.help or inspect.getdoc(command.callback) or ""
        command.help = re.sub(r"(?<!\n)\n(?!\n|Example: )", " ", text)
    for group in commands.registered_groups:
        _flow(group.typer_instance or typer.Typer())


_flow(app)


def main() -> None:
    """The console script: a user's mistake is one message and exit code 2, never a traceback."""
    # Modules stay: to look through them for cycles at every 700 objects is a tenth of the start.
    gc.set_threshold(_OBJECTS)
    try:
        app()
    except BenchmarkError as error:
        _give_up(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            _give_up(
                f"{error.filename or 'a file'} cannot be written: {error.strerror}. Make room, or"
                " name another folder; what is finished is kept, and the same command goes on from"
                " it."
            )
        if error.filename is None:
            raise
        # Something else is where a command keeps something: any of its files may be it.
        advice = "" if isinstance(error, FileNotFoundError) else " Move away what is there."
        _give_up(f"{os.fsdecode(error.filename)}: {error.strerror}.{advice}")
    finally:
        gc.freeze()  # what is left ends with the process, and is not looked through once more


def _give_up(why: str) -> NoReturn:
    print(f"error: {message(why)}", file=sys.stderr)
    sys.exit(2)
