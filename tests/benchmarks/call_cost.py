"""
What one call costs us in CPU, beside what others would do, in one run on one sandbox.

    python tests/benchmarks/call_cost.py [--calls 3000] [--threads 64] [--latency 0.05]

Each way makes the same calls on 4 keys from threads; CPU is that of the calling process alone, the
sandbox is another process. Figures of one run compare with each other, not with another machine's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
from pydantic import SecretStr

from deployments.sandbox import start_sandbox
from tasks.core.calls import Request
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.caller import open_caller

Ask = Callable[[Request], Any]
KEYS = 4
PADDING = "def f(x):\n    return x + 1\n" * 150  # a prompt of 4 KB


def measure(ask: Ask, label: str, calls: int, threads: int) -> dict[str, float | str]:
    """CPU per call and calls per second, after a warm-up of two calls per thread."""
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(ask, requests(f"{label} warm", threads * 2)))
        wall, cpu = time.perf_counter(), time.process_time()
        list(executor.map(ask, requests(label, calls)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"way": label, "cpu_ms": cpu / calls * 1e3, "per_second": calls / wall}


def requests(label: str, count: int) -> list[Request]:
    """Different questions, so that no journal and no cache answers one."""
    system = {"role": "system", "content": PADDING}
    return [
        Request("m", (system, {"role": "user", "content": f"{label} {n}"}), {"temperature": 0.0})
        for n in range(count)
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
    with start_sandbox(latency=options.latency) as sandbox, tempfile.TemporaryDirectory() as folder:
        url, path = sandbox.base_url, Path(folder)
        clients = [openai.OpenAI(api_key=f"k{n}", base_url=url, max_retries=0) for n in range(KEYS)]
        rows = [
            measure(plain(clients), "openai, pooled", options.calls, options.threads),
            ours(url, path, (), options),
            ours(url, path, (Window(1_000_000, 60.0),), options),
            measure(per_call(url), "openai, client per call", options.calls // 10, options.threads),
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
