"""The command that removes old runs and says which."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.errors import ConfigError, OutputError
from tasks.core.quotas import parse_duration
from tasks.core.text_safety import visible
from tasks.finished.prune import OldRun, old_runs, remove_run

__all__ = ["prune_command"]


def prune_command(root: Path, keep: str, *, dry_run: bool) -> int:
    """Remove the runs in `root` that are older than `keep` ("60d"), a line each; returns the exit code.

    Raises:
        ConfigError: `keep` is no duration, or `root` no folder.
    """
    found = old_runs(root, datetime.now(UTC) - _age(keep))
    may_go = [run for run in found if run.kept is None]
    gone = [run for run in may_go if dry_run or _removed(run)]
    for run in found:
        if run.kept is not None:
            print(_line("kept", run, f" ({run.kept})"))
        elif run in gone:
            print(_line("would go" if dry_run else "removed", run))
    size = sum(run.size for run in gone)
    verb = "would be removed" if dry_run else "removed"
    print(f"{len(gone):,} runs older than {keep} {verb}, {size / 1e6:,.1f} MB")
    return 0 if len(gone) == len(may_go) else 2


def _age(keep: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration(keep))
    except OverflowError:
        msg = f'--keep "{keep}" is longer than there are dates: write an age as "60d"'
        raise ConfigError(msg) from None
    except ConfigError as error:
        msg = f"--keep {error}"
        raise ConfigError(msg) from None


def _removed(run: OldRun) -> bool:
    try:
        remove_run(run)
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    return True


def _line(verb: str, run: OldRun, why: str = "") -> str:
    place = visible(str(run.folder))
    return f"{verb:<8}  {run.started:%Y-%m-%d}  {run.size / 1e6:>9,.1f} MB  {place}{visible(why)}"
