"""The subcommands that read a finished run: options and arguments only."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.layout import examples

__all__ = ["add_finished_runs", "verify_command"]

Finished = Annotated[
    str,
    typer.Argument(
        metavar="DIR",
        show_default=False,
        help="Output folder of a finished run, or its URL as s3://bucket/nights/first.",
    ),
]


def add_finished_runs(app: typer.Typer) -> None:
    """Give `app` the subcommands verify, export, repolicy, evaluate and calibrate."""
    for name, command, epilog in (
        ("verify", verify_command, _VERIFY),
        ("export", export, _EXPORT),
        ("repolicy", repolicy, _REPOLICY),
        ("evaluate", evaluate, _EVALUATE),
        ("calibrate", calibrate, _CALIBRATE),
    ):
        app.command(name, epilog=examples(epilog))(command)


_VERIFY = """
examples:
  nightly-review verify data/runs/tonight
  nightly-review verify s3://bucket/nights/first

exit code: 0 whole and complete; 3 whole, and marked INCOMPLETE; 2 changed, or no finished run
"""


def verify_command(folder: Finished) -> int:
    """Check a finished run: is it whole, and as it was left?

    Checksums, rows, schemas, and every cell accounted for.
    """
    from flows.cli.verify import verify_run  # noqa: PLC0415 - Arrow takes a while to import

    return verify_run(folder)


_EXPORT = """
formats:
  sarif     review.sarif
  rdjsonl   review.rdjsonl
  gitlab    gl-code-quality.json
  markdown  review.md
  digest    digest.md              what is new, gone and open, for an issue or a chat
  github-review  github-review.json    the body of a review on a pull request

examples:
  nightly-review export data/runs/tonight                       # all formats
  nightly-review export data/runs/tonight --export sarif,gitlab
  nightly-review export s3://bucket/nights/first --export sarif # written there, beside the outputs
  nightly-review export data/runs/tonight --export github-review --comments 10
  sarif summary data/runs/tonight/review.sarif
  reviewdog -f=rdjsonl -reporter=local < data/runs/tonight/review.rdjsonl

exit code: 0 written; 2 DIR is no finished run, cannot be written, or a format is unknown
"""


def export(
    folder: Finished,
    *,
    formats: Annotated[
        str | None,
        typer.Option("--export", metavar="LIST", help="Comma-separated formats; default: all."),
    ] = None,
    comments: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Most comments at lines of a github-review; others are in its body.",
        ),
    ] = 20,
) -> int:
    """Write findings in formats that other tools open."""
    from flows.cli.export import export_command  # noqa: PLC0415 - formats and tables

    return export_command(folder, formats, comments)


_REPOLICY = """
examples:
  nightly-review repolicy data/runs/tonight --config review.toml        # after editing [policy]
  nightly-review repolicy data/runs/tonight --suppressions known.jsonl  # after marking a finding
  nightly-review repolicy data/runs/tonight --config strict.toml --output data/runs/strict
  nightly-review repolicy s3://bucket/nights/first --config review.toml # written over there

Outcomes, tables, reports and exports that are there are written again; comments and verdicts
stay. Of a URL, what changed is copied back when it is whole, manifest.json last.
exit code: 0 written; 2 DIR is no finished run or cannot be written, or the settings are wrong
"""


def repolicy(
    folder: Finished,
    *,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="[policy] and suppressions of this review.toml; default: as the run was made.",
        ),
    ] = None,
    suppressions: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Known false positives; wins over the configuration."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="DIR2", help="Folder to write to; default: DIR itself.")
    ] = None,
) -> int:
    """Decide anew which comments are kept, without any call."""
    from flows.cli.repolicy import repolicy_command  # noqa: PLC0415 - Arrow, pandas and Prefect

    return repolicy_command(folder, config=config, suppressions=suppressions, output=output)


_EVALUATE = """
examples:
  nightly-review evaluate data/runs/tonight
  nightly-review evaluate data/runs/tonight --json scores.json
  nightly-review evaluate s3://bucket/nights/first
  nightly-review evaluate data/runs/with-context --against data/runs/without

Labels are the field `expected` of the source's rows: a list of defects, [] for known clean.
Figures come by place (path and lines), and by place and matter (its words or category too).
Writes evaluation.json and evaluation.md into DIR, or beside the outputs at a URL.
exit code: 0 scored; 2 DIR is no finished run, or none of its inputs has labels
"""


def evaluate(
    folder: Finished,
    *,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the figures to this file as well.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Another run of the same inputs, for the differences with intervals.",
        ),
    ] = None,
) -> int:
    """Score a finished run against the labels of its inputs."""
    from flows.cli.evaluate import print_scores  # noqa: PLC0415 - Arrow takes a while to import

    return print_scores(folder, json, against)


_CALIBRATE = """
examples:
  nightly-review calibrate data/runs/labelled --precision 0.9
  nightly-review calibrate data/runs/*                             # by the canaries of many nights
  nightly-review calibrate data/runs/labelled --write review.toml  # replaces its table [policy]
  nightly-review repolicy data/runs/tonight --config review.toml

Chooses by one half of the labelled inputs and reports the other one as well. Makes no call.
exit code: 0 found; 2 no finished run, or no labels; 3 no thresholds reach the precision
"""


def calibrate(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...",
            show_default=False,
            help="Folders or URLs of finished runs with labelled inputs, or with canaries.",
        ),
    ],
    *,
    precision: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1.0,
            metavar="SHARE",
            help="Of the findings kept, how many have to be true.",
        ),
    ] = 0.8,
    write: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write the table [policy] to this review.toml, or a new file."
        ),
    ] = None,
) -> int:
    """Choose the thresholds of [policy] by labels or canaries.

    They keep the most true findings at a precision.
    """
    from flows.cli.calibrate import calibrate_command  # noqa: PLC0415 - Arrow takes a while to import

    return calibrate_command(folders, precision, write)
