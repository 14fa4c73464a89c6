"""
Kill and stop processes that share a ledger, at full demand, and count what a server sees.

Workers send a datagram per grant to a socket of this process; the kernel stamps each arrival, so
the log is exact whatever the machine is busy with. The log then plays the enforcing server: a
request is refused when its window already holds `quota` accepted ones.

    python -m tests.benchmarks.quota_chaos --processes 4 --threads 8 --kills 13 --stops 7
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Quota

_SO_TIMESTAMPNS = 35
Arrival = tuple[float, str, str]
"""Seconds, alias, worker."""


class Server:
    """A loopback socket with a log of arrivals, stamped by the kernel."""

    def __init__(self) -> None:
        self.log: list[Arrival] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(64, 128)
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
            alias, worker = data.decode().split()
            self.log.append((seconds + nanoseconds / 1e9, alias, worker))


class Workers:
    """The processes of a run; what dies is started again."""

    def __init__(self, args: argparse.Namespace, ledger: str, port: int) -> None:
        self._command = [sys.executable, __file__, "--ledger", ledger, "--port", str(port)]
        for name in ("threads", "keys", "quota", "window", "margin"):
            self._command += [f"--{name}", str(getattr(args, name))]
        self._processes = {f"w{n}": self._start(f"w{n}") for n in range(args.processes)}

    def kill(self, chance: random.Random) -> None:
        name = chance.choice(sorted(self._processes))
        self._processes[name].kill()
        self._processes[name].wait()
        self._processes[name] = self._start(name)

    def stop(self, chance: random.Random, seconds: float) -> None:
        process = self._processes[chance.choice(sorted(self._processes))]
        process.send_signal(signal.SIGSTOP)
        threading.Timer(seconds, lambda: process.send_signal(signal.SIGCONT)).start()

    def end(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._command, "--worker", name])


def _pool(args: argparse.Namespace) -> list[AppId]:
    window = (Window(args.quota, args.window),)
    return [AppId(f"k{n}", windows=window) for n in range(args.keys)]


def _work(args: argparse.Namespace) -> None:
    quota = Quota(args.ledger, _pool(args), margin=args.margin, run_id="chaos")
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.connect(("127.0.0.1", args.port))

    def loop() -> None:
        while True:
            grant = quota.acquire("m")
            wire.send(f"{grant.app_id} {args.worker}".encode())
            quota.sent(grant)
            time.sleep(random.uniform(0.0, 0.05))  # the call
            quota.settle(grant)

    threads = [threading.Thread(target=loop) for _ in range(args.threads)]
    for thread in threads:
        thread.start()


@contextmanager
def _workers(args: argparse.Namespace, ledger: str, port: int) -> Iterator[Workers]:
    workers = Workers(args, ledger, port)
    try:
        yield workers
    finally:
        workers.end()


def _disturb(args: argparse.Namespace, workers: Workers, begin: float, length: float) -> None:
    chance = random.Random(args.seed)
    what = ["kill"] * args.kills + ["stop"] * args.stops
    chance.shuffle(what)
    for number, kind in enumerate(what):
        at = begin + length * (number + 1) / (len(what) + 1)
        time.sleep(max(0.0, at - time.monotonic()))
        if kind == "kill":
            workers.kill(chance)
        else:
            workers.stop(chance, args.window * chance.uniform(0.2, 2.0))
    time.sleep(max(0.0, begin + length - time.monotonic()))


def _refused(instants: Sequence[float], quota: int, window: float) -> int:
    accepted: list[float] = []
    for at in instants:
        if len(accepted) - bisect_right(accepted, at - window) < quota:
            accepted.append(at)
    return len(instants) - len(accepted)


def _report(args: argparse.Namespace, log: Sequence[Arrival]) -> dict[str, object]:
    begin = log[0][0]
    log = [arrival for arrival in log if arrival[0] < begin + args.windows * args.window]
    by_key: dict[str, list[float]] = defaultdict(list)
    for at, alias, _ in sorted(log):
        by_key[alias].append(at)
    slots = args.keys * args.quota * args.windows
    # Whoever starts first has the first burst for itself; that is not what fairness means.
    shares = Counter(worker for at, _, worker in log if at > begin + 2 * args.window)
    return {
        "sends": len(log),
        "refused": sum(_refused(at, args.quota, args.window) for at in by_key.values()),
        "slots": slots,
        "used": round(len(log) / slots, 3),
        "most_over_least": round(max(shares.values()) / min(shares.values()), 2),
    }


@contextmanager
def _place(args: argparse.Namespace) -> Iterator[str]:
    """A new ledger: a file, or a database of a server that is started for it."""
    if args.database:
        from tests.postgres import start_postgres  # noqa: PLC0415 - the workers cannot import it

        with start_postgres() as postgres:
            yield postgres.database()
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/ledger.db"


def _run(args: argparse.Namespace) -> dict[str, object]:
    server = Server()
    with (
        _place(args) as place,
        _workers(args, place, server.port) as workers,
    ):
        while not server.log:
            time.sleep(0.01)
        _disturb(args, workers, time.monotonic(), args.windows * args.window)
    return _report(args, list(server.log))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8, help="per process")
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--quota", type=int, default=3, help="requests per window and key")
    parser.add_argument("--window", type=float, default=3.0, help="seconds")
    parser.add_argument("--windows", type=int, default=12, help="length of the run")
    parser.add_argument("--margin", type=float, default=0.1, help="seconds")
    parser.add_argument("--kills", type=int, default=13)
    parser.add_argument("--stops", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", action="store_true", help="in PostgreSQL, not in a file")
    for hidden in ("--ledger", "--worker"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _work(args)
    else:
        print(json.dumps(_run(args)))


if __name__ == "__main__":
    main()
