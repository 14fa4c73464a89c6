"""The folder that machines share, in memory and on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.outputs.shared_folder import SharedFolder, open_shared_folder


@pytest.fixture(params=["memory", "folder", "url"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> SharedFolder:
    """Three ways to name a folder; none is there yet."""
    place = {
        "memory": f"memory://{tmp_path.name}/nightly",
        "folder": str(tmp_path / "shared" / "nightly"),
        "url": f"file://{tmp_path}/shared/nightly",
    }[str(request.param)]
    return open_shared_folder(place).folder("run").folder("shard-000")


def test_documents_come_back(shared: SharedFolder) -> None:
    """What one machine writes, another one reads; the newest wins."""
    assert shared.read_json("lease.json") is None
    shared.write_json("lease.json", {"beat": 1})
    shared.write_json("lease.json", {"beat": 2})

    assert shared.read_json("lease.json") == {"beat": 2}
    assert shared.names() == ["lease.json"]


def test_files_come_back(shared: SharedFolder, tmp_path: Path) -> None:
    """Byte for byte, and nothing half is left beside them."""
    sent = tmp_path / "part-00000000.jsonl"
    sent.write_bytes(b'{"input_id":"a"}\n' * 1000)
    shared.upload(sent)
    received = tmp_path / "there.jsonl"
    shared.download(sent.name, received)

    assert received.read_bytes() == sent.read_bytes()
    assert shared.names() == [sent.name]
    assert not list(tmp_path.rglob("*.tmp"))


def test_missing_file_is_told(shared: SharedFolder, tmp_path: Path) -> None:
    """A download of what is not there leaves nothing behind that looks like it."""
    with pytest.raises(FileNotFoundError):
        shared.download("done.json", tmp_path / "done.json")

    assert not (tmp_path / "done.json").exists()


def test_half_a_document_is_none(shared: SharedFolder) -> None:
    """A driver that does not write whole files must not end a run."""
    shared.write_json("sign.json", {})
    shared.system.pipe_file(f"{shared.root}/sign.json", b'{"beat": ')

    assert shared.read_json("sign.json") is None


def test_removed_with_all_that_is_in_it(shared: SharedFolder) -> None:
    """Doing it twice changes nothing."""
    shared.write_json("lease.json", {})
    shared.remove()
    shared.remove()

    assert shared.names() == []


@pytest.mark.parametrize(
    ("storage", "remedy"),
    [("gs://bucket/nightly", "gcsfs"), ("nonsense://bucket", "nonsense")],
)
def test_storage_that_no_driver_opens(storage: str, remedy: str) -> None:
    """The message names the package to install, or the scheme that nobody knows."""
    with pytest.raises(ConfigError, match=remedy):
        open_shared_folder(storage)
