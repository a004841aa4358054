"""How a verification is told: to people, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sql_databricks_bridge.cli import output

if TYPE_CHECKING:
    from sql_databricks_bridge.models.verification import Verification


def document(found: Verification, receipt: str, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """One query's part of the JSON document."""
    return {
        "query": found.query,
        "status": "equal" if found.equal else "different",
        "run_id": found.run_id,
        "against": found.against.value,
        "place": found.place,
        "at": found.at.isoformat(timespec="milliseconds"),
        "isolation": found.isolation,
        "key": list(found.key),
        "rows": {"source": found.source.rows, "landed": found.landed.rows},
        "compared_ranges": found.compared_ranges,
        "differing_ranges": found.differing,
        "ranges": [dataclasses.asdict(each) for each in found.ranges],
        "keys": [{**dataclasses.asdict(each), "finding": each.finding.value} for each in found.keys],
        "seconds": found.seconds,
        "receipt": receipt,
        "warnings": [*found.warnings, *warnings],
    }


def print_result(found: Verification, receipt: str, warnings: Sequence[str]) -> None:
    """What differs, where the receipt is, and what is to be said besides; nothing else of what is equal."""
    console = output.out()

    def told(text: str, style: str | None = None) -> None:
        console.print(output.visible(text), style=style, markup=False, highlight=False, soft_wrap=True)

    told(f"{found.query}, run {found.run_id}, against {found.place}")
    for each in found.ranges:
        told(f"  {each.keys}: {each.rows_source:,} rows in SQL Server, {each.rows_landed:,} landed")
    if found.differing > len(found.ranges):
        told(f"  and {found.differing - len(found.ranges):,} ranges more")
    for key in found.keys:
        columns = f" in {', '.join(key.columns)}" if key.columns else ""
        told(f"    {key.key}: {key.finding.value}{columns}")
    told(f"  receipt: {receipt}", "dim")
    for warning in (*found.warnings, *warnings):
        output.print_warning(f"{found.query}: {warning}")


def print_summary(results: Sequence[dict[str, Any]]) -> None:
    """A line for each query."""
    from rich.table import Table

    table = Table("query", box=None, pad_edge=False)
    for heading in ("in SQL Server", "landed", "ranges", "differing"):
        table.add_column(heading, justify="right")
    table.add_column("result")
    table.add_column("time", justify="right")
    for each in results:
        if each["status"] == "failed":
            table.add_row(each["query"], "", "", "", "", "failed")
            continue
        counts = (*each["rows"].values(), each["compared_ranges"], each["differing_ranges"])
        table.add_row(
            each["query"], *(f"{count:,}" for count in counts), each["status"], output.human_seconds(each["seconds"])
        )
    output.out().print(table)
