"""A real HTTP server that refuses as a rule says, and what becomes of calls to it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from tasks.core.calls import Reply, Request
from tasks.core.errors import UpstreamError
from tasks.upstream.calls.caller import Caller

__all__ = ["Answer", "Outcomes", "Provider", "outcomes", "refusal", "serve_provider"]

Answer = tuple[int, Any, dict[str, str]] | None
"""Status, body and headers of a refusal; None: the question is answered."""
_REPLY = '{"comments": []}'
_USAGE = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}


@dataclass
class Provider:
    """A server that refuses as `rule(key, body)` says, and what it was sent."""

    url: str
    rule: Callable[[str, dict[str, Any]], Answer] = lambda _key, _body: None
    lock: threading.Lock = field(default_factory=threading.Lock)
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, key: str, body: dict[str, Any]) -> Answer:
        """Count a request and decide it."""
        with self.lock:
            self.sent.append((key, body))
            return self.rule(key, body)


@contextmanager
def serve_provider() -> Iterator[Provider]:
    """A provider on loopback that answers everything, until its rule is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Authorization"].removeprefix("Bearer plain-")
            status, said, headers = found.answer(key, body) or (200, _completion(body), {})
            data = said.encode() if isinstance(said, str) else orjson.dumps(said)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Provider(f"http://127.0.0.1:{server.server_address[1]}/v1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def _completion(body: dict[str, Any]) -> dict[str, Any] | str:
    known = {"id": "c", "model": "m", "usage": _USAGE}
    choice = {"index": 0, "finish_reason": "stop"}
    if not body.get("stream"):
        return {**known, "choices": [{**choice, "message": {"content": _REPLY}}]}
    event = {**known, "choices": [{**choice, "delta": {"content": _REPLY}}]}
    return f"data: {orjson.dumps(event).decode()}\n\ndata: [DONE]\n\n"


def refusal(status: int, message: str, **fields: Any) -> Answer:
    """An error as OpenAI writes it."""
    return status, {"error": {"message": message, **fields}}, {}


class Outcomes(dict[str, int]):
    """Calls by how they ended: a code, "ok" or "journaled"; `said` are the messages of the errors."""

    said: list[str]


def outcomes(caller: Caller, requests: list[Request], threads: int = 16) -> Outcomes:
    """Send the requests and count their ends."""

    def end(request: Request) -> str:
        try:
            reply: Reply = caller.call(request)
        except UpstreamError as error:
            said.append(str(error))
            return error.code
        return "journaled" if reply.journaled else "ok"

    said: list[str] = []
    with ThreadPoolExecutor(threads) as executor:
        found = Outcomes(Counter(executor.map(end, requests)))
    found.said = said
    return found
