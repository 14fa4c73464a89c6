"""Which keys a run may use: those that its machine lends, and each under one alias."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from pydantic import SecretStr

from tasks.core.credentials import PERMIT, is_lent, lent_patterns
from tasks.core.errors import ConfigError
from tasks.core.quotas import AppId, place_of
from tasks.core.settings import Settings

__all__ = ["check_distinct", "check_permitted", "key_variables", "names_block"]

_REFERENCE = re.compile(r"(env|secret|file|cmd):(.*)", re.DOTALL)
_NAMED = frozenset({"env", "secret"})
"""Kinds of a reference that are told by the name alone; of others the whole reference counts."""


def check_permitted(settings: Settings) -> None:
    """Check that this machine lends the keys to runs that were begun elsewhere.

    Those are the names in NIGHTLY_REVIEW_KEYS: no run gets a worker's other variables.

    Raises:
        ConfigError: a name is not in the list.
    """
    patterns = lent_patterns()
    for alias, app in settings.app_ids.items():
        for kind, name in _references(app.model_dump()):
            asked = name if kind in _NAMED else f"{kind}:{name}"
            if not is_lent(asked, patterns):
                msg = (
                    f"app_ids.{alias}: {kind}:{name} is not a key that this worker lends to runs of "
                    f"other machines ({PERMIT} is {','.join(patterns)}): export {PERMIT} with its "
                    "name there"
                )
                raise ConfigError(msg)


def key_variables(settings: Settings) -> set[str]:
    """Variables that the settings name as keys."""
    apps = (_references(app.model_dump()) for app in settings.app_ids.values())
    return {name for references in apps for kind, name in references if kind == "env"}


def names_block(settings: Settings) -> bool:
    """Whether a secret is in a block of Prefect's server."""
    apps = (_references(app.model_dump()) for app in settings.app_ids.values())
    return any(kind == "secret" for references in apps for kind, _ in references)


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of whatever names a secret in the settings of an app_id."""
    if isinstance(value, dict):
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, str) and (match := _REFERENCE.fullmatch(value)):
        yield match[1], match[2]


def check_distinct(settings: Settings, keys: Mapping[str, SecretStr]) -> None:
    """Check that no key is at one endpoint under two aliases that serve a model: that is one quota.

    Aliases without a limit, of different models, or of one `quota_group` are no such pair.

    Raises:
        ConfigError: there is one; the message names the aliases.
    """
    for one, other in combinations(settings.pool, 2):
        if _digest(keys[one.alias]) == _digest(keys[other.alias]) and _share_quota(one, other):
            if one.quota_group and one.quota_group == other.quota_group:
                continue
            msg = (
                f"app_ids {one.alias} and {other.alias} have one key at {place_of(one.base_url)}, "
                "whose quota would be used twice: leave one of them out, or give both the same "
                "quota_group"
            )
            raise ConfigError(msg)


def _digest(key: SecretStr) -> bytes:
    return hashlib.sha256(key.get_secret_value().encode()).digest()


def _share_quota(one: AppId, other: AppId) -> bool:
    limits = (one.windows, one.token_windows, other.windows, other.token_windows)
    both = None in (one.models, other.models) or bool(
        (one.models or frozenset()) & (other.models or frozenset())
    )
    return any(limits) and both and place_of(one.base_url) == place_of(other.base_url)
