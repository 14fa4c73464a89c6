"""What is told of a run before Prefect's server starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import OutputError
from tasks.doctor.preflight import check_folder


def test_a_file_system_that_takes_no_files_is_told_at_once() -> None:
    """/proc lets root write by its permissions, and takes nothing all the same."""
    with pytest.raises(
        OutputError, match=r"/proc/nope cannot be written: .* choose another --output"
    ):
        check_folder(Path("/proc/nope"))


def test_the_look_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither the folder that is asked about nor a file beside it."""
    assert check_folder(tmp_path / "not" / "yet") == tmp_path
    assert list(tmp_path.iterdir()) == []
