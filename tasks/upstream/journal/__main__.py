"""Look after a journal: statistics, check, expire, compact, salvage."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tasks.core.errors import StateError
from tasks.upstream.journal.salvage import check, salvage
from tasks.upstream.journal.store import Journal

_DAY = 86400.0


def _statistics(path: Path, _: argparse.Namespace) -> int:
    with Journal(path) as journal:
        statistics = journal.statistics()
    for name in ("commits", "written"):
        del statistics[name]
    _say(json.dumps(statistics, indent=2))
    return 0


def _check(path: Path, _: argparse.Namespace) -> int:
    findings = check(path)
    _say("\n".join(findings) or "whole")
    return 1 if findings else 0


def _expire(path: Path, options: argparse.Namespace) -> int:
    with Journal(path) as journal:
        deleted = journal.expire(time.time() - options.days * _DAY)
    _say(f"{deleted} replies deleted; `compact` gives their space back")
    return 0


def _compact(path: Path, _: argparse.Namespace) -> int:
    before = path.stat().st_size
    with Journal(path) as journal:
        journal.compact()
    _say(f"{before:,} -> {path.stat().st_size:,} bytes")
    return 0


def _salvage(path: Path, _: argparse.Namespace) -> int:
    kept, aside = salvage(path)
    _say(f"{kept} replies kept in {path}; the damaged file is {aside}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks.upstream.journal", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, help_text in (
        ("statistics", _statistics, "rows, bytes, bytes per reply, age, rows per model"),
        ("check", _check, "read every page and every reply; exit code 1 if something is wrong"),
        ("expire", _expire, "delete replies older than --days; safe while runs use the journal"),
        ("compact", _compact, "give the space of deleted replies back to the disk"),
        ("salvage", _salvage, "copy what can be read of a damaged journal; only without runs"),
    ):
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("path", type=Path, help="usually data/state/journal.sqlite")
        command.set_defaults(run=run)
        if name == "expire":
            command.add_argument("--days", type=float, required=True)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done; 1: the file has faults; 2: there is no such file, or it cannot be used."""
    options = _parser().parse_args(arguments)
    run: Callable[[Path, argparse.Namespace], int] = options.run
    if not options.path.is_file():
        sys.stderr.write(f"{options.path} does not exist\n")
        return 2
    try:
        return run(options.path, options)
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
