"""A raw HTTP client of files and batches, and the files that it sends."""

from __future__ import annotations

import json
from typing import Any

import httpx

__all__ = [
    "CHAT",
    "CODE",
    "FOUR",
    "LOST",
    "RUNNING",
    "SETTLED",
    "Desk",
    "failures",
    "file_of",
    "line",
]

CODE = "File: src/app.py\n@@ -10,3 +10,4 @@\n     10 | def total(rows):\n+    11 |     return sum(rows) / len(rows)\n"
CHAT = "/v1/chat/completions"
LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
SETTLED = {"completed", "failed", "expired", "cancelled"}
RUNNING = ["validating", "in_progress", "finalizing"]


def line(name: str, text: str, model: str = "m") -> dict[str, Any]:
    """One line of an input file."""
    messages = [{"role": "user", "content": text}]
    return {
        "custom_id": name,
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "messages": messages},
    }


def file_of(*rows: dict[str, Any]) -> bytes:
    """An input file."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


FOUR = file_of(*(line(f"q{n}", f"{CODE}{n}") for n in range(4)))


class Desk:
    """What a client does with files and batches."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def upload(self, content: bytes = FOUR, purpose: str = "batch") -> httpx.Response:
        """Send a file."""
        files = {"file": ("in.jsonl", content)}
        return self.http.post("/files", data={"purpose": purpose}, files=files)

    def create(self, file_id: str, **more: Any) -> httpx.Response:
        """Make a batch of a file."""
        asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}
        return self.http.post("/batches", json=asked)

    def made(self, content: bytes = FOUR, **more: Any) -> dict[str, Any]:
        """The batch of a new file."""
        file_id = self.upload(content).raise_for_status().json()["id"]
        return dict(self.create(file_id, **more).raise_for_status().json())

    def get(self, batch_id: str) -> dict[str, Any]:
        """Look at a batch."""
        return dict(self.http.get(f"/batches/{batch_id}").raise_for_status().json())

    def ended(self, content: bytes = FOUR, **more: Any) -> dict[str, Any]:
        """The batch of a new file, over; a batch is a second long."""
        return self.get(self.made(content, **more)["id"])

    def lines(self, file_id: str) -> list[Any]:
        """The lines of a file."""
        return [json.loads(one) for one in self.content(file_id).splitlines()]

    def content(self, file_id: str) -> bytes:
        """A file as it is."""
        return self.http.get(f"/files/{file_id}/content").raise_for_status().content


def failures(desk: Desk, batch: dict[str, Any]) -> list[tuple[str, Any]]:
    """Custom ids and codes of the error file."""
    rows = desk.lines(batch["error_file_id"])
    return [(row["custom_id"], (row["error"] or {}).get("code")) for row in rows]
