"""Which keys a run may have."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from flows.setup.key_rules import check_distinct, check_permitted, key_variables
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


POOL = """
mode = "check"
[app_ids.a]
key = "env:A"
base_url = "https://one.example/v1"
quota = ["3/60s"]
[app_ids.b]
key = "env:B"
base_url = "{url}"
quota = ["3/60s"]
[[check]]
name = "one"
model = "m"
[[check]]
name = "two"
model = "n"
"""


@pytest.mark.parametrize("url", ["https://one.example/v1", "https://ONE.example/v1/"])
def test_one_key_under_two_aliases_is_refused(url: str) -> None:
    """Its windows would be used twice; the message names the aliases, and no key."""
    secret = SecretStr("planted-key-one")

    with pytest.raises(ConfigError, match="app_ids a and b have one key at") as caught:
        check_distinct(load_settings(POOL.format(url=url)), {"a": secret, "b": secret})

    assert "planted" not in str(caught.value)
    assert "quota_group" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "key"), [("https://two.example/v1", "one"), ("https://one.example/v1", "two")]
)
def test_one_key_at_two_endpoints_is_two(url: str, key: str) -> None:
    """Another place counts for itself, and so does another key."""
    keys = {"a": SecretStr("one"), "b": SecretStr(key)}
    check_distinct(load_settings(POOL.format(url=url)), keys)


def test_one_key_with_a_quota_for_each_model_is_two() -> None:
    """Providers count a key's requests by model: aliases of other models do not share windows."""
    text = POOL.format(url="https://one.example/v1")
    for alias, model in (("A", "m"), ("B", "n")):
        text = text.replace(f'key = "env:{alias}"', f'key = "env:{alias}"\nmodels = ["{model}"]')
    secret = SecretStr("one")
    check_distinct(load_settings(text), {"a": secret, "b": secret})


def test_without_any_limit_one_key_may_have_two_aliases() -> None:
    """There is no window to use twice."""
    text = POOL.format(url="https://one.example/v1").replace('["3/60s"]', "[]")
    secret = SecretStr("one")
    check_distinct(load_settings(text), {"a": secret, "b": secret})


def test_the_variables_of_keys_are_known() -> None:
    """What Prefect's server is started without: variables alone, wherever an app_id names them."""
    settings = load_settings(
        'mode = "check"\n[app_ids.a]\nkey = "env:KEY_A"\nbase_url = "http://127.0.0.1:9/v1"\n'
        'headers = { X-Key = "env:KEY_H", X-Other = "secret:block" }\nquota = []\n'
        '[[check]]\nname = "one"\nmodel = "m"\n'
    )
    assert key_variables(settings) == {"KEY_A", "KEY_H"}
