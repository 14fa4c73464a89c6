"""One chat request, from the arrival of its headers to the end of its reply."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from deployments.sandbox import refusals
from deployments.sandbox.answering import answered, cached_tokens
from deployments.sandbox.bill import question_of
from deployments.sandbox.config import ModelSpec
from deployments.sandbox.delivery import Carrier, Payload, hang, reset
from deployments.sandbox.faults import Fault, Sighting, chance
from deployments.sandbox.limits import openai_limits
from deployments.sandbox.meter import KeyMeter, Ruling
from deployments.sandbox.profiles import ChatRoute, Profile
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.request_log import RequestLog, SeenRequest
from deployments.sandbox.state import SandboxState
from deployments.sandbox.wire import (
    SandboxRefusal,
    SandboxReply,
    completion_body,
    event,
    reply_events,
    retry_headers,
)

__all__ = ["ClientConnection", "Exchange", "key_of", "refusal_payload"]

_HTML = b"<!doctype html><html><body><h1>Please log in to the guest network</h1></body></html>"


@dataclass(slots=True)
class ClientConnection:
    """One client connection."""

    number: int
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    log: RequestLog | None = None
    """The request log that has counted it: only connections that carry chat requests count."""

    def count(self, log: RequestLog) -> None:
        """Count the connection once per request log."""
        if self.log is not log:
            self.log = log
            log.opened()


class Exchange:
    """One request. The quota decides in `__init__`, on the headers, before anything can wait."""

    def __init__(
        self,
        state: SandboxState,
        request: web.BaseRequest,
        connection: ClientConnection,
        route: ChatRoute,
        model: str | None = None,
    ) -> None:
        self.request, self.state, self.gone = request, state, connection.gone
        self.config, self.log = state.config, state.log
        self.at = time.monotonic()
        self.provider = state.config.provider
        self.key = key_of(request, route.key_headers)
        self.named = model
        """The model, where the path says it."""
        connection.count(self.log)
        self.row = SeenRequest(
            n=self.log.requests + 1,
            at=self.at,
            epoch=time.time(),
            key=state.ring.alias(self.key) if self.key is not None else "none",
            trace_id=request.headers.get("M-TraceId"),
            connection=connection.number,
        )
        self.log.arrived(self.row)
        self.meter: KeyMeter | None = None
        self.ruling = Ruling(None)
        self.refusal = refusals.for_key(self.key, self.row.key, self.config) or self._metered()

    def _metered(self) -> SandboxRefusal | None:
        self.meter = self.state.ring.meter(self.row.key)
        self.ruling = self.meter.arrive(
            self.at,
            (self.request.content_length or 0) // 4,
            enforce=self.config.enforce,
            count_refused=self.config.count_refused,
        )
        return None if self.ruling.wait is None else refusals.for_quota(self.ruling)

    async def run(self) -> web.StreamResponse:
        """Answer the request, or inject its fault."""
        try:
            return await self._run()
        except ConnectionError:
            self.row.abandoned = True
            return web.Response()  # never sent: the client is gone
        finally:
            self.log.closed(self.row)

    async def _run(self) -> web.StreamResponse:
        seen = Sighting(self.row.n, self.row.key)
        fault = None if self.refusal else self.state.picker.early(seen)
        if fault is not None:
            self.row.fault = fault
            return reset(self.request)
        raw = await self.request.content.read()
        self.log.read(self.row, raw)
        if self.refusal:
            return await self._refuse(self.refusal)
        body = _parsed(raw)
        if isinstance(body, SandboxRefusal):
            return await self._refuse(body)
        return await self._think(Prompt(body))

    async def _think(self, prompt: Prompt) -> web.StreamResponse:
        config, row = self.config, self.row
        row.model = self.named or str(prompt.body.get("model") or "")
        row.stream = bool(prompt.body.get("stream"))
        spec = config.spec(row.model)
        traits = config.traits(row.model)
        refusal = refusals.for_body(prompt, row.model, traits, config)
        if refusal is not None:
            return await self._refuse(refusal)
        seen = Sighting(
            row.n, row.key, row.body_sha, row.attempt, row.model, prompt.text, prompt.tier
        )
        fault = self.state.picker.pick(seen)
        row.fault = fault
        delay = self._delay(spec)
        refusal = self._injected(fault)
        streams = row.stream and refusal is None
        await self._until(self.at + delay * (config.first_token if streams else 1.0))
        if refusal is not None:
            if fault is Fault.FLEX_UNAVAILABLE:
                self.ruling.give_back()
            return await self._refuse(refusal)
        if fault is Fault.RESET_AFTER or fault is Fault.RESET_BEFORE:
            return reset(self.request)
        if fault is Fault.HANG:
            return await hang(self.request, self.gone, config.hang_seconds)
        return await self._reply(prompt, fault, delay)

    def _injected(self, fault: Fault | None) -> SandboxRefusal | None:
        if fault is None:
            return None
        return refusals.for_fault(fault, self.key or "", self.row.model, self.config)

    async def _reply(self, prompt: Prompt, fault: Fault | None, delay: float) -> web.StreamResponse:
        model, scope = self.row.model, f"{self.row.key}\x1f{self.row.model}"
        cached = cached_tokens(prompt, model, self.config, self.state.cache, scope)
        reply_id = f"chatcmpl-{self.row.body_sha[:16]}-{self.row.n}"
        done = answered(prompt, model, reply_id, self.config, fault=fault, cached=cached)
        payload = self._payload(prompt, done, fault)
        if fault not in {Fault.WRONG_TYPE, Fault.ERROR_BODY}:
            self.row.prompt_tokens = done.prompt_tokens
            self.row.completion_tokens = done.completion_tokens
            self.ruling.settle(done.prompt_tokens + done.completion_tokens)
            self.state.bill.charge(prompt.tier, done, question_of(model, prompt.body))
        rest = delay * (1 - self.config.first_token)
        pause = rest / len(payload.parts) if payload.stream else 0.0
        return await self._send(payload, pause=pause, fault=fault)

    def _payload(self, prompt: Prompt, done: SandboxReply, fault: Fault | None) -> Payload:
        headers = self._headers()
        if fault is Fault.WRONG_TYPE:
            return Payload(200, (_HTML,), headers, "text/html")
        if fault is Fault.ERROR_BODY:
            return self._broken(prompt, done)
        style = self.provider.style
        if not self.row.stream:
            return Payload(200, (completion_body(done, style),), headers)
        chunks, usage = self.config.chunks, prompt.include_usage
        parts = tuple(reply_events(done, chunks, style, include_usage=usage))
        return Payload(200, parts, headers, "text/event-stream", stream=True)

    def _broken(self, prompt: Prompt, done: SandboxReply) -> Payload:
        """Status 200, and an error where the rest of the reply should be."""
        provider, headers = self.provider, self._headers()
        error = provider.shape(provider.worded(refusals.ERROR_BODY))
        if not self.row.stream:
            return Payload(200, (orjson.dumps(error),), headers)
        opened = reply_events(done, 1, provider.style, include_usage=prompt.include_usage)
        end = (b"data: [DONE]\n\n",) if provider.done_after_error else ()
        parts = (next(opened), event(provider.error_chunk(error)), *end)
        return Payload(200, parts, headers, "text/event-stream", stream=True)

    async def _refuse(self, refusal: SandboxRefusal) -> web.StreamResponse:
        refusal = self.provider.worded(refusal)
        headers = {
            **self._headers(),
            **refusal.headers,
            **retry_headers(self.config.retry_forms, refusal.wait),
            **self.provider.refusal_headers(refusal),
        }
        return await self._send(refusal_payload(refusal, self.provider, headers))

    def _headers(self) -> dict[str, str]:
        headers = {"x-request-id": f"req_{self.row.n:08d}"}
        limits = self.provider.limits
        if self.config.ratelimit_headers:
            limits = limits or openai_limits
        elif self.config.ratelimit_headers is False:
            limits = None
        if limits is not None and self.meter is not None:
            headers |= limits(self.meter, time.monotonic())
        return headers

    async def _send(
        self, payload: Payload, *, pause: float = 0.0, fault: Fault | None = None
    ) -> web.StreamResponse:
        self.row.status = payload.status
        carrier = Carrier(self.request, self.row, self.gone, self.config.hang_seconds)
        return await carrier.send(payload, pause=pause, fault=fault)

    def _delay(self, spec: ModelSpec) -> float:
        config = self.config
        latency = config.latency if spec.latency is None else spec.latency
        jitter = config.jitter if spec.jitter is None else spec.jitter
        dice = chance(config.seed, "latency", self.row.body_sha, self.row.attempt)
        if config.tail == "heavy":
            # Pareto with shape 1.5: the mean exists, the variance does not.
            return latency + jitter * min(100.0, math.pow(1 - dice, -1 / 1.5) - 1)
        return max(0.0, latency + jitter * (2 * dice - 1))

    async def _until(self, instant: float) -> None:
        delay = instant - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)


def refusal_payload(
    refusal: SandboxRefusal, provider: Profile, headers: Mapping[str, str]
) -> Payload:
    """A refusal in a provider's shape."""
    body = provider.shape(refusal)
    if isinstance(body, str):
        return Payload(refusal.status, (body.encode(),), headers, "text/plain")
    return Payload(refusal.status, (orjson.dumps(body),), headers)


def key_of(request: web.BaseRequest, names: tuple[str, ...]) -> str | None:
    """The key that a request carries in one of these headers."""
    for name in names:
        value = request.headers.get(name, "").strip()
        if name != "authorization" and value:
            return value
        scheme, _, key = value.partition(" ")
        if scheme.lower() == "bearer" and key.strip():
            return key.strip()
    return None


def _parsed(raw: bytes) -> dict[str, Any] | SandboxRefusal:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        return body
    return refusals.BAD_JSON
