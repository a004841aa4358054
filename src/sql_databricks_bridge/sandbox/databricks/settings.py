"""What one process is started with, and the identity that its data folder keeps."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line, parsed."""

    data_dir: Path
    port: int = 0
    catalog: str = "bridge"
    schema: str = "landing"
    volume: str = "files"
    events_schema: str = "events"
    cloud: str = "aws"
    token_lifetime_s: int = 3600
    link_lifetime_s: int = 900
    chunk_bytes: int = 16 * 1024 * 1024
    chunk_rows: int | None = None
    writers: str = "conflict"
    more_catalogs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may sign in, and to which warehouse.

    Generated once for a data folder, so that a restart keeps clients working.
    """

    token: str
    client_id: str
    client_secret: str
    warehouse_id: str
    account_id: str
    workspace_id: str


def load_identity(data_dir: Path) -> Identity:
    """Read the folder's identity, or make one (readable by its owner only). Raises OSError on an unwritable folder."""
    path = data_dir / "identity.json"
    try:
        return Identity(**json.loads(path.read_text()))
    except FileNotFoundError:
        pass
    client_id = secrets.token_hex(16)
    identity = Identity(
        token=f"dapi{secrets.token_hex(16)}",
        client_id=f"{client_id[:8]}-{client_id[8:12]}-{client_id[12:16]}-{client_id[16:20]}-{client_id[20:]}",
        client_secret=f"dose{secrets.token_hex(16)}",
        warehouse_id=secrets.token_hex(8),
        account_id="00000000-0000-4000-8000-000000000000",
        workspace_id=str(10**15 + secrets.randbelow(10**15)),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(identity), file)
    return identity
