"""Server-sent events out of pieces of bytes. Source: WHATWG HTML, "9.2.6 Interpreting an event stream".

Only CR and LF end a line here: text libraries would also cut at U+2028, which JSON may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventStream:
    """Decodes one stream; comments, ids and retry times are of no use here and are left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._data = "", list[str]()

    def feed(self, piece: bytes) -> Iterator[tuple[str, str]]:
        """Take the next bytes; yield (event, data) for each event that they complete."""
        *lines, self._rest = self._lines(self._rest + piece)
        for line in lines:
            if line:
                self._field(line.decode("utf-8", "replace"))
                continue
            if self._data:
                yield self._name or "message", "\n".join(self._data)
            self._name, self._data = "", []

    @staticmethod
    def _lines(buffer: bytes) -> list[bytes]:
        """The lines, the last one being open. A CR at the very end may be the first half of CR LF."""
        if buffer.endswith(b"\r"):
            *lines, last = _LINE_END.split(buffer[:-1])
            return [*lines, last + b"\r"]
        return _LINE_END.split(buffer)

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
