"""An address that does not answer is told at once, and a wrong name from a host that is down."""

from __future__ import annotations

import socket

import pytest

from sql_databricks_bridge.db.reach import knock
from sql_databricks_bridge.errors import SourceError, SourceUnavailable, Transient


def test_a_closed_port_is_worth_a_retry_and_an_unknown_host_is_not() -> None:
    """Refused: host, port and reason, Transient. Unknown host: the name, and the settings to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        knock(f"127.0.0.1,{port}", 5)
    with pytest.raises(SourceUnavailable, match=f"127.0.0.1, port {port}: connection refused") as refused:
        knock(f"127.0.0.1,{port}", 5)
    assert isinstance(refused.value, Transient)
    with pytest.raises(SourceError, match=r"host 'no host' is not known.*SQLSERVER_HOST") as unknown:
        knock("no host,1433", 5)
    assert not isinstance(unknown.value, Transient)


def test_a_named_instance_is_left_to_the_driver() -> None:
    """Its port is the driver's to find."""
    knock("nowhere.invalid\\SQLEXPRESS", 1)
