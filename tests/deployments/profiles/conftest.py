"""A naive client of every provider that the sandbox plays."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from deployments.sandbox import Sandbox
from deployments.sandbox.profiles import PROFILES
from tests.deployments.profiles.asking import CODE, NAIVE, Send, user


@pytest.fixture
def send(sandbox: Sandbox) -> Send:
    """Ask a profile as a naive client does: `send("groq", "a-model", key=..., **body)`."""

    def ask(profile: str, model: str, **changes: Any) -> httpx.Response:
        path = changes.pop("path", PROFILES[profile].routes[-1].path)
        headers = changes.pop("headers", {"Authorization": "Bearer sk-default"})
        text = changes.pop("text", CODE)
        messages = [{"role": "system", "content": "Answer in JSON."}, user(text)]
        body = {"model": model, "messages": messages, **NAIVE, **changes}
        body = {name: value for name, value in body.items() if value is not None}
        return httpx.post(sandbox.root + path, json=body, headers=headers, timeout=10)

    return ask
