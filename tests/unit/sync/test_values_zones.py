"""Local time and UTC for whole columns, against zoneinfo a value at a time."""

# ruff: noqa: DTZ001 (local times)

from __future__ import annotations

import datetime as dt
import importlib.resources
import struct
import zoneinfo
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.sync.value_zones import Zone

EPOCH = dt.datetime(1970, 1, 1)
MICROSECOND = dt.timedelta(microseconds=1)
NAMES = [
    "Europe/Madrid", "America/Bogota", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Kolkata",
    "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kwajalein", "Africa/Casablanca", "Africa/Monrovia", "Asia/Manila",
    "America/Juneau", "Africa/Freetown", "Antarctica/Troll", "Europe/Dublin", "UTC",
]  # fmt: skip
ZONES = {name: Zone.named(name) for name in NAMES}
DAYS = (dt.datetime(9999, 12, 28) - dt.datetime(1, 1, 4)).days


def zone_file(name: str) -> bytes:
    """A zone's compiled file, from where zoneinfo takes it."""
    for folder in zoneinfo.TZPATH:
        if (path := Path(folder, name)).is_file():
            return path.read_bytes()
    return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def changes(data: bytes) -> list[int]:
    """Seconds since 1970 at which the offset to UTC changes, from the 64-bit part of such a file (RFC 9636)."""

    def header(position: int) -> tuple[int, ...]:
        return struct.unpack(">20x6l", data[position : position + 44])

    utc, std, leap, times, types, characters = header(0)
    second = 44 + times * 5 + types * 6 + characters + leap * 8 + std + utc
    _, _, _, times, types, _ = header(second)
    start = second + 44
    instants = struct.unpack(f">{times}q", data[start : start + 8 * times])
    indices = data[start + 8 * times : start + 9 * times]
    records = data[start + 9 * times :]
    offsets = [struct.unpack(">l", records[6 * n : 6 * n + 4])[0] for n in range(types)]
    found, before = [], offsets[0]
    for instant, index in zip(instants, indices, strict=True):
        if offsets[index] != before:
            found.append(instant)
            before = offsets[index]
    return found


def test_no_zone_changes_its_offset_twice_within_three_days() -> None:
    """What `Zone` builds on, for every zone of this machine's database."""
    gaps = {
        name: min((late - early for early, late in pairwise(changes(zone_file(name)))), default=10**9)
        for name in zoneinfo.available_timezones()
    }
    assert len(gaps) > 400
    assert {name: gap for name, gap in gaps.items() if gap < 3 * 86_400} == {}


CHANGES = {name: changes(zone_file(name)) or [0] for name in NAMES}


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, list[dt.datetime | None]]:
    """A zone, and moments: anywhere, or near one of its changes, listed or in the far future."""
    name = draw(st.sampled_from(NAMES))
    near = st.builds(
        lambda change, seconds: EPOCH + dt.timedelta(seconds=max(change, -(10**10)) + seconds),
        st.sampled_from(CHANGES[name]),
        st.integers(-90_000, 90_000) | st.sampled_from([-1, 0, 1]),
    )
    anywhere = st.datetimes(dt.datetime(1, 1, 4), dt.datetime(9999, 12, 28))
    return name, draw(st.lists(st.none() | near | anywhere, max_size=6))


def us(moment: dt.datetime | None) -> int | None:
    return None if moment is None else (moment.replace(tzinfo=None) - EPOCH) // MICROSECOND


@given(moments())
def test_local_time_is_zoneinfos(drawn: tuple[str, list[dt.datetime | None]]) -> None:
    """Instants to local time."""
    name, values = drawn
    there = zoneinfo.ZoneInfo(name)
    expected = [us(None if value is None else value.replace(tzinfo=dt.UTC).astimezone(there)) for value in values]
    assert ZONES[name].to_local(pa.array([us(value) for value in values], pa.int64())).to_pylist() == expected


@given(moments())
def test_utc_is_zoneinfos_and_what_has_no_one_instant_is_told(drawn: tuple[str, list[dt.datetime | None]]) -> None:
    """Local time to instants: PEP 495 tells repeated and skipped ones apart by what comes back."""
    name, values = drawn
    there = zoneinfo.ZoneInfo(name)
    instants, twice, never = ZONES[name].to_utc(pa.array([us(value) for value in values], pa.int64()))
    for value, instant, is_twice, is_never in zip(
        values, instants.to_pylist(), twice.to_pylist(), never.to_pylist(), strict=True
    ):
        if value is None:
            assert instant is None
            continue
        both = [value.replace(tzinfo=there, fold=fold).astimezone(dt.UTC) for fold in (0, 1)]
        returning = {one for one in both if one.astimezone(there).replace(tzinfo=None, fold=0) == value}
        assert (is_twice, is_never) == (len(returning) == 2, len(returning) == 0)
        if len(returning) == 1:
            assert instant == us(*returning)


@pytest.mark.parametrize("year", [1950, 2020, 2037, 2050, 2150, 9000])
def test_summer_time_goes_on_for_ever(year: int) -> None:
    """Arrow's kernels end it in 2037, Polars' in 2100."""
    noon = pa.array([us(dt.datetime(year, 7, 1, 12))], pa.int64())
    assert ZONES["America/New_York"].to_local(noon).to_pylist() == [us(dt.datetime(year, 7, 1, 8))]


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "europe/madrid", "Europe", "../../etc/passwd", "/etc/localtime", "localtime", "Factory",
     "right/UTC", "posixrules", "UTC+2", "Europe/Madrid ", "x" * 500, "Europe/Mad\0rid"],
)  # fmt: skip
def test_a_name_that_is_no_zone_is_refused(name: str) -> None:
    """Only names of the IANA database, spelled as there; nothing of the machine's own setting."""
    with pytest.raises(EventInvalid, match="is not a time zone of the IANA database") as caught:
        Zone.named(name)
    assert len(caught.value.message) < 200


def test_a_column_without_values_has_no_days() -> None:
    """Empty and all-NULL arrays."""
    for values in ([], [None, None]):
        array = pa.array(values, pa.int64())
        assert ZONES["UTC"].to_local(array).to_pylist() == values
        assert [part.to_pylist() for part in ZONES["UTC"].to_utc(array)] == [values] * 3
