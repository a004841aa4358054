"""A run that publishes, killed at each of its requests: the next run leaves the table as the source is.

The requests are those of one clean run, in the stand-ins' logs: each is held before and after it is executed, the
process is killed by SIGKILL, and another one runs. `make test` takes a seeded sample, `make proof` all of them.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.models.publishing import IncrementKind
from tests.acceptance.conftest import Bridge, Workspace
from tests.acceptance.conftest import server_environment as server_environment
from tests.conftest import StandIn
from tests.integration.job_runner_support import until
from tests.integration.publishing_support import SETTINGS_OF, Bench, bench
from tests.proof.conftest import SEED, scaled

KINDS = scaled([IncrementKind.CHANGE_TRACKING], [None, *IncrementKind])
POINTS = scaled(3, None)
HELD_S = 30.0
BUSY = "is being published by another run"


@dataclass(slots=True)
class Published:
    """A bench, and the command that publishes it."""

    at: Bench
    bridge: Bridge
    country: str
    ends: Mapping[str, StandIn]

    def arguments(self) -> list[str]:
        """The command."""
        return ["extract", "--country", self.country, "--json"]

    def run(self) -> None:
        """One run to its end. The session of a killed one may take a moment to go, and its lock with it."""

        def ended() -> bool:
            done = self.bridge(*self.arguments())
            if done.code and BUSY in done.out:
                return False
            assert done.code == 0, done.out + done.err
            return True

        until(ended)

    def requests(self) -> list[tuple[str, int]]:
        """(end, number) of every request that one run makes."""
        seen = {name: max(entry["sequence"] for entry in end.requests()) for name, end in self.ends.items()}
        self.at.change(3)
        self.run()
        return [
            (name, number + 1)
            for name, end in self.ends.items()
            for number in range(len([entry for entry in end.requests(seen[name]) if entry["kind"] != "admin"]))
        ]

    def kill_at(self, end: str, number: int, side: str) -> bool:
        """Kill a run while its `number`-th request to that end is held; False where it made fewer."""
        held = self.ends[end]
        action = {"delay_s": HELD_S} if side == "before" else {"delay_after_s": HELD_S}
        rule = held.fault(match={}, on=number, action=action)
        with self.bridge.started(*self.arguments()) as process:
            while process.poll() is None and not held.hits(rule):
                pass  # each turn is a question to the stand-in
            reached = process.poll() is None
            process.kill()
            process.communicate()
        held.clear()
        return reached


@contextmanager
def published(
    kind: IncrementKind | None,
    settings: Settings,
    lakehouse: DatabricksLakehouse,
    environment: Mapping[str, str],
    folder: Path,
    ends: Mapping[str, StandIn],
) -> Iterator[Published]:
    """A source with rows, a country that publishes it, and its first publication."""
    with bench(settings, lakehouse, folder / "spool", kind, seed=SEED) as at:
        country = f"Kills{random.Random(at.target.table).randrange(10**9)}"
        workspace = Workspace(folder, country)
        workspace.query("q", at.query.sql)
        document: dict[str, Any] = {
            "database": at.settings.sqlserver_database,
            "publish": {"tables": {"q": at.target.table}},
        }
        if kind is not None:
            given = dataclasses.asdict(SETTINGS_OF[kind])
            wanted = {"key": list(given.pop("key")), "kind": given.pop("kind").value}
            unused = {"lag": 0, "range_rows": 64}
            wanted |= {name: value for name, value in given.items() if value not in (None, unused.get(name))}
            document["incremental"] = {"q": wanted}
        workspace.yaml(country, yaml.safe_dump(document))
        variables = {**environment, "BRIDGE_STATE_TABLE": f"{at.states}"}
        made = Published(at, Bridge(variables, folder), country, ends)
        at.session.rows("INSERT INTO dbo.t (id, name) VALUES " + ", ".join(f"({n}, N'x')" for n in range(1, 101)))
        made.run()
        at.require_equal()
        yield made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value if kind else "full")
def test_a_run_that_is_killed_at_any_request_is_made_good_by_the_next(
    kind: IncrementKind | None,
    server_environment: dict[str, str],
    sqlserver_faults: StandIn,
    lakehouse_faults: StandIn,
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    tmp_path: Path,
) -> None:
    ends = {"sql": sqlserver_faults, "lake": lakehouse_faults}
    lakehouse = DatabricksLakehouse(lakehouse_settings)
    changes = {
        name: getattr(lakehouse_settings, name) for name in Settings.model_fields if name.startswith("databricks_")
    }
    settings = sqlserver_settings.model_copy(update=changes)
    (tmp_path / "spool").mkdir()
    with published(kind, settings, lakehouse, server_environment, tmp_path, ends) as made:
        requests = made.requests()
        points = [(*point, side) for point in requests for side in ("before", "after")]
        assert len(points) > 30, "a run asks both ends for many things"
        chosen = points if POINTS is None else random.Random(SEED).sample(points, POINTS)
        missed = []
        for point in chosen:
            made.at.change(3)
            if not made.kill_at(*point):
                missed.append(point)
            made.run()
            made.at.require_equal()
        # What a run asks varies by a request or two: a run after a kill has more to look at.
        assert len(missed) <= max(1, len(chosen) // 10), missed
