"""
The `git` executable, called so that neither its settings nor what it is given can surprise us.

A diff is what is paid for and what gives an input its id, so it depends on the two commits alone:
no setting of the user's reaches it, and no attributes but those that the newer commit holds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from tasks.core.errors import SourceError

__all__ = ["Git"]

_CONFIG = (
    "core.quotePath=false",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "diff.suppressBlankEmpty=false",
    # Huge files count as binary, rather than being compared line by line.
    "core.bigFileThreshold=32m",
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
}
_NO_SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_PARAMETERS": "",
}


class Git:
    """One repository; `places` are variables of git's that say where its parts are.

    Raises:
        SourceError: there is no git executable, or no repository at `folder`.
    """

    def __init__(self, folder: str, places: Mapping[str, str] | None = None) -> None:
        git = shutil.which("git")
        if git is None:
            msg = "a git: source needs the git executable: install git, or put it on PATH"
            raise SourceError(msg)
        start = (places or {}).get("GIT_WORK_TREE", folder)
        config = [part for setting in _CONFIG for part in ("-c", setting)]
        self._command = [git, "--no-pager", "--literal-pathspecs", "-C", start, *config]
        self.folder = folder
        self._places = places or {}
        found = self.run("rev-parse", "--git-common-dir")
        if found.returncode:
            why = _first_line(found.stderr)
            remedy = "; see safe.directory in git help config" if "ownership" in why else ""
            msg = f"{folder} is not in a git repository that can be read: {why}{remedy}"
            raise SourceError(msg)

    @contextmanager
    def at_commit(self, commit: str) -> Iterator[Git]:
        """The same objects with an empty work tree, no settings, and of the index only `commit`'s attributes.

        Else git reads attributes that nobody has committed, from files and from .git/info, and diff
        drivers from the settings of the clone, the user and the machine.
        """
        with tempfile.TemporaryDirectory(prefix="nightly-review-git-") as temporary:
            tree = Path(temporary, "tree")
            tree.mkdir()
            empty = Path(temporary, "empty.git")
            named = self.text("rev-parse", "--show-object-format")
            self.text(
                "init", "--quiet", "--bare", "--template=", f"--object-format={named}", str(empty)
            )
            places = {
                "GIT_DIR": str(empty),
                "GIT_WORK_TREE": str(tree),
                "GIT_INDEX_FILE": str(Path(temporary, "index")),
                "GIT_OBJECT_DIRECTORY": self._objects(),
                **_NO_SETTINGS,
            }
            isolated = Git(self.folder, places)
            if entries := self._attribute_files(commit):
                isolated.run("update-index", "-z", "--index-info", stdin=entries)
            yield isolated

    def _objects(self) -> str:
        return str(Path(self.folder, self.text("rev-parse", "--git-path", "objects")).resolve())

    def _attribute_files(self, commit: str) -> bytes:
        """The .gitattributes of a commit, as `update-index` takes them."""
        done = self.run("ls-tree", "-r", "-z", "--full-tree", commit)
        if done.returncode:
            self.fail("ls-tree", done.stderr)
        names = (b"\t.gitattributes", b"/.gitattributes")
        entries = (entry for entry in done.stdout.split(b"\0") if entry.endswith(names))
        return b"".join(entry + b"\0" for entry in entries)

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run to the end; the caller judges the exit code."""
        return subprocess.run(  # noqa: S603 - an argument list without a shell
            [*self._command, *arguments],
            input=stdin,
            capture_output=True,
            env={**_environment(), **self._places},
            check=False,
        )

    def text(self, *arguments: str) -> str:
        """The output of a command that has to succeed, without blanks around it.

        Raises:
            SourceError: with git's own message.
        """
        done = self.run(*arguments)
        if done.returncode:
            self.fail(arguments[0], done.stderr)
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
                env={**_environment(), **self._places},
            )
            with process:
                try:
                    yield _output(process)
                except BaseException:
                    process.kill()
                    raise
            if process.returncode:
                errors.seek(0)
                self.fail(arguments[0], errors.read())

    def fail(self, command: str, stderr: bytes) -> NoReturn:
        """Refuse the repository for what a command has printed.

        Raises:
            SourceError: always, with git's own message, and the remedy for a partial clone.
        """
        remedy = ""
        if self._is_partial():
            remedy = (
                "; it is a partial clone, and files of these commits are not in it: run"
                f" git -C {self.folder} fetch --refetch --no-filter"
            )
        msg = f"git {command} failed in {self.folder}: {_first_line(stderr)}{remedy}"
        raise SourceError(msg)

    def _is_partial(self) -> bool:
        asked = r"^(extensions\.partialclone|remote\..*\.(promisor|partialclonefilter))$"
        whole = Git(self.folder) if self._places else self
        return whole.run("config", "--get-regexp", asked).returncode == 0


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
    text = stderr.decode("utf-8", "replace").strip()
    lines = [line for line in text.splitlines() if not line.startswith("warning: ")]
    return lines[0].removeprefix("fatal: ")[:300] if lines else "no message"
