"""The schedules of all countries, read again when a file changes; a broken file stops its own country's alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sql_databricks_bridge.core.country_config import COMMON, list_countries, load_country
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.schedules import Schedule

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """Schedules by country and name, and what is wrong with the countries that have none because of it.

    The problem of the folder itself stands under the name ''.
    """

    schedules: tuple[Schedule, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


class ScheduleFiles:
    """The YAML files of a folder. `read` is for one thread."""

    def __init__(self, config_dir: Path) -> None:
        self._folder = config_dir
        self._known: dict[str, tuple[str, Reading]] = {}

    def read(self) -> Reading:
        """What the files say now; raises nothing. A problem is logged once for each content of a file."""
        try:
            countries = list_countries(self._folder)
        except (UsageError, OSError) as exc:
            self._known = {"": self._unless_known("", str(exc), Reading(problems={"": str(exc)}))}
        else:
            common = _content(self._folder / f"{COMMON}.yaml")
            self._known = {country: self._country(country, common) for country in countries}
        readings = [reading for _, reading in self._known.values()]
        return Reading(
            tuple(schedule for reading in readings for schedule in reading.schedules),
            {country: problem for reading in readings for country, problem in reading.problems.items()},
        )

    def _country(self, country: str, common: bytes) -> tuple[str, Reading]:
        # The content of a moment ago: what is written while it is read is seen the next time.
        digest = hashlib.sha256(common + b"\0" + _content(self._folder / f"{country}.yaml")).hexdigest()
        if (known := self._known.get(country)) is not None and known[0] == digest:
            return known
        try:
            found = Reading(load_country(self._folder, country).schedules)
        except UsageError as exc:
            found = Reading(problems={country: str(exc)})
        return self._unless_known(country, digest, found)

    def _unless_known(self, country: str, digest: str, found: Reading) -> tuple[str, Reading]:
        """The new entry; what is new is told."""
        before = self._known.get(country)
        if before is not None and before[0] == digest:
            return before
        for problem in found.problems.values():
            log.error("schedule.unreadable", country=country or None, why=problem, effect="its schedules stand still")
        if found.schedules or (before is not None and before[1].schedules):
            names = [schedule.name for schedule in found.schedules]
            log.info("schedule.loaded", country=country, schedules=names)
        return digest, found


def _content(path: Path) -> bytes:
    with suppress(OSError):  # a file that is gone, or can't be read: whoever loads it tells
        return path.read_bytes()
    return b""
