"""`bridge version` and `bridge check`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from sql_databricks_bridge import __version__, composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import JsonOption
from sql_databricks_bridge.errors import BridgeError

if TYPE_CHECKING:
    from sql_databricks_bridge.core.config import Settings

_SYNC = "Sync"
_LIBRARIES = ("mssql-python", "databricks-sdk", "pyarrow", "polars", "sqlglot")


def version(json: JsonOption = False) -> None:
    """Show the versions of the bridge, Python and the libraries that matter."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    if json:
        output.print_json({"version": __version__, "python": platform.python_version(), "libraries": libraries})
        return
    print(f"bridge {__version__}, Python {platform.python_version()}")  # noqa: T201  # rich would cost its import
    print(", ".join(f"{name} {number}" for name, number in libraries.items()))  # noqa: T201


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing: `ok`, `warn` (works without it) or `fail`."""

    end: str
    check: str
    result: Literal["ok", "warn", "fail"]
    detail: str
    hint: str | None = None


def check(json: JsonOption = False) -> int:
    """Check both ends: reachable, signed in, versions, and what is missing and how to mend it."""
    config = composition.settings()
    findings = [*_check_sql_server(config), *_check_databricks(config)]
    if not any(finding.result == "fail" for finding in findings):
        findings += _check_sync(config)
    failed = any(finding.result == "fail" for finding in findings)
    if json:
        output.print_json(
            {
                "status": "failed" if failed else "ok",
                "checks": [
                    {"end": f.end, "check": f.check, "result": f.result, "detail": f.detail, "hint": f.hint}
                    for f in findings
                ],
            }
        )
    else:
        _print(findings)
    return 1 if failed else 0


def _check_sql_server(config: Settings) -> list[Finding]:
    end = "SQL Server"
    findings: list[Finding] = []
    settings = _attempt(end, "settings", findings, lambda: config.require("sqlserver_host", "sqlserver_database"))
    if settings is not None:
        return findings
    try:
        connection = composition.sql_server(config).connect()
    except BridgeError as exc:
        return [Finding(end, "sign-in", "fail", exc.message, exc.hint)]
    try:
        info = connection.info()
    except BridgeError as exc:
        return [Finding(end, "query", "fail", exc.message, exc.hint)]
    finally:
        connection.close()
    findings.append(Finding(end, "sign-in", "ok", f"{config.sqlserver_host},{config.sqlserver_port} as {info.login}"))
    findings.append(Finding(end, "version", "ok", info.version.splitlines()[0]))
    if info.snapshot:
        findings.append(Finding(end, "database", "ok", f"{info.database}; SNAPSHOT isolation is allowed"))
    else:
        findings.append(
            Finding(
                end,
                "database",
                "warn",
                f"{info.database}; SNAPSHOT isolation is off, so rows may change while a query reads",
                f"ALTER DATABASE [{info.database.replace(']', ']]')}] SET ALLOW_SNAPSHOT_ISOLATION ON",
            )
        )
    return findings


def _check_databricks(config: Settings) -> list[Finding]:
    end = "Databricks"
    findings: list[Finding] = []
    try:
        lake = composition.lakehouse(config)
        who = lake.who_am_i()
    except BridgeError as exc:
        return [Finding(end, "sign-in", "fail", exc.message, exc.hint)]
    findings.append(Finding(end, "sign-in", "ok", f"{config.databricks_host} as {who}"))
    destination = config.default_destination
    if destination is None:
        findings.append(
            Finding(
                end,
                "volume",
                "warn",
                "no default destination",
                "Set DATABRICKS_CATALOG, DATABRICKS_SCHEMA and DATABRICKS_VOLUME, or `destination:` in the YAML.",
            )
        )
    elif _attempt(end, "volume", findings, lambda: lake.check_destination(destination)) is None:
        findings.append(Finding(end, "volume", "ok", destination.root))
    if config.databricks_warehouse_id is None:
        findings.append(
            Finding(
                end,
                "warehouse",
                "warn",
                "none set; extraction works without one",
                "Set DATABRICKS_WAREHOUSE_ID for statements.",
            )
        )
    else:
        try:
            findings.append(Finding(end, "warehouse", "ok", lake.warehouse()))
        except BridgeError as exc:
            findings.append(Finding(end, "warehouse", "fail", exc.message, exc.hint))
    return findings


def _check_sync(config: Settings) -> list[Finding]:
    """What `bridge sync` needs besides. Extraction works without, so that nothing here is a failure."""
    if config.databricks_warehouse_id is None:  # said above
        return []
    looks: Mapping[str, Callable[[Settings], list[Finding]]] = {
        "permissions": _permissions,
        "events table": _events_table,
        "ledger": _ledger,
    }
    findings = []
    for name, look in looks.items():
        try:
            findings += look(config)
        except BridgeError as exc:
            findings.append(Finding(_SYNC, name, "warn", exc.message, exc.hint))
    return findings


def _permissions(config: Settings) -> list[Finding]:
    permissions = composition.permissions_file(config).current()
    users = len(permissions.users)
    file = Finding(_SYNC, "permissions", "ok", f"{config.bridge_permissions_file}: {users} user{'s'[: users != 1]}")
    unsigned = "unsigned events are blocked: "
    name = config.sync_principal
    user = permissions.user(name) if name else None
    hint = "Set SYNC_PRINCIPAL to a user of the permissions file without a signing_key, or sign every event."
    if not composition.accepts_unsigned(config):
        what = Finding(_SYNC, "principal", "ok", f"{unsigned}SYNC_ALLOW_UNSIGNED is off in production")
    elif not name:
        what = Finding(_SYNC, "principal", "warn", f"{unsigned}SYNC_PRINCIPAL is not set", hint)
    elif user is None:
        what = Finding(_SYNC, "principal", "warn", f"{unsigned}SYNC_PRINCIPAL {name!r} is no user of the file", hint)
    elif user.signing_key is not None:
        what = Finding(_SYNC, "principal", "warn", f"{unsigned}SYNC_PRINCIPAL {name!r} has a signing_key", hint)
    else:
        what = Finding(_SYNC, "principal", "ok", f"unsigned events run as {name}")
    return [file, what]


def _events_table(config: Settings) -> list[Finding]:
    name = composition.events_table_name(config)
    if composition.lakehouse(config).has_table(name):
        return [Finding(_SYNC, "events table", "ok", str(name))]
    hint = "`bridge events init` creates it; BRIDGE_EVENTS_TABLE says which one it is."
    return [Finding(_SYNC, "events table", "warn", f"{name} is not there, or may not be seen", hint)]


def _ledger(config: Settings) -> list[Finding]:
    with closing(composition.sql_server(config).connect_target()) as connection:
        if connection.ledger_ready():
            return [Finding(_SYNC, "ledger", "ok", f"bridge.applied_events in {config.sqlserver_database}")]
    hint = "`bridge target init` prints its DDL for a DBA; with --run it creates it."
    return [Finding(_SYNC, "ledger", "warn", f"none of this version in {config.sqlserver_database} yet", hint)]


def _attempt(end: str, check: str, findings: list[Finding], action: Callable[[], None]) -> BridgeError | None:
    """Run `action`; its error becomes a finding and is returned."""
    try:
        action()
    except BridgeError as exc:
        findings.append(Finding(end, check, "fail", exc.message, exc.hint))
        return exc
    return None


def _print(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table("", "", "", "", box=None, show_header=False, pad_edge=False)
    for finding in findings:
        detail = Text(finding.detail)
        if finding.hint:
            detail.append(f"\n-> {finding.hint}", style="bold")
        table.add_row(Text(finding.result, styles[finding.result]), finding.end, finding.check, detail)
    output.out().print(table)
