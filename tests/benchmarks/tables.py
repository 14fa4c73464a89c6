"""The three comparisons beside the limiters: clients, buckets against queues, processes and threads."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import IO, Any

import openai
from limiters import Outcome, Scale, demand
from pydantic import SecretStr

from deployments.sandbox import Sandbox, start_sandbox
from tasks.upstream.calls.client_pool import ClientPool

__all__ = ["show_tables"]

KEYS = 4
_MESSAGES: Any = [{"role": "user", "content": "def f(x):\n    return x\n"}]


def show_tables(*, full: bool) -> None:
    """Run all three and print them as Markdown."""
    with start_sandbox(latency=0.05) as sandbox:
        _show_clients(sandbox)
    _show_buckets(60.0 if full else 3.0)
    _show_shapes(1.0 if full else 0.2)


def _show_clients(sandbox: Sandbox) -> None:
    print(f"\nPooled clients against a client per call: {KEYS} keys, calls of 50 ms\n")
    print("| way | calls | threads | answered | calls/s | p50 ms | p95 ms | connections |")
    print("|---|---|---|---|---|---|---|---|")
    keys = {f"k{n}": SecretStr(f"secret-{n}") for n in range(KEYS)}
    for calls, threads in ((100, 20), (200, 50)):
        with ClientPool(keys) as pool:
            _client_row("pooled", sandbox, _pooled(pool, sandbox), calls, threads)
        _client_row("client per call", sandbox, _per_call(sandbox), calls, threads)


def _pooled(pool: ClientPool, sandbox: Sandbox) -> Callable[[int], None]:
    def ask(number: int) -> None:
        with pool.lease(f"k{number % KEYS}", sandbox.base_url) as lease:
            lease.client.chat.completions.create(model="m", messages=_MESSAGES)

    return ask


def _per_call(sandbox: Sandbox) -> Callable[[int], None]:
    def ask(number: int) -> None:
        key = f"secret-{number % KEYS}"
        with openai.OpenAI(api_key=key, base_url=sandbox.base_url, max_retries=0) as client:
            client.chat.completions.create(model="m", messages=_MESSAGES)

    return ask


def _client_row(
    way: str, sandbox: Sandbox, ask: Callable[[int], None], calls: int, threads: int
) -> None:
    ask(0)  # the first call of a process imports for a second
    sandbox.reset()

    def timed(number: int) -> float:
        begin = time.perf_counter()
        ask(number)
        return (time.perf_counter() - begin) * 1000

    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as executor:
        took = list(executor.map(timed, range(calls)))
    wall, seen = time.perf_counter() - begin, sandbox.stats()
    print(
        f"| {way} | {calls} | {threads} | {seen['answered']} | {calls / wall:.0f} "
        f"| {median(took):.0f} | {quantiles(took, n=20)[-1]:.0f} | {seen['connections_opened']} |",
        flush=True,
    )


def _show_buckets(seconds: float) -> None:
    """One key at full demand for half a window, where the whole quota may go, and for one and a half."""
    quota = f"200/{seconds:g}s"
    print(f"\nBuckets against a queue: one key, {quota}, 64 threads at full demand\n")
    print("| policy | window | answered | legal | 429s | most in a window |")
    print("|---|---|---|---|---|---|")
    with start_sandbox(quota=[quota], keys={"k0": {"key": "k0"}}, latency=0.02) as sandbox:
        for name in (
            "six buckets, index bug",
            "six buckets, index right",
            "queue of slots",
            "ours",
        ):
            for share in (0.5, 1.5):
                found = _for_a_while(sandbox, name, seconds, share)
                print(
                    f"| {name} | {share:g} | {found.answered} | {200 if share < 1 else 400} "
                    f"| {found.refused} | {found.most} of 200 |",
                    flush=True,
                )


def _for_a_while(sandbox: Sandbox, policy: str, seconds: float, share: float) -> Outcome:
    margin = max(0.1, seconds / 150)  # 0.4 s at 60 s
    scale = Scale(1, 200, seconds, 1_000_000, jitter=0.0, margin=margin, latency=0.02, cap=1)
    return demand(sandbox, policy, scale, patience=share * seconds, environment={}, threads=64)


def _show_shapes(latency: float) -> None:
    calls = 150
    print(f"\n{calls} calls of {latency:g} s in three shapes\n")
    print("| shape | seconds | of the ideal | with start of processes |")
    print("|---|---|---|---|")
    shapes: dict[str, tuple[int, int]] = {
        "4 processes x 5 threads": (4, 5), "20 threads": (1, 20), "serial": (1, 1),
    }  # fmt: skip
    with start_sandbox(latency=latency) as sandbox:
        for name, (processes, threads) in shapes.items():
            begin = time.perf_counter()
            _run_shape(sandbox, calls, processes, threads)
            whole = time.perf_counter() - begin
            rows = sandbox.log()
            span = max(row["done"] for row in rows) - min(row["at"] for row in rows)
            ideal = -(-calls // (processes * threads)) * latency
            print(f"| {name} | {span:.2f} | x{span / ideal:.2f} | {whole:.2f} |", flush=True)


def _run_shape(sandbox: Sandbox, calls: int, processes: int, threads: int) -> None:
    shares = [calls // processes + (n < calls % processes) for n in range(processes)]
    children = [
        subprocess.Popen(
            [sys.executable, __file__, sandbox.base_url, str(share), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for share in shares
    ]
    for child in children:
        _pipe(child.stdout).readline()  # imported and warm
    sandbox.reset()
    for child in children:
        _pipe(child.stdin).close()
    for child in children:
        child.wait()
        _pipe(child.stdout).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _child(url: str, calls: int, threads: int) -> None:
    with ClientPool({"k0": SecretStr("k0")}) as pool, ThreadPoolExecutor(threads) as executor:

        def ask(_: int) -> None:
            with pool.lease("k0", url) as lease:
                lease.client.chat.completions.create(model="m", messages=_MESSAGES)

        ask(0)
        print("ready", flush=True)
        sys.stdin.read()
        list(executor.map(ask, range(calls)))


def _main(arguments: Sequence[str]) -> None:
    """One process of `_run_shape`."""
    _child(arguments[0], int(arguments[1]), int(arguments[2]))


if __name__ == "__main__":
    _main(sys.argv[1:])
