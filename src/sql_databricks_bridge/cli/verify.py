"""`bridge verify`: does what landed equal what SQL Server holds, and where not?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import (
    ConfigDirOption,
    DestinationOption,
    JsonOption,
    LookbackOption,
    ParamOption,
    QueriesDirOption,
    QueriesOption,
)
from sql_databricks_bridge.errors import BridgeError, UsageError

if TYPE_CHECKING:
    from sql_databricks_bridge.core.config import Settings
    from sql_databricks_bridge.core.manifest import Manifest
    from sql_databricks_bridge.core.ports import SqlServerConnection
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse
    from sql_databricks_bridge.models.jobs import ResolvedQuery
    from sql_databricks_bridge.models.names import Destination
    from sql_databricks_bridge.models.publishing import Incremental
    from sql_databricks_bridge.models.verification import Verification

_LOG_LEVEL = "ERROR"  # what a run would log is printed here, in its place


@dataclass(frozen=True)
class _Choice:
    """What the command line says, for every query alike."""

    country: str
    run_id: str | None
    table: bool
    key: tuple[str, ...]
    range_rows: int
    queries_dir: Path | None
    config_dir: Path | None
    parameters: Mapping[str, str]
    lookback_months: int | None


def verify(
    country: Annotated[
        str | None, typer.Option("--country", "-c", metavar="NAME", help="Country: config/NAME.yaml.")
    ] = None,
    query: QueriesOption = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="This run; else the newest.")] = None,
    table: Annotated[bool, typer.Option("--table", help="Compare the Delta table, not the run's files.")] = False,
    key: Annotated[
        str | None, typer.Option("--key", metavar="COL,...", help="What tells rows apart; else as `incremental:` says.")
    ] = None,
    range_rows: Annotated[int, typer.Option("--range-rows", metavar="N", min=1, help="Rows of one digest.")] = 1_000,
    queries_dir: QueriesDirOption = None,
    config_dir: ConfigDirOption = None,
    destination: DestinationOption = None,
    param: ParamOption = None,
    lookback_months: LookbackOption = None,
    event: Annotated[str | None, typer.Option("--event", metavar="ID", help="Verify an applied event.")] = None,
    receipt: Annotated[str | None, typer.Option("--receipt", metavar="PATH", help="Check a receipt's signature.")] = (
        None
    ),
    json: JsonOption = False,
) -> int:
    """Compare what landed with what SQL Server holds now, by digests of every row; name the keys that differ.

    A signed receipt is written beside the run's manifest. Rows that changed in SQL Server since the run differ, too.
    Exit code 1 where anything differs.
    """
    others = (query, run, table, key, queries_dir, config_dir, destination, param, lookback_months)
    _require_one(country, event, receipt, has_others=any(others) or lookback_months == 0)
    if event is not None:
        from sql_databricks_bridge.cli.verify_event import verify_event

        return verify_event(event, json=json)
    if receipt is not None:
        return _check_receipt(receipt, as_json=json)
    from sql_databricks_bridge.core.planning import parse_assignments

    assert country is not None, "one of the three is given"
    choice = _Choice(
        country,
        run,
        table,
        tuple(name.strip() for name in key.split(",") if name.strip()) if key else (),
        range_rows,
        queries_dir,
        config_dir,
        parse_assignments(param or ()),
        lookback_months,
    )
    return _verify_queries(choice, query or (), destination, as_json=json)


def _require_one(country: str | None, event: str | None, receipt: str | None, *, has_others: bool) -> None:
    if (country is not None) + (event is not None) + (receipt is not None) != 1:
        raise UsageError("Verify what?", hint="Give one of --country NAME, --event ID or --receipt PATH.")
    if country is None and has_others:
        raise UsageError("--event and --receipt go with --json only.", hint="The other options are for --country.")


def _verify_queries(choice: _Choice, named: Sequence[str], destination: str | None, *, as_json: bool) -> int:
    from sql_databricks_bridge.cli.verify_shown import document, print_result, print_summary
    from sql_databricks_bridge.core.verification import subject

    config = composition.settings(_LOG_LEVEL)
    target = composition.destination_of(choice.country, destination, config, choice.config_dir)
    lake = composition.lakehouse(config)
    names = list(dict.fromkeys(named)) or subject.landed_queries(lake, target, choice.country, choice.run_id)
    missing = [] if named else _never_landed(lake, target, choice, config)
    results: list[dict[str, Any]] = []
    for name in names:
        try:
            found, place, warnings = _verify_one(config, lake, target, choice, name)
        except BridgeError as exc:
            if isinstance(exc, UsageError) and len(names) == 1:
                raise
            results.append({"query": name, "status": "failed", "error": str(exc)})
            if not as_json:
                output.print_error(f"{name}: {exc.message}", exc.hint)
            continue
        results.append(document(found, place, warnings))
        if not as_json:
            print_result(found, place, warnings)
    statuses = {each["status"] for each in results}
    if as_json:
        status = next((each for each in ("failed", "different") if each in statuses), "equal")
        output.print_json({"status": status, "country": choice.country, "queries": results, "never_landed": missing})
    else:
        print_summary(results)
        if missing:
            output.print_warning(f"never landed: {', '.join(missing)}")
    return 0 if statuses == {"equal"} else 1


def _never_landed(lake: DatabricksLakehouse, target: Destination, choice: _Choice, config: Settings) -> list[str]:
    """The country's query files that no run has landed yet: there is nothing to compare."""
    from sql_databricks_bridge.core.planning import list_queries
    from sql_databricks_bridge.core.verification import subject

    files = list_queries(choice.queries_dir or config.bridge_queries_dir, choice.country)
    return subject.never_landed(lake, target, choice.country, (found.name for found in files))


