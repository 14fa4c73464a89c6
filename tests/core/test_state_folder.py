"""The state folder: its mode, whose it is, and room on its disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import StateError
from tasks.core.files import hold_folder, write_json
from tasks.core.state_folder import LEAST_FREE, prepare_state_folder
from tasks.upstream.journal.store_sqlite import SqliteJournalStore as Journal
from tasks.upstream.quota.store_sqlite import SqliteQuotaStore as Ledger


@pytest.fixture(autouse=True, params=[0, 0o077], ids=["open", "closed"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """The umask that gives everybody everything, and the one that gives others nothing."""
    earlier = os.umask(request.param)
    yield
    os.umask(earlier)


def modes(root: Path) -> tuple[set[int], set[int]]:
    """Of folders, and of files."""
    found = [(one, stat.S_IMODE(one.stat().st_mode)) for one in (root, *root.rglob("*"))]
    folders = {mode for one, mode in found if one.is_dir()}
    return folders, {mode for one, mode in found if one.is_file()}


def use(state: Path, mode: str) -> tuple[set[int], set[int]]:
    """What a run makes of the folder, while journal and ledger are open."""
    prepare_state_folder(state, mode)
    journal, ledger = Journal(state / "journal.sqlite"), Ledger(state / "ledger.sqlite")
    try:
        write_json(state / "panel.json", {})
        return modes(state)
    finally:
        journal.close()
        ledger.close()


@pytest.mark.parametrize(
    ("mode", "folders", "files"), [("0700", 0o700, 0o600), ("0770", 0o2770, 0o660)]
)
def test_folders_and_files_follow_state_mode(
    tmp_path: Path, mode: str, folders: int, files: int
) -> None:
    """Whatever the umask; outputs as well, and a file that is written again."""
    assert use(tmp_path / "state", mode) == ({folders}, {files})
    root = tmp_path / "out"
    with hold_folder(root, root / ".lock", mode):
        write_json(root / "manifest.json", {})
        (root / "manifest.json").chmod(0o644)
        write_json(root / "manifest.json", {"again": True})
    assert modes(root) == ({folders}, {files})


def test_a_state_that_is_there_gets_the_mode(tmp_path: Path) -> None:
    """Given to a group and taken back, with all that was in it before."""
    state = tmp_path / "state"
    use(state, "0700")
    assert use(state, "0770")[1] == {0o660}
    assert stat.S_IMODE(state.stat().st_mode) == 0o2770
    folders, files = use(state, "0700")
    assert (stat.S_IMODE(state.stat().st_mode), files) == (0o700, {0o600})
    assert all(not mode & 0o007 for mode in folders)


def test_a_folder_of_other_things_keeps_its_mode(tmp_path: Path) -> None:
    """A project's folder that is named as state for the first time is not closed to others."""
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").touch()
    prepare_state_folder(tmp_path, "0700")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_folder_in_which_others_may_write_is_refused(tmp_path: Path) -> None:
    """Whoever may write there may put another ledger in its place."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    os.chown(state, 65534, 65534)
    with pytest.raises(StateError, match=r'belongs to user .*state_mode = "0770"'):
        prepare_state_folder(state, "0700")


_FULL = """
import sys
from pathlib import Path
from tasks.core.state_folder import prepare_state_folder
prepare_state_folder(Path(sys.argv[1]), "0700")
"""


def test_a_full_disk_is_refused_with_the_room_that_is_needed(tmp_path: Path) -> None:
    """A disk of 400 KB: how much is free, how much is needed, and what to do."""
    mount = f'mount -t tmpfs -o size=400k tmpfs {tmp_path} && exec "$@"'
    space = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if subprocess.run([*space, "true"], check=False, capture_output=True, timeout=60).returncode:
        pytest.skip("mounting in a user namespace is not permitted here")
    command = [*space, sys.executable, "-c", _FULL, str(tmp_path / "state")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    said = f"0.4 MB free and a run needs at least {LEAST_FREE // 2**20} MB: free some space"
    assert said in done.stderr
    assert "StateError" in done.stderr
