"""A raw HTTP client for the sandbox, so that its faults are seen as they are on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from deployments.sandbox import Sandbox
from tests.deployments.batch_desk import CODE, Desk

Ask = Callable[..., httpx.Response]


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client with a key and a short patience."""
    headers = {"Authorization": "Bearer sk-default"}
    with httpx.Client(base_url=sandbox.base_url, headers=headers, timeout=10) as client:
        yield client


@pytest.fixture
def ask(http: httpx.Client) -> Ask:
    """Send one chat request: `ask("text", key=..., trace=..., timeout=..., **body)`."""

    def send(text: str = CODE, **options: Any) -> httpx.Response:
        headers = {}
        if "key" in options:
            headers["Authorization"] = f"Bearer {options.pop('key')}"
        if "trace" in options:
            headers["M-TraceId"] = options.pop("trace")
        timeout = options.pop("timeout", 10)
        messages = [{"role": "user", "content": text}]
        body = {"model": "m", "messages": messages, **options}
        return http.post("/chat/completions", json=body, headers=headers, timeout=timeout)

    return send


@pytest.fixture
def desk(sandbox: Sandbox, http: httpx.Client) -> Desk:
    """A client of batches that take no time."""
    sandbox.control(batch={"seconds": 0})
    return Desk(http)
