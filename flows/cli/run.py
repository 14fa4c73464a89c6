"""The command line of bulk_review: arguments, a progress bar, a summary, the exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from flows.shards import fork_server
from flows.ui.terminal import filter_prefect_console, mute_prefect_console
from tasks.core.errors import ReviewError
from tasks.core.files import read_json
from tasks.core.paths import RunPaths
from tasks.core.settings import Settings
from tasks.estimate.loads import duration

__all__ = ["run_command"]

_EXAMPLES = """\
examples:
  python -m flows.bulk_review diffs.jsonl --config review.toml --output data/runs/tonight
  python -m flows.bulk_review diffs.parquet --config review.toml --limit 20     # a first try
  python -m flows.bulk_review diffs.jsonl --output s3://bucket/nights/{run_id}  # copied when whole
  python -m flows.bulk_review diffs.jsonl --config review.toml --estimate       # before it
  python -m flows.bulk_review diffs.jsonl --config review.toml --fresh          # ignore the journal
  python -m flows.bulk_review --verify data/runs/tonight                        # is it all there?
  python -m flows.bulk_review --repolicy data/runs/tonight --help               # decide it anew

exit code: 0 complete; 2 bad configuration or input, nothing written over;
           3 incomplete: written, marked, counted by reason; 130 stopped by Ctrl-C
