"""The subcommands that start an upstream to rehearse with: options and arguments only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.layout import deployment, examples

__all__ = ["add_rehearsal"]

Many = list[str] | None


def add_rehearsal(app: typer.Typer) -> None:
    """Give `app` the subcommands sandbox and local-model."""
    app.command("sandbox", epilog=examples(_SANDBOX))(sandbox)
    app.command("local-model", epilog=examples(_LOCAL_MODEL))(local_model)


_SANDBOX = """
examples:
  nightly-review sandbox --quota 3/60s --latency 1 --jitter 0.05
  nightly-review sandbox --profile openai-reasoning       # refuses and answers as that provider documents
  nightly-review sandbox --key team-a=env:APP_ID_TEAM_A --strict --quota 3/60s --quota 1/1s
  nightly-review sandbox --fault status_503=0.1 --fault hang=0.01 --seed 7
  nightly-review sandbox --model mini --model large=silent --config sandbox.toml
  nightly-review sandbox --fault list                     # an error that lists all faults
  nightly-review sandbox --batch-seconds 60 --batch-fault expired
  curl -s localhost:8100/stats | python -m json.tool
  curl -s localhost:8100/control -d '{"faults": {"prose": 0.5}, "revoke": ["team-a"]}'
  curl -s localhost:8100/bill                             # tokens and US dollars: online, batch, flex
  curl -s localhost:8100/batch-clock -d '{"advance": 86400}'
  curl -s localhost:8100/reset -X POST

A prompt with [[sandbox:NAME]] in it meets that fault, with [[sandbox:NAME*2]] in its first two
sends only. --config takes TOML or JSON with every setting of deployments/sandbox/config.py;
options win over it. Ctrl-C prints the counts.

exit code: 0 stopped; 2 the settings are wrong, or the port is taken
"""


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="0: any free one.")] = 8100,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings in TOML or JSON.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="A provider's refusals and reply shapes.")
    ] = None,
    quota: Annotated[
        Many, typer.Option(metavar="N/SECONDS", help="Window of every key; repeatable.")
    ] = None,
    key: Annotated[
        Many, typer.Option(metavar="NAME=VALUE", help="A key, or env:VARIABLE; repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="401 for keys not given.")] = False,
    model: Annotated[
        Many, typer.Option(metavar="NAME[=SKILL]", help="default or silent; repeatable.")
    ] = None,
    latency: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Until a reply is there.")
    ] = None,
    jitter: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Uniform in +-jitter.")
    ] = None,
    heavy: Annotated[bool, typer.Option("--heavy", help="Jitter has a heavy tail.")] = False,
    fault: Annotated[
        Many, typer.Option(metavar="NAME[=RATE]", help="Share of requests; repeatable.")
    ] = None,
    retry_after: Annotated[
        Literal["seconds", "ms", "date", "none"] | None,
        typer.Option(help="How a 429 says when to come back."),
    ] = None,
    ratelimit_headers: Annotated[
        bool, typer.Option("--ratelimit-headers", help="Send x-ratelimit-* headers.")
    ] = False,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of faults and jitter.")] = None,
    batch_seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A batch takes so long; by default 1.")
    ] = None,
    batch_fault: Annotated[
        Many, typer.Option(metavar="NAME", help="Of every batch; repeatable; list: all there are.")
    ] = None,
) -> int:
    """Start an upstream on loopback, with quotas and faults.

    It is OpenAI-compatible, enforces quotas on its own clock and needs no key.
    """
    plain = {
        "profile": profile,
        "quota": quota or None,
        "latency": latency,
        "jitter": jitter,
        "retry_after": retry_after,
        "ratelimit_headers": ratelimit_headers or None,
        "seed": seed,
        "strict_keys": strict or None,
        "tail": "heavy" if heavy else None,
        "batch": _batch(batch_seconds, batch_fault) or None,
    }
    tables = {"keys": key or (), "models": model or (), "faults": fault or ()}
    given = {name: value for name, value in plain.items() if value is not None}
    code: int = deployment("sandbox.command").main(host, port, config, given, tables)
    return code


def _batch(seconds: float | None, faults: Many) -> dict[str, object]:
    given = {"seconds": seconds, "script": faults or None}
    return {name: value for name, value in given.items() if value is not None}


_LOCAL_MODEL = """
examples:
  nightly-review local-model
  nightly-review local-model --port 0 --threads 4 --parallel 4
  curl -s localhost:8081/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hi"}]}'

Prints one JSON line with base_url when it is ready to answer. In review.toml:
  [app_ids.local]
  key = "env:LOCAL_KEY"        # any text: the server does not look at it
  base_url = "http://127.0.0.1:8081/v1"
  quota = []

Replies that are held to a JSON schema are bounded by --max-chars and --max-items, since this model
would fill its first string until max_tokens. Ctrl-C stops it.
exit code: 0 stopped; 2 a package is missing, or the port is taken
"""


def local_model(
    *,
    port: Annotated[int, typer.Option(metavar="N", help="0: any free one.")] = 8081,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="CPU threads.")] = 2,
    parallel: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests computed together.")
    ] = 2,
    context: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tokens of one request, prompt and reply.")
    ] = 6144,
    max_chars: Annotated[
        int, typer.Option(min=1, metavar="N", help="Characters of a string under a schema.")
    ] = 80,
    max_items: Annotated[
        int, typer.Option(min=1, metavar="N", help="Items of a list under a schema.")
    ] = 2,
) -> int:
    """Serve a small real model on loopback.

    SmolLM2-135M-Instruct behind an OpenAI-compatible server; no key, no network.
    """
    options = {
        "threads": threads,
        "parallel": parallel,
        "context": context,
        "max_chars": max_chars,
        "max_items": max_items,
    }
    code: int = deployment("local_model.command").main(port, options)
    return code
