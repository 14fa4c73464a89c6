"""
Reserves a second on one ledger file, over several processes.

Every reserve is the whole life of a grant: acquire, sent, settle. Quotas are so large that nobody
waits for one, so what is measured is the ledger, its thread and the threads.

    python -m tests.benchmarks.quota_speed --processes 4 --threads 8 --seconds 5
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Quota


def _pool(keys: int) -> list[AppId]:
    return [AppId(f"k{n}", windows=(Window(1_000_000, 60.0),)) for n in range(keys)]


def _worker(args: argparse.Namespace) -> None:
    waits: list[float] = []
    with Quota(args.ledger, _pool(args.keys), run_id="speed") as quota:
        end = args.start + args.seconds

        def loop() -> None:
            while (begin := time.monotonic()) < end:
                grant = quota.acquire("m")
                waits.append(time.monotonic() - begin)
                quota.sent(grant)
                quota.settle(grant)

        time.sleep(max(0.0, args.start - time.monotonic()))
        threads = [threading.Thread(target=loop) for _ in range(args.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    json.dump(waits, sys.stdout)


@contextmanager
def _place(args: argparse.Namespace) -> Iterator[str]:
    """A new ledger: a file, or a database of a server that is started for it."""
    if args.database:
        from tests.postgres import start_postgres  # noqa: PLC0415 - the workers cannot import it

        with start_postgres() as server:
            yield server.database()
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/ledger.db"


def _measure(args: argparse.Namespace) -> None:
    with _place(args) as place:
        command = [sys.executable, __file__, "--ledger", place]
        for name in ("threads", "keys", "seconds"):
            command += [f"--{name}", str(getattr(args, name))]
        command += ["--start", str(time.monotonic() + 2)]
        children = [
            subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(args.processes)
        ]
        counts = [json.loads(child.communicate()[0]) for child in children]
    waits = sorted(wait for part in counts for wait in part)
    busy = os.times()
    shares = [len(part) for part in counts]
    print(
        f"{args.processes} processes x {args.threads} threads, {args.keys} keys: "
        f"{len(waits) / args.seconds:,.0f} reserves/s, "
        f"p50 {1000 * waits[len(waits) // 2]:.1f} ms, "
        f"p99 {1000 * waits[int(len(waits) * 0.99)]:.1f} ms, max {1000 * waits[-1]:.1f} ms, "
        f"most/least per process {max(shares) / min(shares):.2f}, "
        f"{1e6 * (busy.children_user + busy.children_system) / len(waits):.0f} us CPU each"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8, help="per process")
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--database", action="store_true", help="in PostgreSQL, not in a file")
    parser.add_argument("--ledger", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ledger:
        _worker(args)
    else:
        _measure(args)


if __name__ == "__main__":
    main()
