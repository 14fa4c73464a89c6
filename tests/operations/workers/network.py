"""Machines with cables that can be pulled: network namespaces on a switch of their own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count

__all__ = ["Network", "may_have_networks", "open_network"]

_ADDRESS = f"10.213.{os.getpid() % 256}"
"""Of each process another one: what a killed one has left is in nobody's way."""

_numbers = count()


@cache
def may_have_networks() -> bool:
    """Whether this is root, and its machine lets it have network namespaces and cables."""
    probe = ["unshare", "--net", "ip", "link", "add", "probe", "type", "veth", "peer", "probed"]
    with suppress(OSError):
        return subprocess.run(probe, capture_output=True, timeout=10, check=False).returncode == 0
    return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


class Network:
    """A switch, at which this machine is `host`, and machines that reach each other and nothing else."""

    host = f"{_ADDRESS}.1"

    def __init__(self) -> None:
        # A cable stays as long as there is a process at its other end, which a test may have left.
        self._name = f"nr{os.getpid()}n{next(_numbers)}"
        self._machines: dict[str, str] = {}
        self._doors: list[_Door] = []
        _ip("link", "add", self._name, "type", "bridge")
        _ip("address", "add", f"{self.host}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")

    def plug(self, machine: str) -> str:
        """Give a new machine a cable; returns its address."""
        address = f"{_ADDRESS}.{len(self._machines) + 2}"
        self._machines[machine] = address
        space, cable = self._space(machine), self._cable(machine)
        _ip("netns", "add", space)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        _ip("link", "set", cable, "up")
        self.push(machine)
        return address

    def address(self, machine: str) -> str:
        """Where the others find it."""
        return self._machines[machine]

    def pull(self, machine: str) -> None:
        """From now on it sends and hears nothing, and nobody tells it so."""
        _ip("link", "set", self._cable(machine), "nomaster")

    def push(self, machine: str) -> None:
        """Put its cable back."""
        _ip("link", "set", self._cable(machine), "master", self._name)

    def under(self, machine: str) -> list[str]:
        """The command that runs another one on that machine."""
        return ["ip", "netns", "exec", self._space(machine)]

    def open_door(self, target: str | int) -> int:
        """A port of `host` that leads to a port of loopback here, or to a socket in a folder."""
        self._doors.append(_Door(self.host, target))
        return self._doors[-1].port

    def close(self) -> None:
        """Remove all of it."""
        for door in self._doors:
            door.close()
        for machine in self._machines:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", self._space(machine))
        _ip("link", "delete", self._name)

    def _space(self, machine: str) -> str:
        return f"{self._name}-{machine}"

    def _cable(self, machine: str) -> str:
        # A device's name has at most 15 characters.
        return f"{self._name}{[*self._machines].index(machine)}"


@contextmanager
def open_network() -> Iterator[Network]:
    """A network that is gone after the block."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


class _Door:
    """Passes bytes on, on a thread of its own."""

    def __init__(self, host: str, target: str | int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        opening = asyncio.start_server(self._enter, host, 0)
        self._server = asyncio.run_coroutine_threadsafe(opening, self._loop).result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._target, int):
            inner = await asyncio.open_connection("127.0.0.1", self._target)
        else:
            inner = await asyncio.open_unix_connection(self._target)
        # As the database behind it would notice a client that has become silent.
        entered = writer.get_extra_info("socket")
        entered.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in (("KEEPIDLE", 5), ("KEEPINTVL", 2), ("KEEPCNT", 3)):
            entered.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), seconds)
        entered.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12_000)
        self._writers |= {writer, inner[1]}
        await asyncio.gather(_pass_on(reader, inner[1]), _pass_on(inner[0], writer))
        self._writers -= {writer, inner[1]}

    def close(self) -> None:
        """End it with all that goes through it."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=5)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
    finally:
        target.close()
