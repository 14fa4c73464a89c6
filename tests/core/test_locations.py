"""Locations: the state as a folder or a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.locations import journal_location, ledger_location, resolve_state
from tasks.core.settings import load_settings

_REST = """
[app_ids.a]
key = "env:KEY"
base_url = "http://host/v1"
quota = []
[[check]]
name = "mini"
model = "m"
"""


def _load(state: str) -> str:
    return load_settings(f'mode = "check"\nstate = "{state}"\n{_REST}').state


def test_a_folder_has_two_files() -> None:
    """A folder is made absolute, and journal and ledger are files in it."""
    state = resolve_state("data/state")

    assert Path(state).is_absolute()
    assert journal_location(state) == f"{state}/journal.sqlite"
    assert ledger_location(state) == f"{state}/ledger.sqlite"


def test_a_database_has_both() -> None:
    """A database is left as it is and holds journal and ledger."""
    url = _load("postgresql://reviewer@db.example/night")

    assert journal_location(resolve_state(url)) == ledger_location(resolve_state(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reviewer:hunter22@db.example/night",
        "postgresql://reviewer:#hunter22@db.example/night",
        "postgresql://reviewer:1?hunter22@db.example/night",
        "postgresql://reviewer@db.example/night?sslmode=require&password=hunter22",
        "postgresql://reviewer@db.example?pass%77ord=hunter22",
        "postgres:///night?sslpassword=hunter22",
    ],
)
def test_a_password_is_refused(url: str) -> None:
    """A password in the URL would be stored with every run: refused, with the remedy, unrepeated."""
    with pytest.raises(ConfigError, match="PGPASSWORD") as caught:
        _load(url)

    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:hunter/22@db/night",
        "postgresql://a:1/hunter@db/night",
        "postgresql://a@[::1/night",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """What may be a password with a slash, or a half address, is not repeated either."""
    with pytest.raises(ConfigError, match="user@host/database") as caught:
        _load(url)

    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///night?host=/run/postgresql&user=me@corp",
        "postgresql://me@[::1]:5432,second.example:5433/night?passfile=/etc/pgpass",
        "postgresql://%2Frun%2Fpostgresql/night",
        "postgresql://reviewer:@db.example/night",
    ],
)
def test_every_other_url_is_taken(url: str) -> None:
    """Sockets, several hosts, ports, options."""
    assert _load(url) == url


def test_another_kind_of_database_is_refused() -> None:
    """A URL of something else would become a folder of that name."""
    with pytest.raises(ConfigError, match="postgresql://"):
        _load("mysql://db.example/night")
