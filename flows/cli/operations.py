"""The subcommands that start and stop what one operates: options and arguments only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.layout import deployment, examples

__all__ = ["add_operations"]

Folder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Pid files, logs, database; default: data/state/prefect."),
]


def add_operations(app: typer.Typer) -> None:
    """Give `app` the subcommands up, deploy, down, serve, automate and prune."""
    for name, command, epilog in (
        ("up", up, _UP),
        ("deploy", deploy, _DEPLOY),
        ("down", down, _DOWN),
        ("serve", serve, _SERVE),
        ("automate", automate, _AUTOMATE),
        ("prune", prune, _PRUNE),
    ):
        app.command(name, epilog=examples(epilog))(command)


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
    """Start Prefect's server, a worker, the pages of all runs.

    The deployments are made as well. Doing it twice changes nothing.
    """
    code: int = deployment("up").main(folder, port, runs, reports, reports_port)
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
    code: int = deployment("deploy").main(source, config, cron, timezone, folder)
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
    """Serve the reports of all runs on loopback.

    Its first page lists them.
    """
    code: int = deployment("serve").main(runs, port, folder)
    return code


_DOWN = """
example: nightly-review down

exit code: 0, also when nothing ran
"""


def down(*, folder: Folder = None) -> int:
    """Stop what up has started; all data stay.

    Runs under way are cancelled, and their answers are in the journal.
    """
    code: int = deployment("down").main(folder)
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
    code: int = deployment("automate").main(files, lost_after)
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
