"""The `git` executable, called so that neither its settings nor what it is given can surprise us."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tasks.core.errors import SourceError

__all__ = ["Git"]

_CONFIG = (
    "core.quotePath=false",
    "core.fsmonitor=false",
    # Huge files count as binary, rather than being compared line by line.
    "core.bigFileThreshold=32m",
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
}


class Git:
    """One repository.

    Raises:
        SourceError: there is no git executable, or no repository at `folder`.
    """

    def __init__(self, folder: str) -> None:
        git = shutil.which("git")
        if git is None:
            msg = "a git: source needs the git executable: install git, or put it on PATH"
            raise SourceError(msg)
        config = [part for setting in _CONFIG for part in ("-c", setting)]
        self._command = [git, "--no-pager", "--literal-pathspecs", "-C", folder, *config]
        self.folder = folder
        found = self.run("rev-parse", "--git-common-dir")
        if found.returncode:
            why = _first_line(found.stderr)
            remedy = "; see safe.directory in git help config" if "ownership" in why else ""
            msg = f"{folder} is not in a git repository that can be read: {why}{remedy}"
            raise SourceError(msg)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run to the end; the caller judges the exit code."""
        return subprocess.run(  # noqa: S603 - an argument list without a shell
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            check=False,
        )

    def text(self, *arguments: str) -> str:
        """The output of a command that has to succeed, without blanks around it.

        Raises:
            SourceError: with git's own message.
        """
        done = self.run(*arguments)
        if done.returncode:
            self._fail(arguments[0], done.stderr)
        return os.fsdecode(done.stdout).strip()

    @contextmanager
    def stream(self, *arguments: str) -> Iterator[IO[bytes]]:
        """The output as it comes; git is gone when the block ends.

        Raises:
            SourceError: git failed, judged at the end of its output.
        """
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(  # noqa: S603 - an argument list without a shell
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(),
            )
            with process:
                try:
                    yield _output(process)
                except BaseException:
                    process.kill()
                    raise
            if process.returncode:
                errors.seek(0)
                self._fail(arguments[0], errors.read())

    def _fail(self, command: str, stderr: bytes) -> None:
        msg = f"git {command} failed in {self.folder}: {_first_line(stderr)}"
        raise SourceError(msg)


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        msg = "the process was started without a pipe"
        raise RuntimeError(msg)
    return process.stdout


def _environment() -> dict[str, str]:
    # A hook's GIT_DIR would win over the folder, GIT_EXTERNAL_DIFF would run a program.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(("GIT_CONFIG", "GIT_CEILING"))
    }
    return kept | _ENVIRONMENT


def _first_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ")[:300] if lines else "no message"
