"""Look after a journal: statistics, check, expire, compact, salvage."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tasks.core.errors import StateError
from tasks.core.locations import check_state, is_database
from tasks.upstream.journal.journal import open_journal
from tasks.upstream.journal.recover import check, salvage

_DAY = 86400.0


def _statistics(place: str, _: argparse.Namespace) -> int:
    with open_journal(place) as journal:
        statistics = journal.statistics()
    for name in ("commits", "written"):
        del statistics[name]
    _say(json.dumps(statistics, indent=2))
    return 0


def _check(place: str, _: argparse.Namespace) -> int:
    if is_database(place):
        with open_journal(place) as journal:
            findings = journal.check()
    else:
        findings = check(Path(place))
    _say("\n".join(findings) or "whole")
    return 1 if findings else 0


def _expire(place: str, options: argparse.Namespace) -> int:
    with open_journal(place) as journal:
        deleted = journal.expire(time.time() - options.days * _DAY)
    _say(f"{deleted} replies deleted; `compact` gives their space back")
    return 0


def _compact(place: str, _: argparse.Namespace) -> int:
    with open_journal(place) as journal:
        before = journal.statistics()["bytes"]
        journal.compact()
        _say(f"{before:,} -> {journal.statistics()['bytes']:,} bytes")
    return 0


def _salvage(place: str, _: argparse.Namespace) -> int:
    if is_database(place):
        msg = "salvage is for files: a damaged database is restored from its backup"
        raise StateError(msg)
    kept, aside = salvage(Path(place))
    _say(f"{kept} replies kept in {place}; the damaged file is {aside}")
    return 0


def _place(text: str) -> str:
    try:
        return check_state(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
        command.add_argument(
            "place",
            type=_place,
            help="usually data/state/journal.sqlite; or the database that is your state",
        )
        command.set_defaults(run=run)
        if name == "expire":
            command.add_argument("--days", type=float, required=True)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done; 1: the file has faults; 2: there is no such file, or it cannot be used."""
    options = _parser().parse_args(arguments)
    run: Callable[[str, argparse.Namespace], int] = options.run
    if not is_database(options.place) and not Path(options.place).is_file():
        sys.stderr.write(f"{options.place} does not exist\n")
        return 2
    try:
        return run(options.place, options)
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
