"""Repositories that want a command run, or a file written, by whoever makes a diff of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.core.errors import RowError, SourceError
from tasks.core.selection import GitOptions
from tasks.load.sources import read_source
from tests.attacks.tally import Tally

__all__ = ["injections", "names", "settings"]

_COMMANDS = (
    "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass",
    "core.gitProxy", "core.alternateRefsCommand", "diff.external", "diff.trap.command",
    "diff.trap.textconv", "filter.trap.clean", "filter.trap.smudge", "filter.trap.process",
    "merge.trap.driver", "credential.helper", "gpg.program", "sequence.editor",
    "interactive.diffFilter", "pager.diff", "pager.log", "pager.rev-list", "alias.diff",
    "uploadpack.packObjectsHook", "remote.origin.uploadpack", "diff.trap.xfuncname",
)  # fmt: skip
_FORMS = ("{trap}", "!{trap}", "sh -c {trap}")
_VARIABLES = (
    "GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_EDITOR",
    "GIT_PROXY_COMMAND",
)  # fmt: skip


def _git(folder: Path, *words: str, check: bool = True) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.test", "-c", "commit.gpgSign=false")
    command = ["git", *who, "-C", str(folder), *words]
    subprocess.run(command, check=check, capture_output=True, timeout=60)


def _repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("*.py diff=trap filter=trap merge=trap\n")
    for number in "12":
        (folder / "a.py").write_text(f"x = {number}\n")
        _git(folder, "add", "-A")
        _git(folder, "commit", "-q", "-m", number)
    return folder


def _trap(folder: Path) -> tuple[Path, Path]:
    """A command, and the file that tells that it ran."""
    marker, trap = folder / "sprung", folder / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    trap.chmod(0o755)
    return trap, marker


def _read(source: str) -> dict[str, object]:
    rows = read_source(source, GitOptions())
    return {row.snippet: row.row.code if isinstance(row.row, RowError) else row.row for row in rows}


def settings(folder: Path) -> Tally:
    """Every setting of a clone that names a command, hooks, variables, and files that include more.

    The traps work: plain git springs some of them, or nothing was shown.
    """
    tally = Tally()
    repository, (trap, marker) = _repository(folder / "repository"), _trap(folder)
    source = f"git:{repository}@HEAD~1..HEAD"
    clean, config = _read(source), (repository / ".git" / "config").read_text()
    sprung = 0
    for name in _COMMANDS:
        for form in _FORMS:
            _git(repository, "config", name, form.format(trap=trap))
            tally.note(f"{name} = {form}", came_through=_read(source) != clean or marker.exists())
            for words in (("diff", "HEAD~1..HEAD"), ("status",)):
                _git(repository, *words, check=False)
            sprung += marker.exists()
            marker.unlink(missing_ok=True)
            (repository / ".git" / "config").write_text(config)
    assert sprung >= 5, f"plain git sprang {sprung} of these traps: they are no traps"
    for hook in ("post-checkout", "pre-auto-gc", "post-index-change", "reference-transaction"):
        (repository / ".git" / "hooks" / hook).write_bytes(trap.read_bytes())
        (repository / ".git" / "hooks" / hook).chmod(0o755)
    tally.note("hooks", came_through=_read(source) != clean or marker.exists())
    included = folder / "included"
    included.write_text(f"[core]\n\tfsmonitor = {trap}\n[diff]\n\texternal = {trap}\n")
    _git(repository, "config", "include.path", str(included))
    tally.note("include.path", came_through=_read(source) != clean or marker.exists())
    for variable in _VARIABLES:
        with _exported(variable, str(trap)):
            tally.note(variable, came_through=_read(source) != clean or marker.exists())
    _alternates(folder, tally, marker)
    return tally


def _alternates(folder: Path, tally: Tally, marker: Path) -> None:
    """Objects of somebody else's, and a clone that fetches what it lacks by a command."""
    repository = _repository(folder / "borrowing")
    (repository / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "objects" / "info" / "alternates").write_text("../../../nowhere\n")
    tally.note("alternates", came_through=not _read(f"git:{repository}@HEAD~1..HEAD"))
    _git(repository, "config", "core.repositoryFormatVersion", "1")
    _git(repository, "config", "extensions.partialClone", "origin")
    _git(repository, "config", "remote.origin.url", f"ext::sh -c touch% {marker}")
    _git(repository, "config", "remote.origin.promisor", "true")
    _git(repository, "config", "protocol.ext.allow", "always")
    blob = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD:a.py"],
        check=True, timeout=60, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with suppress(SourceError):  # it names the missing object and the remedy
        _read(f"git:{repository}@HEAD~1..HEAD")
    tally.note("a promisor by ext::", came_through=marker.exists())


@contextmanager
def _exported(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def injections(folder: Path) -> Tally:
    """Options where a source, a range or a name of a branch is expected."""
    tally, target = Tally(), folder / "written"
    repository = _repository(folder / "repository")
    options = (
        f"--output={target}", f"-O{target}", f"--upload-pack=touch {target}", "--no-index",
        f"--exec=touch {target}", f"-c core.pager=touch {target}", "--ext-diff", "-p", "--textconv",
        f"$(touch {target})", f"`touch {target}`", f"; touch {target}", f"| touch {target}",
        f"HEAD --output={target}", "^HEAD", ":/2", "HEAD@{upstream}",
    )  # fmt: skip
    for option in options:
        for form in ("{}..HEAD", "HEAD~1..{}", "{}", "since={}"):
            what = form.format(option)
            with suppress(SourceError):  # what is no commit is refused
                _read(f"git:{repository}@{what}")
            tally.note(what, came_through=target.exists())
    for branch in ("--output=written", "-x", "--ext-diff"):
        # `git branch` refuses such names; a file in .git/refs does not.
        ref = repository / ".git" / "refs" / "heads" / branch
        ref.write_bytes((repository / ".git" / "refs" / "heads" / "main").read_bytes())
        with suppress(SourceError):
            _read(f"git:{repository}@main..{ref.name}")
        tally.note(f"a branch {ref.name}", came_through=bool(list(repository.glob("written"))))
    return tally


def names(folder: Path) -> Tally:
    """Names of files that shells, terminals, diffs and options would take for something else."""
    tally, target = Tally(), folder / "written"
    repository = _repository(folder / "repository")
    odd = [
        f"--output={target.name}", "-rf", "$(touch written)", "`touch written`", "; touch written",
        "a\nb.py", "a\tb.py", 'quote".py', "back\\slash.py", "\x1b[31mred.py", "\u202egpj.py",
        " leading.py", "trailing .py", "[/red].py", "%00.py", "{run_id}.py", "diff --git a b.py",
        "+++ b", "@@ -1 +1 @@", "~", "café.py", "<img src=x>.py",
    ]  # fmt: skip
    for name in odd:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("y = 1\n")
    _git(repository, "add", "-A")
    _git(repository, "commit", "-q", "-m", "odd")
    found = _read(f"git:{repository}@HEAD~1..HEAD")
    for name in odd:
        tally.note(repr(name), came_through=name not in found or (repository / "written").exists())
    tally.note("any file written", came_through=target.exists())
    return tally
