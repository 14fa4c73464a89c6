"""The subcommands init and doctor: options only."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.layout import examples

__all__ = ["ConfigOption", "add_getting_started"]

ConfigOption = Annotated[str, typer.Option(metavar="FILE", help="The settings.")]


def add_getting_started(app: typer.Typer) -> None:
    """Give `app` the subcommands init and doctor."""
    app.command(epilog=examples(_INIT))(init)
    app.command(epilog=examples(_DOCTOR))(doctor)


_INIT = """
examples:
  nightly-review init
  nightly-review init --endpoint https://api.openai.com/v1 --key OPENAI_API_KEY --model gpt-4.1 --quota 3/60s
  nightly-review init --endpoint http://127.0.0.1:8000/v1 --key KEY --model big --model small --quota none --no-doctor

exit code: 0 written, and doctor found nothing; 2 not written, or doctor found something
"""


def init(
    *,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Base URL of the OpenAI-compatible API.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Variable that holds the key, or secret:BLOCK."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A check model; may be given again. The first reviews."),
    ] = None,
    quota: Annotated[
        str | None,
        typer.Option(metavar="WINDOWS", help='What the key may send: "3/60s"; "none": no limit.'),
    ] = None,
    output: Annotated[str, typer.Option(metavar="FILE", help="Where to write.")] = "review.toml",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    no_doctor: Annotated[bool, typer.Option("--no-doctor", help="Do not check it.")] = False,
) -> int:
    """Write a first review.toml, then check it with doctor.

    What no option says is asked for.
    """
    from flows.cli.init import init_command  # noqa: PLC0415 - pydantic takes a while

    init_command(output, endpoint=endpoint, key=key, models=model or (), quota=quota, force=force)
    return 0 if no_doctor else doctor(None, config=output)


_DOCTOR = """
examples:
  nightly-review doctor                                 # settings, folders, one small call each
  nightly-review doctor diffs.jsonl --config review.toml   # and what a run of it would take
  nightly-review doctor diffs.jsonl --no-calls
  nightly-review doctor --json

The calls count against the quotas, as those of a run do.
exit code: 0 a run can start; 2 something is wrong, and the line of it says what
"""


def doctor(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE", show_default=False, help="What a run would review, see run --help."
        ),
    ] = None,
    *,
    config: ConfigOption = "review.toml",
    no_calls: Annotated[bool, typer.Option("--no-calls", help="Send nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> int:
    """Check settings, keys, endpoints and SOURCE before a run.

    One small call per app_id and model, in two forms, shows what an endpoint takes, and what it
    refuses in its own words.
    """
    from flows.cli.doctor import doctor_command  # noqa: PLC0415 - pydantic and rich take a while
    from flows.setup.config import source_of  # noqa: PLC0415

    named = source_of(source, config) if source else None
    return doctor_command(named, config=config, calls=not no_calls, as_json=json)
