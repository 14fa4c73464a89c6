"""
The load of one policy, as a process of its own that can be ended: threads that send until all is answered.

limiters.py starts it. What happened is read from the sandbox's log, not from here.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from policies.base import Policy, Pool
from policies.buckets import SixBuckets, SixBucketsFixed, SlotQueue, TokenBucket
from policies.logs import EvenSpacing, ExclusiveKey, SlidingLog, SlidingLogMargin
from policies.shared import Ours, PrefectRateLimit

POLICIES: dict[str, type[Policy]] = {
    "sliding log, polling": SlidingLog,
    "sliding log + margin, polling": SlidingLogMargin,
    "even spacing": EvenSpacing,
    "six buckets, index bug": SixBuckets,
    "six buckets, index right": SixBucketsFixed,
    "token bucket": TokenBucket,
    "queue of slots": SlotQueue,
    "exclusive key": ExclusiveKey,
    "Prefect rate_limit": PrefectRateLimit,
    "ours": Ours,
}


def run(options: argparse.Namespace) -> None:
    """Send until `calls` have been answered with 200."""
    aliases = [f"k{n}" for n in range(options.keys)]
    pool = Pool(aliases, options.limit, options.seconds, options.margin, options.folder)
    policy = POLICIES[options.policy](pool)
    tasks = itertools.count()
    limits = httpx.Limits(max_connections=options.threads, max_keepalive_connections=None)
    with httpx.Client(base_url=options.url, timeout=60, limits=limits) as http:

        def work() -> None:
            while (task := next(tasks)) < options.calls:
                while not _send(policy, http, task, options.jitter):
                    pass

        with ThreadPoolExecutor(options.threads) as executor:
            for future in [executor.submit(work) for _ in range(options.threads)]:
                future.result()
    policy.close()


def _send(policy: Policy, http: httpx.Client, task: int, jitter: float) -> bool:
    """One attempt; whether it was answered."""
    ticket = policy.acquire()
    delay = random.uniform(0, jitter)
    time.sleep(delay)  # the way to the upstream: to the policy the request left before it
    response = http.post(
        "/chat/completions",
        json={"model": "m", "messages": [{"role": "user", "content": f"task {task}"}]},
        headers={"Authorization": f"Bearer {policy.alias_of(ticket)}"},
        extensions={"trace": _Written(lambda at: policy.sent(ticket, at - delay))},
    )
    policy.done(ticket, response.status_code, response.headers)
    return response.status_code == httpx.codes.OK


class _Written:
    """Tells when a request's body was written, as the client itself reports it."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell

    def __call__(self, event: str, _info: object) -> None:
        if event == "http11.send_request_body.complete":
            self._tell(time.monotonic())


def main() -> None:
    """Options as limiters.py gives them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=POLICIES, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("keys", "limit", "calls", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("seconds", "margin", "jitter"):
        parser.add_argument(f"--{name}", type=float, required=True)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
