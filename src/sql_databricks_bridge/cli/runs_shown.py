"""How landed runs look: as a list, one by one, and two beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.publication_shown import NARROW, plain_table, readable

if TYPE_CHECKING:
    from sql_databricks_bridge.core.manifest import Manifest, ManifestParameter
    from sql_databricks_bridge.core.run_diff import Changed, RunDiff
    from sql_databricks_bridge.core.run_history import Standing
    from sql_databricks_bridge.core.runs import PublishedRun

Standings = Mapping[str, "Standing"]
"""What became of each run's table, by the path of the run's folder; a run that is not in it is not known."""

_IN_TABLE = {"stands": "newest", "followed": "earlier", "missing": "not in it"}
_STYLES = {"newest": "green", "not in it": "yellow"}


def increment_document(manifest: Manifest) -> dict[str, Any] | None:
    """Which part of the result the files hold, None for the whole of it."""
    increment = manifest.increment
    if increment is None:
        return None
    return {"kind": increment.kind, "low": increment.low, "high": increment.high, "key": list(increment.key)}


def run_document(run: PublishedRun, standings: Standings) -> dict[str, Any]:
    """A run in a list, as JSON has it."""
    manifest, standing = run.manifest, standings.get(run.folder.path)
    publication = manifest.publication
    return {
        "run_id": run.folder.run_id,
        "attempt": run.folder.attempt,
        "query": run.folder.query,
        "path": run.folder.path,
        "manifest": run.folder.manifest_path,
        "rows": manifest.rows,
        "bytes": manifest.size_bytes,
        "row_limit": manifest.row_limit,
        "finished_at": manifest.finished_at.isoformat(),
        "increment": increment_document(manifest),
        "table": None if publication is None else publication.table,
        "standing": None if standing is None else standing.value,
    }


def print_list(found: Sequence[PublishedRun], standings: Standings) -> None:
    """Print runs as a table; where the screen is narrow, what an increment holds stands below it."""
    from rich.text import Text

    wide = output.out().width >= NARROW
    table = plain_table("run", "query", "rows", "size", "holds", *(("table",) if wide else ()), "in table")
    table.columns[0].no_wrap = True
    for column in table.columns[2:4]:
        column.justify, column.no_wrap = "right", True
    below = []
    for run in found:
        manifest, publication = run.manifest, run.manifest.publication
        part = holds(manifest)
        name = "-" if publication is None else output.visible(publication.table)
        standing = _in_table(run, standings)
        table.add_row(
            run.folder.run_id,
            Text(run.folder.query),
            f"{manifest.rows:,}",
            output.human_bytes(manifest.size_bytes),
            Text(part if wide else part.split(" ")[0] if manifest.increment is None else "increment"),
            *((Text(name),) if wide else ()),
            Text(standing, _STYLES.get(standing, "")),
        )
        if not wide and (manifest.increment is not None or publication is not None):
            into = f", for {name}" if publication is not None else ""
            below.append(Text(f"{run.folder.run_id} {run.folder.query}: {part}{into}"))
    output.out().print(table)
    for line in below:
        output.out().print(line)


def holds(manifest: Manifest) -> str:
    """Which part of the result the files hold: 'full', 'rowversion 0x7D1 to 0x7D3', 'first 10 rows'."""
    increment = manifest.increment
    if increment is not None:
        low, high = readable(increment.kind, increment.low), readable(increment.kind, increment.high)
        return output.visible(f"{increment.kind} {low} to {high}")
    return "full" if manifest.row_limit is None else f"at most {manifest.row_limit:,} rows"


def print_run(run: PublishedRun, standings: Standings) -> None:
    """Print one run's manifest for people."""
    from rich.text import Text

    console, manifest = output.out(), run.manifest
    publication, increment = manifest.publication, manifest.increment
    console.print(Text.assemble((run.folder.query, "bold"), f"  run {manifest.run_id}, attempt {manifest.attempt}"))
    took = (manifest.finished_at - manifest.started_at).total_seconds()
    parts = f"{len(manifest.parts)} part{'s'[: len(manifest.parts) != 1]}"
    fields = {
        "landed in": run.folder.path,
        "finished": f"{manifest.finished_at:%Y-%m-%d %H:%M:%S} UTC, after {output.human_seconds(took)}",
        "source": f"{manifest.source_server}, {manifest.source_database}, {manifest.isolation}",
        "query": f"{manifest.query_file}, SHA-256 {manifest.query_sha256[:12]}...",
        "rows": f"{manifest.rows:,} in {parts}, {output.human_bytes(manifest.size_bytes)}",
        "holds": holds(manifest),
    }
    if increment is not None:
        fields["key"] = ", ".join(increment.key)
        if increment.ranges:
            fields["ranges"] = f"{len(increment.ranges):,} changed"
    if publication is not None:
        fields["table"] = f"{publication.table} ({_in_table(run, standings)})"
        fields["way"] = f"{publication.way}: {publication.reason}"
        fields["columns changed"] = "; ".join(publication.changes) or "none"
    fields["written by"] = f"bridge {manifest.tool_version}"
    _print_fields(fields)
    _print_section(
        ("parameter", "value", "from"), ((_named(one), _text(one.value), one.origin) for one in manifest.parameters)
    )
    _print_section(
        ("column", "SQL Server", "Parquet"),
        ((one.name, f"{one.sql_type}{'' if one.nullable else ' NOT NULL'}", one.arrow_type) for one in manifest.schema),
    )
    _print_section(("column", "what it does not keep"), ((loss.column, loss.reason) for loss in manifest.losses))
    _print_section(
        ("part", "rows", "size", "SHA-256"),
        (
            (part.file, f"{part.rows:,}", output.human_bytes(part.size_bytes), f"{part.sha256[:12]}...")
            for part in manifest.parts
        ),
    )
    console.print()


