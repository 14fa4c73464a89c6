"""The operators' limits on a real Prefect server, judged by what the sandbox saw of real calls."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from flows.ui.concurrency_limits import Limits
from flows.ui.limit_sync import LimitSync
from tasks.core.calls import Request
from tasks.core.errors import Stopped
from tasks.core.run import Run
from tasks.core.settings import Settings, load_settings
from tasks.upstream.calls.caller import open_caller
from tasks.upstream.quota import Quota
from tests.processes import await_threads

WINDOW = 1.0  # seconds
PACE = 0.2  # seconds between two syncs
PATIENCE = 20.0  # seconds

LOG = logging.getLogger("test.limit_sync")

MakeRun = Callable[..., Run]


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and fail with its name."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        threading.Event().wait(0.05)


@pytest.fixture
def api(prefect_server: object) -> Iterator[SyncPrefectClient]:  # noqa: ARG001 - it must be up
    """A client of the session's server, which has no limits yet."""
    with get_client(sync_client=True) as client:
        for limit in client.read_global_concurrency_limits(limit=200):
            client.delete_global_concurrency_limit_by_name(limit.name)
        yield client


def settings(sandbox: Sandbox, quota: int, window: float = WINDOW) -> Settings:
    """Two app_ids of `quota` requests per `window` seconds."""
    pool = "".join(
        f'[app_ids.{alias}]\nkey = "env:KEY"\nbase_url = "{sandbox.base_url}"\n'
        f'quota = "{quota}/{window:g}s"\n'
        for alias in "ab"
    )
    return load_settings(
        f'mode = "check"\nmargin = 0.1\n{pool}[[check]]\nname = "one"\nmodel = "m"\n'
    )


class Traffic:
    """A run at full demand: threads that call until the block ends."""

    def __init__(self, run: Run, sandbox: Sandbox, threads: int = 16) -> None:
        self.run = run
        self._sandbox = sandbox
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self._caller = open_caller(
            run.settings.pool,
            {app.alias: SecretStr(app.alias) for app in run.settings.pool},
            journal=run.journal,
            ledger=run.ledger,
            margin=run.settings.margin,
            run_id=run.run_id,
            stop=self._stop,
        )
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Self:
        self._entered = self._caller.__enter__()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        await_threads(self._threads, PATIENCE)
        self._caller.__exit__(None, None, None)

    def _ask(self) -> None:
        while not self._stop.is_set():
            text = f"{self.run.run_id} {next(self._numbers)}"
            try:
                self._entered.call(Request("m", ({"role": "user", "content": text},)))
            except Stopped:
                return

    def sends(self, alias: str, since: float) -> list[float]:
        """When the sandbox saw calls of that app_id after an instant, in order."""
        return [
            row["at"] for row in self._sandbox.log() if row["key"] == alias and row["at"] > since
        ]

    def settles_at(self, alias: str, limit: int) -> None:
        """Wait until the sandbox sees `limit` calls in each of the last windows, never more."""

        def steady() -> bool:
            since = time.monotonic() - 3 * WINDOW
            sends = self.sends(alias, since)
            return len(sends) >= 2 * limit and _most(sends) == limit

        until(steady, f"{limit} calls per window on {alias}")

    def silent(self, alias: str) -> bool:
        """Whether two windows passed without a call of that app_id."""
        return not self.sends(alias, time.monotonic() - 2 * WINDOW)


def _most(sends: list[float]) -> int:
    return max((sum(at <= one < at + WINDOW for one in sends) for at in sends), default=0)


@pytest.fixture
def make_run(sandbox: Sandbox, tmp_path: Path) -> Callable[..., Run]:
    """`make_run(quota=3, run_id=...)`: runs on one state folder."""
    keys = {alias: {"key": alias} for alias in "ab"}
    sandbox.control(keys=keys, strict_keys=True, quota=[f"6/{WINDOW:g}s"])

    def make(quota: int = 3, run_id: str = "night", window: float = WINDOW) -> Run:
        return Run(run_id, settings(sandbox, quota, window), str(tmp_path), threads=16)

    return make


