"""Reading a Delta table's deletion vectors: which rows of a data file are gone.

Source: the Delta transaction log protocol, "Deletion Vectors" (descriptor, file layout, Z85) and "Deletion Vector
Format" (an array of 32-bit Roaring bitmaps in the portable serialization of RoaringFormatSpec).
"""

from __future__ import annotations

import struct
import uuid
from pathlib import Path
from typing import Any

import numpy as np

_MAGIC = 1681511377
_WITH_RUNS, _WITHOUT_RUNS = 12347, 12346
_NO_OFFSETS_BELOW = 4
_ARRAY_LIMIT = 4096
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DIGITS = {character: value for value, character in enumerate(_Z85)}
_UUID_LENGTH = 20


def path_of(descriptor: dict[str, Any]) -> str | None:
    """The vector's file, relative to the table's folder; None for a vector that stands in the log itself."""
    if descriptor["storageType"] == "i":
        return None
    if descriptor["storageType"] != "u":
        raise ValueError(f"unknown storage of a deletion vector: {descriptor['storageType']!r}")
    text = descriptor["pathOrInlineDv"]
    prefix, encoded = text[:-_UUID_LENGTH], text[-_UUID_LENGTH:]
    name = f"deletion_vector_{uuid.UUID(bytes=_z85(encoded))}.bin"
    return f"{prefix}/{name}" if prefix else name


def rows(folder: Path, descriptor: dict[str, Any] | None) -> Any:
    """The positions (a sorted array of int64) that a descriptor of an `add` action marks as deleted; empty for None."""
    if descriptor is None:
        return np.empty(0, np.int64)
    path = path_of(descriptor)
    if path is None:
        return _bitmaps(_z85(descriptor["pathOrInlineDv"])[: descriptor["sizeInBytes"]])
    with (folder / path).open("rb") as file:
        file.seek(descriptor.get("offset") or 0)
        (size,) = struct.unpack(">i", file.read(4))
        return _bitmaps(file.read(size))


def _z85(text: str) -> bytes:
    out = bytearray()
    for start in range(0, len(text), 5):
        value = 0
        for character in text[start : start + 5]:
            value = value * 85 + _DIGITS[character]
        out += struct.pack(">I", value)
    return bytes(out)


def _bitmaps(data: bytes) -> Any:
    magic, count = struct.unpack_from("<iq", data)
    if magic != _MAGIC:
        raise ValueError(f"unknown format of a deletion vector: {magic}")
    position, parts = 12, [np.empty(0, np.int64)]
    for _ in range(count):
        (high,) = struct.unpack_from("<I", data, position)
        found, position = _bitmap(data, position + 4)
        parts.append(found + (high << 32))
    return np.concatenate(parts)


def _bitmap(data: bytes, position: int) -> tuple[Any, int]:
    """One 32-bit Roaring bitmap and where it ends."""
    (cookie,) = struct.unpack_from("<I", data, position)
    position += 4
    runs = b""
    if cookie & 0xFFFF == _WITH_RUNS:
        count = (cookie >> 16) + 1
        runs = data[position : position + (count + 7) // 8]
        position += len(runs)
    elif cookie == _WITHOUT_RUNS:
        (count,) = struct.unpack_from("<I", data, position)
        position += 4
    else:
        raise ValueError(f"unknown Roaring bitmap: {cookie}")
    heads = np.frombuffer(data, "<u2", 2 * count, position).astype(np.int64).reshape(count, 2)
    position += 4 * count
    if not runs or count >= _NO_OFFSETS_BELOW:
        position += 4 * count
    parts = [np.empty(0, np.int64)]
    for index, (high, less_one) in enumerate(heads):
        if runs and runs[index // 8] >> (index % 8) & 1:
            (length,) = struct.unpack_from("<H", data, position)
            pairs = np.frombuffer(data, "<u2", 2 * length, position + 2).astype(np.int64).reshape(length, 2)
            low = np.concatenate([np.arange(first, first + more + 1) for first, more in pairs])
            position += 2 + 4 * length
        elif less_one < _ARRAY_LIMIT:
            low = np.frombuffer(data, "<u2", less_one + 1, position).astype(np.int64)
            position += 2 * (less_one + 1)
        else:
            low = np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8, 8192, position), bitorder="little"))
            position += 8192
        parts.append(low + (high << 16))
    return np.concatenate(parts), position
