"""A webhook of ours, and what it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Inbox", "open_inbox"]


@dataclass(frozen=True, slots=True)
class Inbox:
    """Messages in the order of their arrival: subject and body of each."""

    url: str
    messages: list[dict[str, str]] = field(default_factory=list)

    def about(self, subject: str) -> list[str]:
        """The bodies of messages whose subject begins so."""
        return [one["body"] for one in self.messages if one["subject"].startswith(subject)]


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """A webhook on loopback, for as long as the block lasts."""
    messages: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            messages.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Inbox(f"http://127.0.0.1:{server.server_port}/", messages)
        finally:
            server.shutdown()
            thread.join(10)