def edit(api: SyncPrefectClient, alias: str, **change: object) -> None:
    """What the UI and `prefect gcl update` do."""
    wanted = GlobalConcurrencyLimitUpdate.model_validate(change)
    api.update_global_concurrency_limit(f"app-id-{alias}", wanted)


def number(api: SyncPrefectClient, alias: str) -> int:
    return api.read_global_concurrency_limit_by_name(f"app-id-{alias}").limit


def slots(api: SyncPrefectClient, alias: str) -> int:
    return api.read_global_concurrency_limit_by_name(f"app-id-{alias}").active_slots


def test_an_edit_reaches_the_running_calls(
    api: SyncPrefectClient, sandbox: Sandbox, make_run: MakeRun
) -> None:
    """3 -> 6 -> 1 in Prefect is what the sandbox sees per window soon after, with no 429."""
    run = make_run(quota=3)
    with LimitSync(run, LOG, every=PACE), Traffic(run, sandbox) as traffic:
        for wanted in (3, 6, 1):
            edit(api, "a", limit=wanted)
            traffic.settles_at("a", wanted)
        traffic.settles_at("b", 3)
    assert sandbox.stats()["refused"] == 0


def test_an_inactive_limit_takes_the_app_id_out_and_an_active_one_brings_it_back(
    api: SyncPrefectClient, sandbox: Sandbox, make_run: MakeRun
) -> None:
    """Nothing is sent on an inactive app_id, the other goes on, and nobody fails meanwhile."""
    run = make_run(quota=3)
    with LimitSync(run, LOG, every=PACE), Traffic(run, sandbox) as traffic:
        traffic.settles_at("a", 3)
        edit(api, "a", active=False)
        until(lambda: traffic.silent("a"), "silence on a")
        traffic.settles_at("b", 3)
        edit(api, "a", active=True)
        traffic.settles_at("a", 3)
    assert {row["status"] for row in sandbox.log()} == {200}


def test_a_limit_made_inactive_just_before_our_change_is_whole_again_later(
    api: SyncPrefectClient, sandbox: Sandbox, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect ignores slots given back on an inactive limit: ours are not taken for somebody else's."""
    run, add, edited = make_run(quota=3), Limits.add, threading.Event()

    def late(limits: Limits, aliases: Collection[str], count: int, seconds: float) -> bool:
        if count < 0 and "a" in aliases and not edited.is_set():
            edit(api, "a", active=False)
            edited.set()
        return add(limits, aliases, count, seconds)

    with LimitSync(run, LOG, every=PACE), Traffic(run, sandbox) as traffic:
        until(lambda: slots(api, "a") == 3, "all slots of a shown as taken")
        monkeypatch.setattr(Limits, "add", late)
        until(edited.is_set, "slots of a given back")
        until(lambda: traffic.silent("a"), "silence on a")
        edit(api, "a", active=True)
        traffic.settles_at("a", 3)


def test_slots_of_another_flow_count_and_survive(
    api: SyncPrefectClient, sandbox: Sandbox, make_run: MakeRun
) -> None:
    """Two slots held elsewhere leave one call per window; they are still held when the run is over."""
    run = make_run(quota=3)
    api.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="app-id-a", limit=3))
    api.increment_concurrency_slots(["app-id-a"], 2, "concurrency")
    with LimitSync(run, LOG, every=PACE), Traffic(run, sandbox) as traffic:
        traffic.settles_at("a", 1)
        until(lambda: slots(api, "a") == 3, "our slot beside the other's")
    assert slots(api, "a") == 2
    api.release_concurrency_slots(["app-id-a"], 2, 1.0)
    with LimitSync(run, LOG, every=PACE), Traffic(run, sandbox) as traffic:
        traffic.settles_at("a", 3)


def test_used_slots_are_shown_and_given_back(
    api: SyncPrefectClient, sandbox: Sandbox, make_run: MakeRun
) -> None:
    """A run at full demand shows its whole window as taken, and none when the last run has ended."""
    run, other = make_run(quota=3), make_run(quota=3, run_id="ad-hoc")
    with LimitSync(run, LOG, every=PACE):
        with LimitSync(other, LOG, every=PACE), Traffic(run, sandbox):
            until(lambda: slots(api, "a") == slots(api, "b") == 3, "all slots shown as taken")
        # One run is over, the other one goes on: what is used stays shown until it leaves.
        until(lambda: slots(api, "a") == 0, "slots given back as they leave the window")
    assert slots(api, "b") == 0


