"""The command that runs the flow bulk_review: a progress bar, a summary, the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from flows.setup.config import new_run_id, read_config, run_paths, with_run_id
from flows.setup.keys import check_variables
from flows.shards import fork_server
from flows.ui.terminal import filter_prefect_console, mute_prefect_console
from tasks.core.errors import ReviewError
from tasks.core.files import read_json
from tasks.core.paths import RunPaths
from tasks.core.settings import Settings
from tasks.core.text_safety import visible, visible_lines
from tasks.estimate.loads import duration
from tasks.load.sources import check_source

__all__ = ["run_command"]

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


def run_command(
    source: str,
    *,
    config: str,
    output: str | None,
    limit: int | None,
    fresh: bool,
    previous: str | None,
) -> int:
    """Check what can be checked at once, run the flow, print its summary; returns the exit code.

    Raises:
        ReviewError: the configuration, SOURCE or the place of the outputs cannot be used.
    """
    mute_prefect_console()
    try:
        settings = read_config(config)
        check_source(source)
        run_id = new_run_id()
        paths = run_paths(output, run_id)
        _look_first(settings, source, paths)
        wanted = {"config": config, "limit": limit, "fresh": fresh, "previous": previous}
        with with_run_id(run_id):
            return _run(source, settings, paths, wanted)
    except KeyboardInterrupt:
        print("stopped; the answers so far are in the journal, run again to go on", file=sys.stderr)
        return 130


def _look_first(settings: Settings, source: str, paths: RunPaths) -> None:
    """Raise what the flow would meet only behind Prefect's server; see `nightly-review doctor`."""
    from tasks.doctor.preflight import check_before_start, low_space  # noqa: PLC0415 - Arrow

    check_before_start(settings, paths.root, source)
    if low := low_space(paths.root):
        print(f"warning: {low}", file=sys.stderr)


def _run(source: str, settings: Settings, paths: RunPaths, wanted: dict[str, Any]) -> int:
    if settings.workers is None:
        check_variables(settings)
        if os.environ.get("PREFECT_API_URL"):
            fork_server.warm_up()  # else see _prepare
    from flows.ui.server import prefect_server  # noqa: PLC0415

    with prefect_server(partial(_prepare, settings)), _despite_outages(paths):
        # Prefect takes a second to import and reads its settings then: after mute_prefect_console,
        # and after all that is wrong with the arguments was told.
        from flows.bulk_review import bulk_review  # noqa: PLC0415

        filter_prefect_console()
        with _bar():
            state = bulk_review(source=source, output=paths.place, **wanted, return_state=True)
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
        TextColumn("{task.description}", markup=False),
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
        print(f"error: {visible_lines(state.message)}", file=sys.stderr)
        return 2
    manifest = read_json(paths.manifest)
    if state.name not in ("Completed", "Incomplete") or manifest is None:
        said = visible_lines(str(state.message))
        print(f"error: the run ended {state.name}: {said}", file=sys.stderr)
        return 1
    _print_summary(manifest, paths)
    return 0 if state.is_completed() else 3


def _print_summary(manifest: dict[str, Any], paths: RunPaths) -> None:
    # Into a pipe or a log Rich would cut at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else _PIPED, markup=False)
    table = Table(title=manifest["result"], title_justify="left")
    for head in ("model", *_COLUMNS.values()):
        table.add_column(head, justify="left" if head == "model" else "right")
    for one in manifest["figures"]["models"]:
        table.add_row(
            visible(f"{one['name']} ({one['model']})"), *(_number(one[name]) for name in _COLUMNS)
        )
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
