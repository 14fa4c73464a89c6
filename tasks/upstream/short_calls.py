"""
System calls that never wait, made without letting Python's lock go.

The standard library lets the lock go for every system call. That wakes another thread, which finds the
lock taken again, because the call is over by then: two switches of threads, which cost ten times what
the call does. With a hundred threads at work they are half of a call's CPU. Here are only those that
the kernel answers from memory; whatever may wait, or copies much, lets others work meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select

__all__ = ["is_readable", "set_lock"]

# A PyDLL keeps Python's lock, which is its whole difference from a CDLL.
_libc = ctypes.PyDLL(None, use_errno=True)
_fcntl = _libc.fcntl
_fcntl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
_poll = _libc.poll


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


_poll.argtypes = (ctypes.POINTER(_PollFd), ctypes.c_ulong, ctypes.c_int)


def set_lock(descriptor: int, command: int, lock: bytes) -> None:
    """Do what fcntl does with a packed struct flock; the command must be one that does not wait.

    Raises:
        OSError: of the class that belongs to its errno, as fcntl.fcntl does.
    """
    while _fcntl(descriptor, command, lock) < 0:
        error = ctypes.get_errno()
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))


def is_readable(descriptor: int) -> bool:
    """Whether a read of it would not wait: there are bytes, its end, or an error."""
    asked = _PollFd(descriptor, select.POLLIN, 0)
    return bool(_poll(asked, 1, 0))
