"""`bridge extract`: run a country's queries and land them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import (
    ConfigDirOption,
    CountryOption,
    DestinationOption,
    JsonOption,
    LookbackOption,
    ParamOption,
    PartitionKeyOption,
    PartitionLockOption,
    PartitionsOption,
    PublishOption,
    QueriesDirOption,
    QueriesOption,
    StrictOption,
)
from sql_databricks_bridge.cli.stopping import stop_on_signals
from sql_databricks_bridge.errors import BridgeError, Cancelled

if TYPE_CHECKING:
    from sql_databricks_bridge.core.jobs import RunOptions
    from sql_databricks_bridge.core.types import LandedSchema
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse
    from sql_databricks_bridge.db.sql_server import MssqlServer
    from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, ResolvedQuery, RunReport
    from sql_databricks_bridge.models.publishing import PublicationOutcome


def extract(
    country: CountryOption,
    query: QueriesOption = None,
    queries_dir: QueriesDirOption = None,
    config_dir: ConfigDirOption = None,
    destination: DestinationOption = None,
    param: ParamOption = None,
    lookback_months: LookbackOption = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="At most N rows of each query.")] = None,
    publish: PublishOption = None,
    strict: StrictOption = False,
    partitions: PartitionsOption = None,
    partition_key: PartitionKeyOption = None,
    partition_lock: PartitionLockOption = None,
    parallel: Annotated[int, typer.Option("--parallel", metavar="N", min=1, max=64, help="Queries at once.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show SQL and result schema of each query; run none.")] = (
        False
    ),
    json: JsonOption = False,
) -> int:
    """Run a country's queries on SQL Server and land each as typed Parquet in a Databricks Volume.

    Every query is resolved before the first runs. Ctrl-C cancels: what has not been published does not count.
    """
    from sql_databricks_bridge.core.jobs import RunOptions
    from sql_databricks_bridge.core.planning import parse_assignments
    from sql_databricks_bridge.models.partitions import AskedPartitions

    config = composition.settings()
    parameters = parse_assignments(param or ())
    plan = composition.plan(
        config,
        composition.Request(
            country,
            query or (),
            queries_dir,
            config_dir,
            destination,
            parameters,
            lookback_months,
            limit,
            publish,
            strict,
            AskedPartitions(partitions, names_of(partition_key), partition_lock),
        ),
    )
    for warning in plan.warnings:
        output.print_warning(warning)
    source = composition.sql_server(config, plan.server)
    if dry_run:
        return _dry_run(plan, source, as_json=json)
    options = RunOptions(parallel=parallel, spool_dir=config.bridge_spool_dir, states=composition.states_name(config))
    return run_plan(plan, source, composition.lakehouse(config), options, as_json=json)


def names_of(option: str | None) -> tuple[str, ...]:
    """The names of an option like `--partition-key a,b`."""
    return tuple(name.strip() for name in (option or "").split(",") if name.strip())


def run_plan(
    plan: ExtractionPlan, source: MssqlServer, lakehouse: DatabricksLakehouse, options: RunOptions, *, as_json: bool
) -> int:
    """Run a plan before the user's eyes; the exit code is 0 where every query came to its end, 1 else."""
    from sql_databricks_bridge.cli.progress import progress_view
    from sql_databricks_bridge.core import jobs
    from sql_databricks_bridge.models.jobs import RunStatus

    _tell_retries()
    with (
        stop_on_signals("cancelling ... (again: at once)") as stopping,
        progress_view([query.name for query in plan.queries], quiet=as_json) as view,
    ):
        try:
            report = jobs.run(
                plan,
                source,
                lakehouse,
                options=options,
                on_progress=view,
                stop=stopping.event,
            )
        except KeyboardInterrupt:
            raise Cancelled(
                "Cancelled at once.",
                hint="Unpublished files may remain in the volume. When no other run is under way, remove them with:"
                f" bridge sweep --country {plan.country} --older-than 0",
            ) from None
    if as_json:
        output.print_json(_document(report))
    else:
        _print_report(report)
    if stopping.signal is not None and report.status is RunStatus.CANCELLED:
        return 128 + stopping.signal
    return 0 if report.status is RunStatus.COMPLETED else 1


def _tell_retries() -> None:
    """Say in a line what is tried again, and why; stamina's own log is for machines."""
    import stamina.instrumentation as retries

    def tell(details: retries.RetryDetails) -> None:
        cause = details.caused_by
        said = cause.message if isinstance(cause, BridgeError) else type(cause).__name__
        output.err().print(
            f"{said} Trying again in {details.wait_for:.1f} s.", style="yellow", markup=False, soft_wrap=True
        )

    retries.set_on_retry_hooks((tell,))


def _document(report: RunReport) -> dict[str, Any]:
    return {
        "run_id": report.run_id,
        "status": report.status.value,
        "country": report.country,
        "destination": str(report.destination),
        "seconds": round(report.seconds, 3),
        "warnings": list(report.warnings),
        "queries": [_query_document(outcome) for outcome in report.queries],
    }


def _query_document(outcome: QueryOutcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "status": outcome.status.value,
        "rows": outcome.rows,
        "bytes": outcome.bytes,
        "parts": outcome.parts,
        "seconds": round(outcome.seconds, 3),
        "path": outcome.path,
        "error": outcome.error,
        "warnings": list(outcome.warnings),
        "publication": None if outcome.publication is None else dataclasses.asdict(outcome.publication),
    }


