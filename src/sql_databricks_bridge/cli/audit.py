"""`bridge audit`: is the audit log as it was written?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import JsonOption

if TYPE_CHECKING:
    from sql_databricks_bridge.auth.audit_chain import Head, Verification
    from sql_databricks_bridge.core.config import Settings

app = typer.Typer(no_args_is_help=True, help="Check the audit log.", rich_markup_mode=None)

BROKEN = 1
"""Exit code where a file is not whole."""


@app.callback()
def _audit() -> None:
    """Check the audit log."""


@app.command("verify", epilog="Example: bridge audit verify audit/*.jsonl")
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of the audit log.")],
    json: JsonOption = False,
) -> int:
    """Check that no line was altered, dropped, reordered or cut, by AUDIT_KEY and what the job store knows of them."""
    from sql_databricks_bridge.auth import audit_chain

    config = composition.settings()
    key = config.audit_key.get_secret_value() if config.audit_key else None
    anchors = _anchors(config, files)
    results = [(file, audit_chain.verify(file, key, anchors.get(file.name))) for file in files]
    whole = all(found.whole for _, found in results)
    if json:
        documents = [_document(file, found, anchors.get(file.name)) for file, found in results]
        output.print_json({"status": "whole" if whole else "broken", "keyed": key is not None, "files": documents})
    else:
        for file, found in results:
            typer.echo(output.visible(_sentence(file, found, anchors.get(file.name))))
    if key is None:
        output.print_warning("AUDIT_KEY is not set: plain hashes show accidents, not somebody who wrote the file anew.")
    return 0 if whole else BROKEN


def _anchors(config: Settings, files: list[Path]) -> dict[str, Head]:
    """The ends that the job store knows, by file name; none, and a warning, where it can't be asked."""
    from sql_databricks_bridge.auth.anchoring import anchored_head
    from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
    from sql_databricks_bridge.errors import BridgeError

    address = config.job_store_url.get_secret_value()
    if is_missing_file(address):
        output.print_warning("There is no job store: whole lines missing at a file's end would not show.")
        return {}
    try:
        with closing(SqlAlchemyJobStore(config.job_store_url)) as store:
            known = {file.name: anchored_head(store.anchor_of, file.name) for file in files}
    except BridgeError as exc:
        output.print_warning(f"Whole lines missing at a file's end would not show: {exc.message}")
        return {}
    return {name: head for name, head in known.items() if head is not None}


def is_missing_file(address: str) -> bool:
    """Whether the job store is a SQLite file that is not there: to look for it must not make it."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except ArgumentError:
        return False  # the store says what is wrong with it
    named = url.database or ":memory:"
    return url.get_backend_name() == "sqlite" and not named.startswith("file:") and not Path(named).is_file()


def _document(file: Path, found: Verification, anchor: Head | None) -> dict[str, object]:
    return {
        "file": file.as_posix(),
        "whole": found.whole,
        "lines": found.count,
        "anchored_line": anchor.sequence if anchor else None,
        "broken_at_line": found.line,
        "kind": found.breakage.value if found.breakage else None,
        "reason": found.reason,
    }


def _sentence(file: Path, found: Verification, anchor: Head | None) -> str:
    if not found.whole:
        return f"{file}: broken at line {found.line}, {found.breakage}: {found.reason}"
    proven = f"the job store knows its end at line {anchor.sequence}" if anchor else "its end is not anchored"
    return f"{file}: whole, {found.count} lines, {proven}"
