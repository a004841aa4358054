"""Names and values that want to be SQL: none is executed, each is refused or safely quoted, and real ones are exact.

Every hostile text carries a mark. A text that got into a statement in any other way than as one whole quoted
identifier leaves its mark where no identifier is, or as an identifier that is none of the texts: `leaks` finds it in
everything that was sent to either end. Values have no business in a statement at all: they are bound.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from sql_databricks_bridge import composition
from sql_databricks_bridge.db.binding import Bound
from sql_databricks_bridge.db.identifiers import databricks_identifier, sql_server_identifier
from sql_databricks_bridge.db.session import Session, dynamic
from sql_databricks_bridge.errors import SourceRefused
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge.models.text import utf16_length
from sql_databricks_bridge.sync.validators import event_id_problem
from tests.integration.sync_support import SyncBench, driver_connection
from tests.proof.conftest import SEED, Ends, insert_events, scaled

NAMES, REAL_NAMES = scaled(60, 2_000), scaled(10, 150)
NAMES_A_TIME = scaled(60, 40)
EACH_SLOT_TAKES = scaled(3, 1)
"""Every so manieth text comes to a slot, other ones to the next slot."""
MARK = re.compile(r"zq\d{5}qz")
NAME_LENGTH = 400
NOT_IN_THE_SANDBOX = re.compile(r"[\uff01-\uff5e]")
"""Full-width forms: the SQL Server stand-in refuses by name to compare them, as the looking up of a table does."""

PIECES = (
    *("'", "''", '"', '""', "`", "``", "[", "]", "]]", "[[", "(", ")", "{", "}", ";", ",", ".", "..", "\\", "\\'", "/"),
    *("--", "-- ", "/*", "*/", "/**/", "#", "//", "?", "%", "%s", "%(a)s", "%n", "{0}", "{name}", "{{x}}", "${x}"),
    *(":p", "@p", "@@version", "$1", "*", "=", "<>", "|", "||", "&", "+", "!", "^", "~", " ", "  ", "\u00a0"),
    *("' OR '1'='1", "1 OR 1=1", "') OR ('1'='1", "] = 1 OR 1=1 --", "` OR true --", "\\' OR 1=1 --", "NULL", "N'x'"),
    *("'; DROP TABLE {s}.canary; --", "]; DROP TABLE {s}.canary; --", '"; DROP TABLE {s}.canary; --'),
    *("]]; DELETE FROM {s}.canary; --", "; UPDATE {s}.canary SET id = 0; --", ")); DELETE FROM {s}.canary; --"),
    *("'; EXEC('DROP TABLE {s}.canary'); --", "]; EXEC sp_executesql N'DROP TABLE {s}.canary'; --"),
    *("`; DROP TABLE {lake}; --", "'; DROP TABLE {lake}; --", "\\'; DELETE FROM {lake}; --", "` VERSION AS OF 0 --"),
    *("/**/UNION/**/SELECT/**/1", "\nGO\nDROP TABLE {s}.canary\nGO\n", "xp_cmdshell 'x'", "WAITFOR DELAY '0:0:1'"),
    *("{fn now()}", "{call x}", "{ts '2020-01-01'}", "0x27", "CHAR(39)", "&#39;", "%27", "\\u0027", "\\x27", "\\"),
    *("\uff07", "\u2019", "\u02bc", "\u2032", "\u00b4", "\uff3b", "\uff3d", "\uff02", "\uff1b", "\u037e", "\uff40"),
    *("\u212a", "\u017f", "\u0131", "\u0130", "e\u0301", "\u0435", "\u0440", "\u03bf", "\u200b", "\u200d"),
    *("\ufeff", "\u202e", "\u2066", "\u00ad", "\U0001d54f", "\U0001f4a3", "\u4e2d", "\u05d0", "\ufffd", "\uffff"),
    *("\x00", "\x01", "\x08", "\t", "\n", "\r", "\r\n", "\x1a", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029"),
    *(
        "x" * 117,
        "x" * 118,
        "x" * 190,
        "x" * 246,
        "é" * 129,
        "\U0001d54f" * 65,
        "[" * 129,
        "]" * 129,
        "'" * 129,
        "`" * 255,
    ),
)
LONG = ("x" * 5_000, "'" * 5_000, "]" * 5_000)


def hostile_texts(count: int, bench: SyncBench, canary: str) -> list[str]:
    """That many texts by SEED, each with a mark of its own; every piece comes in the first ones, alone."""
    chance = random.Random(SEED)
    pieces = [piece.replace("{s}", bench.schema).replace("{lake}", canary) for piece in PIECES]
    alone = chance.sample(pieces, len(pieces))
    texts = []
    for number in range(count):
        if number < len(alone):
            chosen = [alone[number]]
        elif chance.random() < 0.02:
            chosen = [chance.choice(LONG)]
        else:
            chosen = chance.choices(pieces, k=chance.randint(2, 5))
        chosen.insert(chance.randint(0, len(chosen)), f"zq{number:05}qz")
        texts.append("".join(chosen))
    return texts


# What was sent ------------------------------------------------------------------------------------------------------

_TSQL = re.compile(
    r"(?P<text>N?'(?:[^']|'')*(?:'|\Z))|(?P<name>\[(?:[^\]]|\]\])*(?:\]|\Z))|(?P<quoted>\"(?:[^\"]|\"\")*(?:\"|\Z))"
    r"|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))",
    re.DOTALL,
)
_SPARK = re.compile(
    r"(?P<text>'(?:[^'\\]|\\.)*(?:'|\Z))|(?P<name>`(?:[^`]|``)*(?:`|\Z))|(?P<quoted>\"(?:[^\"\\]|\\.)*(?:\"|\Z))"
    r"|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))",
    re.DOTALL,
)
_CLOSING = {"[": "]", "`": "`"}


def leaks(statement: str, grammar: re.Pattern[str], texts: frozenset[str]) -> list[str]:
    """Where a hostile text stands in a statement otherwise than as one whole quoted identifier."""
    found = []
    position = 0
    for token in grammar.finditer(statement):
        between, position = statement[position : token.start()], token.end()
        if MARK.search(between):
            found.append(f"bare: {between[:200]!r}")
        if not MARK.search(token[0]):
            continue
        closing = _CLOSING.get(token[0][0])
        if closing is None or not token[0].endswith(closing):
            found.append(f"{token.lastgroup}: {token[0][:200]!r}")
        elif token[0][1:-1].replace(closing * 2, closing) not in texts:
            found.append(f"part of an identifier: {token[0][:200]!r}")
    if MARK.search(statement[position:]):
        found.append(f"bare: {statement[position:][:200]!r}")
    return found


@dataclass
class Sent:
    """Every statement of both ends: the stand-ins' request logs, and the batches that the bridge sends as values."""

    ends: Ends
    batches: list[str]
    seen_sql: int = 0
    seen_lake: int = 0
    statements: int = 0
    quoted: int = 0

    def leaks(self, texts: Iterable[str]) -> list[str]:
        """What leaked since the last call."""
        known = frozenset(texts)
        sql = self.ends.sql._call("GET", f"/requests?after={self.seen_sql}")["requests"]
        lake = self.ends.lake._call("GET", f"/requests?after={self.seen_lake}")["requests"]
        self.seen_sql = max((each["sequence"] for each in sql), default=self.seen_sql)
        self.seen_lake = max((each["sequence"] for each in lake), default=self.seen_lake)
        tsql, self.batches[:] = [*self.batches, *(each["statement"] for each in sql)], []
        spark = [each["statement"] for each in lake if each["statement"]]
        self.statements += len(tsql) + len(spark)
        self.quoted += sum(bool(MARK.search(each)) for each in (*tsql, *spark))
        found = [leak for each in tsql for leak in leaks(each, _TSQL, known)]
        return found + [leak for each in spark for leak in leaks(each, _SPARK, known)]


