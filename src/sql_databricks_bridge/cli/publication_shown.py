"""How watermarks and tables of published queries look, to people and in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from sql_databricks_bridge.models.publishing import PublishedState, Watermark

NARROW = 120
"""Columns of a screen below which details stand under a table, not in it."""


def readable(kind: str, value: str | None) -> str:
    """A watermark in a form that people can compare: '0x7D3', 'version 42', '2026-01-31 12:00:00', an LSN, a file."""
    if value is None:
        return "-"
    if kind == "rowversion":
        return f"0x{value.removeprefix('0x').lstrip('0') or '0'}"
    if kind == "cdc":  # as sys.fn_cdc_* and the DBA's tools group an LSN
        digits = value.removeprefix("0x")
        return ":".join((digits[:8], digits[8:16], digits[16:])) if len(digits) == 20 else value
    if kind == "change_tracking":
        return f"version {value}"
    if kind == "fingerprint":
        return "digests of " + "/".join(value.split("/")[-2:-1] or [value])
    return value.replace("T", " ")


def shown(watermark: Watermark | None) -> str:
    """A watermark as `readable` has it; '-' where there is none."""
    return "-" if watermark is None else readable(watermark.kind.value, watermark.value)


def watermark_document(watermark: Watermark | None) -> dict[str, str] | None:
    """A watermark as JSON has it."""
    return None if watermark is None else {"kind": watermark.kind.value, "value": watermark.value}


def state_document(state: PublishedState) -> dict[str, Any]:
    """What stands for a table, as JSON has it."""
    return {
        "target": str(state.target),
        "table": str(state.table),
        "country": state.country,
        "query": state.query,
        "watermark": watermark_document(state.watermark),
        "generation": state.generation,
        "run_id": state.run_id,
        "manifest": state.manifest,
        "rows": state.rows,
        "published_at": None if state.published_at is None else state.published_at.isoformat(),
        "owner": state.owner,
        "unsettled": state.unsettled,
        "columns": [{"name": name, "type": sql_type} for name, sql_type in state.columns],
    }


def plain_table(*columns: str) -> Table:
    """A table without lines whose cells may fold."""
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
