"""LiteLLM's proxy, the gateway of many companies, which nobody here wrote, before the sandbox."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.core.calls import Request
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller
from tests.runs import await_condition, free_port

PYTHON = os.environ.get("LITELLM_PYTHON", "")
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(
        not PYTHON,
        reason="LITELLM_PYTHON names no interpreter whose environment has `litellm[proxy]`",
    ),
]

SECONDS = 20
"""LiteLLM's window, a minute by default; it is of a fixed beginning, where ours slides."""
PATIENT = CallLimits(timeout=60)
GATE = """
from litellm.proxy._types import UserAPIKeyAuth


async def admit(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, rpm_limit=3)
"""
"""Any key has three questions a window: LiteLLM's own limiter, without a database for its keys."""


@pytest.fixture(scope="module")
def proxy(sandbox_server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base_url of the proxy, in a process of its own that ends with the tests."""
    folder = tmp_path_factory.mktemp("litellm")
    behind = {"model": "openai/m", "api_base": sandbox_server.base_url, "api_key": "behind"}
    config = {
        "model_list": [{"model_name": "m", "litellm_params": behind}],
        "general_settings": {
            "master_key": f"sk-{secrets.token_hex(16)}",
            "custom_auth": "gate.admit",
        },
    }
    (folder / "gate.py").write_text(GATE)
    (folder / "config.yaml").write_text(json.dumps(config))
    port = free_port()
    command = [PYTHON, "-m", "litellm.proxy.proxy_cli", "--config", "config.yaml"]
    own = {"LITELLM_RATE_LIMIT_WINDOW_SIZE": str(SECONDS), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | own
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        await_condition(lambda: _is_up(process, port, folder / "log"), "LiteLLM is up", 180)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _is_up(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-2000:]
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness").is_success
    return False


def _opened(
    open_call: Callable[..., Caller], proxy: str, aliases: tuple[str, ...], quota: int
) -> Caller:
    return open_call(
        app_ids=[AppId(alias, proxy, (Window(quota, SECONDS),)) for alias in aliases],
        keys={alias: SecretStr(f"sk-{alias}") for alias in aliases},
        limits=PATIENT,
        margin=0.5,
    )


def _answered(caller: Caller, count: int) -> int:
    """How many of so many questions, half of them streamed, have an answer that is not empty."""
    asks = [
        Request("m", ({"role": "user", "content": f"q{number}"},), {}, stream=number % 2 == 0)
        for number in range(count)
    ]
    with ThreadPoolExecutor(count) as threads:
        return sum(bool(reply.content) for reply in threads.map(caller.call, asks))


def test_three_in_a_window_and_no_429(
    proxy: str, sandbox: Sandbox, open_call: Callable[..., Caller]
) -> None:
    """Two keys, eight questions: two windows, all answered, and LiteLLM refuses none of them."""
    caller = _opened(open_call, proxy, ("a0", "a1"), 3)
    assert _answered(caller, 8) == 8
    found = caller._up.quota.statistics()
    assert (found.kept, found.sends, found.rate_limited) == (True, 8, 0)
    assert [use.windows[0].most for use in found.app_ids] == [3, 3]
    assert sandbox.stats()["requests"] == 8


def test_its_429_is_waited_out(
    proxy: str, sandbox: Sandbox, open_call: Callable[..., Caller]
) -> None:
    """Five a window are promised and it gives three: what is refused is asked again, none is lost."""
    caller = _opened(open_call, proxy, ("b0",), 5)
    assert _answered(caller, 5) == 5
    found = caller._up.quota.statistics()
    assert 1 <= found.rate_limited == found.sends - 5
    assert sandbox.stats()["requests"] == 5  # a refused question does not reach what is behind
