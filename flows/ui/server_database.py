"""
The SQLite file of an embedded Prefect server, made and looked at without Prefect's migrations.

    a new home     its tables come from prefect_tables.sql, which is what the migrations make: 5 s of CPU less
    any later run  tables of the newest revision are not migrated, so 113 scripts are not imported

    python -m flows.ui.server_database        # writes prefect_tables.sql anew, for another version of Prefect

Block types are not entered either: a server that stays, as of `nightly-review up`, does it when it starts.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

__all__ = ["make_database", "newest_revision", "quick_start", "tables"]

_TEMPLATE = Path(__file__).with_name("prefect_tables.sql")
_FILE = re.compile(r"sqlite\+aiosqlite:///(?P<path>[^?:]+)")
_REVISION = re.compile(r'^(revision|down_revision)(?:: [^=]+)? = "(\w+)"', re.MULTILINE)
_NOTHING_TO_DO = {
    "server.database.migrate_on_start": False,
    "server.register_blocks_on_start": False,
    "server.memoize_block_auto_registration": False,
}
_MIGRATE_SECONDS = 120.0


def quick_start(url: str, package: Path) -> dict[str, Any]:
    """Settings that spare a server what is done already; none where it has to look itself.

    `url` is that of its database, `package` the folder of Prefect.
    """
    named = _FILE.fullmatch(url)
    newest = newest_revision(package)
    if named is None or newest is None:
        return {}
    path = Path(unquote(named["path"]))
    with suppress(OSError, sqlite3.Error):
        if not path.exists() and _template_revision() == newest:
            make_database(path)
        if _revision(path) == newest:
            return dict(_NOTHING_TO_DO)
    return {}


def newest_revision(package: Path) -> str | None:
    """The revision that no other script of Prefect's migrations follows; None: there is not one."""
    known: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for script in package.glob("server/database/_migrations/versions/sqlite/*.py"):
        for kind, name in _REVISION.findall(script.read_text(encoding="utf-8")):
            known[kind].add(name)
    last = known["revision"] - known["down_revision"]
    return last.pop() if len(last) == 1 else None


def make_database(path: Path) -> None:
    """Make the file from prefect_tables.sql; one that somebody makes meanwhile stays as it is.

    Raises:
        OSError, sqlite3.Error: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix="made-", suffix=".db")
    os.close(number)
    made = Path(name)
    try:
        with closing(sqlite3.connect(made)) as database:
            database.executescript(_TEMPLATE.read_text(encoding="utf-8"))
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()


def tables(path: Path) -> Iterator[str]:
    """What makes the tables of a database, with the rows that migrations leave."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        yield from database.iterdump()


def _template_revision() -> str | None:
    found = re.search(r"INSERT INTO \"?alembic_version\"? VALUES\('(\w+)'\)", _TEMPLATE.read_text())
    return found[1] if found else None


def _revision(path: Path) -> str | None:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as database:
        rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(rows[0][0]) if len(rows) == 1 else None


def _migrated(home: Path) -> Path:
    """A database that Prefect's own migrations have made in an empty home."""
    own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": "", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(  # noqa: S603 - Prefect's own command
        command, env=os.environ | own, check=True, capture_output=True, timeout=_MIGRATE_SECONDS
    )
    return home / "prefect.db"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as _home:
        _TEMPLATE.write_text("\n".join(tables(_migrated(Path(_home)))) + "\n", encoding="utf-8")
