"""
What can be checked of a run without a call: folders, disk space, files that are named, what is not said.

`check_before_start` raises, for a run that is about to start; `settings_notes` and the others return
what `nightly-review doctor` lists.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.core.errors import ConfigError, OutputError, RowError, StateError
from tasks.core.files import output_errors
from tasks.core.locations import is_database, is_url
from tasks.core.paths import RunPaths
from tasks.core.selection import GitOptions
from tasks.core.settings import Settings
from tasks.infer.tool_checks import read_sarif_file
from tasks.infer.tool_run import find_program
from tasks.load.canaries import read_canaries
from tasks.load.rows import no_usable_row, read_input
from tasks.load.sources import may_be_empty, read_source
from tasks.merge.baseline import find_previous, is_reviewed, load_suppressions, source_key
from tasks.outputs.occupied import check_unoccupied

__all__ = [
    "Diagnosis",
    "check_before_start",
    "check_canaries",
    "check_folder",
    "check_rows",
    "check_state_folder",
    "check_suppressions",
    "check_tools",
    "low_space",
    "settings_notes",
]

_LOW = 10**9
"""Bytes; the journal keeps some kilobytes per reply, and a run as much again in its outputs."""

_SMALL = 10**6
"""Bytes of a source that is read in the blink of an eye."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of one check."""

    about: str
    level: Literal["ok", "note", "problem"]
    """note: a run starts all the same; problem: it does not, or not as it is meant."""
    message: str


def check_before_start(
    settings: Settings, output: RunPaths, source: str, previous: str | None, *, overwrite: bool
) -> None:
    """What a run would meet only behind Prefect's server, which takes seconds to start.

    Raises:
        SourceError: a source of less than a megabyte has no usable row.
        OutputError: the folder of the outputs cannot be written, or has what is not of this source;
            `previous` is no finished run.
        StateError: the folder `state` cannot be written.
        ConfigError: the file of suppressions, or that of canaries, cannot be used.
    """
    check_folder(output.root)
    if not overwrite:
        check_unoccupied(output, source_key(source))
    check_state_folder(settings)
    check_suppressions(settings, source)
    check_canaries(settings, source)
    if previous is not None and not is_url(previous):
        find_previous(previous, source, output, _log)
    check_rows(source, settings.load_options)


def check_rows(source: str, options: GitOptions) -> None:
    """Read a small source up to its first usable row.

    Raises:
        SourceError: it has none, or cannot be read. A repository may have none, and a file of a
            megabyte and more is read by the run only.
    """
    path = Path(source)
    if may_be_empty(source) or (path.is_file() and path.stat().st_size >= _SMALL):
        return
    rejected, first = 0, ""
    with closing(read_source(source, options)) as rows:
        for numbered in rows:
            try:
                read_input(numbered.row)
            except RowError as error:
                rejected, first = rejected + 1, first or f"row {numbered.number}: {error}"
            else:
                return
    raise no_usable_row(source, rejected, first)


def check_folder(folder: Path) -> Path:
    """Check that files can be made in `folder`; makes nothing. Returns the part of it that is there.

    Raises:
        OutputError: no permission, read-only, or a part of the path is a file.
    """
    there = _existing(folder.absolute())
    with output_errors(folder):
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "")
        if not os.access(there, os.W_OK | os.X_OK):
            read_only = os.statvfs(there).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if read_only else errno.EACCES, "")
        _try_file(there)
    return there


def _try_file(folder: Path) -> None:
    """Make a file without a name, which is gone at once: /proc, say, has permissions and takes none."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileNotFoundError:
        raise OSError(errno.EROFS, "") from None


def check_state_folder(settings: Settings) -> Path | None:
    """Check the folder of journal and ledger as `check_folder` does; None: the state is a database.

    Raises:
        StateError: it cannot be written.
    """
    if is_database(settings.state):
        return None
    try:
        return check_folder(Path(settings.state).absolute())
    except OutputError as error:
        remedy = "make it writable, or set another folder as state"
        msg = f"state: {str(error).replace('choose another --output', remedy)}"
        raise StateError(msg) from None


def check_suppressions(settings: Settings, source: str | None) -> int:
    """Check the file of suppressions; returns how many false positives it has.

    Raises:
        ConfigError: the file that settings name is missing, damaged, or part of SOURCE.
    """
    return len(load_suppressions(settings.suppressions, source, _log))


def check_canaries(settings: Settings, source: str | None) -> int:
    """Check the file of canaries, if one is named; returns how many it has.

    Raises:
        ConfigError: it cannot be read, a row is wrong, or those whose code is reviewed could change it.
    """
    if settings.canaries is None:
        return 0
    file = settings.canaries.file
    if source is not None and is_reviewed(Path(file), source):
        msg = (
            f"[canaries] file {file} lies inside the code under review, which could fit its reviewers "
            "to it: keep it outside"
        )
        raise ConfigError(msg)
    return len(read_canaries(file))


def check_tools(settings: Settings) -> str:
    """That every check that is a tool has its program or its SARIF file here.

    Raises:
        ReplyError, ConfigError: one is missing, or is no SARIF.
    """
    for tool in settings.tool_check:
        if tool.sarif is None:
            find_program(tool.command[0])
        else:
            read_sarif_file(tool.sarif)
    return f"{', '.join(tool.name for tool in settings.tool_check)}: there"


def low_space(folder: Path) -> str | None:
    """A warning where the disk of `folder` is nearly full; None: there is room."""
    free = shutil.disk_usage(_existing(folder.absolute())).free
    if free >= _LOW:
        return None
    return f"{free / 1e6:,.0f} MB are free for {folder}: a long run may need more than {_LOW // 10**9} GB"


def settings_notes(settings: Settings) -> Iterator[Diagnosis]:
    """What review.toml leaves open, and what follows from it."""
    idle = [a for a, app in settings.app_ids.items() if not _serves_any(app.models, settings)]
    if idle:
        yield Diagnosis("models", "note", f"no check or review uses {', '.join(idle)}")
    unpriced = [model for model in settings.models if model not in settings.prices]
    if unpriced:
        yield Diagnosis(
            "prices",
            "note",
            f"none for {', '.join(unpriced)}: the cost is unknown; add [prices.<model>]",
        )
    else:
        yield Diagnosis("prices", "ok", "known for every model")


def _serves_any(models: tuple[str, ...] | None, settings: Settings) -> bool:
    return models is None or not set(models).isdisjoint(settings.models)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
