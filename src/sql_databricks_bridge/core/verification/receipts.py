"""Receipts: a verification's result as a signed JSON file beside the run's manifest.

The signature is HMAC-SHA256 by AUDIT_KEY over the document without `signature`, as JSON with sorted keys and no blanks.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import json
from typing import Any

import sql_databricks_bridge
from sql_databricks_bridge.core.canonical.columns import CANONICAL_VERSION
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.errors import AlreadyExists, LandingError
from sql_databricks_bridge.models.verification import SideDigest, Verification

FORMAT_VERSION = 1
_NEXT = dt.timedelta(milliseconds=1)


def receipt(found: Verification, folder: str, key: str | None) -> dict[str, Any]:
    """The document; `folder` is the run's, `signature` None without a key."""
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "result": "equal" if found.equal else "different",
        "query": found.query,
        "run_id": found.run_id,
        "run": folder,
        "against": found.against.value,
        "place": found.place,
        "at": found.at.isoformat(timespec="milliseconds"),
        "isolation": found.isolation,
        "key": list(found.key),
        "groups": [list(group) for group in found.groups],
        "source": _side(found.source),
        "landed": _side(found.landed),
        "compared_ranges": found.compared_ranges,
        "differing_ranges": found.differing,
        "ranges": [dataclasses.asdict(each) for each in found.ranges],
        "keys": [{**dataclasses.asdict(each), "finding": each.finding.value} for each in found.keys],
        "canonical_version": CANONICAL_VERSION,
        "tool_version": sql_databricks_bridge.__version__,
    }
    return document | {"signature": None if key is None else signature(document, key)}


def receipt_path(found: Verification, folder: str) -> str:
    """Where it goes: beside the manifest, named by its time (UTC); readers of runs take no notice of it."""
    return f"{folder}/_verify-{found.at:%Y%m%dT%H%M%S}{found.at.microsecond // 1000:03d}Z.json"


def write_receipt(lakehouse: Lakehouse, found: Verification, folder: str, key: str | None) -> str:
    """Write it into the run's folder and return its path: of the next free millisecond, as others may verify too."""
    content = json.dumps(receipt(found, folder, key), indent=2).encode() + b"\n"
    named = found
    while True:
        path = receipt_path(named, folder)
        try:
            lakehouse.write_new(path, content)
        except AlreadyExists:
            named = dataclasses.replace(named, at=named.at + _NEXT)
        else:
            return path


def signature(document: dict[str, Any], key: str) -> str:
    """The signature of a document, whatever it has under `signature`: hexadecimal digits."""
    signed = {name: value for name, value in document.items() if name != "signature"}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def read_receipt(content: bytes, where: str) -> dict[str, Any]:
    """A receipt's document; `LandingError` where it is none."""
    try:
        document = json.loads(content)
        if document["format_version"] != FORMAT_VERSION or document["result"] not in ("equal", "different"):
            raise ValueError
    except (ValueError, KeyError, TypeError) as exc:
        raise LandingError(f"{where} is no receipt of `bridge verify`.") from exc
    assert isinstance(document, dict)  # it was asked by name
    return document


def is_genuine(document: dict[str, Any], key: str) -> bool:
    """Whether the signature is that of this key and this text."""
    signed = document.get("signature")
    return isinstance(signed, str) and hmac.compare_digest(signed.encode(), signature(document, key).encode())


def _side(side: SideDigest) -> dict[str, Any]:
    return {"rows": side.rows, "sha256": list(side.digests)}
