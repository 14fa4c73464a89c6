"""
Limiters against an upstream that enforces the quota on its own clock: what each one costs and breaks.

    python tests/benchmarks/limiters.py            # windows scaled to 3 s, 3 minutes
    python tests/benchmarks/limiters.py --full --no-tables    # K=10, 3/60s, N=60: 17 minutes

Every policy gets the same keys, threads, calls and jitter on the way to the upstream, and sends in
a process of its own until all calls are answered, or until it took four times the optimum.
Makespan is from the first arrival to the last accepted one, as the sandbox saw them; "most" is the
largest number of arrivals of one key in any window, refused ones included. A 429 is waited out as
its Retry-After says and sent again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demand import POLICIES

from deployments.sandbox import Sandbox, start_sandbox
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import optimum_seconds

__all__ = ["Scale", "main"]


@dataclass(frozen=True, slots=True)
class Scale:
    """One size of the benchmark. Times in seconds."""

    keys: int
    limit: int
    seconds: float
    calls: int
    jitter: float
    margin: float
    latency: float
    cap: float
    """Of the optimum; a policy that takes longer is ended."""

    @property
    def optimum(self) -> float:
        window = Window(self.limit, self.seconds)
        return optimum_seconds(
            self.calls, [AppId(f"k{n}", windows=(window,)) for n in range(self.keys)]
        )


SCALED = Scale(10, 3, 3.0, 90, jitter=0.05, margin=0.1, latency=0.5, cap=4)
FULL = Scale(10, 3, 60.0, 60, jitter=0.2, margin=0.4, latency=10.0, cap=4)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the sandbox saw of one policy."""

    answered: int
    refused: int
    most: int
    makespan: float
    """Seconds from the first arrival to the last accepted one."""


def demand(
    sandbox: Sandbox,
    policy: str,
    scale: Scale,
    *,
    patience: float,
    environment: dict[str, str],
    threads: int | None = None,
) -> Outcome:
    """Run one policy to its end, or for `patience` seconds from its first arrival.

    `threads`: as many as one window of the pool holds, when left out.
    """
    sandbox.reset()
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {
            "policy": policy, "url": sandbox.base_url, "folder": folder, "keys": scale.keys,
            "limit": scale.limit, "calls": scale.calls, "threads": threads or scale.keys * scale.limit,
            "seconds": scale.seconds, "margin": scale.margin, "jitter": scale.jitter,
        }  # fmt: skip
        command = [f"--{name}={value}" for name, value in given.items()]
        script = str(Path(__file__).with_name("demand.py"))
        process = subprocess.Popen([sys.executable, script, *command], env=os.environ | environment)
        try:
            _await(process, sandbox, patience)
        finally:
            process.kill()
            process.wait()
    return _outcome(sandbox)


def _await(process: subprocess.Popen[bytes], sandbox: Sandbox, patience: float) -> None:
    # The process imports for seconds first; the clock starts with its first request.
    while process.poll() is None and not sandbox.stats()["requests"]:
        _pause(process, 0.1)
    _pause(process, patience)


def _pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _outcome(sandbox: Sandbox) -> Outcome:
    rows, keys = sandbox.log(), sandbox.stats()["keys"].values()
    accepted = [row["at"] for row in rows if row["status"] != 429]
    span = max(accepted) - min(row["at"] for row in rows) if accepted else 0.0
    most = max(key["windows"][0]["peak_arrived"] for key in keys)
    return Outcome(len(accepted), len(rows) - len(accepted), most, span)


@contextmanager
def prefect_environment() -> Iterator[dict[str, str] | None]:
    """A real Prefect server on an empty database; None, with a message, when none comes up."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        os.environ["PREFECT_HOME"] = home
        os.environ.pop("PREFECT_API_URL", None)
        try:
            from flows.ui.server import prefect_server  # noqa: PLC0415 - reads PREFECT_HOME

            url = stack.enter_context(prefect_server())
        except Exception as error:  # noqa: BLE001 - the other policies do not need it
            print(f"Prefect rate_limit is skipped: no server ({error})")
            yield None
            return
        yield {"PREFECT_API_URL": url, "PREFECT_HOME": home}


def compare(scale: Scale, names: Sequence[str]) -> None:
    """The table of all policies."""
    best = (scale.seconds + scale.margin) / scale.seconds
    print(f"{scale.keys} keys, {scale.limit}/{scale.seconds:g}s, {scale.calls} calls of "
          f"{scale.latency:g} s, jitter {scale.jitter * 1000:g} ms, optimum {scale.optimum:g} s; "
          f"a margin of {scale.margin:g} s costs x{best:.4f}\n")  # fmt: skip
    print("| policy | makespan / optimum | 429s | most in a window | answered |")
    print("|---|---|---|---|---|")
    with ExitStack() as stack:
        quota = [f"{scale.limit}/{scale.seconds:g}s"]
        table = {f"k{n}": {"key": f"k{n}"} for n in range(scale.keys)}
        sandbox = stack.enter_context(
            start_sandbox(quota=quota, keys=table, latency=scale.latency, retry_after="seconds")
        )
        for name in names:
            environment: dict[str, str] | None = {}
            if name.startswith("Prefect"):
                environment = stack.enter_context(prefect_environment())
            if environment is None:
                continue
            patience = scale.cap * scale.optimum + scale.latency
            found = demand(sandbox, name, scale, patience=patience, environment=environment)
            print(_row(name, found, scale), flush=True)


def _row(name: str, found: Outcome, scale: Scale) -> str:
    ratio = found.makespan / scale.optimum
    whole = found.answered >= scale.calls
    shown = f"{ratio:.4f}" if whole else f"over {scale.cap:g}"
    return (
        f"| {name} | {shown} | {found.refused} | {found.most} of {scale.limit} "
        f"| {found.answered} of {scale.calls} |"
    )


def main() -> None:
    """All tables, or only the policies named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="windows of 60 s, as in production")
    parser.add_argument("--only", nargs="*", choices=POLICIES, metavar="POLICY", help="a few of: " + ", ".join(POLICIES))  # fmt: skip
    parser.add_argument("--calls", type=int, help="instead of 90, or 60 with --full")
    parser.add_argument("--no-tables", action="store_true", help="only the table of policies")
    options = parser.parse_args()
    scale = FULL if options.full else SCALED
    if options.calls:
        scale = replace(scale, calls=options.calls)
    compare(scale, options.only or [name for name in POLICIES if name != "queue of slots"])
    if not options.no_tables:
        from tables import show_tables  # noqa: PLC0415 - openai takes a second to import

        show_tables(full=options.full)


if __name__ == "__main__":
    main()
