"""The permission matrix: level x action x form of the entry x form of the table x user, against an oracle of its own.

The oracle is below, in plain tables and comparisons: it imports nothing of `auth`. Every combination of one entry is
tried, and of two entries, since the more specific one decides alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sql_databricks_bridge.auth.extraction_access import Lookup, authorize_extraction
from sql_databricks_bridge.auth.loader import PermissionsFile
from sql_databricks_bridge.auth.permissions import Permissions, User
from sql_databricks_bridge.core.config import Environment
from sql_databricks_bridge.core.ports import NamedObject
from sql_databricks_bridge.errors import NotPermitted
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.names import Destination

# What the seed's table says, once more: level -> (reads, writes); DELETE is writing within max_delete_rows.
LEVELS = {"read": (True, False), "write": (False, True), "read_write": (True, True)}

# form of the entry -> (how specific it is, the tables out of PLACES that it means)
ORDERS, PAYROLL, OTHER_SCHEMA, OTHER_DATABASE, OTHER_SERVER = PLACES = (
    ("sql01", "Sales", "dbo", "Orders"),
    ("sql01", "Sales", "dbo", "Payroll"),
    ("sql01", "Sales", "hr", "Orders"),
    ("sql01", "Archive", "dbo", "Orders"),
    ("sql02", "Sales", "dbo", "Orders"),
)
FORMS: dict[str, tuple[int, frozenset[tuple[str, str, str, str]]]] = {
    "dbo.Orders": (15, frozenset({ORDERS})),
    "[DBO].[ORDERS]": (15, frozenset({ORDERS})),
    "Archive.dbo.Orders": (15, frozenset({OTHER_DATABASE})),
    "sql02.Sales.dbo.Orders": (15, frozenset({OTHER_SERVER})),
    "*.Sales.dbo.Orders": (14, frozenset({ORDERS, OTHER_SERVER})),
    "*.dbo.Orders": (13, frozenset({ORDERS, OTHER_DATABASE})),
    "*.Orders": (11, frozenset({ORDERS, OTHER_SCHEMA})),
    "*.*.*.Orders": (8, frozenset(PLACES) - {PAYROLL}),
    "dbo.*": (7, frozenset({ORDERS, PAYROLL})),
    "*.dbo.*": (5, frozenset({ORDERS, PAYROLL, OTHER_DATABASE})),
    "*.*": (3, frozenset({ORDERS, PAYROLL, OTHER_SCHEMA})),
    "*.*.*": (1, frozenset(PLACES) - {OTHER_SERVER}),
    "*.*.*.*": (0, frozenset(PLACES)),
}
LIMITS = (None, 0, 7)


@dataclass(frozen=True)
class Entry:
    """An entry of the file, as its author thinks of it."""

    form: str
    level: str
    limit: int | None = None

    @property
    def yaml(self) -> str:
        rows = "" if self.limit is None else f", max_delete_rows: {self.limit}"
        return f'{{table: "{self.form}", access: {self.level}{rows}}}'


def decides(entries: Sequence[Entry], place: tuple[str, str, str, str]) -> Entry | None:
    """The oracle: the most specific of the entries that mean the table."""
    meant = [entry for entry in entries if place in FORMS[entry.form][1]]
    return max(meant, key=lambda entry: FORMS[entry.form][0]) if meant else None


def all_entries() -> Iterator[Entry]:
    for form, level in itertools.product(FORMS, LEVELS):
        for limit in LIMITS if level != "read" else (None,):
            yield Entry(form, level, limit)


def sets_of_entries() -> Iterator[tuple[Entry, ...]]:
    yield ()
    yield from ((entry,) for entry in all_entries())
    for one, other in itertools.permutations(FORMS, 2):
        if FORMS[one] != FORMS[other]:  # the same tables written twice are an error of the file
            for first, second in itertools.product(LEVELS, repeat=2):
                yield (
                    Entry(one, first, 3 if first != "read" else None),
                    Entry(other, second, 5 if second != "read" else None),
                )


def permissions_of(folder: Path, users: Sequence[Sequence[Entry]]) -> Permissions:
    """The file that says so, read as the service reads it; its users are called u0, u1, ..."""
    lines = ["users:"]
    for number, entries in enumerate(users):
        lines += [f"  - name: u{number}", f"    permissions: [{', '.join(entry.yaml for entry in entries)}]"]
    path = folder / "permissions.yaml"
    path.write_text("\n".join([*lines, "end: true\n"]))
    return PermissionsFile(path, Environment.PRODUCTION, server="sql01", database="Sales").current()


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Entry, ...]], Permissions]:
    """A user for each set of entries, all in one file, so that nobody gets a neighbour's rights."""
    sets = list(sets_of_entries())
    return sets, permissions_of(tmp_path_factory.mktemp("matrix"), sets)


def extracts(user: User, permissions: Permissions, place: tuple[str, str, str, str]) -> bool:
    """Whether the user may extract from the table, whose query names it as its own server's `schema.table`."""
    server, database, schema, table = place
    query = ResolvedQuery("q", "q.sql", f"SELECT * FROM {schema}.{table}", "0" * 64)

    def find(names: Sequence[Lookup]) -> tuple[NamedObject | None, ...]:
        return tuple(NamedObject("A", database, schema, table, "U") for _ in names)

    plan = ExtractionPlan("r", "Peru", Destination("c", "s", "v"), (query,), database, server)
    try:
        authorize_extraction(user, permissions, plan, find, server=server, database=database)
    except NotPermitted:
        return False
    return True


def test_every_level_action_form_and_user_is_as_the_oracle_says(
    everybody: tuple[list[tuple[Entry, ...]], Permissions],
) -> None:
    sets, permissions = everybody
    wrong = []
    reads = writes = 0
    for entries, user in zip(sets, permissions.users, strict=True):
        for place in PLACES:
            entry = decides(entries, place)
            may_read, may_write = LEVELS[entry.level] if entry else (False, False)
            limit = (entry.limit or 0) if entry and may_write else None
            grant = permissions.write_grant(user, *place)
            found = (
                permissions.read_allowed(user, *place),
                grant is not None,
                grant.max_delete_rows if grant else None,
                grant.allow_cascade if grant else False,
            )
            if found != (may_read, may_write, limit, False):
                wrong.append((entries, place, found))
            reads, writes = reads + may_read, writes + may_write
    assert wrong == []
    assert len(sets) > 1300
    assert reads > 1000 < writes


def test_extraction_is_allowed_just_where_the_oracle_gives_read(
    everybody: tuple[list[tuple[Entry, ...]], Permissions],
) -> None:
    sets, permissions = everybody
    chosen = [n for n, entries in enumerate(sets) if len(entries) < 2 or n % 7 == 0]
    wrong = []
    for number in chosen:
        entries, user = sets[number], permissions.users[number]
        one = Permissions((user,))  # rights are looked up by name, which is slow among thousands
        for place in PLACES:
            entry = decides(entries, place)
            if extracts(user, one, place) != bool(entry and LEVELS[entry.level][0]):
                wrong.append((entries, place))
    assert wrong == []
    assert len(chosen) > 200


def test_who_is_not_in_the_file_may_do_nothing(everybody: tuple[list[tuple[Entry, ...]], Permissions]) -> None:
    _, permissions = everybody
    for name in ("u99999", "U1", "u1 ", ""):
        for place in PLACES:
            assert not permissions.read_allowed(User(name), *place)
            assert permissions.write_grant(User(name), *place) is None
            assert not extracts(User(name), permissions, place)
