"""`bridge schedule`: when the countries' queries run, whether that can work, and one schedule run at once."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import extract, output
from sql_databricks_bridge.cli.audit import is_missing_file
from sql_databricks_bridge.cli.options import ConfigDirOption, CountryOption, JsonOption, QueriesDirOption
from sql_databricks_bridge.errors import BridgeError, SettingsError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from sql_databricks_bridge.core.config import Settings
    from sql_databricks_bridge.models.jobs import ExtractionPlan, RunStatus
    from sql_databricks_bridge.models.schedules import Schedule, ScheduleState

app = typer.Typer(no_args_is_help=True, help="See and try the countries' schedules.", rich_markup_mode=None)

SHOWN = 3
"""Due moments that `list` shows of each schedule."""

_AnyCountry = Annotated[
    str | None, typer.Option("--country", "-c", metavar="NAME", help="Only this country.", show_default=False)
]


@app.callback()
def _schedule() -> None:
    """See and try the countries' schedules."""


@app.command("list", epilog="Example: bridge schedule list --country Colombia --json")
def list_(country: _AnyCountry = None, config_dir: ConfigDirOption = None, json: JsonOption = False) -> int:
    """Show each schedule's next due moments, by its own clock and in UTC, and what became of the last one."""
    config = composition.settings()
    schedules, problems = _read(config_dir or config.bridge_config_dir, country)
    known = _seen(config) if schedules else {}
    now = dt.datetime.now(dt.UTC)
    documents = [_document(schedule, known.get((schedule.country, schedule.name)), now) for schedule in schedules]
    if json:
        output.print_json({"schedules": documents, "problems": problems})
    else:
        _print_schedules(documents)
    for problem in problems:
        output.print_error(problem)
    return 2 if problems else 0


@app.command("check", epilog="Example: bridge schedule check --json")
def check(
    country: _AnyCountry = None,
    config_dir: ConfigDirOption = None,
    queries_dir: QueriesDirOption = None,
    json: JsonOption = False,
) -> int:
    """Resolve what every schedule would run, without asking a server; exit 2 where something is wrong."""
    config = composition.settings()
    schedules, problems = _read(config_dir or config.bridge_config_dir, country)
    warnings: list[str] = []
    for schedule in schedules:
        try:
            plan = _plan(config, schedule, config_dir, queries_dir)
            warnings += [f"{schedule.label}: {warning}" for warning in plan.warnings]
        except UsageError as exc:
            problems.append(f"{schedule.at}: {schedule.label}: {exc}")
    problems += _principal_problems(config, warnings) if schedules else []
    if json:
        names = [schedule.label for schedule in schedules]
        status = "wrong" if problems else "ok"
        output.print_json({"status": status, "schedules": names, "problems": problems, "warnings": warnings})
    else:
        output.out().print(f"{len(schedules)} schedules, {len(problems)} problems")
    for warning in warnings:
        output.print_warning(warning)
    for problem in problems:
        output.print_error(problem)
    return 2 if problems else 0


@app.command("run", epilog="Example: bridge schedule run --country Colombia --name nightly --json")
def run(
    country: CountryOption,
    name: Annotated[str, typer.Option("--name", metavar="N", help="The schedule's name.")] = "default",
    config_dir: ConfigDirOption = None,
    queries_dir: QueriesDirOption = None,
    json: JsonOption = False,
) -> int:
    """Run now what a schedule runs, here and not in the service, as `bridge extract` does; for cron and the like.

    Exit codes: 0 all queries landed, 1 some did not, 2 nothing was run because something is wrong.
    """
    from sql_databricks_bridge.core.country_config import load_country
    from sql_databricks_bridge.core.jobs import RunOptions
    from sql_databricks_bridge.core.suggestions import listed

    config = composition.settings()
    known = {item.name: item for item in load_country(config_dir or config.bridge_config_dir, country).schedules}
    if name not in known:
        raise UnknownNameError(f"{country} has no schedule {name!r}.", hint=f"Its schedules: {listed(known)}.")
    plan = _plan(config, known[name], config_dir, queries_dir)
    for warning in plan.warnings:
        output.print_warning(warning)
    options = RunOptions(
        parallel=config.job_parallel, spool_dir=config.bridge_spool_dir, states=composition.states_name(config)
    )
    source = composition.sql_server(config, plan.server)
    return extract.run_plan(plan, source, composition.lakehouse(config), options, as_json=json)


