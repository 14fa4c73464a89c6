"""One request about a file or a batch: sent, read within bounds, and sent again where that is safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar, cast

import httpx2
import openai
import orjson

from tasks.core.errors import BatchCallFailed, ReplyError, Stopped
from tasks.core.quotas import AppId
from tasks.upstream.calls.client_pool import ClientPool, PooledClient
from tasks.upstream.calls.completion import ServerError
from tasks.upstream.calls.retry import Circumstances, RetryDecision, backoff, decide
from tasks.upstream.calls.transport import Probe, watched

__all__ = ["BatchCallLimits", "Requests", "Send", "json_of", "sent"]

_MESSAGE = 300  # characters kept of what a server says
_WHOLE = frozenset({"id", "job", "data"})
"""Members of an answer that is more than an error."""
Answer = TypeVar("Answer")
Send = Callable[[openai.OpenAI, Mapping[str, Any]], Answer]
"""Sends one request by a client, with headers that are the app_id's, and reads its answer."""


@dataclass(frozen=True, slots=True)
class BatchCallLimits:
    """How far a request about a file or a batch may go. Times in seconds."""

    timeout: float = 60.0
    transfer_timeout: float = 1800.0
    """Of an upload or a download."""
    idle: float = 60.0
    """Between two parts of an answer."""
    max_attempts: int = 4
    backoff: float = 1.0
    max_backoff: float = 30.0
    max_answer_bytes: int = 16 * 2**20
    """Of a state or a list."""
    max_file_bytes: int = 4 * 2**30
    """Of a file that is read."""


@dataclass(frozen=True, slots=True)
class _Failed:
    decision: RetryDecision
    uncertain: bool
    """It may have had its effect."""
    renewed: bool
    """There is a newer key than the one that was refused."""
    status: int


@dataclass(slots=True)
class Requests:
    """Requests of one app_id, with its keys, connections and scrubbing."""

    pool: ClientPool
    app_id: AppId
    stop: threading.Event = field(default_factory=threading.Event)
    limits: BatchCallLimits = field(default_factory=BatchCallLimits)

    def run(
        self, what: str, send: Send[Answer], *, transfer: bool = False, repeatable: bool = True
    ) -> Answer:
        """The answer. `what` is named in errors; `repeatable`: a second effect does no harm.

        Raises:
            BatchCallFailed: there is none.
            Stopped: the run is being stopped.
        """
        attempts, renewed = 0, False
        while True:
            self.raise_if_stopped()
            attempts += 1
            outcome = self._attempt(send, transfer=transfer)
            if not isinstance(outcome, _Failed):
                return outcome
            if outcome.renewed and not renewed:
                renewed = True
                continue
            lost = outcome.uncertain and not repeatable
            over = outcome.decision.action == "give_up" or attempts >= self.limits.max_attempts
            if lost or over or self._is_held(outcome.decision):
                raise self._error(what, outcome, attempts)
            self.stop.wait(self._pause(outcome.decision, attempts))

    def raise_if_stopped(self) -> None:
        """Leave what is being done when the run is being stopped.

        Raises:
            Stopped: it is.
        """
        if self.stop.is_set():
            msg = "the run is being stopped: batches go on, and the next run reads them"
            raise Stopped(msg)

    def _attempt(self, send: Send[Answer], *, transfer: bool) -> Answer | _Failed:
        limits = self.limits
        probe = Probe(
            timeout=limits.transfer_timeout if transfer else limits.timeout,
            idle=limits.idle,
            max_bytes=limits.max_file_bytes if transfer else limits.max_answer_bytes,
            on_sent=_quiet,
        )
        with self.pool.lease(self.app_id.alias, self.app_id.base_url) as lease:
            try:
                with watched(probe):
                    answer = send(lease.client, self._headers())
            except Exception as error:  # noqa: BLE001  (decide raises what is not the upstream's)
                return self._failed(error, probe, lease)
        self.pool.keys.answered(self.app_id.alias)
        return answer

    def _failed(self, error: Exception, probe: Probe, lease: PooledClient) -> _Failed:
        decision = decide(error, Circumstances(reached=probe.reached))
        if decision.reconnect:
            self.pool.replace(lease)
        status = error.status_code if isinstance(error, openai.APIStatusError) else 0
        refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        certain = refused and status != HTTPStatus.REQUEST_TIMEOUT
        refusal = decision.refusal
        keys, alias = self.pool.keys, self.app_id.alias
        about_key = refusal is not None and refusal.about == "key"
        renewed = about_key and keys.refresh(alias, lease.credentials)
        return _Failed(decision, probe.reached and not certain, renewed, status)

    def _headers(self) -> dict[str, Any]:
        # The client's check wants it with each request, and not only among its default headers.
        return {"Authorization": openai.Omit()} if self.app_id.http.omits_authorization else {}

    def _is_held(self, decision: RetryDecision) -> bool:
        """Whether it would wait for longer than it does here; or has no good key to go on with."""
        refusal = decision.refusal
        if refusal is None:
            return False
        if refusal.about in {"key", "money", "model"} and refusal.wait is None:
            return True
        return refusal.wait is not None and refusal.wait > self.limits.max_backoff

    def _pause(self, decision: RetryDecision, attempts: int) -> float:
        said = None if decision.refusal is None else decision.refusal.wait
        wait = backoff(attempts, base=self.limits.backoff, most=self.limits.max_backoff)
        return max(wait, said or 0.0)

    def _error(self, what: str, failed: _Failed, attempts: int) -> BatchCallFailed:
        decision = failed.decision
        code = "not_found" if failed.status == HTTPStatus.NOT_FOUND else decision.reason
        said = self.pool.keys.scrub(decision.message, _MESSAGE)
        return BatchCallFailed(
            f"{what}: {code}: {said}",
            code=code,
            uncertain=failed.uncertain,
            wait=None if decision.refusal is None else decision.refusal.wait,
            attempts=attempts,
            app_id=self.app_id.alias,
            endpoint=self.app_id.base_url,
        )


def _quiet(_: float) -> None:
    """Nobody wants to know when a request was written."""


def sent(
    client: openai.OpenAI, method: str, path: str, headers: Mapping[str, Any], **arguments: Any
) -> httpx2.Response:
    """The answer's head; its body is bounded in time and size while it comes."""
    options: dict[str, Any] = {"headers": headers, "params": arguments.pop("params", {})}
    # A deletion cannot be streamed, and its answer is small.
    stream = {} if method == "delete" else {"stream": True, "stream_cls": openai.Stream}
    call: Callable[..., Any] = getattr(client, method)
    response = call(path, cast_to=httpx2.Response, options=options, **stream, **arguments)
    return cast("httpx2.Response", response)


def json_of(response: httpx2.Response) -> Any:
    """The parsed body.

    Raises:
        ServerError: it is an error object, with status 200.
        ReplyError: it is not JSON.
    """
    with closing(response):
        body = response.read()
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        msg = f"the answer is not JSON ({len(body)} bytes): {error}"
        raise ReplyError(msg) from None
    if isinstance(record, dict) and record.get("error") and not _WHOLE & record.keys():
        msg = "status 200 with an error"
        raise ServerError(msg, body=record)
    return record