def shown_run_document(run: PublishedRun, standings: Standings) -> dict[str, Any]:
    """One run with its whole manifest, as JSON has it."""
    standing = standings.get(run.folder.path)
    return {
        "path": run.folder.path,
        "standing": None if standing is None else standing.value,
        "manifest": json.loads(run.manifest.to_json()),
    }


def diff_document(diff: RunDiff) -> dict[str, Any]:
    """What differs, as JSON has it."""
    rows = diff.rows
    return {
        "query": diff.after.folder.query,
        "verdict": diff.verdict.value,
        "before": _side(diff.before),
        "after": _side(diff.after),
        "columns": [_changed(one) for one in diff.columns],
        "parameters": [_changed(one) for one in diff.parameters],
        "query_changed": diff.query_changed,
        "row_changes": None
        if rows is None
        else {
            "added": rows.added,
            "removed": rows.removed,
            "changed": rows.changed,
            "key": list(rows.key),
            "columns": list(rows.columns),
        },
        "not_compared": diff.not_compared,
        "notes": list(diff.notes),
    }


def print_diff(diff: RunDiff) -> None:
    """Print what differs between two runs of a query."""
    from rich.text import Text

    console, old, new = output.out(), diff.before.manifest, diff.after.manifest
    styles = {"same": "green", "different": "yellow", "unknown": "yellow"}
    console.print(
        Text.assemble((diff.after.folder.query, "bold"), "  ", (diff.verdict.value, styles[diff.verdict.value]))
    )
    fields = {
        "rows": f"{old.rows:,}" + ("" if old.rows == new.rows else f" -> {new.rows:,} ({new.rows - old.rows:+,})")
    }
    if diff.rows is not None:
        changed = "" if diff.rows.changed is None else f", {diff.rows.changed:,} changed"
        by = f" by ({', '.join(diff.rows.key)})" if diff.rows.key else ""
        fields["row by row"] = f"{diff.rows.added:,} added, {diff.rows.removed:,} removed{changed}{by}"
        if diff.columns:
            fields["in columns"] = ", ".join(diff.rows.columns)
    else:
        fields["row by row"] = f"not compared: {diff.not_compared}"
    if diff.query_changed:
        fields["query"] = f"changed: SHA-256 {old.query_sha256[:12]}... -> {new.query_sha256[:12]}..."
    for note in diff.notes:
        fields["note"] = note
    _print_fields(fields)
    _print_section(("column", "before", "after"), map(_cells, diff.columns))
    _print_section(("parameter", "before", "after"), map(_cells, diff.parameters))
    console.print()


def _in_table(run: PublishedRun, standings: Standings) -> str:
    if run.manifest.publication is None:
        return "-"
    standing = standings.get(run.folder.path)
    return "not known" if standing is None else _IN_TABLE[standing.value]


def _side(run: PublishedRun) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "run_id": run.folder.run_id,
        "path": run.folder.path,
        "rows": manifest.rows,
        "bytes": manifest.size_bytes,
        "query_sha256": manifest.query_sha256,
        "increment": increment_document(manifest),
    }


def _changed(one: Changed) -> dict[str, str | None]:
    return {"name": one.name, "before": one.before, "after": one.after}


def _cells(one: Changed) -> tuple[str, str, str]:
    return one.name, "(none)" if one.before is None else one.before, "(none)" if one.after is None else one.after


def _named(parameter: ManifestParameter) -> str:
    declared = parameter.declaration
    return f"{{{parameter.name}}}" if declared is None else f"@{parameter.name} {declared}"


def _text(value: str | None) -> str:
    return "NULL" if value is None else value


def _print_fields(fields: Mapping[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", box=None, show_header=False, pad_edge=False)
    table.columns[1].overflow = "fold"
    for name, value in fields.items():
        table.add_row(Text(name, "dim"), Text(output.visible(value)))
    output.out().print(table)


def _print_section(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table below a blank line, nothing where it has no rows."""
    from rich.text import Text

    table = plain_table(*header)
    for row in rows:
        table.add_row(*(Text(output.visible(cell)) for cell in row))
    if table.row_count:
        output.out().print()
        output.out().print(table)
