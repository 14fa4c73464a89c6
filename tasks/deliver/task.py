"""Stage 7: finished outputs -> the folder that an fsspec URL names."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.paths import RunPaths
from tasks.outputs.fetch import storage_errors
from tasks.outputs.shared_folder import open_shared_folder
from tasks.outputs.tables import read_manifest

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
    """Copy the run's outputs to `paths.url`, manifest.json last; without a URL there is nothing to do.

    Exports and an evaluation of an earlier run there are removed first, with the findings that it
    carried along: they are not of this run. What else is in the folder stays there. A copy that
    breaks off over an earlier run's leaves that one's manifest, whose checksums show it.

    Raises:
        OutputError: the storage does not take them, or not whole; those in `paths.root` are whole.
    """
    if paths.url is None:
        return
    with storage_errors(f"the outputs are whole in {paths.root}, but {paths.url}", "written"):
        shared = open_shared_folder(paths.url)
        outputs = _outputs(paths)
        shared.remove_files({*paths.optional_files} - {path.name for path in outputs})
        for path in outputs:
            shared.upload_whole(path)


def _outputs(paths: RunPaths) -> list[Path]:
    tables = [paths.root / name for name in read_manifest(paths)["outputs"]]
    some = [path for path in (paths.carried, paths.canaries) if path.exists()]
    others = [*tables, *some, paths.rejected, paths.report, paths.html]
    return [*sorted(others), paths.manifest]
