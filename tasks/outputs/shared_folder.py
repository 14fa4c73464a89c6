"""A folder in storage, over fsspec: small documents and whole files.

A file appears whole or not at all: object stores promise that for a put, elsewhere it is written
beside its place and moved there.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

import fsspec
import orjson
from fsspec.registry import known_implementations

from tasks.core.errors import ConfigError, OutputError

__all__ = ["SharedFolder", "open_shared_folder"]

_MOVING = {"file", "local", "ftp", "sftp", "ssh", "smb", "hdfs"}
"""Where half a file can be seen: written beside its place, and moved there."""


class SharedFolder(NamedTuple):
    """A folder in shared storage. Errors are those of the driver, mostly OSError."""

    system: fsspec.AbstractFileSystem
    root: str

    def folder(self, name: str) -> Self:
        """The folder `name` in this one."""
        return self._replace(root=f"{self.root}/{name}")

    def write_json(self, name: str, value: Any) -> None:
        """Write a small JSON document, whole or not at all."""
        path = self._ready(name)
        self.system.pipe_file(path, orjson.dumps(value))
        self._publish(path, name)

    def read_json(self, name: str) -> Any:
        """A JSON document, or None when it is not there or not whole."""
        try:
            return orjson.loads(self.system.cat_file(f"{self.root}/{name}"))
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None

    def upload(self, local: Path, name: str | None = None) -> None:
        """Copy a local file here, under its own name if no other is given."""
        name = name or local.name
        path = self._ready(name)
        self.system.put_file(str(local), path)
        self._publish(path, name)

    def upload_whole(self, local: Path) -> None:
        """Copy a local file here, under its own name, and compare its size there.

        Raises:
            OSError: the storage does not have all of it.
        """
        self.upload(local)
        there, here = self.size(local.name), local.stat().st_size
        if there != here:
            msg = f"{local.name} has {there} of {here} bytes there"
            raise OSError(msg)

    def download(self, name: str, local: Path) -> None:
        """Copy a file to `local`, which is there only when it is whole.

        Raises:
            FileNotFoundError: it is not in storage.
        """
        temporary = local.with_name(f"{local.name}.{os.getpid()}.tmp")
        self.system.get_file(f"{self.root}/{name}", str(temporary))
        temporary.replace(local)

    def size(self, name: str) -> int:
        """Size of a file in bytes."""
        self.system.invalidate_cache()
        return int(self.system.size(f"{self.root}/{name}"))

    def names(self) -> list[str]:
        """Names of the whole files, sorted."""
        self.system.invalidate_cache()
        try:
            paths = self.system.ls(self.root, detail=False)
        except FileNotFoundError:
            return []
        found = sorted(str(path).rstrip("/").rpartition("/")[2] for path in paths)
        return [name for name in found if not name.endswith(".tmp")]

    def remove_files(self, names: Iterable[str]) -> None:
        """Remove those of `names` that are here."""
        for name in set(names).intersection(self.names()):
            self.system.rm_file(f"{self.root}/{name}")

    def remove(self) -> None:
        """Remove the folder with all that is in it; a missing one is no error."""
        self.system.invalidate_cache()
        try:
            self.system.rm(self.root, recursive=True)
        except FileNotFoundError:
            return

    def _ready(self, name: str) -> str:
        """The path to write to so that nobody sees half of a file."""
        if not self._moves:
            return f"{self.root}/{name}"
        self.system.makedirs(self.root, exist_ok=True)
        return f"{self.root}/{name}.{uuid.uuid4().hex[:8]}.tmp"

    def _publish(self, path: str, name: str) -> None:
        if self._moves:
            self.system.mv(path, f"{self.root}/{name}")

    @property
    def _moves(self) -> bool:
        protocol = self.system.protocol
        return bool(_MOVING.intersection([protocol] if isinstance(protocol, str) else protocol))


def open_shared_folder(storage: str, setting: str = "--output") -> SharedFolder:
    """A shared folder by its fsspec URL or absolute path; `setting` names it in messages.

    Raises:
        ConfigError: fsspec does not know the scheme, or the package that does is not installed.
        OutputError: the driver cannot open it, for want of a login, say.
    """
    scheme = storage.partition("://")[0]
    try:
        system, root = fsspec.core.url_to_fs(storage, use_listings_cache=False)
    except ImportError as error:
        hint = known_implementations.get(scheme, {}).get("err", str(error))
        msg = f"{setting} {scheme}:// needs a package that is not installed here: {hint}"
        raise ConfigError(msg) from None
    except ValueError as error:
        msg = f"{setting}: {error}; name a folder, or a scheme that fsspec knows"
        raise ConfigError(msg) from None
    except Exception as error:  # noqa: BLE001 - a driver may raise anything
        msg = f"{setting} cannot be opened ({error!r}): see that this machine may use it"
        raise OutputError(msg) from None
    return SharedFolder(system, root.rstrip("/"))