@pytest.fixture
def sent(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Watch both ends. The batch that sp_executesql gets as a value is in no request log, so it is taken down here."""
    batches: list[str] = []
    run = Session.run

    def watched(self: Session, statement: str, bound: Bound | None = None) -> Any:
        batches.append(statement)
        if bound is not None and statement.startswith("EXEC sp_executesql"):
            batches.append(str(bound.values[0]))
        return run(self, statement, bound)

    monkeypatch.setattr(Session, "run", watched)
    made = Sent(ends, batches)
    made.leaks(())
    return made


# Canaries -----------------------------------------------------------------------------------------------------------


@dataclass
class Canaries:
    """Tables that hostile texts want to change, and everything else that is there."""

    bench: SyncBench
    lake: str

    def state(self) -> tuple[object, ...]:
        """Rows of the canaries, and the names of all tables of both schemas."""
        rows = self.bench.sql("SELECT id FROM {s}.canary ORDER BY id")
        names = self.bench.sql("SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(N'{s}') ORDER BY name")
        far = self.bench.lakehouse.execute(f"SELECT id FROM {self.lake} ORDER BY id").to_pylist()
        return rows, names, [row["id"] for row in far]


@pytest.fixture
def canaries(bench: SyncBench) -> Canaries:
    bench.sql("CREATE TABLE {s}.canary (id int NOT NULL PRIMARY KEY); INSERT INTO {s}.canary (id) VALUES (1), (2), (3)")
    return Canaries(bench, bench.source("SELECT CAST(id AS INT) AS id FROM range(3)"))


# The check itself ---------------------------------------------------------------------------------------------------


def test_the_check_finds_what_is_pasted_and_passes_what_is_quoted(bench: SyncBench, canaries: Canaries) -> None:
    """Every text, pasted into a statement in each careless way that there is, is found; quoted, it is not."""
    texts = hostile_texts(2_000, bench, canaries.lake)
    known = frozenset(texts)
    careless = Counter[str]()
    for text in texts:
        for grammar, good in ((_TSQL, sql_server_identifier), (_SPARK, databricks_identifier)):
            if "\x00" not in text:
                assert leaks(f"DELETE FROM a WHERE {good(text)} = @f0; -- done", grammar, known) == []
            assert leaks(f"SELECT {text} FROM a", grammar, known)
            assert leaks(f"SELECT 1 FROM a WHERE b = '{text}'", grammar, known)
            escaped = text.replace("'", "''")
            assert leaks(f"SELECT 1 FROM a WHERE b = N'{escaped}'", grammar, known)
        if "]" in text:
            assert leaks(f"SELECT [{text}] FROM a", _TSQL, known), text
            careless["brackets"] += 1
        if "`" in text:
            assert leaks(f"SELECT `{text}` FROM a", _SPARK, known), text
            careless["backticks"] += 1
    assert careless["brackets"] > 100
    assert careless["backticks"] > 100


def test_an_unsafe_statement_is_seen_on_its_way_to_either_end(bench: SyncBench, canaries: Canaries, sent: Sent) -> None:
    """One that does harm: the logs show it, the canaries tell it."""
    text = f"x]; DELETE FROM {bench.schema}.canary WHERE id = 3 --zq00000qz"
    before = canaries.state()
    bench.sql(f"SELECT 1 AS [{text}]")
    assert [leak for leak in sent.leaks([text]) if "zq00000qz" in leak]
    assert canaries.state() != before
    bench.lakehouse.execute("SELECT 'zq00001qz'")
    assert [leak for leak in sent.leaks([text]) if "zq00001qz" in leak]
    with closing(Session(driver_connection(bench.settings))) as session:
        session.rows(*dynamic("SELECT 1 AS one -- zq00002qz"))
    assert [leak for leak in sent.leaks([text]) if "zq00002qz" in leak]


# Every slot ---------------------------------------------------------------------------------------------------------


def slots(bench: SyncBench, source: str) -> dict[str, Callable[[str], dict[str, Any]]]:
    """For each place of an event that takes a text: the columns that put it there."""
    target = f"{bench.schema}.target"
    delete: dict[str, Any] = {"operation": "DELETE", "target_table": target, "filter_conditions": {"name": "nobody"}}
    insert: dict[str, Any] = {
        "operation": "INSERT",
        "target_table": target,
        "source_table": source,
        "metadata": {"source_version": "0"},
    }
    return {
        "event_id": lambda text: {**delete, "event_id": text},
        "operation": lambda text: {**delete, "operation": text},
        "source_table": lambda text: {**insert, "source_table": text},
        "source_table, quoted": lambda text: {
            **insert,
            "source_table": f"{bench.home}.`{text.replace('`', '``')}`",
        },
        "target_table": lambda text: {**delete, "target_table": text},
        "target_table, quoted": lambda text: {**delete, "target_table": f"{bench.schema}.[{text.replace(']', ']]')}]"},
        "primary_keys": lambda text: {**insert, "operation": "UPDATE", "primary_keys": (text,)},
        "filter key on the target": lambda text: {**delete, "filter_conditions": {text: "x"}},
        "filter value on the target": lambda text: {**delete, "filter_conditions": {"name": text}},
        "filter value of another type": lambda text: {**delete, "filter_conditions": {"id": text}},
        "filter key on the source": lambda text: {**insert, "filter_conditions": {text: "x"}},
        "filter value on the source": lambda text: {**insert, "filter_conditions": {"name": text}},
        "metadata key": lambda text: {**delete, "metadata": {text: "x"}},
        "metadata value": lambda text: {**delete, "metadata": {"note": text}},
        "metadata timezone": lambda text: {**delete, "metadata": {"timezone": text}},
        "metadata source_version": lambda text: {**delete, "metadata": {"source_version": text}},
        "metadata on_conflict": lambda text: {**delete, "metadata": {"on_conflict": text}},
        "metadata user": lambda text: {**delete, "metadata": {"user": text, "signature": text}},
    }


HARMLESS = frozenset(
    {
        "event_id",
        "filter value on the target",
        "filter value on the source",
        "metadata key",
        "metadata value",
    }
)
"""Where any text may stand: what is done with it is nothing, or a comparison that no row meets."""


def expected(slot: str, text: str) -> set[str]:
    """How an event may end that has the text in that slot."""
    if slot == "event_id":
        return {"failed"} if event_id_problem(text) else {"completed"}
    if slot == "metadata user":
        return {"blocked"}
    if slot == "filter value on the target" and (
        "\x00" in text or NOT_IN_THE_SANDBOX.search(text) or utf16_length(text) > NAME_LENGTH
    ):
        return {"failed"}
    return {"completed"} if slot in HARMLESS else {"failed"}


def test_no_hostile_text_in_any_slot_is_executed(bench: SyncBench, canaries: Canaries, sent: Sent) -> None:
    bench.sql(f"CREATE TABLE {{s}}.target (id int NOT NULL PRIMARY KEY, name nvarchar({NAME_LENGTH}) NULL)")
    bench.sql("INSERT INTO {s}.target (id, name) VALUES (1, N'one'), (2, NULL), (3, N'')")
    source = bench.source("SELECT CAST(id + 10 AS INT) AS id, concat('n', id) AS name FROM range(3)")
    rows = bench.sql("SELECT id, name FROM {s}.target ORDER BY id")
    texts = hostile_texts(NAMES, bench, canaries.lake)
    before = canaries.state()
    counts: Counter[str] = Counter()
    for part in range(0, NAMES, NAMES_A_TIME):
        counts += _round_of(bench, source, texts[part : part + NAMES_A_TIME], f"{part:05}")
        assert sent.leaks(texts) == [], f"BRIDGE_PROOF_SEED={SEED}"
        assert bench.sql("SELECT id, name FROM {s}.target ORDER BY id") == rows
    assert canaries.state() == before
    assert bench.staging_tables() == []
    assert counts["completed"] > NAMES // EACH_SLOT_TAKES
    assert sum(counts.values()) >= NAMES * len(slots(bench, source)) // EACH_SLOT_TAKES
    print(  # noqa: T201  # for docs/reliability.md
        f"BRIDGE_PROOF_SEED={SEED}: {NAMES} texts, {dict(sorted(counts.items()))}, "
        f"{sent.statements} statements, {sent.quoted} with a quoted text"
    )


def _round_of(bench: SyncBench, source: str, texts: Sequence[str], tag: str) -> Counter[str]:
    """One event for each text and slot, in an events table of their own; how they ended."""
    settings = bench.settings.model_copy(
        update={"bridge_events_table": f"{bench.settings.bridge_events_table}_{tag}", "max_events_per_poll": 1_000}
    )
    events = composition.events_table(settings, bench.lakehouse)
    events.create()
    try:
        counts: Counter[str] = Counter()
        wanted: dict[str, tuple[str, str]] = {}
        submitted = []
        every = itertools.product(enumerate(texts), enumerate(slots(bench, source).items()))
        for number, ((turn, text), (place, (slot, changes))) in enumerate(every):
            if (turn + place) % EACH_SLOT_TAKES:
                continue
            if slot.startswith("target_table") and NOT_IN_THE_SANDBOX.search(text):
                counts["left out"] += 1
                continue
            columns = {"event_id": f"{bench.schema}-{tag}-{number:05}", **changes(text)}
            wanted[columns["event_id"]] = (slot, text)
            submitted.append(EventRow(**columns, status="pending", priority=0))
        for start in range(0, len(submitted), 500):
            insert_events(bench, settings.bridge_events_table, submitted[start : start + 500])
        poller = bench.poller(
            bridge_events_table=settings.bridge_events_table, max_events_per_poll=settings.max_events_per_poll
        )
        found = 0
        while found < len(submitted):
            report = poller.cycle()
            assert report.problem is None, report.problem
            assert report.handled
            found += len(report.handled)
        ended = {row.event_id: row for row in events.list(None, 2 * len(submitted))}
        assert set(ended) == set(wanted)
        for event_id, (slot, text) in wanted.items():
            row = ended[event_id]
            assert row.status in expected(slot, text), (slot, text, row)
            assert (row.rows_affected or 0) == 0, (slot, text, row)
            assert bool(row.error_message) == (row.status != "completed"), (slot, text, row)
            counts[str(row.status)] += 1
        return counts
    finally:
        bench.lakehouse.execute(f"DROP TABLE {settings.bridge_events_table}")


def test_a_name_that_the_server_will_not_look_up_keeps_no_other_event_waiting(bench: SyncBench, ends: Ends) -> None:
    """It may be the server's fault and not the event's: the event waits, and is worked on when the server answers."""
    bench.sql("CREATE TABLE {s}.first (id int NOT NULL); CREATE TABLE {s}.second (id int NOT NULL)")
    first = bench.submit("DELETE", "{s}.first", filters={"id": "1"}, priority=1)
    second = bench.submit("DELETE", "{s}.second", filters={"id": "1"})
    refused = ends.sql.fault(match={"statement_contains": "AS sees_everything"}, action={"error": 245})
    report = bench.poller().cycle()
    assert ends.sql.hits(refused) == 1
    assert isinstance(report.problem, SourceRefused)
    assert report.left == 1
    assert [bench.event(event_id).status for event_id in (first, second)] == ["pending", "completed"]
    bench.cycle()
    assert bench.event(first).status == "completed"


# Real names ---------------------------------------------------------------------------------------------------------

_DELTA_REFUSES = re.compile(r"[ ,;{}()\n\t=]")  # in a column's name, without column mapping


def real_names(texts: Sequence[str]) -> Iterator[str]:
    """Texts that SQL Server takes as names, apart from characters that the events table can't name."""
    for text in texts:
        short = len(text.encode("utf-16-le")) // 2 <= 128
        if (
            short
            and not NOT_IN_THE_SANDBOX.search(text)
            and not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\uffff]", text)
            and text == text.strip()
        ):
            yield text


