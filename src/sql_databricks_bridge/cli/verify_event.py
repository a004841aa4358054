"""`bridge verify --event ID`: does SQL Server hold what an applied event's source held?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import events_shown, output

if TYPE_CHECKING:
    from sql_databricks_bridge.models.applying import Example
    from sql_databricks_bridge.sync.verification import EventVerification

_KINDS = {"differing": "differs", "missing": "is missing", "remaining": "is still there"}


def verify_event(event_id: str, *, json: bool) -> int:
    """Compare, print the result, return the exit code: 0 equal, 1 different."""
    from sql_databricks_bridge.sync.verification import verify

    config = composition.settings()
    config.require(*composition.SYNC_SETTINGS)
    lake = composition.lakehouse(config)
    events = composition.events_table(config, lake)
    found = verify(lake, events, composition.sql_server(config).connect_target, event_id)
    if json:
        output.print_json(_document(found))
    else:
        _print(found)
    return 0 if found.comparison.same else 1


def _document(found: EventVerification) -> dict[str, Any]:
    comparison = found.comparison
    examples = {
        "differing": comparison.differing_examples,
        "missing": comparison.missing_examples,
        "remaining": comparison.remaining_examples,
    }
    return _fields(found) | {kind: [_example(each) for each in shown] for kind, shown in examples.items()}


def _fields(found: EventVerification) -> dict[str, Any]:
    row, ledger, comparison = found.row, found.ledger, found.comparison
    return {
        "status": "equal" if comparison.same else "different",
        "event_id": row.event_id,
        "operation": row.operation,
        "target": str(found.target),
        "source": row.source_table,
        "source_version": ledger.source_version,
        "applied_at": None if ledger.applied_at is None else ledger.applied_at.isoformat(timespec="milliseconds"),
        "verified_at": found.verified_at.isoformat(timespec="milliseconds"),
        "isolation": comparison.isolation,
        "keys": list(row.primary_keys or ()),
        "compared": list(comparison.compared),
        "source_rows": comparison.staged,
        "equal_rows": comparison.equal,
        "differing_rows": comparison.differing,
        "missing_rows": comparison.missing,
        "remaining_rows": comparison.remaining,
        "notes": list(found.notes),
    }


def _example(example: Example) -> dict[str, Any]:
    return {"row": dict(example.values), "columns": list(example.differing), "copies": example.copies}


def _print(found: EventVerification) -> None:
    from rich.table import Table
    from rich.text import Text

    comparison = found.comparison
    fields = _fields(found)
    # Of a DELETE by filters no row of a source can be equal; a count of nothing is no news.
    unsaid = [f"{kind}_rows" for kind in (*_KINDS, *(["equal"] if comparison.staged is None else []))]
    events_shown.print_fields({name: value for name, value in fields.items() if value or name not in unsaid})
    if comparison.same:
        return
    table = Table("row", "what", box=None, header_style="dim", pad_edge=False)
    counted = (
        ("differing", comparison.differing, comparison.differing_examples),
        ("missing", comparison.missing, comparison.missing_examples),
        ("remaining", comparison.remaining, comparison.remaining_examples),
    )
    for kind, count, examples in counted:
        for each in examples:
            what = f"{_KINDS[kind]}: {', '.join(each.differing)}" if each.differing else _KINDS[kind]
            what += f" ({each.copies:,} times)" if each.copies > 1 else ""
            table.add_row(Text(output.visible(_row_text(each))), Text(output.visible(what), "red"))
        shown = sum(each.copies for each in examples)
        if examples and count > shown:
            table.add_row(Text(f"... and {count - shown:,} more", "dim"), Text(_KINDS[kind], "dim"))
    if table.row_count:
        typer.echo()
        output.out().print(table)
    output.err().print(
        "Rows that were changed since the event was applied, by a later event too, show as differences.",
        style="dim",
        markup=False,
        soft_wrap=True,
    )


def _row_text(example: Example) -> str:
    return ", ".join(f"{name} = {'NULL' if value is None else value}" for name, value in example.values)
