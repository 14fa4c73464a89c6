"""The database of an embedded server: Prefect's own tables, without Prefect's migrations."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import prefect
import pytest

from flows.ui import server_database
from flows.ui.server_database import make_database, newest_revision, quick_start, tables

PACKAGE = Path(prefect.__file__).parent


def _url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def test_the_tables_are_those_of_the_installed_prefect() -> None:
    """Of another version they are made anew: see the head of the module."""
    assert server_database._template_revision() == newest_revision(PACKAGE)


def test_a_new_home_needs_no_migration(tmp_path: Path) -> None:
    """The file is made with all tables, and its server is told that nothing is to be done."""
    path = tmp_path / "new home" / "prefect.db"
    found = quick_start(_url(path), PACKAGE)

    assert found["server.database.migrate_on_start"] is False
    with closing(sqlite3.connect(path)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert names >= {"flow_run", "task_run", "artifact", "concurrency_limit_v2", "log", "events"}
    assert [one.name for one in path.parent.iterdir()] == ["prefect.db"]


def test_a_database_of_another_version_is_left_to_prefect(tmp_path: Path) -> None:
    """Older tables, none, and a file that is no database: the server migrates, as ever."""
    older, empty, broken = (tmp_path / f"{name}.db" for name in ("older", "empty", "broken"))
    make_database(older)
    with closing(sqlite3.connect(older)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'a_year_ago'")
    sqlite3.connect(empty).close()
    broken.write_text("no database")
    before = [path.read_bytes() for path in (older, empty, broken)]

    assert [quick_start(_url(path), PACKAGE) for path in (older, empty, broken)] == [{}, {}, {}]
    assert [path.read_bytes() for path in (older, empty, broken)] == before


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://user@localhost/prefect",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true",
    ],
)
def test_other_databases_are_left_to_prefect(url: str) -> None:
    """Only a file can be looked at."""
    assert quick_start(url, PACKAGE) == {}


def test_scripts_that_cannot_be_read_mean_migrations(tmp_path: Path) -> None:
    """A Prefect that keeps its migrations elsewhere, or has two last ones, is migrated as ever."""
    folder = tmp_path / "server/database/_migrations/versions/sqlite"
    folder.mkdir(parents=True)
    assert newest_revision(tmp_path) is None
    (folder / "one.py").write_text('revision = "a"\ndown_revision = None\n')
    assert newest_revision(tmp_path) == "a"
    (folder / "two.py").write_text('revision: str = "b"\ndown_revision: str = "a"\n')
    assert newest_revision(tmp_path) == "b"
    (folder / "three.py").write_text('revision = "c"\ndown_revision = "a"\n')
    assert newest_revision(tmp_path) is None


def _parts(path: Path) -> list[list[str]]:
    """Statements, each as its lines: Alembic makes constraints and indexes in any order."""
    return sorted(sorted(line.strip(" \t,") for line in one.splitlines()) for one in tables(path))


@pytest.mark.chaos
def test_the_tables_are_what_the_migrations_make(tmp_path: Path) -> None:
    """Every table, index and constraint, and every row that they leave."""
    made = tmp_path / "made.db"
    make_database(made)
    assert _parts(made) == _parts(server_database._migrated(tmp_path))
