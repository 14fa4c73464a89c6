"""Stage 7: finished outputs -> the folder that an fsspec URL names."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.paths import RunPaths
from tasks.outputs.fetch import storage_errors
from tasks.outputs.shared_folder import open_shared_folder

__all__ = ["deliver", "deliver_outputs"]


@task(
    name="deliver",
    task_run_name="deliver",
    retries=2,
    retry_delay_seconds=[2, 10],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def deliver(paths: RunPaths) -> None:
    """Stage task; see `deliver_outputs`."""
    deliver_outputs(paths)


def deliver_outputs(paths: RunPaths) -> None:
    """Copy every output to `paths.url`, manifest.json last; without a URL there is nothing to do.

    A copy that breaks off over an earlier run's leaves that one's manifest, whose checksums show it.

    Raises:
        OutputError: the storage does not take them, or not whole; those in `paths.root` are whole.
    """
    if paths.url is None:
        return
    with storage_errors(f"the outputs are whole in {paths.root}, but {paths.url}", "written"):
        shared = open_shared_folder(paths.url, "--output")
        for path in _outputs(paths):
            shared.upload_whole(path)


def _outputs(paths: RunPaths) -> list[Path]:
    found = [path for path in paths.root.iterdir() if path.is_file() and path.name[0] != "."]
    return sorted(found, key=lambda path: (path == paths.manifest, path.name))
