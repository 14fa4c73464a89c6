"""System calls that keep Python's lock: what they answer, and what they raise."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path

import pytest

from tasks.upstream.short_calls import is_readable, set_lock


def _lock(kind: int) -> bytes:
    return struct.pack("hhqqi0q", kind, os.SEEK_SET, 7, 1, 0)


def test_a_lock_that_another_holds_is_refused_at_once(tmp_path: Path) -> None:
    """As the standard library does it, with the error's own class; it is free again when it is given back."""
    path = tmp_path / "lock"
    with path.open("wb") as one, path.open("wb") as other:
        set_lock(one.fileno(), fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK))
        with pytest.raises(BlockingIOError):
            set_lock(other.fileno(), fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK))
        set_lock(one.fileno(), fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK))
        set_lock(other.fileno(), fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK))
        closed = os.dup(other.fileno())
    os.close(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        set_lock(closed, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK))


def test_a_connection_is_readable_with_bytes_and_at_its_end() -> None:
    """And not before."""
    one, other = socket.socketpair()
    with one, other:
        assert not is_readable(one.fileno())
        other.send(b"x")
        assert is_readable(one.fileno())
        one.recv(1)
        assert not is_readable(one.fileno())
        other.close()
        assert is_readable(one.fileno())
