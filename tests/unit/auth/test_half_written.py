"""A permissions.yaml caught while it is being written never gives more than the file before it."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sql_databricks_bridge.auth.loader import PermissionsFile
from sql_databricks_bridge.auth.permissions import Permissions
from sql_databricks_bridge.auth.token import sign_in
from sql_databricks_bridge.core.config import Environment
from sql_databricks_bridge.errors import SignInRefused
from sql_databricks_bridge.models.tables import SourceName

NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
NARROW = """\
users:
  - name: ana
    tokens: [{token: ana-token, expires: 2026-07-01}]
    permissions: [{table: dbo.Orders, access: read}]
end: true
"""
RICH = """\
# Everything that a cut may turn into more: limits, dates, restrictions, flags, wildcards.
users:
  - name: ana
    tokens:
      - {token: ana-token, expires: 2026-07-01}
      - token: ana-new-token
        expires: 2026-06-10
    sources: [main.sales.orders, lab.*.*]
    permissions:
      - table: dbo.*
        access: read_write
        max_delete_rows: 10
      - table: dbo.Payroll
        access: read
      - {table: Archive.dbo.Orders, access: write, max_delete_rows: 500, allow_cascade: false}
      - table: dbo.Secrets   # narrower than dbo.*
        access: write
    allow_openquery: false
  - name: Begoña
    token: begona-token
    permissions: [{table: "*.*", access: read}, {table: hr.Payroll, access: write}]
end: true
"""

Rights = frozenset[tuple[object, ...]]


def rights(permissions: Permissions) -> Rights:
    """Every single thing that somebody may do, out of all that these tests know of."""
    found: set[tuple[object, ...]] = set()
    for token in ("ana-token", "ana-new-token", "begona-token", "ana-", "begona-toke"):
        with contextlib.suppress(SignInRefused):
            found.add(("sign in", token, sign_in(token, permissions, NOON).name))
    for user in permissions.users:
        found |= {("openquery", user.name)} if user.allow_openquery else set()
        for source in (SourceName("main", "sales", "orders"), SourceName("lab", "a", "b"), SourceName("x", "y", "z")):
            found |= {("source", user.name, source)} if permissions.source_allowed(user, source) else set()
        for database, schema, table in itertools.product(
            ("Sales", "Archive"), ("dbo", "hr"), ("Orders", "Payroll", "Secrets", "Other")
        ):
            place = ("sql01", database, schema, table)
            if permissions.read_allowed(user, *place):
                found.add(("read", user.name, place))
            if grant := permissions.write_grant(user, *place):
                found |= {("cascade", user.name, place)} if grant.allow_cascade else set()
                found |= {("delete", user.name, place, rows) for rows in range(grant.max_delete_rows + 1)}
    return frozenset(found)


def opened(path: Path) -> PermissionsFile:
    return PermissionsFile(path, Environment.DEVELOPMENT, server="sql01", database="Sales", clock=lambda: NOON)


@pytest.mark.parametrize("before", [NARROW, RICH])
def test_no_byte_prefix_of_a_guarded_file_widens_anything(tmp_path: Path, before: str) -> None:
    """Each prefix stands in the file while a reader looks: it sees the old set, or, of the whole, the new one."""
    path = tmp_path / "permissions.yaml"
    path.write_text(before)
    file = opened(path)
    old, content = file.current(), RICH.encode()
    end = len(content) - 1  # without its last line end the file is the same
    widened, refused = [], 0
    with capture_logs():
        for length in range(end):
            path.write_bytes(content[:length])
            look = file.look()
            refused += look.problem is not None
            if look.permissions is not old and rights(look.permissions) - rights(old):
                widened.append(content[:length])
        assert widened == []
        assert refused == end, "some prefix was taken for a whole file"
        path.write_bytes(content[:end])
        assert rights(file.current()) == rights(file_of(tmp_path, RICH))


def test_the_whole_file_does_widen_so_that_the_measure_can_fail(tmp_path: Path) -> None:
    narrow, rich = (rights(file_of(tmp_path, text)) for text in (NARROW, RICH))
    assert rich - narrow
    assert narrow == {
        ("sign in", "ana-token", "ana"), ("read", "ana", ("sql01", "Sales", "dbo", "Orders"))
    }  # fmt: skip
    cut = rights(file_of(tmp_path, RICH[: RICH.index("      - table: dbo.Payroll")]))
    assert cut - rich, "cut there, a file without its guard would give more than the whole"


def test_readers_that_look_while_a_file_is_written_byte_by_byte_see_only_whole_sets(tmp_path: Path) -> None:
    path = tmp_path / "permissions.yaml"
    path.write_text(NARROW)
    file = opened(path)
    whole = {rights(file.current()), rights(file_of(tmp_path, RICH))}
    done = threading.Event()
    seen: list[set[Permissions]] = [set(), set()]

    def look(into: set[Permissions]) -> None:
        while not done.is_set():
            into.add(file.current())

    threads = [threading.Thread(target=look, args=(into,)) for into in seen]
    with capture_logs():
        for thread in threads:
            thread.start()
        with path.open("wb", buffering=0) as target:
            for byte in RICH.encode():
                target.write(bytes([byte]))
        done.set()
        for thread in threads:
            thread.join()
        last = file.current()
    assert {rights(found) for into in seen for found in into} <= whole
    assert rights(last) == rights(file_of(tmp_path, RICH))


def file_of(folder: Path, text: str) -> Permissions:
    path = folder / "other.yaml"
    path.write_text(text)
    return opened(path).current()
