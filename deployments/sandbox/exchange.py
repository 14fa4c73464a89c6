"""One chat request, from the arrival of its headers to the end of its reply."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from deployments.sandbox import refusals, skills
from deployments.sandbox.book import Book, KeyRing, Seen
from deployments.sandbox.config import ModelProfile, SandboxConfig
from deployments.sandbox.delivery import Carrier, Payload, hang, reset
from deployments.sandbox.faults import Fault, FaultPicker, Sighting, chance
from deployments.sandbox.meter import KeyMeter, Ruling
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.spoil import spoiled
from deployments.sandbox.wire import (
    Completion,
    Refusal,
    completion_body,
    event,
    events,
    ratelimit_headers,
    retry_headers,
)

__all__ = ["Connection", "Exchange", "State"]

_HTML = b"<!doctype html><html><body><h1>Please log in to the guest network</h1></body></html>"
_ERROR = {"error": {"message": "The model crashed.", "type": "server_error", "code": None}}


@dataclass(slots=True)
class State:
    """What all exchanges share until the next change of settings or reset."""

    config: SandboxConfig
    book: Book
    ring: KeyRing
    picker: FaultPicker


@dataclass(slots=True)
class Connection:
    """One client connection."""

    number: int
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    book: Book | None = None
    """The book that has counted it: only connections that carry chat requests count."""

    def count(self, book: Book) -> None:
        """Count it once per book."""
        if self.book is not book:
            self.book = book
            book.opened()


class Exchange:
    """One request. The quota decides in `__init__`, on the headers, before anything can wait."""

    def __init__(self, state: State, request: web.BaseRequest, connection: Connection) -> None:
        self.request, self.state, self.gone = request, state, connection.gone
        self.config, self.book = state.config, state.book
        self.at = time.monotonic()
        self.key = _bearer(request)
        connection.count(self.book)
        self.row = Seen(
            n=self.book.requests + 1,
            at=self.at,
            epoch=time.time(),
            key=state.ring.alias(self.key) if self.key is not None else "none",
            trace_id=request.headers.get("M-TraceId"),
            connection=connection.number,
        )
        self.book.arrived(self.row)
        self.meter: KeyMeter | None = None
        self.ruling = Ruling(None)
        self.refusal = refusals.for_key(self.key, self.row.key, self.config) or self._metered()

    def _metered(self) -> Refusal | None:
        self.meter = self.state.ring.meter(self.row.key)
        self.ruling = self.meter.arrive(
            self.at,
            (self.request.content_length or 0) // 4,
            enforce=self.config.enforce,
            count_refused=self.config.count_refused,
        )
        return None if self.ruling.wait is None else refusals.for_quota(self.ruling.wait)

    async def run(self) -> web.StreamResponse:
        """Answer it, or do to it what the fault says."""
        try:
            return await self._run()
        except ConnectionError:
            self.row.abandoned = True
            return web.Response()  # never sent: the client is gone
        finally:
            self.book.closed(self.row)

    async def _run(self) -> web.StreamResponse:
        seen = Sighting(self.row.n, self.row.key)
        fault = None if self.refusal else self.state.picker.early(seen)
        if fault is not None:
            self.row.fault = fault
            return reset(self.request)
        raw = await self.request.content.read()
        self.book.read(self.row, raw)
        if self.refusal:
            return await self._refuse(self.refusal)
        body = _parsed(raw)
        if isinstance(body, Refusal):
            return await self._refuse(body)
        return await self._think(Prompt(body))

    async def _think(self, prompt: Prompt) -> web.StreamResponse:
        config, row = self.config, self.row
        row.model = str(prompt.body.get("model") or "")
        row.stream = bool(prompt.body.get("stream"))
        profile = config.models.get(row.model) or ModelProfile()
        known = row.model in config.models or not config.strict_models
        refusal = refusals.for_body(prompt, profile, known_model=known)
        if refusal is not None:
            return await self._refuse(refusal)
        seen = Sighting(row.n, row.key, row.body_sha, row.attempt, row.model, prompt.text)
        fault = self.state.picker.pick(seen)
        row.fault = fault
        delay = self._delay(profile)
        refusal = refusals.for_fault(fault, self.key or "", config) if fault else None
        streams = row.stream and refusal is None
        await self._until(self.at + delay * (config.first_token if streams else 1.0))
        if refusal is not None:
            return await self._refuse(refusal)
        if fault is Fault.RESET_AFTER or fault is Fault.RESET_BEFORE:
            return reset(self.request)
        if fault is Fault.HANG:
            return await hang(self.request, self.gone, config.hang_seconds)
        return await self._reply(prompt, profile, fault, delay)

    async def _reply(
        self, prompt: Prompt, profile: ModelProfile, fault: Fault | None, delay: float
    ) -> web.StreamResponse:
        done = spoiled(self._completion(prompt, profile), fault, self.config.huge_bytes)
        payload = self._payload(prompt, done, fault)
        if fault not in {Fault.WRONG_TYPE, Fault.ERROR_BODY}:
            self.row.prompt_tokens = done.prompt_tokens
            self.row.completion_tokens = done.completion_tokens
            self.ruling.settle(done.prompt_tokens + done.completion_tokens)
        rest = delay * (1 - self.config.first_token)
        pause = rest / len(payload.parts) if payload.stream else 0.0
        return await self._send(payload, pause=pause, fault=fault)

    def _completion(self, prompt: Prompt, profile: ModelProfile) -> Completion:
        share = profile.cached_share
        return Completion(
            reply_id=f"chatcmpl-{self.row.body_sha[:16]}-{self.row.n}",
            model=self.row.model,
            content=skills.content_for(prompt, self.row.model, profile, self.config),
            prompt_tokens=prompt.tokens,
            cached_tokens=None if share is None else int(prompt.tokens * share),
        )

    def _payload(self, prompt: Prompt, done: Completion, fault: Fault | None) -> Payload:
        headers = self._headers()
        if fault is Fault.WRONG_TYPE:
            return Payload(200, (_HTML,), headers, "text/html")
        if not self.row.stream:
            body = orjson.dumps(_ERROR) if fault is Fault.ERROR_BODY else completion_body(done)
            return Payload(200, (body,), headers)
        parts = tuple(events(done, self.config.chunks, include_usage=prompt.include_usage))
        if fault is Fault.ERROR_BODY:
            parts = (parts[0], event(_ERROR))
        return Payload(200, parts, headers, "text/event-stream", stream=True)

    async def _refuse(self, refusal: Refusal) -> web.StreamResponse:
        headers = self._headers() | retry_headers(self.config, refusal.wait)
        return await self._send(Payload(refusal.status, (refusal.body,), headers))

    def _headers(self) -> dict[str, str]:
        headers = {"x-request-id": f"req_{self.row.n:08d}"}
        if self.config.ratelimit_headers and self.meter is not None:
            headers |= ratelimit_headers(self.meter, time.monotonic())
        return headers

    async def _send(
        self, payload: Payload, *, pause: float = 0.0, fault: Fault | None = None
    ) -> web.StreamResponse:
        self.row.status = payload.status
        carrier = Carrier(self.request, self.row, self.gone, self.config.hang_seconds)
        return await carrier.send(payload, pause=pause, fault=fault)

    def _delay(self, profile: ModelProfile) -> float:
        config = self.config
        latency = config.latency if profile.latency is None else profile.latency
        jitter = config.jitter if profile.jitter is None else profile.jitter
        dice = chance(config.seed, "latency", self.row.body_sha, self.row.attempt)
        if config.tail == "heavy":
            # Pareto with shape 1.5: the mean exists, the variance does not.
            return latency + jitter * min(100.0, math.pow(1 - dice, -1 / 1.5) - 1)
        return max(0.0, latency + jitter * (2 * dice - 1))

    async def _until(self, instant: float) -> None:
        delay = instant - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)


def _bearer(request: web.BaseRequest) -> str | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def _parsed(raw: bytes) -> dict[str, Any] | Refusal:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        return body
    return Refusal(400, "invalid_json", "We could not parse the JSON body of your request.")
