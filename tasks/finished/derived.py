"""Exports and evaluation of a finished run, recorded in its manifest: beside another run they would be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tasks.core.errors import OutputError
from tasks.core.files import hold_folder, sha256, write_json
from tasks.core.manifest import DerivedEntry, Manifest
from tasks.core.paths import DERIVED, RunPaths
from tasks.outputs.tables import read_manifest

__all__ = ["changed_derived", "record", "recording"]


@contextmanager
def recording(paths: RunPaths, names: Iterable[str]) -> Iterator[Manifest]:
    """Hold the run's folder while the block writes the files `names`, and record them behind it.

    Gives the run's manifest.

    Raises:
        OutputError: not a finished run, one that is being written, or the folder cannot be written.
    """
    manifest = read_manifest(paths)
    with hold_folder(paths.root, paths.lock):
        yield manifest
        if read_manifest(paths)["run_id"] != manifest["run_id"]:
            msg = f"{paths.root} has another run by now: do it again"
            raise OutputError(msg)
        record(paths, names)


def record(paths: RunPaths, names: Iterable[str]) -> None:
    """Record the files `names`, those that are there, in the manifest of a folder that is held."""
    manifest = read_manifest(paths)
    made = [name for name in names if (paths.root / name).is_file()]
    entries = {name: _entry(paths, name) for name in made}
    write_json(
        paths.manifest,
        {**manifest, "derived": {**manifest.get("derived", {}), **entries}},
        indent=True,
    )


def changed_derived(paths: RunPaths, manifest: Manifest) -> Iterator[str]:
    """A line for each export or evaluation in the folder that is not of this run, or was changed.

    One that was removed is no fault; runs of versions that recorded none are not judged.
    """
    recorded = manifest.get("derived")
    if recorded is None:
        return
    for name in DERIVED:
        if not (paths.root / name).is_file():
            continue
        if name not in recorded:
            yield f"{name} is not of this run: remove it, or make it anew"
        elif _entry(paths, name) != recorded[name]:
            yield f"{name} was changed after it was made: its checksum differs; make it anew"


def _entry(paths: RunPaths, name: str) -> DerivedEntry:
    path = paths.root / name
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}
