"""Deletion vectors of every container kind are read as the positions that were put into them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sql_databricks_bridge.sandbox.databricks import deletionvectors

UUID_TEXT = "f9}gwAz1Vx0[Y.5<3GXJ5@"  # seen in a log of the engine, with its file
UUID_PATH = "f9/deletion_vector_f982f957-0536-4b1c-bcf4-bc3f84db9da8.bin"


def array(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def bitmap(values: Sequence[int]) -> bytes:
    bits = np.zeros(65536, np.uint8)
    bits[list(values)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def without_runs(containers: Sequence[tuple[int, int, bytes]]) -> bytes:
    heads = b"".join(struct.pack("<HH", key, size - 1) for key, size, _ in containers)
    body = b"".join(each for _, _, each in containers)
    return struct.pack("<II", 12346, len(containers)) + heads + bytes(4 * len(containers)) + body


def stored(folder: Path, bitmaps: Sequence[tuple[int, bytes]]) -> dict[str, object]:
    data = struct.pack("<iq", 1681511377, len(bitmaps))
    data += b"".join(struct.pack("<I", key) + each for key, each in bitmaps)
    path = folder / UUID_PATH
    path.parent.mkdir()
    path.write_bytes(b"\x01" + struct.pack(">i", len(data)) + data + b"\0\0\0\0")
    return {"storageType": "u", "pathOrInlineDv": UUID_TEXT, "offset": 1, "sizeInBytes": len(data)}


def test_the_file_is_named_by_its_uuid() -> None:
    assert deletionvectors.path_of({"storageType": "u", "pathOrInlineDv": UUID_TEXT}) == UUID_PATH
    with pytest.raises(ValueError, match="storage"):
        deletionvectors.path_of({"storageType": "p", "pathOrInlineDv": "/x"})


def test_arrays_and_bitmaps_keep_their_high_bits(tmp_path: Path) -> None:
    many = range(0, 65536, 3)
    low = without_runs([(0, 2, array([2, 3])), (7, len(many), bitmap(many))])
    high = without_runs([(0, 1, array([9]))])
    found = deletionvectors.rows(tmp_path, stored(tmp_path, [(0, low), (1, high)]))
    assert found.tolist() == [2, 3, *(7 * 65536 + each for each in many), (1 << 32) + 9]


@pytest.mark.parametrize("containers", [1, 4])
def test_runs_are_unrolled_with_and_without_offsets(tmp_path: Path, containers: int) -> None:
    run = struct.pack("<HHHHH", 2, 5, 2, 100, 0)  # 5 to 7, and 100
    cookie = struct.pack("<I", 12347 | (containers - 1) << 16) + bytes([(1 << containers) - 1])
    heads = b"".join(struct.pack("<HH", key, 3) for key in range(containers))
    offsets = bytes(4 * containers) if containers >= 4 else b""
    found = deletionvectors.rows(tmp_path, stored(tmp_path, [(0, cookie + heads + offsets + run * containers)]))
    assert found.tolist() == [key * 65536 + each for key in range(containers) for each in (5, 6, 7, 100)]


def test_no_vector_is_no_rows(tmp_path: Path) -> None:
    assert deletionvectors.rows(tmp_path, None).tolist() == []
