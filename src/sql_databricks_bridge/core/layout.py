"""Where things lie in a volume: `{root}/{country}/{query}/run={run_id}-{attempt}/`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sql_databricks_bridge.core.manifest import MANIFEST_NAME
from sql_databricks_bridge.models.names import Destination

_ATTEMPT_FOLDER = re.compile(r"run=(?P<run_id>.+)-(?P<attempt>[1-9][0-9]*)\Z")


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """The folder of one attempt at one query of a run."""

    destination: Destination
    country: str
    query: str
    run_id: str
    attempt: int

    @property
    def path(self) -> str:
        """Absolute, without a trailing slash."""
        return f"{self.query_path}/run={self.run_id}-{self.attempt}"

    @property
    def query_path(self) -> str:
        """The folder of all runs of the query."""
        return query_path(self.destination, self.country, self.query)

    @property
    def manifest_path(self) -> str:
        """The file that makes the attempt count."""
        return f"{self.path}/{MANIFEST_NAME}"

    @classmethod
    def parse(cls, destination: Destination, country: str, query: str, folder_name: str) -> AttemptFolder | None:
        """Read a folder's name; None where it is not an attempt's."""
        match = _ATTEMPT_FOLDER.match(folder_name)
        if match is None:
            return None
        return cls(destination, country, query, match["run_id"], int(match["attempt"]))


def country_path(destination: Destination, country: str) -> str:
    """The folder of a country's queries."""
    return f"{destination.root}/{country}"


def query_path(destination: Destination, country: str, query: str) -> str:
    """The folder of a query's runs."""
    return f"{country_path(destination, country)}/{query}"


def name_of(path: str) -> str:
    """The last part of a path."""
    return path.rstrip("/").rsplit("/", 1)[-1]
