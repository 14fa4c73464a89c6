"""Putting a reply on the connection, or breaking the connection while doing so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from deployments.sandbox.faults import Fault
from deployments.sandbox.request_log import SeenRequest

__all__ = ["Carrier", "Payload", "hang", "reset"]

_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Payload:
    """A reply before it is sent: one body, or the events of a stream."""

    status: int
    parts: tuple[bytes, ...]
    headers: Mapping[str, str]
    content_type: str = "application/json"
    stream: bool = False


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Drop the connection with a RST, as a crashed proxy would."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        request.transport.abort()
    return web.Response()  # never sent: there is nothing left to send it on


async def hang(request: web.BaseRequest, gone: asyncio.Event, seconds: float) -> web.StreamResponse:
    """Say nothing until the client leaves, the sandbox is reset, or `seconds` have passed."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(gone.wait(), seconds)
    return reset(request)


class Carrier:
    """Sends one payload to one client; counts bytes; notices a client that left."""

    def __init__(
        self, request: web.BaseRequest, row: SeenRequest, gone: asyncio.Event, patience: float
    ) -> None:
        self.request = request
        self.row = row
        self.gone = gone
        """Set when the client has closed its end, or when everyone hanging is let go."""
        self.patience = patience
        """Seconds that a stalled reply is held open at most."""

    async def send(
        self, payload: Payload, *, pause: float = 0.0, fault: Fault | None = None
    ) -> web.StreamResponse:
        """Send the payload, `pause` seconds apart if it is a stream, spoiled if the fault says so."""
        if fault is Fault.TRUNCATED:
            payload = _truncated(payload)
        broken = fault in {Fault.RESET_MID, Fault.STALL}
        if not payload.stream and not broken:
            return self._whole(payload)
        response = await self._begin(payload)
        parts = payload.parts
        await self._write(response, _first_half(parts) if broken else parts, pause)
        if fault is Fault.RESET_MID:
            return reset(self.request)
        if fault is Fault.STALL:
            return await hang(self.request, self.gone, self.patience)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    def _whole(self, payload: Payload) -> web.Response:
        body = b"".join(payload.parts)
        self.row.bytes_out += len(body)
        self.row.abandoned = self.gone.is_set()
        return web.Response(
            status=payload.status,
            body=body,
            headers=payload.headers,
            content_type=payload.content_type,
        )

    async def _begin(self, payload: Payload) -> web.StreamResponse:
        response = web.StreamResponse(status=payload.status, headers=payload.headers)
        response.content_type = payload.content_type
        if not payload.stream:
            response.content_length = sum(map(len, payload.parts))
        await response.prepare(self.request)
        return response

    async def _write(
        self, response: web.StreamResponse, parts: tuple[bytes, ...], pause: float
    ) -> None:
        for part in parts:
            if self.gone.is_set():
                self.row.abandoned = True
                return
            await response.write(part)
            self.row.bytes_out += len(part)
            if pause:
                await asyncio.sleep(pause)


def _first_half(parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if len(parts) == 1:
        return (parts[0][: len(parts[0]) // 2],)
    return parts[: len(parts) // 2]


def _truncated(payload: Payload) -> Payload:
    """Half of it, ended properly; a stream ends in the middle of an event."""
    half = len(payload.parts) // 2
    cut = payload.parts[half]
    parts = (*payload.parts[:half], cut[: len(cut) // 2])
    return Payload(payload.status, parts, payload.headers, payload.content_type, payload.stream)
