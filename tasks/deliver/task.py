"""Stage 7: finished outputs -> the folder that an fsspec URL names; and back, for a later run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.errors import OutputError, ReviewError
from tasks.core.paths import RunPaths
from tasks.deliver.shared_folder import Exchange, open_exchange
from tasks.core.files import output_errors, read_json

__all__ = ["deliver", "deliver_outputs", "fetch_outputs"]


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
    with _storage_errors(f"the outputs are whole in {paths.root}, but {paths.url}", "written"):
        exchange = open_exchange(paths.url, "--output")
        for path in _outputs(paths):
            _send(exchange, path)


def _outputs(paths: RunPaths) -> list[Path]:
    found = [path for path in paths.root.iterdir() if path.is_file() and path.name[0] != "."]
    return sorted(found, key=lambda path: (path == paths.manifest, path.name))


def _send(exchange: Exchange, path: Path) -> None:
    exchange.upload(path)
    there = exchange.size(path.name)
    if there != path.stat().st_size:
        msg = f"{path.name} has {there} of {path.stat().st_size} bytes there"
        raise OSError(msg)


def fetch_outputs(url: str, folder: Path, wanted: Iterable[str] = ()) -> RunPaths:
    """Copy a run from `url` to `folder`: its manifest, and `wanted`, or all that the manifest lists.

    A file that is not there is left out: whoever reads it says so.

    Raises:
        OutputError: no finished run is there, or it cannot be read or copied.
    """
    paths = RunPaths(folder, url)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _storage_errors(url, "read"):
        exchange = open_exchange(url, "the URL of a run")
        there = set(exchange.names())
        if paths.manifest.name in there:
            exchange.download(paths.manifest.name, paths.manifest)
        manifest = read_json(paths.manifest)
        if not isinstance(manifest, dict) or "outputs" not in manifest:
            msg = f"{url} has no manifest.json: name a finished run"
            raise OutputError(msg)
        for name in there.intersection(wanted or manifest["outputs"]):
            exchange.download(name, folder / name)
    return paths


@contextmanager
def _storage_errors(place: str, verb: str) -> Iterator[None]:
    try:
        yield
    except ReviewError:
        raise
    except Exception as error:  # noqa: BLE001 - a driver may raise anything
        msg = (
            f"{place} cannot be {verb} ({type(error).__name__}: {error}): see that it exists and that "
            "this machine has its login, and run again; no call is paid twice"
        )
        raise OutputError(msg) from None