"""

_PIPED = 160  # columns
_COLUMNS = {
    "calls": "calls",
    "journaled": "from journal",
    "failed": "failed",
    "comments": "comments",
    "confirmed": "confirmed",
    "input_tokens": "tokens in",
    "output_tokens": "tokens out",
}

_SOURCE = """\
a .jsonl, .json, .csv (also .gz) or .parquet file; a folder of .diff, .patch or source files;
git:PATH@BASE..HEAD or git:PATH@since=24h: each file that changed in the repository at PATH
"""

_REPOLICY = "--repolicy"
_PREVIOUS = """\
the run that tells new findings from recurring ones; default: the newest one of SOURCE beside DIR
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.bulk_review",
        description="Review every input of SOURCE with several check models and verify the comments.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help=_SOURCE)
    parser.add_argument(
        "--config", default="review.toml", metavar="FILE", help="default: review.toml"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder or URL; default: data/runs/{run_id}"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="take only the first N rows")
    parser.add_argument("--fresh", action="store_true", help="ask anew, ignore the journal")
    parser.add_argument("--previous", metavar="DIR", help=_PREVIOUS)
    parser.add_argument(
        "--verify", metavar="DIR", help="check the outputs of an old run, no SOURCE"
    )
    parser.add_argument(
        "--estimate", action="store_true", help="print calls, tokens, time and cost; make no call"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = "must be at least 1"
        raise argparse.ArgumentTypeError(msg)
    return number


def run_command(argv: Sequence[str]) -> int:
    """Parse, check what can be checked at once, run the flow; returns the exit code."""
    if _REPOLICY in argv:
        from flows.cli.repolicy import main as repolicy  # noqa: PLC0415 - a command of its own

        return repolicy([one for one in argv if one != _REPOLICY])
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.verify is None and arguments.source is None:
        parser.error("name a SOURCE, or an old run with --verify DIR")
    mute_prefect_console()
    try:
        if arguments.verify is not None:
            return _verify(arguments.verify)
        return _estimate(arguments) if arguments.estimate else _run(arguments)
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the answers so far are in the journal, run again to go on", file=sys.stderr)
        return 130


def _verify(folder: str) -> int:
    from flows.cli.verify import verify_command  # noqa: PLC0415 - Arrow takes a while to import

    return verify_command(folder)


def _estimate(arguments: argparse.Namespace) -> int:
    from flows.cli.estimate import show_estimate  # noqa: PLC0415 - imports Prefect, see _run
    from flows.setup.config import read_config  # noqa: PLC0415
    from tasks.estimate.estimate import estimate  # noqa: PLC0415 - imports Prefect, see _run
    from tasks.load.sources import check_source  # noqa: PLC0415

    settings = read_config(arguments.config)
    check_source(arguments.source)
    show_estimate(
        estimate(arguments.source, settings, arguments.limit, fresh=arguments.fresh), settings
    )
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from flows.setup.config import new_run_id, read_config, run_paths  # noqa: PLC0415
    from flows.setup.keys import check_variables  # noqa: PLC0415
    from tasks.load.sources import check_source  # noqa: PLC0415

    settings = read_config(arguments.config)
    check_source(arguments.source)
    paths = run_paths(arguments.output, new_run_id())
    if settings.workers is None:
        check_variables(settings)
        if os.environ.get("PREFECT_API_URL"):
            fork_server.warm_up()  # else see _prepare
    from flows.ui.server import prefect_server  # noqa: PLC0415

    with prefect_server(partial(_prepare, settings)), _despite_outages(paths):
        # Prefect takes a second to import and reads its settings then: after --help, after mute_prefect_console.
        from flows.bulk_review import bulk_review  # noqa: PLC0415

        filter_prefect_console()
        with _bar():
            state = bulk_review(
                source=arguments.source,
                config=arguments.config,
                output=paths.place,
                limit=arguments.limit,
                fresh=arguments.fresh,
                previous=arguments.previous,
                return_state=True,
            )
    return _conclude(state, paths)


def _prepare(settings: Settings) -> None:
    """While Prefect's server starts, which takes longest and so has a core of its own for a while."""
    import flows.bulk_review  # noqa: PLC0415, F401

    if settings.workers is None:
        fork_server.warm_up()


@contextmanager
def _despite_outages(paths: RunPaths) -> Iterator[None]:
    """End the process by itself when Prefect's server did not live to hear how the run ended."""
    from tasks.report.server_health import server_answers  # noqa: PLC0415 - imports Prefect, see _run

    earlier = read_json(paths.manifest)
    try:
        yield
    except ReviewError:
        raise
    except Exception:
        if server_answers():
            raise
        code = _conclude_alone(paths, earlier)
        # At its exit Prefect tries for minutes to deliver what nobody takes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _conclude_alone(paths: RunPaths, earlier: Any) -> int:
    manifest = read_json(paths.manifest)
    if manifest is None or manifest == earlier:
        print(
            "error: Prefect's server does not answer; the answers so far are in the journal: start "
            "the server, or unset PREFECT_API_URL to use an own one, and run again",
            file=sys.stderr,
        )
        return 1
    _print_summary(manifest, paths)
    print("warning: Prefect's server was gone, its UI does not show the end", file=sys.stderr)
    return 0 if manifest["complete"] else 3


@contextmanager
def _bar() -> Iterator[None]:
    from flows.ui.progress import Status, on_progress  # noqa: PLC0415

    columns = (
        TextColumn("reviewing"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("starting", total=1.0)

        def show(status: Status) -> None:
            bar.update(line, completed=status.share, description=_described(status))

        with on_progress(show):
            yield


def _described(status: Any) -> str:
    left = status.remaining
    sentence: str = status.sentence()
    return sentence + ("" if left is None else f", {duration(left)} left")


def _conclude(state: Any, paths: RunPaths) -> int:
    if state.name == "Refused":
        print(f"error: {state.message}", file=sys.stderr)
        return 2
    manifest = read_json(paths.manifest)
    if state.name not in ("Completed", "Incomplete") or manifest is None:
        print(f"error: the run ended {state.name}: {state.message}", file=sys.stderr)
        return 1
    _print_summary(manifest, paths)
    return 0 if state.is_completed() else 3


def _print_summary(manifest: dict[str, Any], paths: RunPaths) -> None:
    # Into a pipe or a log Rich would cut at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else _PIPED)
    table = Table(title=manifest["result"], title_justify="left")
    for head in ("model", *_COLUMNS.values()):
        table.add_column(head, justify="left" if head == "model" else "right")
    for one in manifest["figures"]["models"]:
        table.add_row(f"{one['name']} ({one['model']})", *(_number(one[name]) for name in _COLUMNS))
    console.print(table)
    for row in manifest["figures"]["quota"]["app_ids"]:
        if row["disabled"]:
            print(f"app_id {row['app_id']} is out: {row['disabled']}", file=sys.stderr)
    if manifest["rejected"]["rows"]:
        console.print(
            f"{manifest['rejected']['rows']:,} rows rejected: {paths.display_path(paths.rejected.name)}"
        )
    for name, output in manifest["outputs"].items():
        print(f"{output['rows']:>8,} rows  {paths.display_path(name)}")
    print(f"{'':>8}       {paths.display_path(paths.report.name)}")


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
