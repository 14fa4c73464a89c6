"""Fixtures of the upstream's tests: callers on real journals and ledgers, one question per text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.core.calls import Request
from tasks.core.quotas import AppId
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller, open_caller
from tests.upstream.provider import Provider, serve_provider

QUICK = CallLimits(
    timeout=5, connect_timeout=2, stream_idle_timeout=2, backoff=0.01, max_backoff=0.05
)

OpenCaller = Callable[..., Caller]
"""`open_call(aliases=4, run_id=..., state=..., **options of open_caller)`"""


@pytest.fixture
def ask() -> Callable[..., Request]:
    """Makes a request with one user message."""

    def make(text: str, *, stream: bool = False, **params: Any) -> Request:
        return Request("m", ({"role": "user", "content": text},), params, stream=stream)

    return make


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider on loopback that answers everything, until its rule is set."""
    with serve_provider() as found:
        yield found


@pytest.fixture
def open_call(sandbox: Sandbox, tmp_path: Path) -> Iterator[OpenCaller]:
    """Opens callers on the sandbox; all are closed when the test ends."""
    with ExitStack() as stack:

        def make(aliases: int = 4, *, base_url: str | None = None, **options: Any) -> Caller:
            app_ids = [AppId(f"a{n}", base_url or sandbox.base_url) for n in range(aliases)]
            given = {
                "keys": {app.alias: SecretStr(f"plain-{app.alias}") for app in app_ids},
                "journal": tmp_path / "journal.sqlite",
                "ledger": tmp_path / "ledger.sqlite",
                "limits": QUICK,
                "margin": 0.05,
                **options,
            }
            return stack.enter_context(open_caller(given.pop("app_ids", app_ids), **given))

        yield make
