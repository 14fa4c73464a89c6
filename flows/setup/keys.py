"""Key references of review.toml -> keys, as secrets from the first line that reads them."""

from __future__ import annotations

import os

from pydantic import SecretStr

from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.upstream.calls.scrub import Scrubber, protect_logs

__all__ = ["check_variables", "resolve_key", "resolve_keys"]


def check_variables(settings: Settings) -> None:
    """Check that the variables of all keys are set; Secret blocks need Prefect's server.

    Raises:
        ConfigError: a variable is not set, or empty.
    """
    for alias, app in settings.app_ids.items():
        if app.key.startswith("env:"):
            resolve_key(alias, app.key)


def resolve_keys(settings: Settings) -> dict[str, SecretStr]:
    """Keys by alias of their app_id. From here on no log line of this process shows one.

    Raises:
        ConfigError: a variable is not set, a Secret block is not there, or either is empty.
    """
    keys = {alias: resolve_key(alias, app.key) for alias, app in settings.app_ids.items()}
    protect_logs(Scrubber(keys.values()))
    return keys


def resolve_key(alias: str, reference: str) -> SecretStr:
    """The key of one app_id.

    Raises:
        ConfigError: the variable is not set, the Secret block is not there, or either is empty.
    """
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
