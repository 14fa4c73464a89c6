"""The command that runs the flow bulk_review: a progress bar, a summary, the exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from rich.console import Console

from flows.cli.display import Display, Verbosity
from flows.cli.summary import brief_lines, print_summary, severe_findings
from flows.setup.config import new_run_id, read_config, run_paths, with_batch, with_run_id
from flows.setup.key_rules import key_variables
from flows.setup.keys import check_variables
from flows.shards import fork_server
from flows.ui.terminal import filter_prefect_console, mute_prefect_console, run_log_to
from tasks.core.errors import ReviewError
from tasks.core.files import read_json
from tasks.core.imports import quick_exit, quick_imports
from tasks.core.manifest import ended_well
from tasks.core.paths import RunPaths
from tasks.core.settings import Settings
from tasks.load.sources import check_source

__all__ = ["FINDINGS", "run_command"]

FINDINGS = 4
"""Exit code of a run with findings that --fail-on names."""
_PIPED = 160  # columns


def run_command(
    source: str,
    *,
    config: str,
    output: str | None,
    limit: int | None,
    fresh: bool,
    previous: str | None,
    overwrite: bool = False,
    batch: str = "as_configured",
    fail_on: str | None = None,
    verbosity: Verbosity,
    display: Display,
) -> Callable[[], int]:
    """Check what can be checked at once, and run the flow.

    Returns what prints the summary once the display is closed, and returns the exit code.
    """
    mute_prefect_console()
    quick_exit()
    try:
        settings = with_batch(read_config(config), batch)
        check_source(source)
        run_id = new_run_id()
        paths = run_paths(output, run_id)
        _look_first(settings, source, paths, previous, overwrite=overwrite)
        wanted = {"source": source, "config": config, "limit": limit, "fresh": fresh}
        wanted |= {"output": paths.place}
        wanted |= {"previous": previous, "overwrite": overwrite, "batch": batch}
        with with_run_id(run_id):
            state = _flow(settings, paths, wanted, display, verbosity)
    except ReviewError as error:
        return partial(_refused, error, display)
    except KeyboardInterrupt:
        return _stopped
    return partial(_conclude, state, paths, display, verbosity, fail_on)


def _refused(error: ReviewError, display: Display) -> int:
    display.error(str(error))
    return error.exit_code


def _stopped() -> int:
    print("stopped; the answers so far are in the journal, run again to go on", file=sys.stderr)
    if left := _left_working():
        print(left, file=sys.stderr)
    return 130


def _left_working() -> str:
    """What goes on at a provider after the run; its module is loaded where there was a run."""
    fill = sys.modules.get("flows.batches.fill")
    return str(fill.left_working()) if fill is not None else ""


def _gate(manifest: dict[str, Any], fail_on: str) -> int:
    """The exit code of a run that ended well, by the severities of its findings."""
    found = severe_findings(manifest, fail_on)
    if not found:
        return 0
    print(f"--fail-on {fail_on}: {found}", file=sys.stderr)
    return FINDINGS


def _look_first(
    settings: Settings, source: str, paths: RunPaths, previous: str | None, *, overwrite: bool
) -> None:
    """Raise what the flow would meet only behind Prefect's server; see `nightly-review doctor`."""
    from tasks.doctor.preflight import check_before_start, low_space  # noqa: PLC0415 - Arrow

    check_before_start(settings, paths, source, previous, overwrite=overwrite)
    if low := low_space(paths.root):
        print(f"warning: {low}", file=sys.stderr)


