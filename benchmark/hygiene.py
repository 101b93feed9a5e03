"""What comes from files, ids, titles and exceptions, made fit to be shown or written."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LINE = 500
"""Characters of a text that is not ours within one line of a message."""
MESSAGE = 8000
"""Characters of a whole message: an exception may carry 100 kB."""

_FORMULA = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """``text`` with a question mark for each control code; line ends and tabs stay."""
    if text.isprintable():
        return text
    # isprintable() is false for unusual spaces too, which do no harm; a lone surrogate cannot
    # be encoded, and direction marks make a name read as another one.
    controls = {ord(c): "?" for c in set(text) if _is_control(c)}
    return text.translate(controls) if controls else text


def _is_control(character: str) -> bool:
    if character.isprintable() or character in "\n\t":
        return False
    return not character.isspace() or ord(character) < 0xA0 or character in "\u2028\u2029"


def one_line(text: object, limit: int = LINE) -> str:
    """``text`` in one printable line of about ``limit`` characters; says what was left out."""
    try:
        whole = str(text)
    except BaseException as error:  # noqa: BLE001 — an exception's own __str__ may fail in any way
        whole = f"{type(text).__name__} (its text cannot be had: {type(error).__name__})"
    shown = " ".join(printable(whole[: 4 * limit]).split())
    return cut(shown, limit) if len(whole) <= 4 * limit else _cut(shown, limit, len(whole))


def cut(text: str, limit: int) -> str:
    """``text``, or its beginning and how many characters it has."""
    return text if len(text) <= limit else _cut(text, limit, len(text))


def _cut(text: str, limit: int, size: int) -> str:
    return f"{text[:limit]}… ({size:,} characters)"


def message(text: object) -> str:
    """A whole message for the terminal: its lines, printable, of bounded length."""
    return cut(printable(str(text)), MESSAGE)


def command_line(*words: object) -> str:
    """A command as it can be pasted into a shell, whatever is in its paths and names."""
    return shlex.join(str(word) for word in words)


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay what they are."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def csv_cells(values: Iterable[Any]) -> list[Any]:
    """:func:`csv_cell` of each."""
    return [csv_cell(value) for value in values]


def escape_markdown(text: str) -> str:
    """Text for Markdown, table cells included."""
    for character in "\\|*_<>[]`":
        text = text.replace(character, "\\" + character)
    return text


def _is_number(text: str) -> bool:
    """Whether it is a number, or a mean with its spread ("-0.12 ± 0.03")."""
    try:
        return all(float(part) is not None for part in text.split(" ± "))
    except ValueError:
        return False


def terminal(**options: Any) -> Console:
    """A terminal that no control code reaches but our own styles."""
    from rich.console import Console

    made = Console(**options)
    made.push_render_hook(_clean_hook())
    return made


def _clean_hook() -> Any:
    from rich.console import ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
    from rich.segment import Segment

    class Clean:
        def __init__(self, content: ConsoleRenderable) -> None:
            self.content = content

        def __rich_console__(self, shown_on: Console, options: ConsoleOptions) -> RenderResult:
            for part in shown_on.render(self.content, options):
                yield part if part.control else Segment(printable(part.text), part.style)

    class CleanHook(RenderHook):
        def process_renderables(
            self, renderables: list[ConsoleRenderable]
        ) -> list[ConsoleRenderable]:
            return [Clean(content) for content in renderables]

    return CleanHook()
