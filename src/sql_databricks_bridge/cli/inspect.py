"""`bridge version` and `bridge check`."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from sql_databricks_bridge import __version__
from sql_databricks_bridge.cli import composition, output
from sql_databricks_bridge.cli.composition import JsonOption
from sql_databricks_bridge.errors import BridgeError

if TYPE_CHECKING:
    from sql_databricks_bridge.core.config import Settings

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
