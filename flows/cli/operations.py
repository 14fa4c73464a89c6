"""The subcommands that start and stop what one operates or rehearses with: options and arguments only.

`deployments` lies above this package, so each body loads its module by name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.cli.layout import examples
from tasks.core.errors import ConfigError

__all__ = ["add_operations"]

Folder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Pid files, logs, database; default: data/state/prefect."),
]
Many = list[str] | None


def add_operations(app: typer.Typer) -> None:
    """Give `app` the subcommands up, deploy, down, serve, automate, prune, sandbox and local-model."""
    for name, command, epilog in (
        ("up", up, _UP),
        ("deploy", deploy, _DEPLOY),
        ("down", down, _DOWN),
        ("serve", serve, _SERVE),
        ("automate", automate, _AUTOMATE),
        ("prune", prune, _PRUNE),
        ("sandbox", sandbox, _SANDBOX),
        ("local-model", local_model_command, _LOCAL_MODEL),
    ):
        app.command(name, epilog=examples(epilog))(command)


def _deployment(name: str) -> Any:
    """The module `name` of deployments, which takes a second or two to import."""
    try:
        return import_module(f"deployments.{name}")
    except ModuleNotFoundError as error:
        msg = (
            f"the package {error.name} is not installed: run `make setup`, or `pip install "
            "'nightly-review[sandbox]'` for the sandbox"
        )
        raise ConfigError(msg) from None


_UP = """
examples:
  nightly-review up
  nightly-review up --port 4300 --folder /var/lib/nightly-review

exit code: 0 it runs; 2 something did not come up, and the message says what
"""


def up(
    *,
    folder: Folder = None,
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Of the server; default: as in server.env.")
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Flow runs at a time, of a new pool.")
    ] = 4,
    reports: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of runs to serve; default: data/runs."),
    ] = None,
    reports_port: Annotated[
        int | None, typer.Option(metavar="N", help="Of their pages; default: the port after N.")
    ] = None,
) -> int:
    """Start a Prefect server, a worker, the pages of all runs, and the deployments.

    Doing it twice changes nothing.
    """
    code: int = _deployment("up").main(folder, port, runs, reports, reports_port)
    return code


_DEPLOY = """
examples:
  nightly-review deploy git:/srv/shop@since=last --config /srv/review.toml
  nightly-review deploy git:.@since=last --config review.toml --cron "0 2 * * 1-5" --timezone Europe/Berlin

It is kept in data/state/prefect/nightly.yaml, which no upgrade touches; remove that file and run
`nightly-review up` to have no schedule again.
exit code: 0 deployed, or written for the next `nightly-review up`; 2 SOURCE, FILE or CRON is wrong
"""


def deploy(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", show_default=False, help="As of `nightly-review run`."),
    ],
    *,
    config: Annotated[str, typer.Option(metavar="FILE", help="The settings.")] = "review.toml",
    cron: Annotated[str, typer.Option(metavar="CRON", help="When it starts.")] = "30 1 * * *",
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of CRON; default: this machine's.")
    ] = None,
    folder: Folder = None,
) -> int:
    """Say what the nightly reviews on this machine, and when."""
    code: int = _deployment("deploy").main(source, config, cron, timezone, folder)
    return code


_SERVE = """
examples:
  nightly-review serve                          # data/runs on http://127.0.0.1:4201
  nightly-review serve /srv/runs --port 8080

The browser asks for the login of `nightly-review up`, in data/state/prefect/login; it is made if there
is none. `nightly-review up` serves data/runs by itself. Ctrl-C stops it.
exit code: 0 stopped; 2 DIR is no folder, or the port is taken
"""


def serve(
    runs: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", show_default=False, help="Folder of runs; default: data/runs."
        ),
    ] = None,
    *,
    port: Annotated[int, typer.Option(metavar="N", help="Of loopback.")] = 4201,
    folder: Folder = None,
) -> int:
    """Serve the reports of all runs on loopback, with a page that lists them."""
    code: int = _deployment("serve").main(runs, port, folder)
    return code


_DOWN = """
example: nightly-review down

exit code: 0, also when nothing ran
"""


def down(*, folder: Folder = None) -> int:
    """Stop what up has started; all data stay.

    Runs under way are cancelled, and their answers are in the journal.
    """
    code: int = _deployment("down").main(folder)
    return code


_AUTOMATE = """
example: nightly-review automate deployments/automations/rerun_incomplete.yaml

Needs PREFECT_API_URL and the deployments of `nightly-review up`.
exit code: 0 installed; 2 a FILE is wrong, or the deployments are not there
"""


def automate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", show_default=False, help="In YAML.")
    ],
    *,
    lost_after: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="What $lost_after is in a FILE.")
    ] = 180,
) -> int:
    """Install automations from YAML files.

    One of the same name is updated.
    """
    code: int = _deployment("automate").main(files, lost_after)
    return code


_PRUNE = """
examples:
  nightly-review prune --keep 60d --dry-run       # only says what would go
  nightly-review prune --keep 60d                 # of data/runs
  nightly-review prune --keep 365d /srv/reviews/runs

A run is as old as its start. The newest complete run of each source stays, and the one that its next
run is compared with, whatever their age; so do folders at work and those with files of your own. The
journal keeps every answer: `nightly-review journal expire` is for those.
exit code: 0 removed; 2 DIR or --keep is wrong, or a run could not be removed
"""


def prune(
    root: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder that has the runs.", show_default=False)
    ] = Path("data/runs"),
    *,
    keep: Annotated[
        str, typer.Option(metavar="AGE", show_default=False, help="Runs younger than this: 60d.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing.")] = False,
) -> int:
    """Remove old runs from DIR, by default data/runs."""
    from flows.cli.prune import prune_command  # noqa: PLC0415 - only needed here

    return prune_command(root, keep, dry_run=dry_run)


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
    code: int = _deployment("sandbox.command").main(host, port, config, given, tables)
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


def local_model_command(
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
    code: int = _deployment("local_model.command").main(port, options)
    return code
