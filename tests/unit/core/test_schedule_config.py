"""`schedule:` of a country's YAML, and the files it stands in: read again when they change, each country alone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sql_databricks_bridge.core.country_config import load_country
from sql_databricks_bridge.core.schedule_files import ScheduleFiles
from sql_databricks_bridge.errors import SettingsError
from sql_databricks_bridge.models.schedules import Missed, Schedule


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, country: str, text: str) -> None:
    (folder / f"{country}.yaml").write_text(text)


def read(folder: Path, text: str) -> tuple[Schedule, ...]:
    write(folder, "Peru", text)
    return load_country(folder, "Peru").schedules


def test_one_schedule_needs_a_cron_expression_alone(folder: Path) -> None:
    (found,) = read(folder, 'database: d\nschedule: {cron: "0  2 * * *"}\n')
    assert found == Schedule("Peru", "default", "0 2 * * *", at=f"{folder.as_posix()}/Peru.yaml:2")
    assert (found.timezone, found.queries, found.publish, found.missed) == ("UTC", (), None, Missed.SKIP)


def test_a_list_holds_several_with_all_they_may_say(folder: Path) -> None:
    night, day = read(
        folder,
        """
schedule:
  - {name: night, cron: "0 2 * * *", timezone: Europe/Madrid, queries: [a, b, a], publish: false, missed: catch_up}
  - {name: day, cron: "0 * * * 1-5", publish: true}
""",
    )
    assert (night.timezone, night.queries, night.publish, night.missed) == (
        "Europe/Madrid",
        ("a", "b"),
        False,
        Missed.CATCH_UP,
    )
    assert day.publish is True
    assert read(folder, 'schedule: [{cron: "0 2 * * *", publish: default}]')[0].publish is None


@pytest.mark.parametrize("text", ["", "schedule:\n", "schedule: []\n"])
def test_no_schedule_is_none(folder: Path, text: str) -> None:
    assert read(folder, text) == ()


def test_a_schedule_is_no_parameter_of_a_query(folder: Path) -> None:
    write(folder, "Peru", 'schedule: {cron: "0 2 * * *"}\n')
    assert not load_country(folder, "Peru").values.entries


def test_one_for_all_countries_stands_in_the_common_file(folder: Path) -> None:
    write(folder, "common_params", 'schedule: {cron: "0 2 * * *", timezone: Europe/Madrid}\n')
    (found,) = read(folder, "schedule: {timezone: America/Lima}\n")
    assert (found.cron, found.timezone, found.country) == ("0 2 * * *", "America/Lima", "Peru")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{cron: "0 25 * * *"}', "`cron`: '0 25 * * *' is no cron expression: bad hour"),
        ('{cron: "0 2 * *"}', "`cron`: '0 2 * *' has 4 fields, not 5"),
        ("{timezone: UTC}", "a schedule needs `cron`"),
        ('{cron: "0 2 * * *", timezone: Europe/Madird}', "`timezone`: 'Europe/Madird' is no IANA time zone (did you"),
        ('{cron: "0 2 * * *", queries: a}', "`queries` must be a list"),
        ('{cron: "0 2 * * *", queries: []}', "`queries` must be a list"),
        ('{cron: "0 2 * * *", queries: [a/b]}', "`queries`: 'a/b' is not a legal name"),
        ('{cron: "0 2 * * *", publish: maybe}', "`publish` must be true or false or default"),
        ('{cron: "0 2 * * *", missed: sometimes}', "`missed` must be catch_up or skip"),
        ('{cron: "0 2 * * *", parallel: 2}', "`parallel` means nothing in a schedule"),
        ('{cron: "0 2 * * *", quieries: [a]}', "`quieries` means nothing in a schedule; did you mean `queries`?"),
        ('{cron: "0 2 * * *", name: [a]}', "`name` must be one value"),
        ('{cron: "0 2 * * *", name: a b}', "`name`: 'a b' is not a legal name"),
        (f'{{cron: "0 2 * * *", name: {"x" * 101}}}', "`name`: a name has 100 characters at most"),
        (f'{{cron: "{"0," * 200}0 2 * * *"}}', "`cron` has more than 400 characters"),
        ("0 2 * * *", "a schedule must be a mapping"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(folder: Path, line: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(folder, f"database: d\nschedule:\n  - {line}\n")
    assert f"Peru.yaml:3: {told}" in caught.value.message


def test_all_problems_are_told_at_once(folder: Path) -> None:
    text = 'server: "a b c"\nschedule:\n- {cron: x, missed: y}\n- {cron: "1 1 * * *"}\n- {cron: "2 2 * * *"}\n'
    with pytest.raises(SettingsError) as caught:
        read(folder, text)
    for told in ("`server` must", "yaml:3: `cron`", "yaml:3: `missed`", "yaml:5: two schedules are named 'default'"):
        assert told in caught.value.message


def test_the_job_s_id_follows_from_schedule_and_moment() -> None:
    """Replicas come to the same, in whatever zone they hold the moment; another schedule or moment has another."""
    schedule = Schedule("Peru", "night", "0 2 * * *")
    moment = dt.datetime(2026, 11, 24, 2, tzinfo=dt.UTC)
    assert schedule.job_id(moment) == schedule.job_id(moment.astimezone(dt.timezone(dt.timedelta(hours=5))))
    assert schedule.job_id(moment).startswith("20261124T020000Z-")
    others = (Schedule("Peru", "day", "0 2 * * *"), Schedule("Chile", "night", "0 2 * * *"))
    ids = {schedule.job_id(moment), schedule.job_id(moment + dt.timedelta(days=1))} | {o.job_id(moment) for o in others}
    assert len(ids) == 4


def test_files_are_read_again_when_they_change(folder: Path) -> None:
    write(folder, "Peru", "database: d\n")
    files = ScheduleFiles(folder)
    assert files.read().schedules == ()
    write(folder, "Peru", 'schedule: {cron: "0 2 * * *"}\n')
    assert [schedule.cron for schedule in files.read().schedules] == ["0 2 * * *"]
    write(folder, "common_params", "schedule: {timezone: Europe/Madrid}\n")
    assert [schedule.timezone for schedule in files.read().schedules] == ["Europe/Madrid"]
    (folder / "Peru.yaml").unlink()
    assert files.read().schedules == ()


def test_a_broken_file_stops_its_own_country_alone_and_is_told_once(folder: Path) -> None:
    for country in ("Chile", "Peru"):
        write(folder, country, 'schedule: {cron: "0 2 * * *"}\n')
    files = ScheduleFiles(folder)
    assert len(files.read().schedules) == 2
    write(folder, "Peru", "schedule: {cron: [\n")
    with capture_logs() as logs:
        readings = [files.read() for _ in range(3)]
    assert [schedule.country for schedule in readings[-1].schedules] == ["Chile"]
    assert list(readings[-1].problems) == ["Peru"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["schedule.unreadable"]
    write(folder, "Peru", 'schedule: {cron: "0 3 * * *"}\n')
    assert len(files.read().schedules) == 2


def test_a_folder_that_is_gone_has_no_schedules_and_says_so(tmp_path: Path) -> None:
    files = ScheduleFiles(tmp_path / "nowhere")
    with capture_logs() as logs:
        assert files.read() == files.read()
    assert len([line for line in logs if line["event"] == "schedule.unreadable"]) == 1
