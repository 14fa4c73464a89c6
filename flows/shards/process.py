"""The process of one shard: how it starts, and when it has to end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from signal import SIGKILL
from typing import Any

from prefect.context import SettingsContext, get_settings_context, serialize_context
from prefect.engine import handle_engine_signals
from prefect.flow_engine import run_flow
from prefect.settings import Settings, get_current_settings
from prefect.utilities.callables import cloudpickle_wrapped_call

from flows.shards import fork_server
from flows.shards.fork_server import UNKNOWN_EXIT, EarlyCall, ShardProcess
from flows.shards.process_end import await_end
from flows.ui.terminal import mute_shard_console
from tasks.core.paths import ShardPaths
from tasks.report.server_health import await_server

__all__ = ["end_process", "start_early", "start_process", "watch_process"]

_TURN = threading.Lock()
"""
Held while a shard's flow run is created. Of two created in the same instant, a Prefect 3.8 server on
SQLite refuses one (503, database is locked: five of five pairs), and its client waits seconds then.
"""

_TURN_SECONDS = 5.0
"""A server that takes longer has other troubles: the others are not to wait for it as well."""


def start_early(shard: ShardPaths) -> ShardProcess:
    """Start the shard's work before its run has a flow run; `start_process` gives it one."""
    return fork_server.start(EarlyCall(partial(_early, str(shard.root))), os.environ)


def start_process(
    shard: ShardPaths,
    name: str,
    stopping: Callable[[], bool],
    early: ShardProcess | None = None,
) -> ShardProcess:
    """Start the shard as a linked subflow, or on its own while Prefect's server is gone.

    `early` is its process that is at work already.
    """
    parameters = {"name": name, "root": str(shard.root)}
    if not await_server():
        return _start(partial(_alone, **parameters), early)
    settings, context = get_current_settings(), serialize_context()
    call = cloudpickle_wrapped_call(
        _subflow,
        parameters=parameters,
        context=context,
        heartbeat=settings.flows.heartbeat_frequency,
    )
    with _TURN:
        process = _start(call, early)
        _await_flow_run(process, shard, stopping)
    return process


def _start(call: Callable[[], Any], early: ShardProcess | None) -> ShardProcess:
    if early is None:
        return fork_server.start(call, _environment())
    early.tell((call, _environment()))
    return early


def _await_flow_run(process: ShardProcess, shard: ShardPaths, stopping: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TURN_SECONDS
    while process.is_alive() and not shard.flow_run.exists():
        if stopping() or time.monotonic() > deadline:
            return
        process.join(0.02)


# All import in the shard what the run itself does without: the client, and what drives it.
def _early(root: str, told: Callable[[], tuple[Callable[[], None], dict[str, str]]]) -> None:
    mute_shard_console()
    from flows.review_shard import review_early  # noqa: PLC0415

    def hear() -> Callable[[], None]:
        call, environment = told()
        os.environ.update(environment)
        return call

    # Else the run has ended, and this process with it.
    with suppress(EOFError):
        review_early(root, hear)


def _alone(name: str, root: str) -> None:
    from flows.review_shard import review_alone  # noqa: PLC0415

    review_alone(name, root)


def _environment() -> dict[str, str]:
    """With the settings of this context, as Prefect's own run_flow_in_subprocess has it."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return settings | os.environ | {"PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false"}


def _subflow(parameters: dict[str, Any], context: dict[str, Any], heartbeat: int | None) -> None:
    # Before the engine handles signals: it would report one that comes while the flow run begins.
    mute_shard_console()
    from flows.review_shard import review_shard  # noqa: PLC0415

    # Prefect read the fork server's environment when it was imported there; this process has its own.
    # A heartbeat of None is lost on the way through the environment.
    settings = Settings().copy_with_update({"flows.heartbeat_frequency": heartbeat})
    with (
        SettingsContext(profile=get_settings_context().profile, settings=settings),
        handle_engine_signals(),
    ):
        run_flow(review_shard, parameters=parameters, context=context)


def watch_process(process: ShardProcess, shard: ShardPaths, stopping: Callable[[], bool]) -> None:
    """Wait until the process ends; end it when the run is being stopped, or when it stays after its work."""

    def join(seconds: float) -> bool:
        process.join(seconds)
        return not process.is_alive()

    await_end(join, process.terminate, shard.done, stopping)


def end_process(process: ShardProcess) -> None:
    """Kill the process if it is still there, also when the fork server is not there to tell."""
    pid = process.pid
    # Without a number there is nothing to kill: 0 would be every process of our own group.
    if pid and (process.is_alive() or process.exitcode == UNKNOWN_EXIT):
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
    process.join()
