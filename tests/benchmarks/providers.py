"""
Every provider profile of the sandbox with the example's defaults and a model's name, nothing else.

    python tests/benchmarks/providers.py          # two tables as Markdown: half a minute

The first table is what is served: a check and a review of six inputs on two keys. The second is
what is always refused: 300 inputs of which none can be answered. Wasted are the requests that were
not answered with a 200. Both go through a shard's own worker on real HTTP; only Prefect is left out.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from deployments.sandbox import Sandbox, start_sandbox
from deployments.sandbox.profiles import PROFILES
from tasks.core.failures import Failures, failure_sentence
from tasks.core.paths import RunPaths
from tasks.core.records import InputReview
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.infer.shard_worker import open_shard_worker
from tasks.load.rows import read_input
from tasks.upstream.calls.endpoint_status import EndpointStatus, read_endpoint_status

__all__ = ["KEYS", "MOST", "REFUSED", "SERVED", "Outcome", "Refused", "refuse", "serve"]

KEYS = ("a", "b")
MOST = 5
"""Requests per key and model that may be wasted."""
SERVED = [
    (name, model, stream)
    for name, profile in PROFILES.items()
    for model in (profile.models or {"any-model": None})
    for stream in (False, True)
]
"""Profile, model, whether it is asked to stream."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A provider that refuses everything, whatever is asked: settings of the sandbox, the model."""

    what: str
    about: str
    """Its name among the refusals of a profile."""
    control: Mapping[str, Any]
    model: str | None = None
    """Left out: the profile's first."""


def _in_state(state: str, about: str) -> Refused:
    keys = {alias: {"key": f"key-{alias}", "state": state} for alias in KEYS}
    return Refused(f"keys {state}", about, {"keys": keys})


_REFUSALS = (
    Refused("unknown model", "model", {}, "no-such-model"),
    _in_state("revoked", "key"),
    *(_in_state(state, state) for state in ("forbidden", "unpaid", "exhausted")),
)
REFUSED = [
    (name, refused)
    for name, profile in PROFILES.items()
    for refused in _REFUSALS
    if refused.about in profile.refusals or (name == "plain" and refused.model is None)
]
"""Profile, and what it refuses in words of its own; "plain" has those of all others."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run, and what its user reads."""

    reviews: list[InputReview]
    requests: int
    wasted: int
    adapted: list[str]
    said: list[str]
    """The failures of a run as its summary and its report tell them, the largest group first."""

    @property
    def complete(self) -> int:
        """Inputs that were reviewed in full."""
        return sum(review["coverage"] == "complete" for review in self.reviews)


def serve(sandbox: Sandbox, folder: Path, profile: str, model: str, *, stream: bool) -> Outcome:
    """Check and review six inputs by a model's name."""
    # A quota has tests and tables of its own, and GitHub's would take a minute here.
    sandbox.control(profile=profile, quota=[])
    more = "stream = true\n" if stream else ""
    config = (
        f'[[check]]\nname = "one"\nmodel = "{model}"\n{more}[review]\nmodel = "{model}"\n{more}'
    )
    return _review(sandbox, folder, profile, config, 6)


def refuse(
    sandbox: Sandbox, folder: Path, profile: str, refused: Refused, inputs: int = 300
) -> Outcome:
    """Check inputs that cannot be answered."""
    model = refused.model or next(iter(PROFILES[profile].models), "any-model")
    sandbox.control(profile=profile, quota=[], **refused.control)
    # A limit per day is over at 8:00 UTC, which is waited for when it is near.
    head = 'mode = "check"\nlongest_wait = 1\n'
    config = f'{head}[[check]]\nname = "one"\nmodel = "{model}"\n'
    return _review(sandbox, folder, profile, config, inputs)


def _review(sandbox: Sandbox, folder: Path, profile: str, config: str, inputs: int) -> Outcome:
    url = sandbox.root + PROFILES[profile].base
    pool = "".join(
        f'[app_ids.{alias}]\nkey = "env:K"\nbase_url = "{url}"\nquota = []\n' for alias in KEYS
    )
    settings = load_settings(config + pool)
    shard = RunPaths(folder / "run").shard(0)
    shard.root.mkdir(parents=True)
    shard.inputs.write_bytes(b"".join(_rows(inputs)))
    run = Run("run", settings, str(folder / "state"), 8)
    run.write(shard.settings)
    keys = {alias: SecretStr(f"key-{alias}") for alias in KEYS}
    with open_shard_worker(shard, keys, _quiet(), threading.Event()) as worker:
        worker.review_slice(0, worker.inputs)
    reviews = [orjson.loads(line) for line in shard.part(0).read_bytes().splitlines()]
    status = read_endpoint_status(run.ledger, run.run_id, settings.pool, settings.models)
    return _outcome(sandbox, reviews, status)


def _outcome(sandbox: Sandbox, reviews: list[InputReview], status: EndpointStatus) -> Outcome:
    failures = Failures()
    for review in reviews:
        failures.add(review["calls"])
    statuses = sandbox.stats()["statuses"]
    sent = sum(statuses.values())
    return Outcome(
        reviews=reviews,
        requests=sent,
        wasted=sent - statuses.get("200", 0),
        adapted=list(status.adapted.values()),
        said=[failure_sentence(one) for one in failures.facts()],
    )


def _quiet() -> logging.Logger:
    log = logging.getLogger("providers")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    return log


def _rows(inputs: int) -> Iterator[bytes]:
    for number in range(inputs):
        code = f"def mean{number}(rows):\n    total = sum(rows)\n    return total / len(rows)\n"
        row = {"input_id": f"i{number:03}", "path": f"src/m{number}.py", "content": code}
        yield orjson.dumps(read_input(row)) + b"\n"


def _show(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    names = tuple(head)
    print(f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |", flush=True)


def _served(sandbox: Sandbox) -> Iterator[Iterable[str]]:
    for profile, model, stream in SERVED:
        sandbox.reset()
        with tempfile.TemporaryDirectory() as folder:
            one = serve(sandbox, Path(folder), profile, model, stream=stream)
        how = "stream" if stream else "plain"
        finished = f"{one.complete} of {len(one.reviews)}"
        told = "; ".join([*one.adapted, *one.said]) or "nothing to tell"
        yield profile, f"`{model}`", how, finished, str(one.requests), str(one.wasted), told


def _refused(sandbox: Sandbox) -> Iterator[Iterable[str]]:
    for profile, refused in REFUSED:
        sandbox.reset()
        with tempfile.TemporaryDirectory() as folder:
            one = refuse(sandbox, Path(folder), profile, refused)
        told = "; ".join(one.said).replace(sandbox.root, "http://sandbox")
        yield profile, refused.what, str(one.requests), told


def main() -> None:
    """Print both tables."""
    with start_sandbox() as sandbox:
        head = "profile", "model", "how", "in full", "requests", "wasted", "what the user reads"
        _show(head, _served(sandbox))
        _show(("profile", "300 inputs", "requests", "what the user reads"), _refused(sandbox))


if __name__ == "__main__":
    main()