def _read(config_dir: Path, country: str | None) -> tuple[list[Schedule], list[str]]:
    """The schedules of the country, or of all, and what is wrong with their files."""
    from sql_databricks_bridge.core.country_config import list_countries, load_country

    schedules: list[Schedule] = []
    problems = []
    for name in list_countries(config_dir) if country is None else (country,):
        try:
            schedules += load_country(config_dir, name).schedules
        except SettingsError as exc:
            problems.append(str(exc))
    return schedules, problems


def _plan(config: Settings, schedule: Schedule, config_dir: Path | None, queries_dir: Path | None) -> ExtractionPlan:
    from sql_databricks_bridge.core.cron import zone

    return composition.plan(
        config,
        composition.Request(
            country=schedule.country,
            queries=schedule.queries,
            queries_dir=queries_dir,
            config_dir=config_dir,
            publish=schedule.publish,
            today=dt.datetime.now(zone(schedule.timezone)).date(),
        ),
    )


def _principal_problems(config: Settings, warnings: list[str]) -> list[str]:
    name = config.schedule_principal
    if not name or not config.scheduler_enabled:
        variable = "SCHEDULER_ENABLED is off" if name else "SCHEDULE_PRINCIPAL is not set"
        warnings.append(f"{variable}: `bridge serve` runs no schedule, only who calls `bridge schedule run`.")
        return []
    try:
        known = composition.permissions_file(config).current().user(name)
    except SettingsError as exc:
        return [str(exc)]
    return [] if known else [f"SCHEDULE_PRINCIPAL: there is no user {name!r} in {config.bridge_permissions_file}."]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the job store knows of a schedule; `status` is that of the job of `state`, None where that is forgotten."""

    state: ScheduleState
    status: RunStatus | None


def _seen(config: Settings) -> dict[tuple[str, str], _Seen]:
    """What the job store knows, by country and name; nothing, and a warning, where it can't be asked."""
    from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore

    if is_missing_file(config.job_store_url.get_secret_value()):
        return {}
    try:
        with closing(SqlAlchemyJobStore(config.job_store_url)) as store:
            found = {}
            for state in store.schedules.states():
                job = None if state.job_id is None else store.get(state.job_id)
                found[state.country, state.name] = _Seen(state, None if job is None else job.status)
            return found
    except BridgeError as exc:
        output.print_warning(f"What became of the last due moments is not known: {exc.message}")
        return {}


def _document(schedule: Schedule, seen: _Seen | None, now: dt.datetime) -> dict[str, Any]:
    from sql_databricks_bridge.core.cron import Cron

    cron = Cron(schedule.cron, schedule.timezone)
    moments = [cron.after(now)]
    while len(moments) < SHOWN:
        moments.append(cron.after(moments[-1]))
    return {
        "country": schedule.country,
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "queries": list(schedule.queries) or None,
        "publish": schedule.publish,
        "missed": schedule.missed.value,
        "at": schedule.at,
        "next": [{"local": cron.local(due).isoformat(), "utc": due.isoformat()} for due in moments],
        "last": None if seen is None else _last(seen),
    }


def _last(seen: _Seen) -> dict[str, Any] | None:
    from sql_databricks_bridge.models.schedules import Decision

    state = seen.state
    if state.decision is Decision.NEW:
        return None
    return {
        "due": state.last_due.isoformat(),
        "outcome": state.decision.value,
        "reason": state.reason,
        "job_id": state.job_id,
        "job_status": seen.status.value if seen.status else None,
    }


def _print_schedules(documents: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("schedule", "cron", "next", "UTC", "last", box=None, header_style="dim", pad_edge=False)
    for document in documents:
        first, *others = document["next"]
        table.add_row(
            Text(f"{document['country']}/{document['name']}"),
            Text(document["cron"]),
            *_moment(first, document["timezone"]),
            Text(_last_shown(document["last"])),
        )
        for moment in others:
            table.add_row("", "", *_moment(moment, ""), "")
    output.out().print(table)


def _moment(moment: dict[str, str], zone: str) -> tuple[Text, Text]:
    from rich.text import Text

    local, utc = (dt.datetime.fromisoformat(moment[name]) for name in ("local", "utc"))
    return Text(f"{local:%a %Y-%m-%d %H:%M} {zone}".rstrip()), Text(f"{utc:%Y-%m-%d %H:%M}")


def _last_shown(last: dict[str, Any] | None) -> str:
    if last is None:
        return "-"
    told = last["job_status"] or last["outcome"] if last["outcome"] == "queued" else last["outcome"]
    return f"{last['due'][:16].replace('T', ' ')} {told}" + (f": {last['reason']}" if last["reason"] else "")