def _print_report(report: RunReport) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"completed": "green", "failed": "bold red", "cancelled": "yellow"}
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("query", "status"):
        table.add_column(name)
    for name in ("rows", "size", "parts", "time"):
        table.add_column(name, justify="right")
    paths = [_below(outcome.path, report.destination.root) for outcome in report.queries if outcome.path]
    names = max((len(outcome.name) for outcome in report.queries), default=0)
    with_paths = names + max(map(len, paths), default=0) + _OTHER_COLUMNS <= output.out().width
    if with_paths:
        table.add_column("landed in")
    for outcome in report.queries:
        status = outcome.status.value
        landed = outcome.path is not None
        cells: list[str | Text] = [
            Text(outcome.name),
            Text(status, styles.get(status, "")),
            f"{outcome.rows:,}" if landed else "-",
            output.human_bytes(outcome.bytes) if landed else "-",
            str(outcome.parts) if landed else "-",
            output.human_seconds(outcome.seconds),
        ]
        table.add_row(*cells, *([_below(outcome.path or "", report.destination.root)] if with_paths else []))
    output.out().print(table)
    rows = sum(outcome.rows for outcome in report.queries if outcome.path)
    size = sum(outcome.bytes for outcome in report.queries if outcome.path)
    output.out().print(
        f"run {report.run_id} {report.status.value}: {rows:,} rows, {output.human_bytes(size)},"
        f" {output.human_seconds(report.seconds)}, below {report.destination.root}",
        soft_wrap=True,
    )
    if paths and not with_paths:
        output.out().print(f"landed in {report.country}/QUERY/{paths[0].rsplit('/', 1)[-1]} there", soft_wrap=True)
    for outcome in report.queries:
        if outcome.publication is not None:
            output.out().print(_published(outcome.name, outcome.publication), soft_wrap=True, markup=False)
            for change in outcome.publication.changes:
                output.out().print(f"  column {change}", soft_wrap=True, markup=False)
        for warning in outcome.warnings:
            output.print_warning(f"{outcome.name}: {warning}")
        if outcome.error:
            output.print_error(f"{outcome.name}: {outcome.error}")


def _published(query: str, publication: PublicationOutcome) -> str:
    rows = publication.rows
    if rows.total is not None:
        what = f"{rows.total:,} rows"
    else:
        what = f"{rows.inserted:,} inserted, {rows.updated:,} updated, {rows.deleted:,} deleted"
    return f"{query} -> {publication.table}: {publication.way}, {what} ({publication.reason})"


_OTHER_COLUMNS = 55
"""Width of the summary's columns besides the query's name and path."""


def _below(path: str, root: str) -> str:
    return path.removeprefix(root + "/")


def _dry_run(plan: ExtractionPlan, source: MssqlServer, *, as_json: bool) -> int:
    """Describe every query on the server, which runs none of them."""
    from sql_databricks_bridge.core.shaping import shape

    results: list[tuple[ResolvedQuery, LandedSchema | BridgeError]] = []
    connection = source.connect(database=plan.database, server=plan.server)
    try:
        for query in plan.queries:
            try:
                results.append((query, shape(connection, query).schema))
            except BridgeError as exc:
                results.append((query, exc))
    finally:
        connection.close()
    if as_json:
        output.print_json(
            {
                "status": "failed" if any(isinstance(found, BridgeError) for _, found in results) else "ok",
                "country": plan.country,
                "destination": str(plan.destination),
                "queries": [_described_document(query, found) for query, found in results],
            }
        )
    else:
        for query, found in results:
            _print_described(query, found)
    return 1 if any(isinstance(found, BridgeError) for _, found in results) else 0


def _described_document(query: ResolvedQuery, found: LandedSchema | BridgeError) -> dict[str, Any]:
    from sql_databricks_bridge.core.param_resolver import shown_value

    failed = isinstance(found, BridgeError)
    return {
        "name": query.name,
        "file": query.file,
        "sql": query.sql,
        "parameters": [
            {"name": p.name, "type": p.declaration, "value": shown_value(p.name, p.value), "origin": p.origin}
            for p in query.parameters
        ],
        "columns": None if isinstance(found, BridgeError) else _column_documents(found),
        "losses": [] if isinstance(found, BridgeError) else [dataclasses.asdict(loss) for loss in found.losses],
        "error": str(found) if failed else None,
    }


def _column_documents(schema: LandedSchema) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "type": column.sql_type if origin.companion is not None else origin.column.sql_type,
            "nullable": column.nullable,
            "lands_as": str(field.type),
            "companion_of": None if origin.companion is None else origin.column.name,
        }
        for column, origin, field in zip(schema.columns, schema.origins, schema.schema, strict=True)
    ]


def _print_described(query: ResolvedQuery, found: LandedSchema | BridgeError) -> None:
    from rich.text import Text

    from sql_databricks_bridge.core.param_resolver import shown_value

    console = output.out()
    console.print(Text.assemble((query.name, "bold"), f"  {query.file}"))
    output.print_sql(query.sql)
    for parameter in query.parameters:
        value = shown_value(parameter.name, parameter.value)
        console.print(Text(f"  @{parameter.name} {parameter.declaration} = {value}  ({parameter.origin})"))
    if isinstance(found, BridgeError):
        output.print_error(f"{query.name}: {found.message}", found.hint)
    else:
        for column in _column_documents(found):
            beside = "" if column["companion_of"] is None else f"  (beside {column['companion_of']})"
            null = "" if column["nullable"] else " NOT NULL"
            console.print(Text(f"  {column['name']}  {column['type']}{null} -> {column['lands_as']}{beside}"))
        for loss in found.losses:
            output.print_warning(f"{query.name}: column {loss.column}: {loss.reason}")
    console.print()
