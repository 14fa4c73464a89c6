"""The model's HTTP front: the part of the OpenAI protocol that this project uses."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from deployments.local_model.engine import MODEL, Engine, ModelOptions

__all__ = ["Front"]

_MAX_BODY = 8 * 1024 * 1024
"""Bytes; far above what the context holds."""


class Front(ThreadingHTTPServer):
    """Listens on loopback from the start; `load` and `serve_forever`, and it answers."""

    daemon_threads = True
    request_queue_size = 128

    engine: Engine

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)

    def load(self, options: ModelOptions) -> None:
        """Load the model.

        Raises:
            ConfigError: the model or its runtime is not installed.
        """
        self.engine = Engine(options)

    def server_bind(self) -> None:
        """Bind without the look-up of a host name that HTTPServer adds: it may need a network."""
        TCPServer.server_bind(self)
        self.server_name = "localhost"
        self.server_port = int(self.server_address[1])

    @property
    def base_url(self) -> str:
        """Ends in /v1, as OpenAI clients want it."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif self.path == "/v1/models":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "local"}
            self._answer(200, {"object": "list", "data": [model]})
        else:
            self._refuse(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        # The body is read in any case: what is left of it would be taken for the next request.
        body = self._body()
        if self.path != "/v1/chat/completions":
            self._refuse(404, f"no such path: {self.path}")
        elif body is None:
            self._refuse(400, "the body is not a JSON object")
        else:
            self._chat(body)

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MAX_BODY:
            self.close_connection = True
            return None
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None

    def _chat(self, body: dict[str, Any]) -> None:
        try:
            if body.get("stream"):
                _Events(self).run(body)
                return
            answer = self.server.engine.complete(body)
        except ValueError as error:
            self._refuse(400, str(error))
            return
        self._answer(_status(answer), answer)

    def _refuse(self, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": status}
        self._answer(status, {"error": error})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the caller counts its calls."""


class _Events:
    """One streamed answer. The status is sent with the first chunk, which may be an error."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self._started = False
        self._failed = False

    def run(self, body: dict[str, Any]) -> None:
        self._handler.server.engine.stream(body, self._send)
        if self._started:
            self._write(b"data: [DONE]\n\n")

    def _send(self, chunk: dict[str, Any]) -> bool:
        if "error" in chunk and not self._started:
            self._handler._answer(_status(chunk), chunk)  # noqa: SLF001 -- two halves of one thing
        else:
            self._start()
            self._write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        return self._failed

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._handler.close_connection = True  # the end of the stream is the end of the connection
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "text/event-stream")
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()

    def _write(self, data: bytes) -> None:
        try:
            self._handler.wfile.write(data)
        except ConnectionError:
            self._failed = True


def _status(answer: dict[str, Any]) -> int:
    error = answer.get("error")
    return int(error.get("code", 500)) if isinstance(error, dict) else 200
