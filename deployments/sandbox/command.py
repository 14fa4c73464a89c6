"""`nightly-review sandbox`: what its options say, as settings, and the server until it is stopped."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import uvloop

from deployments.sandbox.config import SandboxConfig, merged
from deployments.sandbox.server import serve
from tasks.core.errors import ConfigError

__all__ = ["main"]


def main(
    host: str,
    port: int,
    file: Path | None,
    given: Mapping[str, Any],
    tables: Mapping[str, Iterable[str]],
) -> int:
    """Run until stopped, then print the counts; returns 0.

    `file` has settings in TOML or JSON, over which win those of `given` and, name by name, those of
    `tables`: "NAME=VALUE" for keys, models and faults.

    Raises:
        ConfigError: the settings are wrong, or the port is taken.
    """
    raw = merged(_file(file) if file else {}, dict(given))
    keys = {name: {"key": _secret(name, value)} for name, value in _pairs(tables["keys"])}
    models = {name: {"skill": skill or "default"} for name, skill in _pairs(tables["models"])}
    faults = {name: rate or "1" for name, rate in _pairs(tables["faults"])}
    for table, extra in (("keys", keys), ("models", models), ("faults", faults)):
        raw[table] = {**raw.get(table, {}), **extra}
    SandboxConfig.read(raw)
    print(json.dumps(uvloop.run(serve(raw, host, port, with_parent=False)), indent=2))
    return 0


def _pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (text.partition("=") for text in texts)]


def _secret(name: str, value: str) -> str:
    if not value.startswith("env:"):
        return value
    key = os.environ.get(value[4:])
    if key is None:
        msg = f"--key {name}: the variable {value[4:]} is not set; export it first"
        raise ConfigError(msg)
    return key


def _file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        parsed = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        msg = f"--config {path}: {error}"
        raise ConfigError(msg) from None
    if not isinstance(parsed, dict):
        msg = f"--config {path}: not a table of settings"
        raise ConfigError(msg)
    return parsed
