"""Command line of the sandbox upstream."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import uvloop

from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.faults import Fault
from deployments.sandbox.profiles import PROFILES
from deployments.sandbox.server import serve
from tasks.core.errors import ConfigError

__all__ = ["main"]

_EPILOG = """
examples:
  python -m deployments.sandbox --quota 3/60s --latency 1 --jitter 0.05
  python -m deployments.sandbox --key team-a=env:APP_ID_TEAM_A --strict --quota 3/60s --quota 1/1s
  python -m deployments.sandbox --fault status_503=0.1 --fault hang=0.01 --seed 7
  python -m deployments.sandbox --profile openai-reasoning
  python -m deployments.sandbox --profile groq --quota 30/1m --fault json_validate=0.2
  python -m deployments.sandbox --model mini --model large=silent --config sandbox.toml
  curl -s localhost:8100/stats | python -m json.tool
  curl -s localhost:8100/control -d '{"faults": {"prose": 0.5}, "revoke": ["team-a"]}'
  curl -s localhost:8100/reset -X POST

A prompt with [[sandbox:NAME]] in it meets that fault, with [[sandbox:NAME*2]] in its first two
sends only. --config takes TOML or JSON with every setting of deployments/sandbox/config.py;
options win over it. Ctrl-C prints the counts.

faults: """


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.sandbox",
        description="An OpenAI-compatible upstream on loopback, with quotas and faults.",
        epilog=_EPILOG + ", ".join(Fault),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8100, help="0: any free one (default 8100)")
    add("--config", type=Path, metavar="FILE", help="settings in TOML or JSON")
    add("--profile", choices=list(PROFILES), help="a provider's refusals, headers, reply shapes")
    add("--quota", action="append", metavar="N/SECONDS", help="window of every key; repeatable")
    add("--key", action="append", default=[], metavar="NAME=VALUE", help="a key, or env:VARIABLE")
    add("--strict", action="store_true", default=None, help="401 for keys that were not given")
    add("--model", action="append", default=[], metavar="NAME[=SKILL]", help="default or silent")
    add("--latency", type=float, metavar="SECONDS")
    add("--jitter", type=float, metavar="SECONDS", help="uniform in +-jitter")
    add("--heavy", action="store_true", default=None, help="jitter has a heavy tail")
    add("--fault", action="append", default=[], metavar="NAME=RATE", help="repeatable")
    add("--retry-after", choices=["seconds", "ms", "date", "none"])
    add("--ratelimit-headers", action="store_true", default=None)
    add("--seed", type=int)
    add("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration as plain data: the file, then the options that were given."""
    raw = _file(options.config) if options.config else {}
    plain = ("profile", "quota", "latency", "jitter", "retry_after", "ratelimit_headers", "seed")
    given = {name: getattr(options, name) for name in plain}
    given["strict_keys"] = options.strict
    given["tail"] = "heavy" if options.heavy else None
    raw |= {name: value for name, value in given.items() if value is not None}
    keys = {name: {"key": _secret(name, value)} for name, value in _pairs(options.key)}
    models = {name: {"skill": skill or "default"} for name, skill in _pairs(options.model)}
    faults = {name: rate or "1" for name, rate in _pairs(options.fault)}
    for table, extra in (("keys", keys), ("models", models), ("faults", faults)):
        raw[table] = {**raw.get(table, {}), **extra}
    return raw


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
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


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped. Exit code 2: the settings are wrong."""
    options = _options().parse_args(arguments)
    try:
        raw = json.loads(sys.stdin.readline()) if options.child else _settings(options)
        SandboxConfig.read(raw)
        counts = uvloop.run(
            serve(raw, options.host, options.port, with_parent=options.child),
        )
    except ConfigError as error:
        # A parent reads its child's answer from stdout, a person reads stderr.
        print(
            json.dumps({"error": str(error)}) if options.child else f"error: {error}",
            file=sys.stdout if options.child else sys.stderr,
        )
        return 2
    if not options.child:
        print(json.dumps(counts, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
