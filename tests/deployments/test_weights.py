"""The local model's weights: written anew as Q8_0, their values kept, all else copied."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from deployments.local_model.q8_0 import write_q8_0
from deployments.local_model.weights import fast_weights

SETTINGS = (("words", 9, ["a", "", "snow ❄"]), ("count", 4, 7), ("name", 8, "tiny"))
SHAPE = (64, 3)
STEP, LEAST = 0.25, -1.5
ONES = np.ones(5, "<f4").tobytes()


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _setting(name: str, kind: int, value: object) -> bytes:
    head = _text(name) + struct.pack("<I", kind)
    if isinstance(value, list):
        return head + struct.pack("<IQ", 8, len(value)) + b"".join(map(_text, value))
    return head + (_text(value) if isinstance(value, str) else struct.pack("<I", value))


def _levels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 16, (6, 32), dtype=np.uint8)


def _q4_1(levels: np.ndarray) -> bytes:
    packed = levels[:, :16] | levels[:, 16:] << 4
    head = struct.pack("<ee", STEP, LEAST)
    return b"".join(head + row.tobytes() for row in packed)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 32)


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """A file with a tensor of each kind, and settings of strings, lists and numbers."""
    file = tmp_path / "tiny.Q4_1.gguf"
    file.write_bytes(_file())
    return file


def _file(*more: tuple[str, int, object]) -> bytes:
    settings = [_setting(*one) for one in (*SETTINGS, *more)]
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(settings)) + b"".join(settings)
    norm = _text("norm") + struct.pack("<IQIQ", 1, 5, 0, 0)
    weight = _text("weight") + struct.pack("<IQQIQ", 2, *SHAPE, 3, 32)
    return _padded(head + norm + weight) + _padded(ONES) + _padded(_q4_1(_levels()))


def test_values_are_kept_and_all_else_is_copied(packaged: Path, tmp_path: Path) -> None:
    """Every weight is within half a step of 255; norms and settings are the same bytes."""
    fast = fast_weights(packaged, tmp_path / "made")
    old, new = packaged.read_bytes(), fast.read_bytes()
    start = old.index(_text("norm"))
    assert new[:start] == old[:start]
    assert _text("weight") + struct.pack("<IQQIQ", 2, *SHAPE, 8, 32) in new
    data = new[-(32 + len(_padded(bytes(6 * 34)))) :]
    assert data[:32] == _padded(ONES)
    blocks = np.frombuffer(data[32:], np.dtype([("step", "<f2"), ("levels", "i1", 32)]), 6)
    values = blocks["levels"] * blocks["step"].astype(np.float32)[:, None]
    wanted = _levels() * STEP + LEAST
    assert np.abs(values - wanted).max() <= np.abs(wanted).max() / 127 * 0.51
    assert len(new) % 32 == 0


def test_the_file_is_written_once(packaged: Path, tmp_path: Path) -> None:
    """The second time it is the same file, untouched, and nothing half-written lies beside it."""
    first = fast_weights(packaged, tmp_path / "made")
    written = first.stat().st_mtime_ns
    assert fast_weights(packaged, tmp_path / "made") == first
    assert first.stat().st_mtime_ns == written
    assert [*first.parent.iterdir()] == [first]


def test_where_it_cannot_be_written_the_packaged_weights_serve(
    packaged: Path, tmp_path: Path
) -> None:
    """A folder that is a file: no error, and no second copy."""
    (tmp_path / "taken").write_text("")
    assert fast_weights(packaged, tmp_path / "taken") == packaged


@pytest.mark.parametrize(
    "content", [b"GGUF\x02\x00\x00\x00" + bytes(64), _file(("general.alignment", 4, 64))]
)
def test_another_format_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """An older version, another alignment: refused, and the packaged file is taken."""
    file = tmp_path / "other.gguf"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"GGUF|aligned"), (tmp_path / "out").open("wb") as target:
        write_q8_0(file, target)
    assert fast_weights(file, tmp_path / "made") == file
    assert not [*(tmp_path / "made").iterdir()]
