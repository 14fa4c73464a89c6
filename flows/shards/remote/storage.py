"""The run's folder in shared storage: there is nothing in it that is not also elsewhere."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from flows.shards.remote.flow_runs import check_deployment
from tasks.core.errors import OutputError
from tasks.core.files import read_json
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import Settings
from tasks.outputs.shared_folder import open_shared_folder

__all__ = ["check_output", "check_workers", "shared_storage"]


def check_workers(settings: Settings) -> None:
    """Meet what is missing for shards on other machines before the first one.

    Raises:
        ConfigError: no such deployment, or no driver for the storage.
        OutputError: the storage cannot be opened or written.
        StateError: Prefect's server does not answer.
    """
    if settings.workers is not None:
        _probe(settings.workers.storage, "[workers] storage")
        check_deployment(settings.workers.deployment)


def check_output(paths: RunPaths) -> None:
    """Meet a URL that cannot be written before the first call, and not when all are paid.

    Raises:
        ConfigError: no driver for it.
        OutputError: it cannot be opened or written.
    """
    if paths.url is not None:
        _probe(paths.url, "--output")


def _probe(storage: str, setting: str) -> None:
    probe = open_shared_folder(storage, setting).folder(f"probe-{uuid.uuid4().hex}")
    try:
        probe.write_json("probe.json", {})
        probe.remove()
    except Exception as error:  # noqa: BLE001 - whatever the driver raises
        msg = (
            f"{setting} {storage} cannot be written ({type(error).__name__}: {error}): see "
            "that it exists and that this machine has its login"
        )
        raise OutputError(msg) from None


@contextmanager
def shared_storage(paths: RunPaths, run: Run) -> Iterator[None]:
    """Remove the run's folder after the block, and what a killed run left before it.

    An attempt that is still at work somewhere ends when its lease is gone.
    """
    for settings in paths.all_work.glob(f"*/{paths.settings.name}"):
        if read_json(settings) is not None:
            _remove(Run.read(settings))
    try:
        yield
    finally:
        _remove(run)


def _remove(run: Run) -> None:
    if run.settings.workers is None:
        return
    try:
        open_shared_folder(run.settings.workers.storage).folder(run.run_id).remove()
    except Exception as error:  # noqa: BLE001 - whatever the driver raises must not cost the run
        log = logging.getLogger("tasks.storage")
        log.warning("%s stays in storage (%s: %s)", run.run_id, type(error).__name__, error)
