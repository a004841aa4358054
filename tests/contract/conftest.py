"""Servers that several modules of these tests share; a fixture that is imported would start one for each module."""

from __future__ import annotations

from tests.contract.job_store_fixture import postgres

__all__ = ["postgres"]
