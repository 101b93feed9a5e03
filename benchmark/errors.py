"""Errors that are the user's to mend: shown as one message, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from benchmark.hygiene import one_line


class BenchmarkError(Exception):
    """What was wrong, where, and what to do about it. The command line prints it and exits 2."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> BenchmarkError:
    """The error for a name that does not exist: the near matches, then everything there is."""
    name, names = one_line(name, 80), sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    guess = f" Did you mean {' or '.join(near)}?" if near else ""
    listing = f" Available: {', '.join(names)}." if names else ""
    return BenchmarkError(f"unknown {kind} '{name}'.{guess}{listing}{' ' + hint if hint else ''}")
