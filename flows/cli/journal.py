"""`nightly-review journal`: statistics, check, expire, compact, salvage."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.layout import APP, examples
from tasks.core.errors import StateError
from tasks.core.locations import check_state, is_database

if TYPE_CHECKING:
    from tasks.upstream.journal import Journal

__all__ = ["journal"]

_DAY = 86400.0

JournalArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOURNAL",
        show_default=False,
        help="Usually data/state/journal.sqlite; or the database that is your state.",
    ),
]

journal = typer.Typer(
    **APP,
    help="Look after a journal: the replies that were paid for.",
    epilog=examples(
        """
        examples:
          nightly-review journal statistics data/state/journal.sqlite
          nightly-review journal check backup/journal.sqlite
          nightly-review journal expire --days 90 data/state/journal.sqlite
          nightly-review journal compact data/state/journal.sqlite
          nightly-review journal salvage data/state/journal.sqlite
          nightly-review journal check postgresql://review@db.example.test/review

        exit code: 0 done; 1 check has found faults; 2 there is no such journal, or it cannot be used
        """
    ),
)


@journal.command(epilog=examples("example: nightly-review journal statistics JOURNAL"))
def statistics(place: JournalArgument) -> None:
    """Rows, bytes, bytes per reply, age, rows per model."""
    with _opened(place) as found:
        shown = found.statistics()
    for name in ("commits", "written"):
        del shown[name]
    print(json.dumps(shown, indent=2))


@journal.command(
    "check", epilog=examples("example: nightly-review journal check backup/journal.sqlite")
)
def check_command(place: JournalArgument) -> int:
    """Read every page and every reply; exit code 1 if something is wrong."""
    from tasks.upstream.journal import recover  # noqa: PLC0415 - see _opened

    if is_database(_checked(place)):
        with _opened(place) as found:
            findings = found.check()
    else:
        findings = recover.check(Path(place))
    print("\n".join(findings) or "whole")
    return 1 if findings else 0


@journal.command(epilog=examples("example: nightly-review journal expire --days 90 JOURNAL"))
def expire(
    place: JournalArgument,
    *,
    days: Annotated[float, typer.Option(min=0, metavar="N", help="Age of what is deleted.")],
) -> None:
    """Delete replies older than --days; safe while runs use the journal."""
    with _opened(place) as found:
        deleted = found.expire(time.time() - days * _DAY)
    print(f"{deleted} replies deleted; `nightly-review journal compact` gives their space back")


@journal.command(epilog=examples("example: nightly-review journal compact JOURNAL"))
def compact(place: JournalArgument) -> None:
    """Give the space of deleted replies back to the disk."""
    with _opened(place) as found:
        before = found.statistics()["bytes"]
        found.compact()
        print(f"{before:,} -> {found.statistics()['bytes']:,} bytes")


@journal.command("salvage", epilog=examples("example: nightly-review journal salvage JOURNAL"))
def salvage_command(place: JournalArgument) -> None:
    """Copy what can be read of a damaged journal; only while no run uses it."""
    from tasks.upstream.journal import recover  # noqa: PLC0415 - see _opened

    if is_database(_checked(place)):
        msg = "salvage is for files: a damaged database is restored from its backup"
        raise StateError(msg)
    kept, aside = recover.salvage(Path(place))
    print(f"{kept} replies kept in {place}; the damaged file is {aside}")


def _opened(place: str) -> Journal:
    from tasks.upstream.journal import open_journal  # noqa: PLC0415 - SQLite, threads, compression

    return open_journal(_checked(place))


def _checked(place: str) -> str:
    """All users of the machine read command lines, so a password in one is refused."""
    try:
        check_state(place)
    except ValueError as error:
        msg = f"JOURNAL {error}"
        raise StateError(msg) from None
    if not is_database(place) and not Path(place).is_file():
        msg = f"{place} does not exist: name the journal.sqlite in the folder that is your state"
        raise StateError(msg)
    return place
