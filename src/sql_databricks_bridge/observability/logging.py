"""Logs: events with fields, one a line on standard error; JSON, or readable on a developer's terminal.

The standard library's logging (uvicorn, SQLAlchemy, Alembic, the Databricks SDK) goes the same way.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import structlog

from sql_databricks_bridge.observability.redaction import Redactor

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, Processor

Style = Literal["json", "console"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NOISY = {
    **dict.fromkeys(("watchfiles.main", "alembic.runtime.plugins", "mssql_python"), logging.WARNING),
    "uvicorn.error": logging.ERROR,
}
"""Libraries that are quieter than the level: what uvicorn tells, the service tells itself; mssql-python has deadlocked
when it logged from threads (FACTS.md)."""


def configure(
    level: str, *, style: Style = "json", secrets: Iterable[str] = (), stream: TextIO | None = None
) -> Redactor:
    """Send events of `level` ('DEBUG', ...) and above to standard error; standard output is for results.

    Libraries log from INFO on at most: below it they show requests whole. `secrets` are starred wherever they appear;
    more may be added to the `Redactor` that is returned. Called again it replaces what was set before.
    """
    number = logging.getLevelNamesMapping()[level]
    sink = _Sink(stream or sys.stderr)
    global _redactor  # what structlog and the standard library are told below is the process's as well
    redactor = _redactor = Redactor(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [structlog.processors.format_exc_info, redactor, *_rendering(style, sink.is_terminal)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    _route_libraries(_Handler(sink, shared, last), max(number, logging.INFO))
    return redactor


def redactor() -> Redactor:
    """The one that `configure` made last: a secret that is added to it is starred from now on."""
    return _redactor


def style_of(log_format: str, *, production: bool, stream: TextIO | None = None) -> Style:
    """What LOG_FORMAT ('json', 'console' or 'auto') means here: 'auto' is readable on a terminal in development."""
    if log_format in ("json", "console"):
        return "json" if log_format == "json" else "console"
    return "console" if not production and (stream or sys.stderr).isatty() else "json"


_redactor = Redactor()


class _Sink:
    """Writes whole lines, those of structlog and of the standard library under one lock."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    @property
    def is_terminal(self) -> bool:
        return self._stream.isatty()

    def msg(self, line: str) -> None:
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _Handler(logging.Handler):
    """Takes the standard library's records into the bridge's format."""

    def __init__(self, sink: _Sink, shared: list[Processor], last: list[Processor]) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            )
        )

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.msg(self.format(record))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001  the standard library would print the record's arguments, secrets included
            structlog.get_logger(__name__).error("log.unprintable", logger=record.name, line=record.lineno)


def _route_libraries(handler: _Handler, level: int) -> None:
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(max(level, least))


def _rendering(style: Style, terminal: bool) -> list[Processor]:
    if style == "json":
        return [structlog.processors.JSONRenderer(default=str)]
    console = structlog.dev.ConsoleRenderer(
        colors=terminal and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,  # the others show local variables
    )
    return [_spell_out_controls, console]


def _spell_out_controls(_: Any, __: str, event_dict: EventDict) -> EventDict:
    """Spell out what would steer a terminal, or begin a line that looks like another event's.

    The lines of a traceback stay lines, indented.
    """
    exception = event_dict.pop("exception", None)
    spelled: EventDict = {_visible(key): _visible_in(value) for key, value in event_dict.items()}
    if exception is not None:
        lines = str(exception).split("\n")
        spelled["exception"] = "\n".join(f"    {_visible(line)}" for line in lines)
    return spelled


def _visible_in(value: Any) -> Any:
    if isinstance(value, str):
        return _visible(value)
    if isinstance(value, dict):
        return {key: _visible_in(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible_in(item) for item in value]
    return value


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
