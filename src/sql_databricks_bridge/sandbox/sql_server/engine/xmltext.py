"""XML that is stored as it was sent: only such as SQL Server would give back letter by letter.

SQL Server keeps a tree, not a text, and writes it out in a form of its own: no declaration, no CDATA, double quotes,
`<a/>` for an element without content, no text that is white space only ("Create instances of XML data", "xml data
type"). A document that is in that form already is kept; another is refused, since what a real server would answer is
not what was sent.
"""

from __future__ import annotations

from typing import NoReturn
from xml.parsers import expat

from .errors import unsupported

_BOM = "\ufeff"
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#x0D;"})
_ATTRIBUTE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#x09;", "\n": "&#x0A;", "\r": "&#x0D;"}
)


def check_document(text: str, column: str) -> str:
    """The document (or fragment) without a byte order mark; `SqlError` where it can't be kept as it is."""
    text = text.removeprefix(_BOM)
    if text.strip() and _Writer(column).normal(text) != text:
        raise unsupported(f"xml that SQL Server would store in another form (column '{column}')")
    return text if text.strip() else ""


class _Writer:
    """Writes again what it reads."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._out: list[str] = []
        self._open = False
        self._text: list[str] = []
        self._depth = 0

    def normal(self, text: str) -> str:
        parser = expat.ParserCreate()
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.CommentHandler = lambda data: self._verbatim(f"<!--{data}-->")
        parser.ProcessingInstructionHandler = lambda target, data: self._verbatim(f"<?{target} {data}?>")
        parser.StartDoctypeDeclHandler = self._refuse_dtd
        try:
            # The xml type takes fragments too: several roots, or text alone.
            parser.Parse(f"<x>{text}</x>".encode(), True)
        except expat.ExpatError as exc:
            raise unsupported(f"xml that is not well-formed (column '{self._column}': {exc})") from exc
        return "".join(self._out)[len("<x>") : -len("</x>")]

    def _start(self, name: str, attributes: list[str]) -> None:
        self._flush()
        self._close()
        pairs = zip(attributes[::2], attributes[1::2], strict=True)
        self._out.append(f"<{name}" + "".join(f' {key}="{value.translate(_ATTRIBUTE)}"' for key, value in pairs))
        self._open = True
        self._depth += 1

    def _end(self, name: str) -> None:
        self._flush()
        self._depth -= 1
        if self._open and self._depth:
            self._out.append("/>")
        else:
            self._close()
            self._out.append(f"</{name}>")
        self._open = False

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        if text.strip(" \t\r\n"):
            self._close()
            self._out.append(text.translate(_TEXT))

    def _verbatim(self, text: str) -> None:
        self._flush()
        self._close()
        self._out.append(text)

    def _close(self) -> None:
        if self._open:
            self._out.append(">")
            self._open = False

    def _refuse_dtd(self, *_: object) -> NoReturn:
        raise unsupported(f"xml with a DTD (column '{self._column}')")
