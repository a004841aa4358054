"""The standard streams, made fit for whatever a shell does to them."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, cast


def prepare() -> None:
    """Fill in closed streams, let no character of a name break the output, and let no lost reader of messages break us.

    Standard output may fail, and that is an error; what goes to standard error is said as well as can be.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the first socket would become standard output
        pass
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = cast(Any, _Unbreakable(sys.stderr))


class _Unbreakable:
    """A text stream whose writes never fail."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