def _flow(
    settings: Settings,
    paths: RunPaths,
    wanted: dict[str, Any],
    display: Display,
    verbosity: Verbosity,
) -> Any:
    if settings.workers is None:
        check_variables(settings)
    from flows.ui.server import starting_server  # noqa: PLC0415

    with starting_server(key_variables(settings)) as server, ExitStack() as stack:
        # Prefect takes a second to import and reads its settings then: after mute_prefect_console,
        # and after all that is wrong with the arguments was told.
        _import_flow()
        if settings.workers is None:
            fork_server.fork_here()
        filter_prefect_console()
        stack.enter_context(_despite_outages(paths, verbosity))
        stack.enter_context(_shown_on(display, verbosity))
        if server.own:
            # What is imported by now stays; a collection of what comes need not look at it.
            gc.freeze()
            wanted |= _start_early(settings, wanted, stack)
            server.wait()
        from flows.bulk_review import bulk_review  # noqa: PLC0415

        return bulk_review(**wanted, return_state=True)


def _import_flow() -> None:
    with quick_imports():
        import flows.bulk_review  # noqa: PLC0415, F401

        fork_server.import_flow_parts()


def _start_early(
    settings: Settings, wanted: dict[str, Any], stack: ExitStack
) -> dict[str, str | None]:
    """Begin the run while Prefect's server comes up, which takes longest and has a core of its own.

    Returns what the flow run's parameters have to say of it as well.
    """
    from flows.setup.early_start import early_start, may_start_early  # noqa: PLC0415 - imports Prefect
    from flows.setup.opening import Wanted  # noqa: PLC0415

    if not may_start_early(settings):
        return {}
    try:
        begun = stack.enter_context(early_start(Wanted(**wanted)))
    except ReviewError:
        raise
    except Exception:  # noqa: BLE001 - a defect of ours: the flow run meets it as well, and tells of it
        return {}
    taken = begun.opened.taken
    return {"resolved": taken.resolved} if taken.repositories else {}


@contextmanager
def _despite_outages(paths: RunPaths, verbosity: Verbosity) -> Iterator[None]:
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
        code = _conclude_alone(paths, earlier, verbosity)
        # At its exit Prefect tries for minutes to deliver what nobody takes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _conclude_alone(paths: RunPaths, earlier: Any, verbosity: Verbosity) -> int:
    manifest = read_json(paths.manifest)
    if manifest is None or manifest == earlier:
        print(
            "error: Prefect's server does not answer; the answers so far are in the journal: start "
            "the server, or unset PREFECT_API_URL to use an own one, and run again",
            file=sys.stderr,
        )
        return 1
    _print_summary(manifest, paths, verbosity)
    print("warning: Prefect's server was gone, its UI does not show the end", file=sys.stderr)
    return 0 if ended_well(manifest) else 3


@contextmanager
def _shown_on(display: Display, verbosity: Verbosity) -> Iterator[None]:
    from flows.ui.progress import on_progress, on_stage  # noqa: PLC0415 - imports Prefect, see _run

    with ExitStack() as stack:
        stack.enter_context(on_progress(display.show))
        stack.enter_context(on_stage(display.stage))
        if verbosity in ("verbose", "json"):
            stack.enter_context(run_log_to(display.log))
        yield


def _conclude(
    state: Any, paths: RunPaths, display: Display, verbosity: Verbosity, fail_on: str | None
) -> int:
    from flows.ui.run_display import INCOMPLETE, REFUSED  # noqa: PLC0415 - imports Prefect, see _run

    if state.is_failed() and state.message.startswith(REFUSED):
        display.error(state.message.removeprefix(REFUSED))
        return 2
    manifest, message = read_json(paths.manifest), state.message or ""
    ended = state.is_completed() or (state.is_failed() and message.startswith(INCOMPLETE))
    if not ended or manifest is None:
        display.error(f"the run ended {state.name}: {message}")
        return 1
    _print_summary(manifest, paths, verbosity)
    if not state.is_completed():
        return 3
    return _gate(manifest, fail_on) if fail_on else 0


def _print_summary(manifest: dict[str, Any], paths: RunPaths, verbosity: Verbosity) -> None:
    if verbosity == "quiet":
        print("\n".join(brief_lines(manifest, paths)))
        return
    # Into a pipe or a log Rich would cut at 80 columns.
    width = None if sys.stdout.isatty() else _PIPED
    print_summary(manifest, paths, Console(width=width, markup=False))
