"""
The sandbox upstream: OpenAI's wire format, a provider's quota, and every fault on demand.

aiohttp.web makes the load possible: its parser is C, its low-level `web.Server` adds no routing or
middleware, and the handler holds the transport, which resets and half replies need. Under uvloop
one busy core of a 2-core virtual machine answered 4,000 requests a second (`wrk -t1 -c64`, 3.6 KB
prompts of 120 lines of code, answers with comments), and 19,000 with an empty handler; uvicorn's
25,000 come without the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from deployments.sandbox.batches.endpoints import desk_for
from deployments.sandbox.batches.objects import file_object, plain_batch
from deployments.sandbox.config import SandboxConfig, merged
from deployments.sandbox.exchange import ClientConnection, Exchange, refusal_payload
from deployments.sandbox.faults import FaultPicker
from deployments.sandbox.refusals import NO_ROUTE
from deployments.sandbox.request_log import KeyMeters, RequestLog
from deployments.sandbox.state import SandboxState
from tasks.core.errors import ConfigError

__all__ = ["SandboxServer", "serve"]

_Route = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_DEFAULT_MODELS = ("sandbox-large", "sandbox-small")


class _Server(web.Server):
    """aiohttp's server, plus a note of every connection."""

    def __init__(
        self, handler: _Route, connections: dict[RequestHandler, ClientConnection]
    ) -> None:
        super().__init__(handler, access_log=None)
        self._notes = connections
        self._opened = 0

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._opened += 1
        self._notes[handler] = ClientConnection(self._opened)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        note = self._notes.pop(handler, None)
        if note is not None:
            note.gone.set()
            if note.log is not None:
                note.log.connections_open -= 1


class SandboxServer:
    """All routes. `raw` is the configuration as plain data; /reset returns to it."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._initial = raw
        self._raw = raw
        self._connections: dict[RequestHandler, ClientConnection] = {}
        self.state = _fresh(SandboxConfig.read(raw))
        self._routes: dict[tuple[str, str], _Route] = {
            ("GET", "/stats"): self._stats,
            ("GET", "/log"): self._log,
            ("POST", "/control"): self._control,
            ("POST", "/reset"): self._reset,
            ("GET", "/bill"): self._bill,
            ("GET", "/batch-log"): self._batch_log,
            ("POST", "/batch-clock"): self._batch_clock,
        }

    def server(self) -> web.Server:
        """The protocol factory to listen with."""
        return _Server(self._handle, self._connections)

    def summary(self) -> dict[str, Any]:
        """What GET /stats answers."""
        counts = self.state.log.summary()
        keys = {alias: meter.summary() for alias, meter in self.state.ring.meters.items()}
        totals = {name: sum(k[name] for k in keys.values()) for name in ("accepted", "refused")}
        return {**counts, **totals, "keys": keys, "batches": self.state.batches.summary()}

    def release(self) -> None:
        """Let go of every request that hangs, as if its client had left."""
        for connection in self._connections.values():
            connection.gone.set()
            connection.gone = asyncio.Event()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        route = self._routes.get((request.method, request.path))
        if route is not None:
            return await route(request)
        provider = self.state.config.provider
        found = provider.route(request.path, request.query) if request.method == "POST" else None
        if found is not None:
            connection = self._connections[request.protocol]
            return await Exchange(self.state, request, connection, *found).run()
        desk = desk_for(request, self.state)
        if desk is not None:
            return await desk.run()
        if (request.method, request.path) == ("GET", f"{provider.base}/models"):
            return await self._models(request)
        return self._nowhere()

    def _nowhere(self) -> web.Response:
        provider = self.state.config.provider
        paths = [f"POST {route.path}" for route in provider.routes]
        paths += [f"GET {provider.base}/models", *map(" ".join, self._routes)]
        message = f"There is no such route. There are {', '.join(paths)}."
        refusal = provider.worded(replace(NO_ROUTE, message=message))
        sent = refusal_payload(refusal, provider, {})
        body = b"".join(sent.parts)
        return web.Response(status=sent.status, body=body, content_type=sent.content_type)

    async def _models(self, _: web.BaseRequest) -> web.StreamResponse:
        config = self.state.config
        names = sorted({*config.models, *config.provider.models}) or _DEFAULT_MODELS
        cards = [{"id": n, "object": "model", "created": 0, "owned_by": "sandbox"} for n in names]
        return _json({"object": "list", "data": cards})

    async def _stats(self, _: web.BaseRequest) -> web.StreamResponse:
        return _json(self.summary())

    async def _log(self, request: web.BaseRequest) -> web.StreamResponse:
        text = request.query.get("after", "0")
        after = int(text) if text.isdecimal() else 0
        return _json([row for row in self.state.log.rows if row.n > after])

    async def _bill(self, _: web.BaseRequest) -> web.StreamResponse:
        return _json(self.state.bill.summary(self.state.config))

    async def _batch_log(self, _: web.BaseRequest) -> web.StreamResponse:
        store = self.state.batches
        batches = [plain_batch(batch) for batch in store.batches.values()]
        files = [file_object(f) | {"key": f.owner} for f in store.files.values()]
        return _json({"batches": batches, "files": files})

    async def _batch_clock(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            seconds = float(orjson.loads(await request.content.read())["advance"])
        except (KeyError, TypeError, ValueError):
            return _json({"error": {"message": 'send {"advance": SECONDS}'}}, 400)
        self.state.batches.clock.advance(max(0.0, seconds))
        return _json({"now": self.state.batches.clock.now()})

    async def _control(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            raw = merged(self._raw, orjson.loads(await request.content.read()))
            config = SandboxConfig.read(raw)
        except (ConfigError, TypeError, ValueError) as error:
            return _json({"error": {"message": str(error)}}, 400)
        self._raw = raw
        # What was counted and used stays; only behaviour changes.
        self.state.ring.configure(config)
        old = self.state
        self.state = replace(old, config=config, picker=_picker(config))
        return _json(config.model_dump(mode="json"))

    async def _reset(self, _: web.BaseRequest) -> web.StreamResponse:
        self._raw = self._initial
        self.state = _fresh(SandboxConfig.read(self._initial))
        self.release()
        return _json({})


def _picker(config: SandboxConfig) -> FaultPicker:
    return FaultPicker(config.seed, config.faults, config.script, config.markers)


def _fresh(config: SandboxConfig) -> SandboxState:
    log, ring = RequestLog(config.log_limit), KeyMeters(config)
    return SandboxState(config, log, ring, _picker(config))


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


async def serve(raw: dict[str, Any], host: str, port: int, *, with_parent: bool) -> dict[str, Any]:
    """Listen until SIGINT or SIGTERM; prints one JSON line once it does. Returns the counts.

    `with_parent`: stop as well when stdin ends, which it does when the parent dies, however.

    Raises:
        ConfigError: the configuration is wrong, or the address cannot be listened on.
    """
    upstream = SandboxServer(raw)
    runner = web.ServerRunner(upstream.server(), shutdown_timeout=0.5)
    await runner.setup()
    await _listen(runner, host, port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    if with_parent:
        loop.add_reader(sys.stdin, stop.set)
    bound = runner.addresses[0][1]
    base_url = f"http://{host}:{bound}{upstream.state.config.provider.base}"
    print(orjson.dumps({"base_url": base_url, "port": bound}).decode(), flush=True)
    await stop.wait()
    upstream.release()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(runner.cleanup(), 5)
    return upstream.summary()


async def _listen(runner: web.ServerRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        msg = f"cannot listen on {host}:{port} ({error.strerror}): choose another --port, or 0"
        raise ConfigError(msg) from None
