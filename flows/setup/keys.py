"""Key references of review.toml -> keys, as secrets from the first line that reads them."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

from pydantic import SecretStr

from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.upstream.calls.scrub import Scrubber, protect_logs

__all__ = ["check_permitted", "check_variables", "resolve_keys"]

_PERMIT = "NIGHTLY_REVIEW_KEYS"
_PERMITTED = "APP_ID_*,app-id-*"
_NAMED = frozenset({"env", "secret"})
"""Kinds of a reference that are told by the name alone; of others the whole reference counts."""


def check_variables(settings: Settings) -> None:
    """Check that the variables of all keys are set; Secret blocks need Prefect's server.

    Raises:
        ConfigError: a variable is not set, or empty.
    """
    for alias, app in settings.app_ids.items():
        if app.key.startswith("env:"):
            _resolve(alias, app.key)


def check_permitted(settings: Settings) -> None:
    """Check that this machine lends the keys to runs that were begun elsewhere.

    NIGHTLY_REVIEW_KEYS lists names of variables and Secret blocks, as patterns with * and commas
    between them. Unset, it is APP_ID_*,app-id-*: no run gets a worker's other variables.

    Raises:
        ConfigError: a key's name is not in the list.
    """
    patterns = [one.strip() for one in os.environ.get(_PERMIT, _PERMITTED).split(",")]
    for alias, app in settings.app_ids.items():
        kind, _, name = app.key.partition(":")
        asked = name if kind in _NAMED else app.key
        if not any(fnmatchcase(asked, pattern) for pattern in patterns):
            msg = (
                f"app_ids.{alias}.key: {app.key} is not a key that this worker lends to runs of other "
                f"machines ({_PERMIT} is {','.join(patterns)}): export {_PERMIT} with its name there"
            )
            raise ConfigError(msg)


def resolve_keys(settings: Settings) -> dict[str, SecretStr]:
    """Keys by alias of their app_id. From here on no log line of this process shows one.

    Raises:
        ConfigError: a variable is not set, a Secret block is not there, or either is empty.
    """
    keys = {alias: _resolve(alias, app.key) for alias, app in settings.app_ids.items()}
    protect_logs(Scrubber(keys.values()))
    return keys


def _resolve(alias: str, reference: str) -> SecretStr:
    kind, _, name = reference.partition(":")
    found = _from_env(alias, name) if kind == "env" else _from_block(alias, name)
    if not found.get_secret_value().strip():
        msg = f"app_ids.{alias}.key: {reference} is empty: set it to the key"
        raise ConfigError(msg)
    return found


def _from_env(alias: str, name: str) -> SecretStr:
    if name not in os.environ:
        msg = f"app_ids.{alias}.key: the variable {name} is not set: export {name}=<the key>"
        raise ConfigError(msg)
    return SecretStr(os.environ[name])


def _from_block(alias: str, name: str) -> SecretStr:
    from prefect.blocks.system import Secret  # noqa: PLC0415 - Prefect takes a second to import

    try:
        block = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        msg = (
            f"app_ids.{alias}.key: there is no Prefect Secret block {name!r}: create it in the UI "
            "under Blocks, or with prefect.blocks.system.Secret(value=...).save(...)"
        )
        raise ConfigError(msg) from None
    return SecretStr(str(block.get()))  # type: ignore[union-attr]
