"""A shard that is at work before there is a flow run of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import orjson
import pytest

from deployments.sandbox import Sandbox
from flows import review_shard
from flows.review_shard import review_alone, review_early
from tasks.core.paths import RunPaths, ShardPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.load.rows import read_input
from tasks.upstream.journal.recover import check
from tests.runs import await_condition

INPUTS = 12
THREADS = 4


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Handlers as before: the process of a shard has its own."""
    earlier = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    yield
    for one, handler in earlier.items():
        signal.signal(one, handler)
    review_shard._early.clear()


@pytest.fixture
def shard(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardPaths:
    """A shard of inputs that differ, for one check on the sandbox."""
    monkeypatch.setenv("K", "planted-key-early-5e1c")
    made = RunPaths(tmp_path / "run").shard(0)
    made.root.mkdir(parents=True)
    rows = [{"input_id": f"i{n:02}", "content": f"x = {n}\n"} for n in range(INPUTS)]
    made.inputs.write_bytes(b"".join(orjson.dumps(read_input(row)) + b"\n" for row in rows))
    settings = load_settings(
        'mode = "check"\n[[check]]\nname = "c1"\nmodel = "c1"\n'
        f'[app_ids.a]\nkey = "env:K"\nbase_url = "{sandbox.base_url}"\nquota = []\n'
    )
    Run("early", settings, str(tmp_path / "state"), THREADS).write(made.settings)
    return made


def _go_on(shard: ShardPaths) -> Callable[[], None]:
    return partial(review_alone, shard.root.name, str(shard.root))


def test_what_began_early_is_gone_on_with(sandbox: Sandbox, shard: ShardPaths) -> None:
    """Every call is made before anybody asks for the shard, and none a second time."""

    def hear() -> Callable[[], None]:
        await_condition(lambda: sandbox.stats()["answered"] == INPUTS, "all calls")
        assert not shard.done.exists()
        return _go_on(shard)

    review_early(str(shard.root), hear)

    assert orjson.loads(shard.done.read_bytes())["inputs"] == INPUTS
    assert sandbox.stats()["requests"] == INPUTS


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_before(sandbox: Sandbox, shard: ShardPaths, sent: signal.Signals) -> None:
    """Calls in flight are finished and journaled, no other one is begun, and the process leaves."""
    sandbox.control(latency=0.3)

    def hear() -> Callable[[], None]:
        await_condition(lambda: sandbox.stats()["requests"] >= THREADS, "first calls")
        os.kill(os.getpid(), sent)
        threading.Event().wait(10)
        pytest.fail("the signal was not heard")

    with pytest.raises(SystemExit) as left:
        review_early(str(shard.root), hear)

    assert left.value.code == 128 + sent
    seen = sandbox.stats()
    assert (seen["abandoned"], seen["requests"] < INPUTS) == (0, True)
    assert not shard.done.exists()
    assert check(Run.read(shard.settings).journal) == []


def test_a_run_that_ends_meanwhile(sandbox: Sandbox, shard: ShardPaths) -> None:
    """The end of the run, which would have told what to go on with, is heard; nothing is left open."""

    def hear() -> Callable[[], None]:
        raise EOFError

    with pytest.raises(EOFError):
        review_early(str(shard.root), hear)
    assert sandbox.stats()["requests"] <= INPUTS
    assert not [one for one in threading.enumerate() if "ThreadPool" in one.name and one.is_alive()]


def test_what_hinders_it_is_told_once_somebody_listens(
    shard: ShardPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its key the shard waits all the same, and its report says why it gave up."""
    monkeypatch.delenv("K")
    shard.exit_report.write_bytes(b" " * 8192)
    review_early(str(shard.root), lambda: _go_on(shard))
    report = orjson.loads(shard.exit_report.read_bytes())
    assert report["lasting"] is True
    assert "env:K" in report["message"] or "K" in report["message"]
