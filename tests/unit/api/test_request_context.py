"""Whom a request came from, where proxies stand between; networks as TRUSTED_PROXIES writes them."""

from __future__ import annotations

import pytest

from sql_databricks_bridge.api.request_context import client_address, parse_networks
from sql_databricks_bridge.errors import SettingsError

TRUSTED = parse_networks("10.0.0.0/8, 192.0.2.7, 2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("10.1.2.3", ["1.1.1.1"], "1.1.1.1"),
        ("10.1.2.3", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", ["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.1.2.3", ["1.1.1.1", "203.0.113.9, 192.0.2.7"], "203.0.113.9"),
        ("10.1.2.3", ["10.1.1.1, 10.1.1.2"], "10.1.1.1"),
        ("10.1.2.3", ["1.1.1.1, unknown"], "10.1.2.3"),
        ("10.1.2.3", ["203.0.113.9:4711"], "203.0.113.9"),
        ("2001:db8::1", ["[2001:db9::5]:4711"], "2001:db9::5"),
        ("2001:db8::1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", [""], "10.1.2.3"),
        (None, ["1.1.1.1"], None),
    ],
)
def test_only_what_trusted_proxies_wrote_is_believed(peer: str | None, forwarded: list[str], found: str | None) -> None:
    """Read from the right, as far as who wrote it is trusted; what is no address ends it."""
    assert client_address(peer, forwarded, TRUSTED) == found


def test_without_trusted_proxies_the_header_counts_for_nothing() -> None:
    """Anybody may send it."""
    assert client_address("10.1.2.3", ["1.1.1.1"], parse_networks("")) == "10.1.2.3"


def test_what_is_no_network_is_told() -> None:
    """By name, at the start."""
    with pytest.raises(SettingsError, match=r"TRUSTED_PROXIES: '10\.0\.0\.300' is no network"):
        parse_networks("10.0.0.0/8, 10.0.0.300")
