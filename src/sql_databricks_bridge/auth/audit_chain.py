"""The audit log's lines: how one is sealed and tied to the line before it, and how a file of them is verified.

A line is a JSON object whose last field is `hmac`: HMAC-SHA-256 by the audit key (SHA-256 without one) over the line's
own bytes before that field. `sequence` counts from 1 in each file, `previous` is the SHA-256 of the whole line before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sql_databricks_bridge.errors import AuditError

FieldValue = str | int | bool | None

FIRST = "0" * 64
"""`previous` of a file's first line."""

_SEAL = re.compile(rb',"hmac":"([0-9a-f]{64})"\}\Z')


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: its last line's number and SHA-256. Kept elsewhere, it proves that no later cut was made."""

    sequence: int = 0
    digest: str = FIRST


class Breakage(StrEnum):
    """What is wrong with a chain where it breaks."""

    ALTERED = "altered"
    DROPPED = "dropped"
    REORDERED = "reordered"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Verification:
    """What a file's lines prove. `count` lines are whole from the first on, and `head` is the last of them.

    `line` (from 1) is the first that breaks the chain, `breakage` and `reason` say why; None where nothing does.
    """

    count: int
    head: Head
    line: int | None = None
    breakage: Breakage | None = None
    reason: str | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing breaks the chain."""
        return self.breakage is None


def seal(fields: Mapping[str, FieldValue], head: Head, key: bytes | None) -> tuple[bytes, Head]:
    """The line that follows `head`, with its line end, and the head that it becomes.

    ASCII only: what could move a terminal's cursor or split a line is escaped, lone surrogates too.
    """
    record = {**fields, "sequence": head.sequence + 1, "previous": head.digest}
    body = json.dumps(record, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii")[:-1]
    line = body + b',"hmac":"' + _mac(body, key).encode("ascii") + b'"}'
    return line + b"\n", Head(head.sequence + 1, hashlib.sha256(line).hexdigest())


def verify(path: Path, key: str | None, anchor: Head | None = None) -> Verification:
    """Check a file's chain line by line.

    `anchor` is a head of that file kept elsewhere: without it nothing tells that whole lines are missing at the end.
    Raises `AuditError` where the file can't be read.
    """
    secret = key.encode("utf-8", "surrogateescape") if key else None
    head = Head()
    anchored = anchor is None or anchor == head
    try:
        with path.open("rb") as file:
            for line in file:
                found = _check(line, head, secret)
                if isinstance(found, Head):
                    head = found
                    anchored = anchored or head == anchor
                    continue
                breakage, reason = found
                if breakage is Breakage.DROPPED and _holds(file, head.sequence + 1, secret):
                    breakage, reason = Breakage.REORDERED, f"line {head.sequence + 1} of the log stands further down"
                return Verification(head.sequence, head, head.sequence + 1, breakage, reason)
    except OSError as exc:
        raise AuditError(f"The audit log {path} can't be read: {exc.strerror or exc}.") from exc
    if anchor is None or anchored:
        return Verification(head.sequence, head)
    if head.sequence < anchor.sequence:
        reason = f"the file ends before line {anchor.sequence}, which was written"
        return Verification(head.sequence, head, head.sequence + 1, Breakage.CUT, reason)
    reason = "the line is not the one that was anchored: the chain was written anew"
    return Verification(head.sequence, head, anchor.sequence, Breakage.ALTERED, reason)


def _check(line: bytes, head: Head, key: bytes | None) -> Head | tuple[Breakage, str]:
    """The head that a line makes of the one before it, or what is wrong with it."""
    if not line.endswith(b"\n"):
        return (
            Breakage.CUT,
            "the line has no end: it was being written when the process or the disk gave up, or was cut",
        )
    line = line[:-1]
    sequence, previous = _contents(line, key)
    if sequence is None:
        return Breakage.ALTERED, "the line is not as it was sealed" + (" by this key" if key is not None else "")
    if sequence > head.sequence + 1:
        return Breakage.DROPPED, f"line {head.sequence + 1} of the log is missing, next is {sequence}"
    if sequence <= head.sequence:
        return Breakage.REORDERED, f"line {sequence} of the log stands here (again)"
    if previous != head.digest:
        return Breakage.ALTERED, "the line does not follow the one before it, which was replaced, or is of another file"
    return Head(sequence, hashlib.sha256(line).hexdigest())


def _contents(line: bytes, key: bytes | None) -> tuple[int, str] | tuple[None, None]:
    """`sequence` and `previous` of a line whose seal holds."""
    sealed = _SEAL.search(line)
    if sealed is None or not hmac.compare_digest(_mac(line[: sealed.start()], key).encode("ascii"), sealed[1]):
        return None, None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None, None
    sequence, previous = record.get("sequence"), record.get("previous")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not isinstance(previous, str):
        return None, None
    return sequence, previous


def _holds(lines: Iterable[bytes], sequence: int, key: bytes | None) -> bool:
    return any(_contents(line.removesuffix(b"\n"), key)[0] == sequence for line in lines)


def _mac(body: bytes, key: bytes | None) -> str:
    return hashlib.sha256(body).hexdigest() if key is None else hmac.new(key, body, hashlib.sha256).hexdigest()
