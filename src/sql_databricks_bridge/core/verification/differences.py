"""Which keys of differing ranges differ, and in which columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from sql_databricks_bridge.core.canonical.landed import row_digests, row_texts
from sql_databricks_bridge.core.verification.asked import Asked
from sql_databricks_bridge.core.verification.cuts import Cut
from sql_databricks_bridge.core.verification.source import key_of, told
from sql_databricks_bridge.models.verification import Finding, KeyDifference

_HEX_DIGITS = 16

_Rows = dict[tuple[int, tuple[str, ...]], Counter[tuple[int, ...]]]


def landed_rows(batches: Iterable[pa.RecordBatch], asked: Asked, cut: Cut, ranges: Collection[int]) -> _Rows:
    """Rows of some ranges, from all landed ones."""
    wanted = np.array(sorted(ranges), np.int64)
    found: _Rows = {}
    for batch in batches:
        kept = np.isin(cut.numbers(batch), wanted)
        if kept.any():
            _add(found, _digested(batch.filter(pa.array(kept)), asked, cut), len(key_of(asked)))
    return found


def source_rows(batches: Iterable[pa.RecordBatch], asked: Asked) -> _Rows:
    """The same of SQL Server's answer, see `source.rows_of`."""
    found: _Rows = {}
    for batch in batches:
        _add(found, batch, len(key_of(asked)))
    return found


def differences(asked: Asked, source: _Rows, landed: _Rows) -> Iterator[KeyDifference]:
    """Every key whose rows differ, in the order of ranges and keys."""
    names = [group[0].name for group in told(asked)]
    for number, key in sorted(source.keys() | landed.keys()):
        ours, theirs = source.get((number, key), Counter()), landed.get((number, key), Counter())
        if ours == theirs:
            continue
        if asked.has_key:
            finding, columns = _judged(ours, theirs, names)
            yield KeyDifference(_shown(asked, key), finding, number, columns)
        else:
            yield from _without_key(number, ours - theirs, Finding.ONLY_IN_SQL_SERVER)
            yield from _without_key(number, theirs - ours, Finding.ONLY_LANDED)


def _judged(
    ours: Counter[tuple[int, ...]], theirs: Counter[tuple[int, ...]], names: Sequence[str]
) -> tuple[Finding, tuple[str, ...]]:
    if not theirs:
        return Finding.ONLY_IN_SQL_SERVER, ()
    if not ours:
        return Finding.ONLY_LANDED, ()
    if ours.total() != theirs.total():
        return Finding.COUNT, ()
    if ours.total() > 1:
        return Finding.DIFFERENT, ()
    (one,), (other,) = ours, theirs
    return Finding.DIFFERENT, tuple(name for name, left, right in zip(names, one, other, strict=True) if left != right)


def _without_key(number: int, rows: Counter[tuple[int, ...]], finding: Finding) -> Iterator[KeyDifference]:
    for (digest,), count in sorted(rows.items()):
        text = f"row {digest & (2**64 - 1):0{_HEX_DIGITS}x}"
        yield KeyDifference(text if count == 1 else f"{text}, {count} times", finding, number)


def _digested(batch: pa.RecordBatch, asked: Asked, cut: Cut) -> pa.RecordBatch:
    """What SQL Server's statement returns, of landed rows."""
    columns = {"range": pa.array(cut.numbers(batch))}
    for at, column in enumerate(key_of(asked)):
        columns[f"k{at}"] = row_texts(batch, [column])
    for at, group in enumerate(told(asked)):
        first = np.ascontiguousarray(row_digests(batch, group)[:, :8])
        columns[f"c{at}"] = pa.array(first.view(">i8").reshape(-1).astype(np.int64))
    return pa.RecordBatch.from_pydict(columns)


def _add(found: _Rows, batch: pa.RecordBatch, keys: int) -> None:
    number, *others = (column.to_pylist() for column in batch.columns)
    texts, values = others[:keys], others[keys:]
    for at, each in enumerate(number):
        key = (each, tuple(text[at] for text in texts))
        found.setdefault(key, Counter())[tuple(value[at] for value in values)] += 1


def _shown(asked: Asked, key: tuple[str, ...]) -> str:
    """The key's values out of their canonical texts: 'id=5, code=AB'."""
    return ", ".join(
        f"{column.name}={_plain(text, is_string=column.is_string)}" for column, text in zip(asked.key, key, strict=True)
    )


def _plain(text: str, *, is_string: bool) -> str:
    if text in ("N", "N;"):
        return "NULL"
    return text.partition(":")[2] if is_string else text.removesuffix(";")
