"""The process of a shard at a worker. Started by `flows.shards.remote.worker`, not by hand.

Requires: the keys that review.toml names, in the worker's environment or in Secret blocks, and
NIGHTLY_REVIEW_KEYS, which names those of them that a run may use.
"""

from __future__ import annotations

import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.shards.process_end import GRACE
from flows.shards.watchdog import deferred_sigterm, exit_with_worker
from flows.ui.terminal import mute_prefect_console, mute_shard_console
from tasks.core.imports import quick_exit, quick_imports

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from tasks.core.paths import ShardPaths


def _main(name: str, root: str, run: str, attempt: str) -> None:
    # Before Prefect is imported, which takes seconds: the worker may be killed meanwhile.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    tidy = partial(shutil.rmtree, Path(root).parents[3], ignore_errors=True)
    exit_with_worker(sys.stdin.fileno(), GRACE, tidy)
    quick_exit()
    mute_prefect_console()
    from tasks.core.paths import ShardPaths  # noqa: PLC0415

    _review(ShardPaths(Path(root)), name, run, attempt)


def _review(shard: ShardPaths, name: str, run: str, attempt: str) -> None:
    with quick_imports():
        from prefect.engine import handle_engine_signals  # noqa: PLC0415
        from prefect.flow_engine import run_flow  # noqa: PLC0415

        from flows.review_shard import review_alone, review_shard  # noqa: PLC0415
        from flows.setup.key_rules import check_permitted  # noqa: PLC0415
        from flows.shards.exit_report import reserve_exit_report, write_exit_report  # noqa: PLC0415
        from flows.shards.flow_run_states import mark_crashed  # noqa: PLC0415
        from tasks.core.errors import ConfigError  # noqa: PLC0415
        from tasks.core.run import Run  # noqa: PLC0415

    mute_shard_console()
    reserve_exit_report(shard)
    try:
        check_permitted(Run.read(shard.settings).settings)
    except ConfigError as error:
        write_exit_report(shard, error)
        return
    try:
        flow_run = _flow_run(shard, run, attempt)
        if flow_run is None:
            review_alone(name, str(shard.root))
            return
        with handle_engine_signals():
            run_flow(review_shard, flow_run, parameters={"name": name, "root": str(shard.root)})
    except SystemExit:
        # Until Prefect handles signals, nobody else would say it: the run may be gone.
        mark_crashed(shard, f"{name} was stopped as it began")
        raise


def _flow_run(shard: ShardPaths, run: str, attempt: str) -> FlowRun | None:
    """The flow run to enter; None: there is no server, or it is another one than the run's."""
    from flows.shards.remote.flow_runs import begin_flow_run  # noqa: PLC0415
    from tasks.report.server_health import await_server  # noqa: PLC0415

    if not run or not await_server():
        return None
    try:
        # Else it is made, and nobody knows its id.
        with deferred_sigterm():
            return begin_flow_run(shard, run, attempt)
    except Exception:  # noqa: BLE001 - whatever it is, the shard's work does not depend on it
        return None


if __name__ == "__main__":
    _main(*sys.argv[1:])
