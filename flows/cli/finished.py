"""A finished run that a user names by its folder or by its URL, as a folder to work in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.core.locations import is_url
from tasks.core.paths import RunPaths
from tasks.outputs.fetch import fetch_outputs, storage_errors
from tasks.outputs.shared_folder import open_shared_folder

__all__ = ["finished_run"]

_Stamp = tuple[int, int]


@contextmanager
def finished_run(place: str, also: Iterable[str] = ()) -> Iterator[RunPaths]:
    """The run at `place`; a run at a URL is a copy that is gone behind the block.

    Of a URL, the files of the manifest are there, and those of `also` that the URL has. What the
    block has written, changed or removed is so at the URL when the block ends without an error,
    manifest.json last: a copy that breaks off leaves checksums that do not fit, which verify finds.

    Raises:
        ConfigError: fsspec cannot open the URL.
        OutputError: no finished run is at the URL, or it cannot be read or written.
    """
    if not is_url(place):
        yield RunPaths(Path(place).absolute())
        return
    url = place.rstrip("/")
    with TemporaryDirectory(prefix="nightly-review-") as copy:
        paths = fetch_outputs(url, Path(copy), also=also)
        before = _stamps(paths.root)
        yield paths
        after = _stamps(paths.root)
        changed = {path for path in after if after[path] != before.get(path)}
        _copy_back(paths, url, changed, before.keys() - after.keys())


def _stamps(root: Path) -> dict[Path, _Stamp]:
    found = ((path, path.stat()) for path in root.iterdir() if path.is_file())
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in found if path.name[0] != "."}


def _copy_back(
    paths: RunPaths, url: str, changed: Collection[Path], removed: Collection[Path]
) -> None:
    ordered = sorted(changed, key=lambda path: (path == paths.manifest, path.name))
    if not ordered and not removed:
        return
    with storage_errors(url, "written"):
        exchange = open_shared_folder(url, "the URL of a run")
        exchange.remove_files(path.name for path in removed)
        for path in ordered:
            exchange.upload_whole(path)
