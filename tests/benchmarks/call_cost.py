"""
What one call costs us in CPU, beside what others would do, in one run on one sandbox.

    python tests/benchmarks/call_cost.py [--calls 3000] [--threads 64] [--latency 0.05]

Each way makes the same calls on 4 keys from threads; CPU is that of the calling process alone, the
sandbox is another process. Figures of one run compare with each other, not with another machine's.
An attempt is the request to the parsed completion, without journal and quota; the socket alone is
what is left when nobody checks or bounds anything.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import orjson
from pydantic import SecretStr

from deployments.sandbox import start_sandbox
from tasks.core.calls import Request
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.caller import open_caller
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.http_attempt import Attempt
from tasks.upstream.calls.transport import Probe

Ask = Callable[[Request], Any]
KEYS = 4
PADDING = "def f(x):\n    return x + 1\n" * 150  # a prompt of 4 KB


def measure(
    ask: Ask, label: str, calls: int, threads: int, *, stream: bool = False
) -> dict[str, float | str]:
    """CPU per call and calls per second, after a warm-up of two calls per thread."""
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(ask, requests(f"{label} warm", threads * 2, stream=stream)))
        wall, cpu = time.perf_counter(), time.process_time()
        list(executor.map(ask, requests(label, calls, stream=stream)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"way": label, "cpu_ms": cpu / calls * 1e3, "per_second": calls / wall}


def requests(label: str, count: int, *, stream: bool = False) -> list[Request]:
    """Different questions, so that no journal and no cache answers one."""
    system = {"role": "system", "content": PADDING}
    return [
        Request("m", (system, user), {"temperature": 0.0}, stream=stream)
        for user in ({"role": "user", "content": f"{label} {n}"} for n in range(count))
    ]


def plain(clients: list[openai.OpenAI]) -> Ask:
    """One client per key, kept; model objects. What a careful script does."""
    counter = iter(range(10**9))

    def ask(request: Request) -> Any:
        client = clients[next(counter) % len(clients)]
        messages: Any = list(request.messages)
        return client.chat.completions.create(model="m", messages=messages, temperature=0.0)

    return ask


def per_call(base_url: str) -> Ask:
    """A client per call. What a careless script does."""

    def ask(request: Request) -> Any:
        with openai.OpenAI(api_key="k", base_url=base_url, max_retries=0) as client:
            messages: Any = list(request.messages)
            return client.chat.completions.create(model="m", messages=messages, temperature=0.0)

    return ask


def attempt(pool: ClientPool, base_url: str) -> Ask:
    """Our client, transport and reading, on all keys in turn."""
    counter = iter(range(10**9))

    def ask(request: Request) -> Any:
        probe = Probe(timeout=60.0, idle=60.0, max_bytes=2**22, on_sent=lambda _: None)
        with pool.lease(f"a{next(counter) % KEYS}", base_url) as lease:
            return Attempt(request, "0" * 32, probe).send(lease.client)

    return ask


def socket_alone(base_url: str) -> Ask:
    """The floor: one socket per thread, JSON out and in, one write and one read."""
    url, own = urlsplit(base_url), threading.local()

    def ask(request: Request) -> Any:
        if not hasattr(own, "socket"):
            own.socket = socket.create_connection((url.hostname or "", url.port or 80))
        body = orjson.dumps({"model": "m", "messages": request.messages, **request.params})
        head = f"POST {url.path}/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\n"
        head += f"Authorization: Bearer k\r\nContent-Length: {len(body)}\r\n\r\n"
        own.socket.sendall(head.encode() + body)
        return orjson.loads(own.socket.recv(65_536).partition(b"\r\n\r\n")[2])

    return ask


def ours(base_url: str, folder: Path, windows: tuple[Window, ...], options: Any) -> dict[str, Any]:
    """The whole path: journal, single flight, breaker, quota, pool, journal."""
    app_ids = [AppId(f"a{n}", base_url, windows) for n in range(KEYS)]
    keys = {app.alias: SecretStr(f"key-of-{app.alias}") for app in app_ids}
    label = f"ours, quota {windows[0] if windows else 'without limit'}"
    state = folder / label.replace("/", " ")
    with open_caller(
        app_ids, keys, journal=state / "journal", ledger=state / "ledger", margin=0.05
    ) as caller:
        row = measure(caller.call, label, options.calls, options.threads)
        size = caller.journal.statistics()["bytes_per_reply"]
        return row | {"note": f"{size} bytes of journal per reply"}


def main() -> None:
    """Run all ways and print a table with ratios to the pooled client."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05)
    options = parser.parse_args()
    with ExitStack() as stack:
        sandbox = stack.enter_context(start_sandbox(latency=options.latency))
        path = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = sandbox.base_url
        clients = [openai.OpenAI(api_key=f"k{n}", base_url=url, max_retries=0) for n in range(KEYS)]
        count, threads = options.calls, options.threads
        pool = stack.enter_context(
            ClientPool({f"a{n}": SecretStr(f"key-of-a{n}") for n in range(KEYS)})
        )
        ask = attempt(pool, url)
        rows = [
            measure(plain(clients), "openai, pooled", count, threads),
            measure(ask, "our attempt, plain", count, threads),
            measure(ask, "our attempt, streamed", count, threads, stream=True),
            measure(socket_alone(url), "a socket alone", count, threads),
            ours(url, path, (), options),
            ours(url, path, (Window(1_000_000, 60.0),), options),
            measure(per_call(url), "openai, client per call", count // 10, threads),
        ]
    unit = float(rows[0]["cpu_ms"])
    for row in rows:
        ratio = float(row["cpu_ms"]) / unit
        print(
            f"{row['way']:32} {row['cpu_ms']:7.2f} ms CPU  {ratio:6.2f} x  "
            f"{row['per_second']:7.0f} calls/s  {row.get('note', '')}"
        )


if __name__ == "__main__":
    main()
