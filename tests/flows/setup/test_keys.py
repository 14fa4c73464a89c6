"""Which keys a run may have."""

from __future__ import annotations

import pytest

from flows.setup.keys import check_permitted
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings, load_settings


def with_key(reference: str) -> Settings:
    """Settings whose only app_id has that key."""
    return load_settings(
        f'mode = "check"\n[app_ids.a]\nkey = "{reference}"\nbase_url = "http://127.0.0.1:9/v1"\n'
        'quota = []\n[[check]]\nname = "one"\nmodel = "m"\n'
    )


@pytest.mark.parametrize(
    ("permitted", "reference", "lent"),
    [
        (None, "env:APP_ID_TEAM_A", True),
        (None, "secret:app-id-team-a", True),
        (None, "env:AWS_SECRET_ACCESS_KEY", False),
        (None, "env:HOME", False),
        ("TEAM_*, OTHER", "env:TEAM_A", True),
        ("TEAM_*, OTHER", "env:OTHER", True),
        ("TEAM_*, OTHER", "env:OTHERS", False),
        ("TEAM_*, OTHER", "env:APP_ID_TEAM_A", False),
        ("", "env:APP_ID_TEAM_A", False),
    ],
)
def test_a_worker_lends_only_the_keys_on_its_list(
    monkeypatch: pytest.MonkeyPatch, permitted: str | None, reference: str, *, lent: bool
) -> None:
    """Names are compared as patterns, whole and with their case; without a list, APP_ID_*."""
    monkeypatch.delenv("NIGHTLY_REVIEW_KEYS", raising=False)
    if permitted is not None:
        monkeypatch.setenv("NIGHTLY_REVIEW_KEYS", permitted)
    if lent:
        check_permitted(with_key(reference))
        return
    with pytest.raises(ConfigError, match="export NIGHTLY_REVIEW_KEYS with its name"):
        check_permitted(with_key(reference))
