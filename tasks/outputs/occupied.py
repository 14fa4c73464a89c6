"""Whether a run may write to a folder or URL: what is there has to be of a run, and of the same source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tasks.core.errors import OutputError
from tasks.core.files import read_json
from tasks.core.paths import RunPaths
from tasks.outputs.fetch import storage_errors
from tasks.outputs.shared_folder import open_shared_folder

__all__ = ["check_unoccupied"]

_REMEDY = "choose another --output, or write there all the same with --overwrite"
_SHOWN = 3


def check_unoccupied(paths: RunPaths, key: str, remedy: str = _REMEDY) -> None:
    """See that nothing but an earlier run of the same source would be written over; writes nothing.

    `key` is the source as manifests have it in `source_key`. What a killed run left is ours.

    Raises:
        ConfigError: fsspec cannot open the URL.
        OutputError: the folder or URL has other files, or a run of another source.
    """
    if paths.root.is_dir():
        names = {one.name for one in paths.root.iterdir()}
        _check(
            paths,
            names,
            read_json(paths.manifest),
            key,
            marked=paths.lock.name in names,
            remedy=remedy,
        )
    if paths.url is not None:
        with storage_errors(paths.url, "read"):
            shared = open_shared_folder(paths.url)
            there = shared.names()
            manifest = shared.read_json(paths.manifest.name) if there else None
        _check(paths, there, manifest, key, marked=True, remedy=remedy)


def _check(
    paths: RunPaths, names: Collection[str], manifest: Any, key: str, *, marked: bool, remedy: str
) -> None:
    """`marked`: what has no manifest may be ours all the same, if all names are."""
    foreign = paths.foreign_files(names)
    if isinstance(manifest, Mapping) and "outputs" in manifest:
        earlier = manifest.get("source_key", key)
        if earlier != key:
            msg = f"{paths.place} has a run of another source, {earlier}: {remedy}"
            raise OutputError(msg)
    elif foreign or paths.manifest.name in names or (names and not marked):
        shown = ", ".join((foreign or sorted(names))[:_SHOWN])
        msg = f"{paths.place} is not empty and has no run of ours ({shown}): {remedy}"
        raise OutputError(msg)
