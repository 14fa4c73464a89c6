from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest


class Repository:
    """A real repository with a clock of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = datetime.now(UTC)
        root.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str | bytes, ago: timedelta = timedelta()) -> str:
        """Run git in it; `ago` is how old a commit made by it is."""
        date = (self.now - ago).isoformat(timespec="seconds")
        who = {
            f"GIT_{role}_{what}": f"{what.lower()}@test"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        environment = os.environ | who | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout.decode().strip()

    def write(self, name: str | bytes, text: str | bytes) -> None:
        path = os.path.join(os.fsencode(self.root), os.fsencode(name))  # noqa: PTH118 - bytes
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
        with open(path, "wb") as file:  # noqa: PTH123 - bytes
            file.write(text if isinstance(text, bytes) else text.encode())

    def commit(self, files: dict[str, str] | None = None, *, ago: timedelta = timedelta()) -> str:
        """Write `files`, commit all there is, and return the commit's id."""
        for name, text in (files or {}).items():
            self.write(name, text)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", "work", ago=ago)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository named `project`."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repository(tmp_path / "project")
