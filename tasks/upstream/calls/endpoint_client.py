"""
The openai client of one app_id at one endpoint, which prepares a request once and not for every call.

URL, authorisation, the client's own and the app_id's headers are the same for all questions, and
building them is half of the CPU of a call. What the client made of them is kept as bytes; each call
adds its trace id and its body. A key that changes is another client (see client_pool).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx2
import openai
from openai._models import FinalRequestOptions

from tasks.upstream.calls.transport import Answer, Probe, Transport

__all__ = ["EndpointClient"]

_SUCCESS = range(200, 300)
_LENGTH = "content-length"


class _Prepared(NamedTuple):
    request: httpx2.Request
    """Without a body: the errors of the client carry it."""
    head: bytes
    """All but trace id, length and blank line. It holds the key."""
    connect: float


class EndpointClient(openai.OpenAI):
    """An openai client whose questions go straight to the endpoint's transport."""

    def __init__(self, transport: Transport, timeout: httpx2.Timeout, **options: Any) -> None:
        shared = httpx2.Client(transport=_Shared(transport), timeout=timeout)
        # A hidden retry would be a request that the quota never saw.
        super().__init__(max_retries=0, timeout=timeout.read, http_client=shared, **options)
        self._transport = transport
        self._connect = timeout.connect or timeout.read or 0.0
        self._prepared: dict[tuple[str, bool], _Prepared] = {}

    def ask(
        self, path: str, body: bytes, trace_id: str, probe: Probe, *, authorized: bool = True
    ) -> Answer:
        """Post JSON; the reply to a 2xx. Without `authorized` no Authorization header goes out.

        Raises:
            openai.APIStatusError: it was refused. A redirect is, too: nobody follows it with a key.
            openai.APIConnectionError, openai.APITimeoutError: no connection, or no reply on it.
            httpx2.TransportError, ReplyError: a refusal broke off, or is too large.
        """
        prepared = self._prepared.get((path, authorized)) or self._prepare_question(
            path, authorized
        )
        head = b"%bm-traceid: %b\r\nContent-Length: %d\r\n\r\n" % (
            prepared.head,
            trace_id.encode("ascii"),
            len(body),
        )
        try:
            answer = self._transport.send(head, body, probe, prepared.connect)
        except httpx2.TimeoutException as error:
            raise openai.APITimeoutError(request=prepared.request) from error
        except httpx2.TransportError as error:
            raise openai.APIConnectionError(request=prepared.request) from error
        if answer.status in _SUCCESS:
            return answer
        raise self._refusal(answer, prepared.request)

    def _refusal(self, answer: Answer, request: httpx2.Request) -> openai.APIStatusError:
        try:
            content = answer.read()
        finally:
            answer.close()
        headers = answer.raw_headers
        response = httpx2.Response(answer.status, headers=headers, content=content, request=request)
        return self._make_status_error_from_response(response)

    def _prepare_question(self, path: str, authorized: bool) -> _Prepared:
        headers: dict[str, Any] = {"Content-Type": "application/json"}
        if not authorized:
            # The client's check wants it with each request, and not only among its default headers.
            headers["Authorization"] = openai.Omit()
        options = FinalRequestOptions.construct(
            method="post", url=path, content=b"{}", headers=headers
        )
        request = self._build_request(self._prepare_options(options))
        self._prepare_request(request)
        del request.headers[_LENGTH]
        try:
            head = self._transport.route.head(request)
        except httpx2.LocalProtocolError as error:
            raise openai.APIConnectionError(request=request) from error
        prepared = _Prepared(request, head, self._connect)
        self._prepared[path, authorized] = prepared
        return prepared


class _Shared(httpx2.BaseTransport):
    """The endpoint's transport as one client sees it: the client's end does not close it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._transport.handle_request(request)
