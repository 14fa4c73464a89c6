"""Key references of review.toml -> keys, as secrets from the first line that reads them."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path

from flows.setup.key_rules import check_distinct
from flows.setup.key_sources import check_reachable, read_secret
from tasks.core.app_id_settings import AppIdSettings
from tasks.core.endpoints import is_reference
from tasks.core.errors import ConfigError
from tasks.core.quotas import parse_duration
from tasks.core.settings import Settings
from tasks.upstream.calls.dialing import check_proxies
from tasks.upstream.calls.key_ring import Credentials, KeyRing, KeySource
from tasks.upstream.calls.scrub import protect_logs

__all__ = ["check_variables", "resolve_key", "resolve_keys"]


def check_variables(settings: Settings) -> None:
    """Check what keys need and what is free to look at: variables, files, commands, certificates, proxies.

    Secret blocks need Prefect's server.

    Raises:
        ConfigError: one is not there or cannot be used; the message names the remedy.
    """
    check_proxies()
    for alias, app in settings.app_ids.items():
        for place, reference in _references(alias, app).items():
            check_reachable(place, reference)
        _check_ca_file(alias, app.ca_file)


def resolve_keys(settings: Settings) -> KeyRing:
    """Keys by alias of their app_id. From here on no log line of this process shows one.

    Raises:
        ConfigError: a key is not where its reference says, or empty; a ca_file cannot be used;
            two app_ids have one key.
    """
    check_proxies()
    for alias, app in settings.app_ids.items():
        _check_ca_file(alias, app.ca_file)
    sources = {alias: _source(alias, app) for alias, app in settings.app_ids.items()}
    ring = KeyRing(sources, on_new=protect_logs)
    check_distinct(settings, ring)
    return ring


def resolve_key(alias: str, app: AppIdSettings) -> KeyRing:
    """The key of one app_id alone. From here on no log line of this process shows it.

    Raises:
        ConfigError: it is not where its reference says, or empty; its ca_file cannot be used; a
            variable names a SOCKS proxy whose package is missing.
    """
    check_proxies()
    _check_ca_file(alias, app.ca_file)
    return KeyRing({alias: _source(alias, app)}, on_new=protect_logs)


def _references(alias: str, app: AppIdSettings) -> dict[str, str]:
    """The places in review.toml that name a secret of an app_id, and what they name."""
    headers = {name: value for name, value in app.headers.items() if is_reference(value)}
    return {
        f"app_ids.{alias}.key": app.key,
        **{f"app_ids.{alias}.headers.{name}": value for name, value in headers.items()},
    }


def _source(alias: str, app: AppIdSettings) -> KeySource:
    references = _references(alias, app).values()
    return KeySource(
        read=partial(_read, alias, app),
        changes=any(not reference.startswith("env:") for reference in references),
        max_age=None if app.key_max_age is None else parse_duration(app.key_max_age),
    )


def _read(alias: str, app: AppIdSettings) -> Credentials:
    key, *headers = (
        read_secret(place, reference) for place, reference in _references(alias, app).items()
    )
    names = [name for name, value in app.headers.items() if is_reference(value)]
    return Credentials(key, dict(zip(names, headers, strict=True)))


def _check_ca_file(alias: str, name: str | None) -> None:
    if name is None:
        return
    try:
        ssl.create_default_context().load_verify_locations(Path(name).expanduser())
    except (OSError, ssl.SSLError) as error:
        reason = (
            "no certificate in PEM form is in it"
            if isinstance(error, ssl.SSLError)
            else error.strerror
        )
        msg = (
            f"app_ids.{alias}.ca_file: {name} cannot be used ({reason}): name the file with the "
            "certificate of the authority (-----BEGIN CERTIFICATE-----)"
        )
        raise ConfigError(msg) from None
