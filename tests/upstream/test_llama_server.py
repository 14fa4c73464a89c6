"""llama.cpp's own HTTP server, which nobody here wrote, with the packaged model behind it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from deployments.local_model.engine import weights_path
from tasks.core.calls import Request
from tasks.core.errors import NoKeysLeft, UpstreamError
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller
from tests.processes import next_line, started

KEYS = ("plain-a0", "plain-a1")
PATIENT = CallLimits(timeout=120)
SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, params.verbosity, params.ui = 1024, 2, 1, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
params.cpuparams.poll = params.cpuparams_batch.poll = 0
params.api_keys = sys.argv[2:]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """The base_url of the server, in a process of its own that ends with the tests."""
    command = [sys.executable, "-c", SERVER, str(weights_path()), *KEYS]
    with started(
        command,
        seconds=300,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    ) as process:
        address = next_line(process)
        assert address.startswith("http://127.0.0.1:"), "the server did not start"
        yield address + "/v1"


def _ask(number: int, *, stream: bool = False) -> Request:
    message = {"role": "user", "content": f"Say the number {number}."}
    return Request("smollm2", (message,), {"max_tokens": 6, "temperature": 0}, stream=stream)


def test_three_in_a_window_and_none_lost(llama: str, open_call: Callable[..., Caller]) -> None:
    """Two keys with three a window, ten questions, half of them streamed: all answered, quota kept."""
    app_ids = [AppId(alias, llama, (Window(3, 3.0),)) for alias in ("a0", "a1")]
    caller = open_call(app_ids=app_ids, limits=PATIENT)
    asks = [_ask(number, stream=number % 2 == 0) for number in range(10)]
    with ThreadPoolExecutor(10) as threads:
        replies = [*threads.map(caller.call, asks)]
    assert all(reply.content for reply in replies)
    assert {reply.attempts for reply in replies} == {1}
    assert all(reply.usage.completion_tokens for reply in replies)
    found = caller._up.quota.statistics()
    assert (found.kept, found.sends, found.rate_limited) == (True, 10, 0)
    assert [use.windows[0].most for use in found.app_ids] == [3, 3]


def test_a_key_that_the_server_does_not_know_is_out(
    llama: str, open_call: Callable[..., Caller]
) -> None:
    """Two questions, two 401s, and nothing is sent any more; its words are in the message."""
    caller = open_call(
        app_ids=[AppId("a0", llama)], keys={"a0": SecretStr("wrong")}, limits=PATIENT
    )
    for number in range(2):
        with pytest.raises(UpstreamError):
            caller.call(_ask(100 + number))
    with pytest.raises(NoKeysLeft, match="HTTP 401: Invalid API Key"):
        caller.call(_ask(200))
