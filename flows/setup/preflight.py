"""What is met before the first call: workers without a scheduler, an output URL that cannot be written."""

from __future__ import annotations

import uuid

from tasks.core.errors import ConfigError, OutputError
from tasks.core.paths import RunPaths
from tasks.core.settings import Settings
from tasks.outputs.shared_folder import open_shared_folder

__all__ = ["check_output", "check_workers"]


def check_workers(settings: Settings) -> str:
    """Check the scheduler of [workers], if there is that table; returns who is connected to it.

    Raises:
        ConfigError: the packages of the extra `workers` are not installed, or no certificate is set.
        StateError: the scheduler does not answer.
    """
    if settings.workers is None:
        return ""
    try:
        from flows.shards.remote.scheduler import check_scheduler  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        msg = f"[workers] needs packages that are not here ({error.name}): pip install '.[workers]'"
        raise ConfigError(msg) from None
    return str(check_scheduler(settings.workers))


def check_output(paths: RunPaths) -> None:
    """Meet a URL that cannot be written before the first call, and not when all are paid.

    Raises:
        ConfigError: no driver for it.
        OutputError: it cannot be opened or written.
    """
    if paths.url is None:
        return
    probe = open_shared_folder(paths.url).folder(f"probe-{uuid.uuid4().hex}")
    try:
        probe.write_json("probe.json", {})
        probe.remove()
    except Exception as error:  # noqa: BLE001 - whatever the driver raises
        msg = (
            f"--output {paths.url} cannot be written ({type(error).__name__}: {error}): see "
            "that it exists and that this machine has its login"
        )
        raise OutputError(msg) from None
