"""The command line of exports, as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.main import main
from tests.factories import make_run


def test_writes_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the formats named, each reported with its count."""
    paths, _ = make_run(tmp_path / "run")
    assert main(["export", str(paths.root), "--export", "gitlab, rdjsonl,gitlab"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 2
    assert (paths.root / "gl-code-quality.json").exists()
    assert not (paths.root / "review.sarif").exists()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("sarif,junit", '"junit" is no export: use one or more of sarif'),
        (",", "no export is named"),
    ],
)
def test_unknown_formats_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: str, expected: str
) -> None:
    """The message lists what there is."""
    assert main(["export", str(tmp_path), "--export", names]) == 2
    assert expected in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and nothing written."""
    assert main(["export", str(tmp_path)]) == 2
    assert "name the folder of a finished run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
