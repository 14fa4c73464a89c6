"""What is remembered from run to run, in a folder or a database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import StateError
from tasks.load.reviewed_heads import ReviewedHead, read_head, write_head

HEAD = ReviewedHead("1" * 40, "20261124T013000-abc123", "2026-11-24T01:30:00+00:00")


def test_a_head_is_remembered_per_key(tmp_path: Path) -> None:
    """A later one takes its place; another key has none; asking makes nothing."""
    state = str(tmp_path / "state")
    assert read_head(state, "a") is None
    assert not (tmp_path / "state").exists()
    write_head(state, "a", HEAD)
    later = replace(HEAD, commit="2" * 40)
    write_head(state, "a", later)
    assert read_head(state, "a") == later
    assert read_head(state, "b") is None


def test_a_damaged_memory_is_no_first_run(tmp_path: Path) -> None:
    """Looking back a day in its place would lose commits without a word."""
    write_head(str(tmp_path), "a", HEAD)
    (path,) = (tmp_path / "reviewed_heads").iterdir()
    path.write_text("{")
    with pytest.raises(StateError, match="is damaged: review"):
        read_head(str(tmp_path), "a")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With the remedy, as an error of the state."""
    (tmp_path / "reviewed_heads").write_text("")
    with pytest.raises(StateError, match="make the state folder writable"):
        write_head(str(tmp_path), "a", HEAD)


def test_a_database_remembers_for_every_machine(database: str) -> None:
    """The same as a folder does, in a table of its own."""
    assert read_head(database, "a") is None
    write_head(database, "a", HEAD)
    later = replace(HEAD, commit="2" * 40)
    write_head(database, "a", later)
    assert read_head(database, "a") == later
    assert read_head(database, "b") is None
