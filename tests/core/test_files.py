"""Files that appear whole or not at all, alone and together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.errors import OutputError
from tasks.core.files import atomic, output_errors, publish

_WRITE = "import sys; from pathlib import Path; from tasks.core.files import write_json; write_json(Path(sys.argv[1]), 1)"


def staged(folder: Path) -> tuple[Path, Path]:
    """A folder with an earlier run's outputs, and one with those of the present run."""
    target, new = folder / "out", folder / "out" / ".work" / "outputs"
    new.mkdir(parents=True)
    for name in ("a", "b", "manifest"):
        (target / name).write_text(f"earlier {name}")
        (new / name).write_text(f"new {name}")
    (new / "c").write_text("new c")
    return new, target


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_two_processes_at_one_path_do_not_mix(tmp_path: Path) -> None:
    """Another process writes the same file from begin to end meanwhile: the later one stays, whole."""
    path = tmp_path / "part.jsonl"
    with atomic(path) as file:
        file.write(b"first half, ")
        subprocess.run([sys.executable, "-c", _WRITE, str(path)], check=True)
        assert path.read_bytes() == b"1"
        file.write(b"second half")
    assert path.read_bytes() == b"first half, second half"
    assert [one.name for one in tmp_path.iterdir()] == ["part.jsonl"]


def test_publish_moves_all_and_the_last_one_last(tmp_path: Path) -> None:
    """The new outputs are there, and the staging folder is empty."""
    new, target = staged(tmp_path)
    publish(new, target, "manifest")
    assert contents(target) == {name: f"new {name}" for name in ("a", "b", "c", "manifest")}
    assert not list(new.iterdir())


def test_a_move_that_fails_is_taken_back(tmp_path: Path) -> None:
    """A folder stands where one output goes: the earlier outputs stay, and nothing new is beside them."""
    new, target = staged(tmp_path)
    before = contents(target)
    (new / "d").write_text("new d")
    (target / "d" / "in the way").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be written"):
        publish(new, target, "manifest")
    assert contents(target) == before


def test_an_error_without_a_number_is_said_in_its_words(tmp_path: Path) -> None:
    """A driver's OSError has a text only; "Success" is what the system calls number 0."""
    with (
        pytest.raises(OutputError, match="cannot be written: torn pipe") as caught,
        output_errors(tmp_path),
    ):
        raise OSError(*["torn pipe"])
    assert "Success" not in str(caught.value)
