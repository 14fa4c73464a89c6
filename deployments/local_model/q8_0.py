"""
A GGUF file with weights as Q4_1 written anew with weights as Q8_0; all else is copied byte for byte.

    header   magic, version, counts | settings | of each tensor: name, shape, type, offset
    data     the tensors, each at a multiple of 32 bytes
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["write_q8_0"]

_MAGIC = b"GGUF\x03\x00\x00\x00"
_ALIGNMENT = 32
_BLOCK = 32
"""Weights that share a scale."""
_Q4_1, _Q8_0 = 3, 8
_FROM = np.dtype([("step", "<f2"), ("least", "<f2"), ("levels", "u1", _BLOCK // 2)])
_TO = np.dtype([("step", "<f2"), ("levels", "i1", _BLOCK)])
_STRING, _ARRAY = 8, 9
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Of a setting, by its type."""


def write_q8_0(source: Path, target: BinaryIO) -> None:
    """Copy a GGUF file; its tensors of type Q4_1 become Q8_0.

    Raises:
        ValueError: it is not a GGUF file of version 3 with the usual alignment.
    """
    with source.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as held:
        reader = _Header(held)
        settings, tensors = held[: reader.skip_settings()], [*reader.tensors()]
        data = _aligned(reader.at)
        target.write(settings)
        offset = 0
        for tensor in tensors:
            target.write(tensor.header(offset))
            offset += _aligned(tensor.new_size)
        _pad(target)
        for tensor in tensors:
            start = data + tensor.offset
            target.write(tensor.converted(held[start : start + tensor.size]))
            _pad(target)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _pad(target: BinaryIO) -> None:
    target.write(bytes(-target.tell() % _ALIGNMENT))


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: bytes
    shape: tuple[int, ...]
    kind: int
    offset: int
    """From the beginning of the data."""

    @property
    def size(self) -> int:
        return self._size(self.kind)

    @property
    def new_kind(self) -> int:
        return _Q8_0 if self.kind == _Q4_1 else self.kind

    @property
    def new_size(self) -> int:
        return self._size(self.new_kind)

    def _size(self, kind: int) -> int:
        per_block = {0: 4 * _BLOCK, _Q4_1: _FROM.itemsize, _Q8_0: _TO.itemsize}
        if kind not in per_block:
            msg = f"no size is known of tensors of type {kind}"
            raise ValueError(msg)
        return prod(self.shape) * per_block[kind] // _BLOCK

    def header(self, offset: int) -> bytes:
        dimensions = len(self.shape)
        layout = f"<Q{len(self.name)}sI{dimensions}QIQ"
        return struct.pack(
            layout, len(self.name), self.name, dimensions, *self.shape, self.new_kind, offset
        )

    def converted(self, data: bytes) -> bytes:
        return _as_q8_0(data) if self.kind == _Q4_1 else data


class _Header:
    """Reads a header from its beginning; `at` is the next byte."""

    def __init__(self, held: mmap) -> None:
        if held[: len(_MAGIC)] != _MAGIC:
            msg = "not a GGUF file of version 3"
            raise ValueError(msg)
        self._held = held
        self.at = len(_MAGIC)
        self._tensors, self._settings = self._take("<QQ")

    def skip_settings(self) -> int:
        """Pass over all settings; returns where the tensors' headers begin."""
        for _ in range(self._settings):
            if self._text() == b"general.alignment":
                msg = "tensors are aligned in an unusual way"
                raise ValueError(msg)
            (kind,) = self._take("<I")
            self._skip(kind)
        return self.at

    def tensors(self) -> Iterator[_Tensor]:
        """Every tensor, in the file's order."""
        for _ in range(self._tensors):
            name = self._text()
            (dimensions,) = self._take("<I")
            shape = self._take(f"<{dimensions}Q")
            yield _Tensor(name, shape, *self._take("<IQ"))

    def _take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(layout, self._held, self.at)
        self.at += struct.calcsize(layout)
        return found

    def _text(self) -> bytes:
        (length,) = self._take("<Q")
        self.at += length
        return self._held[self.at - length : self.at]

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self._text()
        elif kind == _ARRAY:
            part, count = self._take("<IQ")
            if part in _VALUE_BYTES:
                self.at += count * _VALUE_BYTES[part]
            else:
                for _ in range(count):
                    self._skip(part)
        else:
            self.at += _VALUE_BYTES[kind]


def _as_q8_0(data: bytes) -> bytes:
    """Blocks of 16 levels above their least as blocks of 255 levels around zero."""
    blocks = np.frombuffer(data, _FROM)
    low, high = blocks["levels"] & 15, blocks["levels"] >> 4  # first half of a block, second half
    values = np.concatenate([low, high], axis=1).astype(np.float32)
    values = values * blocks["step"].astype(np.float32)[:, None]
    values += blocks["least"].astype(np.float32)[:, None]
    step = np.abs(values).max(axis=1) / 127
    inverse = np.divide(1, step, out=np.zeros_like(step), where=step > 0)
    made = np.empty(len(blocks), _TO)
    made["step"] = step
    made["levels"] = np.rint(values * inverse[:, None])
    return made.tobytes()
