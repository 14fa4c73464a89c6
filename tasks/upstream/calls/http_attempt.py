"""One request to one endpoint on one key, and its reply. No retries, no quota, no journal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import openai
import orjson

from tasks.core.calls import Reply, Request, Usage, Via
from tasks.core.endpoints import HttpOptions
from tasks.core.errors import ReplyError
from tasks.upstream.calls.adaptation import Adaptation
from tasks.upstream.calls.completion import Completion, body_of, read_completion
from tasks.upstream.calls.endpoint_client import EndpointClient
from tasks.upstream.calls.streaming import assemble
from tasks.upstream.calls.transport import EVENTS, Answer, Probe

__all__ = ["FLEX", "Attempt"]

FLEX = "flex"

_EVENT = (b"data:", b"event:", b"id:", b":")
"""How a stream's first line begins."""


@dataclass(slots=True)
class Attempt:
    """One attempt. `replying`, `headers` and `body` tell how far it came, also after an error."""

    request: Request
    trace_id: str
    probe: Probe
    adaptation: Adaptation = field(default_factory=Adaptation)
    http: HttpOptions = field(default_factory=HttpOptions)
    flex: bool = False
    """Ask for the flex tier."""
    replying: bool = False
    headers: Mapping[str, str] | None = None
    refused_headers: Mapping[str, str] = field(default_factory=dict)
    """Of an error response."""
    body: dict[str, Any] = field(default_factory=dict)
    """What was sent."""

    @property
    def sent_model(self) -> str:
        """The model's name at the endpoint."""
        return self.http.sent_name(self.request.model)

    def send(self, client: EndpointClient) -> Completion:
        """Ask and read the reply to its end.

        Raises:
            openai.APIError, httpx2.TransportError, TimeoutError, ReplyError: see retry.decide.
        """
        try:
            answer = self._post(client)
        except openai.APIStatusError as error:
            self.refused_headers = error.response.headers
            raise
        try:
            self.replying, self.headers = True, answer.headers
            return self._read(answer)
        finally:
            answer.close()

    def reply(
        self,
        completion: Completion,
        *,
        app_id: str,
        endpoint: str,
        queue: float,
        attempts: int,
        wasted: Usage | None = None,
        paid_for: str = "",
    ) -> Reply:
        """The reply as a record; `queue` (seconds) and `attempts` are those of the whole call.

        `wasted` is what attempts before it cost.
        """
        now, started = time.monotonic(), self.probe.started
        first = completion.first_token
        return Reply(
            content=completion.content,
            model=completion.model or self.request.model,
            finish_reason=completion.finish_reason or None,
            usage=completion.usage.plus(wasted),
            request_id=completion.request_id or (self.headers or {}).get("x-request-id") or None,
            created=completion.created,
            app_id=app_id,
            trace_id=self.trace_id,
            endpoint=endpoint,
            latency=now - started,
            queue=queue,
            attempts=attempts,
            first_token=None if first is None else first - started,
            refusal=completion.refusal,
            started=time.time() - (now - started),
            sent_model=None if self.sent_model == self.request.model else self.sent_model,
            via=self.via(completion),
            paid_for=paid_for,
        )

    def via(self, completion: Completion) -> Via:
        """The way that the reply is charged by: a provider may answer as standard what was asked as flex."""
        return "flex" if self.asks_flex and completion.tier in (None, FLEX) else "online"

    @property
    def asks_flex(self) -> bool:
        """Whether the body that was sent asked for the flex tier."""
        return bool(self.body.get("service_tier") == FLEX)

    def _post(self, client: EndpointClient) -> Answer:
        model, http = self.request.model, self.http
        tier = {"service_tier": FLEX} if self.flex else {}
        body = body_of(self.request) | tier
        self.body = self.adaptation.apply(body) | {"model": self.sent_model}
        authorized = not http.omits_authorization
        content = orjson.dumps(self.body)
        return client.ask(
            http.path(model), content, self.trace_id, self.probe, authorized=authorized
        )

    def _read(self, answer: Answer) -> Completion:
        kind = answer.headers.get("content-type", "")
        # A server may answer a stream request in one piece.
        stream = bool(self.body.get("stream"))
        if stream and kind.startswith(EVENTS):
            return assemble(answer, self.probe)
        if kind.startswith(EVENTS):
            msg = "the reply is a stream, and none was asked for"
            raise ReplyError(msg)
        body = answer.read()
        if stream and body.lstrip().startswith(_EVENT):  # sent under another content type
            return assemble([body], self.probe)
        return read_completion(body, kind)
