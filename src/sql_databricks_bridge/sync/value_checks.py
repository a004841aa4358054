"""What the conversions of values share: how a type or a value is refused, and the checks that decide it.

A check costs one or two kernels where every value passes; masks are made only where one does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.models.tables import TargetColumn
from sql_databricks_bridge.sync.value_zones import Zone

Conversion = Callable[[pa.Array], pa.Array]
"""From an array of the source to one of the type that is staged; raises `Misfit`."""

Reason = str | Callable[[Any], str]
"""Why a value is refused: for all alike, or made from the one that is shown."""

CAST_HINT = "Correct the value in the source, or CAST or ROUND the column there."


class Unfit(Exception):
    """A type can never go into that target type; the text says why."""


class Misfit(Exception):
    """Some values can't be stored exactly: `mask` is true at them (false or null elsewhere), `reason` says why."""

    def __init__(self, mask: pa.Array, reason: Reason, hint: str = CAST_HINT) -> None:
        super().__init__(reason)
        self.mask = mask
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Into:
    """Where the values of a column go: the target's column, its type, and the Arrow type that is staged for it."""

    column: TargetColumn
    type: SqlServerType
    staged: pa.DataType
    zone: Zone | None = None


def refuse(mask: pa.Array, reason: Reason, hint: str = CAST_HINT) -> None:
    """Raise `Misfit` if the mask is true anywhere."""
    if pc.any(mask).as_py():
        raise Misfit(mask, reason, hint)


def refuse_by(array: pa.Array, bad: Callable[[Any], bool], reason: Reason, hint: str = CAST_HINT) -> None:
    """Raise `Misfit` if a value is bad. It looks at each in Python: for columns already known to hold a bad one."""
    refuse(pa.array([value is not None and bad(value) for value in array.to_pylist()], pa.bool_()), reason, hint)


def require_between(array: pa.Array, least: Any, most: Any, reason: Reason, hint: str = CAST_HINT) -> None:
    """Raise `Misfit` unless every value of a numeric array is within those bounds, both included."""
    found = pc.min_max(array).as_py()
    if found["min"] is None:
        return
    masks = []
    if found["min"] < least:
        masks.append(pc.less(array, pa.scalar(least, array.type)))
    if found["max"] > most:
        masks.append(pc.greater(array, pa.scalar(most, array.type)))
    if masks:
        raise Misfit(reduce(pc.or_, masks), reason, hint)


def remainder(integers: pa.Array, unit: int) -> pa.Array:
    """What is left of each integer, none of them negative, after division by `unit`."""
    return pc.subtract(integers, pc.multiply(pc.divide(integers, unit), unit))


def require_whole(integers: pa.Array, unit: int, reason: Reason, hint: str = CAST_HINT) -> None:
    """Raise `Misfit` unless every integer, negative ones too, is a multiple of `unit`."""
    refuse(pc.not_equal(pc.multiply(pc.divide(integers, unit), unit), integers), reason, hint)


def unchanged(array: pa.Array) -> pa.Array:
    """Pass values on that need no check."""
    return array
