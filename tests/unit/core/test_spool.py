"""The spool: private, locked, and clean after every end."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from sql_databricks_bridge.core.spool import remove_stale, run_spool, spool_error
from sql_databricks_bridge.errors import SpoolError

HOLD = """
import sys
from pathlib import Path
from sql_databricks_bridge.core.spool import run_spool
with run_spool(Path(sys.argv[1])) as folder:
    (folder / "part-00000.parquet").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_run_has_a_private_folder_that_goes_with_it(tmp_path: Path) -> None:
    """Each run's folder is its own and only its user's, and nothing is left of it."""
    root = tmp_path / "spool" / "deep"
    with run_spool(root) as first, run_spool(root) as second:
        (first / "x").write_bytes(b"x")
        assert first != second
        assert first.stat().st_mode & 0o077 == 0
    assert list(root.iterdir()) == []


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    """The folder goes when the run fails, too."""

    def crash() -> None:
        with run_spool(tmp_path) as folder:
            (folder / "x").write_bytes(b"x")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        crash()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_is_cleaned_up_after_and_a_living_one_is_not(tmp_path: Path) -> None:
    """What a SIGKILL left is removed by the next run; the folder of a running process is never touched."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        folder = Path(process.stdout.readline().strip())
        assert remove_stale(tmp_path) == ()
        assert (folder / "part-00000.parquet").exists()
        process.kill()
        process.wait()
    with run_spool(tmp_path):
        assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    """A spool under a file is a SpoolError that names BRIDGE_SPOOL_DIR and the folder."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolError, match="BRIDGE_SPOOL_DIR") as caught, run_spool(tmp_path / "file" / "spool"):
        pass
    assert str(tmp_path / "file" / "spool") in caught.value.message


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "is full"), (errno.EACCES, "can't be used")])
def test_a_full_disk_is_told_from_other_troubles(number: int, said: str) -> None:
    """Full is full; anything else is told with the system's words."""
    assert said in spool_error(OSError(number, "the system's words"), Path("/spool")).message