def test_tables_and_columns_that_really_have_such_names_are_applied_to_exactly(
    bench: SyncBench, canaries: Canaries, sent: Sent
) -> None:
    """Table, column, key and value are the same text; beside them stand a table and a row that are nearly so."""
    texts = hostile_texts(2_000, bench, canaries.lake)
    names = list(itertools.islice(real_names(texts[len(PIECES) // 2 :]), REAL_NAMES))
    assert len(names) == REAL_NAMES
    updates = 0
    with closing(bench.connection.cursor()) as cursor:
        for name in names:
            table, column = sql_server_identifier(bench.schema, name), sql_server_identifier(name)
            value = name.replace("'", "''")
            cursor.execute(f"CREATE TABLE {table} ({column} nvarchar(200) NOT NULL PRIMARY KEY, n int NULL)")
            cursor.execute(f"INSERT INTO {table} ({column}, n) VALUES (N'{value}', 1), (N'{value}x', 2), (N'x', 3)")
    sent.leaks(texts)  # what the test itself has sent
    before = canaries.state()
    submitted = []
    for number, name in enumerate(names):
        target = f"[{bench.schema}].[{name.replace(']', ']]')}]"
        plain: dict[str, Any] = {"status": "pending", "target_table": target}
        if not _DELTA_REFUSES.search(name):
            quoted, value = f"`{name.replace('`', '``')}`", name.replace("\\", "\\\\").replace("'", "\\'")
            source = bench.source(f"SELECT '{value}' AS {quoted}, CAST(7 AS INT) AS n")
            submitted.append(
                EventRow(
                    f"{bench.schema}-{number}-u",
                    operation="UPDATE",
                    source_table=source,
                    primary_keys=(name,),
                    filter_conditions={name: name},
                    metadata={"source_version": "0"},
                    priority=2,
                    **plain,
                )
            )
            updates += 1
        submitted.append(
            EventRow(
                f"{bench.schema}-{number}-d",
                operation="DELETE",
                filter_conditions={name: f"{name}x"},
                priority=1,
                **plain,
            )
        )
    sent.leaks(texts)
    insert_events(bench, bench.settings.bridge_events_table, submitted)
    poller = bench.poller(max_events_per_poll=1_000)
    report = poller.cycle()
    assert report.problem is None, report.problem
    for handled in report.handled:
        assert (handled.outcome.status, handled.outcome.rows_affected) == ("completed", 1), handled
    assert sent.leaks(names) == []
    assert len(report.handled) == len(submitted)
    assert canaries.state() == before
    assert updates > REAL_NAMES // 4
    with closing(bench.connection.cursor()) as cursor:
        for number, name in enumerate(names):
            table, column = sql_server_identifier(bench.schema, name), sql_server_identifier(name)
            cursor.execute(f"SELECT {column}, n FROM {table} ORDER BY n")
            updated = any(row.event_id == f"{bench.schema}-{number}-u" for row in submitted)
            assert sorted(tuple(row) for row in cursor.fetchall()) == sorted([(name, 7 if updated else 1), ("x", 3)]), (
                name
            )
    print(f"BRIDGE_PROOF_SEED={SEED}: {len(names)} real names, {updates} of them updated by key too")  # noqa: T201
