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
from flows.cli.finished_runs import add_finished_runs, verify_command
from flows.cli.getting_started import ConfigOption, add_getting_started
from flows.cli.journal import journal
from flows.cli.layout import APP, examples
from flows.cli.operations import add_operations
from flows.cli.rehearsal import add_rehearsal
from tasks.core.errors import ReviewError, SourceError
from tasks.core.imports import quick_imports
from tasks.core.text_safety import visible_lines

__all__ = ["app", "main"]

_NAME = "nightly-review"
_CODES = """
exit code: 0 complete; 1 the run broke off, as its last line says; 2 bad configuration, input or
           arguments, nothing written over; 3 incomplete: written, marked, counted by reason;
           4 complete, with findings that --fail-on names; 130 stopped by Ctrl-C
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
    # Each process would look into every installed package for plugins of pydantic's: 0.1 s of CPU.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
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
    from flows.cli.display import Verbosity, open_display  # noqa: PLC0415 - rich

    verbosity: Verbosity = (
        "quiet" if quiet else "verbose" if verbose else "json" if log_json else "normal"
    )
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


add_getting_started(app)
add_finished_runs(app)
add_operations(app)
add_rehearsal(app)

if __name__ == "__main__":
    sys.exit(main())
