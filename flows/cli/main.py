"""The command `nightly-review`: its subcommands and their options, and how every one of them ends.

Only the standard library and typer are imported before an option is known to be right: help and a
mistake are answered at once. Each command's body imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from flows.cli.batches import batches
from flows.cli.getting_started import ConfigOption, add_getting_started
from flows.cli.journal import journal
from flows.cli.layout import APP, examples
from flows.cli.operations import add_operations
from tasks.core.errors import ReviewError, SourceError
from tasks.core.imports import quick_imports
from tasks.core.text_safety import visible_lines

__all__ = ["app", "main"]

_NAME = "nightly-review"
_CODES = """
exit code: 0 complete; 1 the run broke off, as its last line says; 2 bad configuration, input or arguments, nothing written over;
           3 incomplete: written, marked, counted by reason; 4 complete, with findings that --fail-on
           names; 130 stopped by Ctrl-C
"""

Source = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        show_default=False,
        help="A .jsonl, .json, .csv (also .gz) or .parquet file; a folder of .diff, .patch or source "
        "files; git:PATH@BASE..HEAD, git:PATH@since=last or git:PATH@since=24h: each file that changed in the "
        "repository at PATH, or in several of them. Default: the tables source of the configuration.",
    ),
]
Severity = Literal["critical", "high", "medium", "low"]
LimitOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Take only the first N rows of SOURCE.")
]
BatchWish = Literal["always", "auto", "never", "as_configured"]
Fresh = Annotated[bool, typer.Option("--fresh", help="Ask anew, ignore the journal.")]
Finished = Annotated[
    str,
    typer.Argument(
        metavar="DIR",
        show_default=False,
        help="Output folder of a finished run, or its URL as s3://bucket/nights/first.",
    ),
]

app = typer.Typer(
    **APP,
    help="Bulk AI code review under quota: several check models, verified comments, nothing lost.",
    epilog=examples(
        f"""
        examples:
          {_NAME} init
          {_NAME} doctor diffs.jsonl --config review.toml
          {_NAME} estimate diffs.jsonl --config review.toml
          {_NAME} run diffs.jsonl --config review.toml --output data/runs/tonight
          {_NAME} verify data/runs/tonight
          {_NAME} export data/runs/tonight --export sarif,gitlab
          {_NAME} calibrate data/runs/*
          {_NAME} sandbox --quota 3/60s --latency 1
          {_NAME} --install-completion
        """,
        _CODES,
    ),
)
app.add_typer(journal, name="journal")
app.add_typer(batches, name="batches")


def main(argv: Sequence[str] | None = None) -> int:
    """Answer a command line, `sys.argv`'s if none is given; returns the exit code.

    An error of ours or a wrong argument is one `error:` line on stderr that names the remedy.
    """
    if sys.platform != "linux":
        print(
            f"error: {_NAME} needs Linux: run it there, in a container or in WSL", file=sys.stderr
        )
        return 2
    # Prefect sends usage statistics from a terminal, and says so, unless it finds this when it is imported.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        given = None if argv is None else list(argv)
        code: int | None = app(args=given, prog_name=_NAME, standalone_mode=False)
    except ReviewError as error:
        print(f"error: {visible_lines(str(error))}", file=sys.stderr)
        return error.exit_code
    except typer.TyperException as error:
        print(f"error: {_in_plain_words(error.format_message())}", file=sys.stderr)
        if context := getattr(error, "ctx", None):
            print(f"see: {context.command_path} --help", file=sys.stderr)
        return error.exit_code
    return code or 0


def _in_plain_words(message: str) -> str:
    for said, plain in _PLAIN.items():
        message = message.replace(said, plain)
    return message


_PLAIN = {
    "Input should be a valid integer, unable to parse string as an integer": "give a whole number",
    "Input should be a valid number, unable to parse string as a number": "give a number",
    "Input should be greater than or equal to ": "give no less than ",
    "Input should be less than or equal to ": "give no more than ",
}
"""What typer says of an option's value."""


def _print_version(context: typer.Context, *, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 - reads files

        print(f"{_NAME} {version(_NAME)}")
        raise typer.Exit


def _source(context: typer.Context, named: Sequence[str] | None, config: str) -> str:
    from flows.setup.config import source_of  # noqa: PLC0415 - pydantic takes a while

    try:
        return source_of(named, config)
    except SourceError as error:
        raise typer.BadParameter(str(error), ctx=context) from None


def _verify_instead(context: typer.Context, folder: str | None) -> None:
    """`--verify DIR` without a SOURCE, as scripts type it."""
    if folder and not context.resilient_parsing:
        raise typer.Exit(verify_command(folder))


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command(
    epilog=examples(
        f"""
        examples:
          {_NAME} run diffs.jsonl --config review.toml --output data/runs/tonight
          {_NAME} run diffs.parquet --config review.toml --limit 20       # a first try
          {_NAME} run diffs.jsonl --output s3://bucket/nights/{{run_id}}    # copied when whole
          {_NAME} run diffs.jsonl --config review.toml --fresh            # ignore the journal
          {_NAME} run git:.@since=24h                                     # what changed since yesterday
          {_NAME} run git:.@origin/main..HEAD --fail-on high              # in CI: exit code 4 if any is
          {_NAME} run git:../shop@since=last git:../api@since=last        # two repositories, one run
        """,
        _CODES,
    )
)
def run(
    context: typer.Context,
    source: Source = None,
    *,
    config: ConfigOption = "review.toml",
    output: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder or URL of the outputs; default: data/runs/{run_id}."
        ),
    ] = None,
    limit: LimitOption = None,
    fresh: Fresh = False,
    previous: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder or URL of the run that tells new findings from recurring ones; default: the "
            "newest one of SOURCE beside the outputs.",
        ),
    ] = None,
    fail_on: Annotated[
        Severity | None,
        typer.Option(
            "--fail-on",
            help="End with exit code 4 where a finding is as severe as this, or more: for CI.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a DIR that has other files or runs.")
    ] = False,
    batch: Annotated[
        BatchWish,
        typer.Option(
            show_default=False,
            help="Calls through the Batch API of app_ids with batch = true, at half price and within "
            "hours: all, or where there are many; default: as [batch] says.",
        ),
    ] = "as_configured",
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Only result and report at the end, and errors.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="The run's log as well, on stderr.")
    ] = False,
    log_json: Annotated[
        bool,
        typer.Option(
            "--log-json", help="Stages, progress and log on stderr, each line a JSON object."
        ),
    ] = False,
    estimate: Annotated[bool, typer.Option("--estimate", hidden=True)] = False,
    verify: Annotated[  # noqa: ARG001 - its callback answers it
        str | None, typer.Option(hidden=True, is_eager=True, callback=_verify_instead)
    ] = None,
) -> int:
    """Review every input of SOURCE, and verify the comments."""
    if estimate:
        return estimate_command(context, source, config=config, limit=limit, fresh=fresh)
    if quiet + verbose + log_json > 1:
        msg = "-q, -v and --log-json exclude each other: give one of them"
        raise typer.BadParameter(msg)
    named = _source(context, source, config)
    from flows.cli.display import open_display  # noqa: PLC0415 - rich

    verbosity = "quiet" if quiet else "verbose" if verbose else "json" if log_json else "normal"
    with open_display(verbosity) as display:
        display.stage("starting")
        with quick_imports():
            from flows.cli.run import run_command  # noqa: PLC0415 - pydantic, Arrow, httpcore
        conclude = run_command(
            named,
            config=config,
            output=output,
            limit=limit,
            fresh=fresh,
            previous=previous,
            overwrite=overwrite,
            batch=batch,
            fail_on=fail_on,
            verbosity=verbosity,
            display=display,
        )
    return conclude()


@app.command(
    "estimate",
    epilog=examples(
        f"""
        examples:
          {_NAME} estimate diffs.jsonl --config review.toml
          {_NAME} estimate diffs.parquet --limit 1000

        Makes no call and writes nothing. What the journal has is not counted.
        exit code: 0 estimated; 2 bad configuration, input or arguments
        """
    ),
)
def estimate_command(
    context: typer.Context,
    source: Source = None,
    *,
    config: ConfigOption = "review.toml",
    limit: LimitOption = None,
    fresh: Fresh = False,
) -> int:
    """Say what a run would take: calls, tokens, hours, cost."""
    from flows.cli.estimate import print_estimate  # noqa: PLC0415 - imports Prefect

    return print_estimate(_source(context, source, config), config=config, limit=limit, fresh=fresh)


@app.command(
    "verify",
    epilog=examples(
        f"""
        examples:
          {_NAME} verify data/runs/tonight
          {_NAME} verify s3://bucket/nights/first

        exit code: 0 whole and complete; 3 whole, and marked INCOMPLETE; 2 changed, or no finished run
        """
    ),
)
def verify_command(folder: Finished) -> int:
    """Check a finished run: is it whole, and as it was left?

    Checksums, rows, schemas, and every cell accounted for.
    """
    from flows.cli.verify import verify_run  # noqa: PLC0415 - Arrow takes a while to import

    return verify_run(folder)


@app.command(
    epilog=examples(
        f"""
        formats:
          sarif     review.sarif
          rdjsonl   review.rdjsonl
          gitlab    gl-code-quality.json
          markdown  review.md
          digest    digest.md              what is new, gone and open, for an issue or a chat
          github-review  github-review.json    the body of a review on a pull request

        examples:
          {_NAME} export data/runs/tonight                       # all formats
          {_NAME} export data/runs/tonight --export sarif,gitlab
          {_NAME} export s3://bucket/nights/first --export sarif # written there, beside the outputs
          {_NAME} export data/runs/tonight --export github-review --comments 10
          sarif summary data/runs/tonight/review.sarif
          reviewdog -f=rdjsonl -reporter=local < data/runs/tonight/review.rdjsonl

        exit code: 0 written; 2 DIR is no finished run, cannot be written, or a format is unknown
        """
    )
)
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


@app.command(
    epilog=examples(
        f"""
        examples:
          {_NAME} repolicy data/runs/tonight --config review.toml        # after editing [policy]
          {_NAME} repolicy data/runs/tonight --suppressions known.jsonl  # after marking a finding
          {_NAME} repolicy data/runs/tonight --config strict.toml --output data/runs/strict
          {_NAME} repolicy s3://bucket/nights/first --config review.toml # written over there

        Outcomes, tables, reports and exports that are there are written again; comments and verdicts
        stay. Of a URL, what changed is copied back when it is whole, manifest.json last.
        exit code: 0 written; 2 DIR is no finished run or cannot be written, or the settings are wrong
        """
    )
)
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


@app.command(
    "evaluate",
    epilog=examples(
        f"""
        examples:
          {_NAME} evaluate data/runs/tonight
          {_NAME} evaluate data/runs/tonight --json scores.json
          {_NAME} evaluate s3://bucket/nights/first
          {_NAME} evaluate data/runs/with-context --against data/runs/without

        Labels are the field `expected` of the source's rows: a list of defects, [] for known clean.
        Figures come by place (path and lines), and by place and matter (its words or category too).
        Writes evaluation.json and evaluation.md into DIR, or beside the outputs at a URL.
        exit code: 0 scored; 2 DIR is no finished run, or none of its inputs has labels
        """
    ),
)
def evaluate_command(
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


@app.command(
    "calibrate",
    epilog=examples(
        f"""
        examples:
          {_NAME} calibrate data/runs/labelled --precision 0.9
          {_NAME} calibrate data/runs/*                             # by the canaries of many nights
          {_NAME} calibrate data/runs/labelled --write review.toml  # replaces its table [policy]
          {_NAME} repolicy data/runs/tonight --config review.toml

        Chooses by one half of the labelled inputs and reports the other one as well. Makes no call.
        exit code: 0 found; 2 no finished run, or no labels; 3 no thresholds reach the precision
        """
    ),
)
def calibrate_policy(
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
    """Choose the thresholds of [policy] by labels or canaries: the most true findings at a precision."""
    from flows.cli.calibrate import calibrate_command  # noqa: PLC0415 - Arrow takes a while to import

    return calibrate_command(folders, precision, write)


add_getting_started(app)
add_operations(app)

if __name__ == "__main__":
    sys.exit(main())