@pytest.mark.parametrize("arrived", [True, False])
def test_a_crash_between_record_and_change_is_mended(
    api: SyncPrefectClient, make_run: MakeRun, *, arrived: bool
) -> None:
    """Slots that a killed run left on the limit are known as ours, whether or not its last change arrived."""
    run = make_run(quota=3)
    with LimitSync(run, LOG, every=PACE):
        found = api.read_global_concurrency_limit_by_name("app-id-a")
    api.increment_concurrency_slots(["app-id-a"], 3 if arrived else 1, "concurrency")
    state = Path(run.state) / "panel.json"
    left = json.loads(state.read_text())
    left[str(found.id)] |= {"shown": 1, "delta": 2, "before": 1}
    state.write_text(json.dumps(left))
    with LimitSync(run, LOG, every=PACE):
        assert run_limit(run) == 3, "nothing was taken for another flow's"
    assert slots(api, "a") == 0


def test_limits_are_made_once_and_an_edited_number_stays(
    api: SyncPrefectClient, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A number nobody edited follows review.toml; an operator's stays, and the log says who wins."""
    for quota in (3, 3, 4):
        with LimitSync(make_run(quota=quota), LOG):
            assert {number(api, alias) for alias in "ab"} == {quota}
    edit(api, "a", limit=5)
    with caplog.at_level(logging.WARNING), LimitSync(make_run(quota=2), LOG):
        assert (number(api, "a"), number(api, "b")) == (5, 2)
    assert "app_id b" not in caplog.text
    assert "5 requests, the limit app-id-a, and not the 2 of review.toml" in caplog.text
    assert "operator's number wins" in caplog.text
    edit(api, "a", limit=2)
    with LimitSync(make_run(quota=6), LOG):
        assert number(api, "a") == 2, "once an operator's, always an operator's"


def test_no_run_carries_its_number_into_another_one(
    api: SyncPrefectClient, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    """3/1s and 30/30s on one state at once: each keeps its own, until one is alone on the limit."""
    first, second = make_run(3), make_run(30, "second", 30.0)
    with LimitSync(first, LOG) as one, caplog.at_level(logging.WARNING):
        with LimitSync(make_run(4, "third"), LOG) as third:
            assert number(api, "a") == 3, "not while another run lives"
            assert one.sync()
            assert third.sync()
            assert (run_limit(first), run_limit(make_run(4, "third"))) == (3, 4)
        with LimitSync(second, LOG) as two:
            edit(api, "a", limit=2)
            assert one.sync()
            assert two.sync()
            assert (run_limit(first), run_limit(second)) == (2, 30), "it is for windows of 1 s"
            assert number(api, "a") == 2
        assert "app-id-a is for windows of 1 s" in caplog.text
    with LimitSync(second, LOG):
        assert number(api, "a") == 30
    with LimitSync(first, LOG):
        assert number(api, "a") == 3


def test_two_projects_on_one_server_share_no_limit(
    api: SyncPrefectClient,
    sandbox: Sandbox,
    make_run: MakeRun,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another state with the same aliases gets limits of its own: neither number nor slots go over."""
    run = make_run(3)
    other = Run("other", settings(sandbox, 5), str(tmp_path / "other"), threads=16)
    with LimitSync(run, LOG) as one, LimitSync(other, LOG) as two:
        assert (number(api, "a"), run_limit(run), run_limit(other)) == (3, 3, 5)
        edit(api, "a", limit=2)
        api.increment_concurrency_slots(["app-id-a"], 1, "concurrency")
        assert one.sync()
        assert two.sync()
        assert (run_limit(run), run_limit(other)) == (1, 5)
    names = {one.name: one.limit for one in api.read_global_concurrency_limits(limit=200)}
    (ending,) = {name.removeprefix("app-id-a") for name in names if name.startswith("app-id-a-")}
    assert names == {"app-id-a": 2, "app-id-b": 3, f"app-id-a{ending}": 5, f"app-id-b{ending}": 5}
    assert "the limit app-id-a is another project's" in caplog.text
    with LimitSync(other, LOG), LimitSync(run, LOG):
        assert len(api.read_global_concurrency_limits(limit=200)) == 4, "each finds its own again"


def test_without_the_api_the_run_goes_on_and_says_so_once(
    sandbox: Sandbox, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing listens at the API's address: calls follow review.toml, with one warning."""
    run = make_run(quota=3)
    nowhere = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"})
    sync = LimitSync(run, LOG, every=0.05)
    with caplog.at_level(logging.WARNING), nowhere, sync, Traffic(run, sandbox) as traffic:
        traffic.settles_at("a", 3)
    said = [record.message for record in caplog.records if record.name == LOG.name]
    assert len(said) == 1
    assert "quotas are those of review.toml" in said[0]


def test_a_run_makes_its_limits(
    api: SyncPrefectClient, sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """The command itself leaves one limit per app_id with a quota, all slots free, and none beside."""
    source = tmp_path / "one.jsonl"
    source.write_text('{"input_id": "1", "content": "def f(): return 1 / 0"}\n')
    head = f'base_url = "{sandbox.base_url}"\n'
    job = make_job(
        f'mode = "check"\nprocesses = 1\nstate = "state"\n'
        f'[app_ids.a]\nkey = "env:KEY_A"\nquota = "7/60s"\n{head}'
        f'[app_ids.free]\nkey = "env:KEY_B"\nquota = []\n{head}'
        '[[check]]\nname = "one"\nmodel = "m"\n'
    )
    finished = job.run(source)
    assert finished.code == 0, finished.err
    limits = api.read_global_concurrency_limits(limit=200)
    assert [(one.name, one.limit, one.active_slots) for one in limits] == [("app-id-a", 7, 0)]


def run_limit(run: Run) -> int | None:
    """Requests that the run's quota allows on a now, less what others hold."""
    with Quota(run.ledger, run.settings.pool, margin=0.1, run_id=run.run_id) as quota:
        key_log = quota._running().allocator.key_logs["a"]
        return None if key_log.limit is None else key_log.limit - key_log.control.external_slots


def test_quota_group_has_one_limit(
    sandbox: Sandbox, api: SyncPrefectClient, tmp_path: Path
) -> None:
    """Operators see one number for keys that share one quota; making it inactive stops them all."""
    text = 'mode = "check"\n[[check]]\nname = "one"\nmodel = "m"\n' + "".join(
        f'[app_ids.{alias}]\nkey = "env:KEY"\nbase_url = "{sandbox.base_url}"\nquota = "3/1s"\n'
        'quota_group = "both"\n'
        for alias in "ab"
    )
    run = Run("grouped", load_settings(text), str(tmp_path / "state"), 4)
    with (
        Quota(run.ledger, run.settings.pool, run_id=run.run_id) as quota,
        LimitSync(run, LOG, every=PACE) as sync,
    ):
        assert [one.name for one in api.read_global_concurrency_limits()] == ["app-id-both"]
        assert sync.least_seconds(6, {}) >= 1.0
        api.update_global_concurrency_limit(
            "app-id-both", GlobalConcurrencyLimitUpdate(active=False)
        )
        until(lambda: quota.snapshot()[0].state == "paused", "the group is paused")


def test_a_state_folder_that_is_gone_costs_no_run(
    api: SyncPrefectClient,  # noqa: ARG001 - it must be up
    make_run: MakeRun,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file stands where the limits' memory was: that is said, and the block ends as it would."""
    state = tmp_path / "state"
    run = replace(make_run(), state=str(state))
    with LimitSync(run, LOG, every=60) as sync:
        shutil.rmtree(state)
        state.touch()
        assert not sync.sync()
        assert not sync.sync()
    assert caplog.text.count("limits are not followed for now") == 1
    assert "were not given back" in caplog.text