def _verify_one(
    config: Settings, lake: DatabricksLakehouse, target: Destination, choice: _Choice, name: str
) -> tuple[Verification, str, tuple[str, ...]]:
    """The comparison, where its receipt is, and warnings besides its own."""
    from sql_databricks_bridge.core import runs
    from sql_databricks_bridge.core.country_config import load_country
    from sql_databricks_bridge.core.spool import run_spool
    from sql_databricks_bridge.core.verification import Limits, landed, subject, verify
    from sql_databricks_bridge.core.verification.asked import Asked
    from sql_databricks_bridge.core.verification.receipts import write_receipt

    run = subject.find_run(lake, target, choice.country, name, choice.run_id)
    was = subject.as_it_was(run.manifest)
    plan = composition.plan(
        config,
        composition.Request(
            choice.country,
            [name],
            choice.queries_dir,
            choice.config_dir,
            str(target),
            {**was.parameters, **choice.parameters},
            choice.lookback_months if choice.lookback_months is not None else was.lookback_months,
            today=was.today,
        ),
    )
    (query,) = plan.queries
    subject.require_same(query, run.manifest)
    newest = choice.run_id is None or runs.latest(lake, target, choice.country, name) == (run,)
    table = subject.table_of(run, wanted=choice.table, newest=newest)
    declared = load_country(choice.config_dir or config.bridge_config_dir, choice.country).publishing.incremental.get(
        name
    )
    connection = composition.sql_server(config, plan.server).connect(database=plan.database, server=plan.server)
    try:
        asked = Asked.of(query, run.manifest.schema, choice.key or _key_of(connection, query, run.manifest, declared))
        with run_spool(config.bridge_spool_dir) as spool:
            if table is not None:
                soft_delete = query.publish.soft_delete if query.publish is not None else None
                rows = landed.of_table(lake, table, soft_delete)
            else:
                rows = landed.of_files(lake, run, spool)
            found = verify(connection, asked, rows, run.folder.run_id, Limits(range_rows=choice.range_rows))
    finally:
        connection.close()
    secret = config.audit_key.get_secret_value() if config.audit_key else None
    place = write_receipt(lake, found, run.folder.path, secret)
    return found, place, () if secret else ("the receipt is not signed: there is no AUDIT_KEY",)


def _key_of(
    connection: SqlServerConnection, query: ResolvedQuery, manifest: Manifest, declared: Incremental | None
) -> Sequence[str]:
    """What the YAML says under `incremental:`, be the query published or not; else what SQL Server's catalog does."""
    from sql_databricks_bridge.core.verification.keys import detected_key

    if declared is not None:
        return declared.key
    return detected_key(connection, query, [column.name for column in manifest.schema])


def _check_receipt(path: str, *, as_json: bool) -> int:
    from sql_databricks_bridge.core.verification.receipts import is_genuine, read_receipt

    config = composition.settings(_LOG_LEVEL)
    config.require("audit_key")
    assert config.audit_key is not None, "it was required"
    document = read_receipt(_content(path, config), path)
    genuine = is_genuine(document, config.audit_key.get_secret_value())
    if as_json:
        output.print_json({"status": "genuine" if genuine else "forged", "receipt": document})
    elif genuine:
        typer.echo(f"{path}: genuine; {document['query']}, run {document['run_id']}: {document['result']}")
    else:
        output.print_error(
            f"{path}: the signature is not that of this AUDIT_KEY and this text.",
            "It was altered, signed by another key, or not signed at all.",
        )
    return 0 if genuine else 1


def _content(path: str, config: Settings) -> bytes:
    """A file in a volume, or of this machine."""
    if path.startswith("/Volumes/"):
        return composition.lakehouse(config).read(path)
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise UsageError(f"{path} can't be read: {exc.strerror}.", hint="Give a receipt's path.") from exc
