"""A finished run that an fsspec URL names, copied to a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import OutputError, ReviewError
from tasks.core.files import output_errors, read_json
from tasks.core.paths import RunPaths
from tasks.outputs.shared_folder import open_shared_folder

__all__ = ["fetch_outputs", "storage_errors"]


def fetch_outputs(
    url: str, folder: Path, wanted: Iterable[str] = (), also: Iterable[str] = ()
) -> RunPaths:
    """Copy a run from `url` to `folder`: its manifest, and `wanted`, or all that the manifest lists.

    `also` names further files: rejected.jsonl, carried.jsonl and exports are not in the manifest.

    A file that is not there is left out: whoever reads it says so.

    Raises:
        OutputError: no finished run is there, or it cannot be read or copied.
    """
    paths = RunPaths(folder, url)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with storage_errors(url, "read"):
        shared = open_shared_folder(url, "the URL of a run")
        available = set(shared.names())
        if paths.manifest.name in available:
            shared.download(paths.manifest.name, paths.manifest)
        manifest = read_json(paths.manifest)
        if not isinstance(manifest, dict) or "outputs" not in manifest:
            msg = f"{url} has no manifest.json: name a finished run"
            raise OutputError(msg)
        for name in available.intersection({*(wanted or manifest["outputs"]), *also}):
            shared.download(name, folder / name)
    return paths


@contextmanager
def storage_errors(place: str, verb: str) -> Iterator[None]:
    """Turn whatever a storage driver raises into an OutputError that names the remedy."""
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
