"""What the terminal shows: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from sql_databricks_bridge.errors import BridgeError


_FILE_WIDTH = 200
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@cache
def out() -> Console:
    """The console for results; wide where nobody's screen sets the width (a file, a pipe)."""
    from rich.console import Console

    class Out(Console):
        def on_broken_pipe(self) -> None:
            raise  # called while the BrokenPipeError is handled; rich would end the process here

    return Out(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _FILE_WIDTH)


@cache
def err() -> Console:
    """The console for progress, notes and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    only_ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=only_ascii, default=_text) + "\n")
    sys.stdout.flush()


def print_json_line(document: Any) -> None:
    """Print one JSON document on one line of standard output, at once."""
    sys.stdout.write(json.dumps(document, default=_text) + "\n")
    sys.stdout.flush()


def print_failure(kind: str, message: str, hint: str | None = None) -> None:
    """Print the one document of a command that failed."""
    print_json({"status": "failed", "error": {"kind": kind, "message": message, "hint": hint}})


def _text(value: Any) -> str:
    """What JSON has no form for: bytes as hexadecimal digits, the rest as Python writes it."""
    return value.hex() if isinstance(value, bytes) else str(value)


def visible(text: str) -> str:
    """Text from a table that anybody may write, fit for a terminal: what would steer or reorder it is spelled out."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def print_sql(sql: str) -> None:
    """Print SQL, coloured on a terminal and untouched elsewhere."""
    console = out()
    if not console.is_terminal:
        console.print(sql.strip(), markup=False, soft_wrap=True)
        return
    from rich.syntax import Syntax

    console.print(Syntax(sql.strip(), "tsql", theme="ansi_dark", background_color="default", word_wrap=True))


def print_error(message: str, hint: str | None = None) -> None:
    """Say what went wrong and what to do, without markup, so that no bracket in a name is taken for a style."""
    from rich.text import Text

    text = Text.assemble(("error: ", "bold red"), visible(message))
    err().print(text, soft_wrap=True)
    if hint:
        err().print(Text.assemble(("  -> ", "bold"), visible(hint)), soft_wrap=True)


def print_warning(message: str) -> None:
    """Say what the user should know though the work goes on."""
    from rich.text import Text

    err().print(Text.assemble(("warning: ", "bold yellow"), visible(message)), soft_wrap=True)


def report_error(exc: BridgeError, *, as_json: bool, debug: bool = False) -> None:
    """Show an error: for a person, and, with `as_json`, as the command's one document too."""
    if as_json:
        print_failure(type(exc).__name__, exc.message, exc.hint)
    print_error(exc.message, exc.hint)
    if debug:
        err().print_exception()


def human_bytes(size: float) -> str:
    """Bytes as '12.3 MB' (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Seconds as '1.2 s' or '3 min 4 s'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
