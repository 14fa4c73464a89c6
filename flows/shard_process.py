"""The process of one shard: how it starts, and when it has to end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from signal import SIGKILL
from typing import Any

from prefect.context import SettingsContext, get_settings_context, serialize_context
from prefect.engine import handle_engine_signals
from prefect.flow_engine import run_flow
from prefect.settings import Settings, get_current_settings
from prefect.utilities.callables import cloudpickle_wrapped_call

from flows import nursery
from flows.review_shard import review_alone, review_shard
from tasks.core.paths import ShardPaths
from tasks.outage import await_server

__all__ = ["GRACE", "end_process", "start_process", "watch_process"]

GRACE = 25.0
"""Seconds that a shard gets to end its calls in flight when the run is stopped."""

_FAREWELL = 10.0
"""Seconds that a finished shard gets to tell Prefect so; a server that is gone takes longer."""

_NOBODY_KNOWS = 255
"""The exit code of a process whose nursery was killed: it may still be there."""

_PATIENCE = 10.0
"""Seconds that a server may be restarting before a shard starts without it."""


def start_process(name: str, root: str) -> BaseProcess:
    """Start the shard as a linked subflow, or on its own while Prefect's server is gone."""
    parameters = {"name": name, "root": root}
    call: Callable[[], Any] = partial(review_alone, **parameters)
    if await_server(_PATIENCE):
        context = serialize_context()
        call = cloudpickle_wrapped_call(_subflow, parameters=parameters, context=context)
    return nursery.start(call, _environment())


def _environment() -> dict[str, str]:
    """With the settings of this context, as Prefect's own run_flow_in_subprocess has it."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return settings | os.environ | {"PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false"}


def _subflow(parameters: dict[str, Any], context: dict[str, Any]) -> None:
    # Prefect read the nursery's environment when it was imported there; this process has its own.
    settings = SettingsContext(profile=get_settings_context().profile, settings=Settings())
    with settings, handle_engine_signals():
        run_flow(review_shard, parameters=parameters, context=context)


def watch_process(process: BaseProcess, shard: ShardPaths, stopping: Callable[[], bool]) -> None:
    """Wait until it ends; end it when the run is being stopped, or when it stays after its work."""
    finished = 0.0
    while process.is_alive():
        process.join(0.25)
        if stopping():
            process.terminate()
            process.join(GRACE)
            return
        if not finished and shard.done.exists():
            finished = time.monotonic()
        if finished and time.monotonic() - finished > _FAREWELL:
            return


def end_process(process: BaseProcess) -> None:
    """Kill what is still there, also when the nursery is not there to tell."""
    if process.is_alive() or process.exitcode == _NOBODY_KNOWS:
        with suppress(ProcessLookupError):
            os.kill(process.pid or 0, SIGKILL)
    process.join()
