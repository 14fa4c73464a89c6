"""The budget of calls, on a real ledger and a real HTTP server that counts what it charges for."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from tasks.core.budgets import BudgetCaps, BudgetSettings
from tasks.core.calls import Request
from tasks.core.errors import OverBudget, UpstreamError
from tasks.core.prices import Price
from tasks.upstream.budget import read_budget
from tasks.upstream.calls.caller import Caller
from tests.processes import next_line, started

OpenCaller = Callable[..., Caller]
PRICE = Price(input=2.0, output=8.0)
THREADS = 16

_CHILD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from pydantic import SecretStr
from tasks.core.budgets import BudgetSettings
from tasks.core.errors import UpstreamError
from tasks.core.quotas import AppId
from tasks.core.prices import Price
from tasks.upstream.calls.caller import open_caller
from tests.upstream.test_budget import PRICE, THREADS, question

url, state, run_id, budget, first, last = sys.argv[1:]
def ask(number):
    with suppress(UpstreamError):
        caller.call(question(number))
        sys.stdout.write(str(number) + chr(10))  # in one piece, whatever the other threads write
        sys.stdout.flush()
with open_caller(
    [AppId("a0", url)], {"a0": SecretStr("plain-a0")}, journal=Path(state) / "journal.sqlite",
    ledger=sys.argv[2] + "/ledger.sqlite", run_id=run_id, prices={"m": PRICE},
    budget=BudgetSettings.model_validate_json(budget),
) as caller, ThreadPoolExecutor(THREADS) as threads:
    list(threads.map(ask, range(int(first), int(last))))
"""


def question(number: int) -> Request:
    """One question; its estimate is 60 tokens, 240 millionths of a dollar."""
    messages = ({"role": "user", "content": f"question {number}"},)
    return Request("m", messages, prompt_tokens=40, expected_tokens=20)


def _asked(caller: Caller, numbers: range, threads: int = THREADS) -> Counter[str]:
    def ask(number: int) -> str:
        try:
            reply = caller.call(question(number))
        except UpstreamError as error:
            return error.code
        return "journaled" if reply.journaled else "ok"

    with ThreadPoolExecutor(threads) as executor:
        return Counter(executor.map(ask, numbers))


def _charged(sandbox: Sandbox) -> float:
    """Dollars by the sandbox's own count."""
    stats = sandbox.stats()
    tokens = stats["prompt_tokens"] * PRICE.input + stats["completion_tokens"] * PRICE.output
    return float(tokens) / 1e6


def _spent(tmp_path: Path, run_id: str, budget: BudgetSettings) -> list[int]:
    return [use.spent for use in read_budget(tmp_path / "ledger.sqlite", run_id, budget)]


def test_calls_end_at_the_cap_and_the_next_run_goes_on(
    sandbox: Sandbox, open_call: OpenCaller, tmp_path: Path
) -> None:
    """Of 60 questions 25 may be asked; the next run has the journal's for nothing, and 25 more."""
    budget = BudgetSettings(calls=25)
    with pytest.MonkeyPatch.context():
        first = open_call(1, run_id="one", budget=budget)
        assert _asked(first, range(60)) == {"ok": 25, "over_budget": 35}
    assert sandbox.stats()["requests"] == 25
    with pytest.raises(OverBudget, match=r"budget.calls = 25 calls .* run again"):
        first.call(question(99))
    (use,) = read_budget(tmp_path / "ledger.sqlite", "one", budget)
    assert (use.spent, use.reached, use.sentence()) == (
        25,
        True,
        "budget.calls: 25 calls of 25 calls",
    )
    second = open_call(1, run_id="two", budget=budget)
    assert _asked(second, range(60)) == {"journaled": 25, "ok": 25, "over_budget": 10}


def test_room_of_calls_under_way_is_waited_for(sandbox: Sandbox, open_call: OpenCaller) -> None:
    """Estimates that are too high keep calls waiting and not failing: the cap is used to its end."""
    budget = BudgetSettings(tokens=3000)
    caller = open_call(1, run_id="one", budget=budget)
    dear = [
        Request("m", ({"role": "user", "content": f"q{n}"},), prompt_tokens=1, expected_tokens=1400)
        for n in range(8)
    ]
    with ThreadPoolExecutor(8) as executor:
        assert {reply.journaled for reply in executor.map(caller.call, dear)} == {False}
    assert sandbox.stats()["requests"] == 8


def test_refused_and_unsent_calls_cost_no_tokens(
    sandbox: Sandbox, open_call: OpenCaller, tmp_path: Path
) -> None:
    """A refusal is a call and no dollar; a connection that failed is neither; usage is what counts."""
    budget = BudgetSettings(usd=1, calls=100, per_day=BudgetCaps(usd=1))
    caller = open_call(1, run_id="one", budget=budget, prices={"m": PRICE})
    sandbox.control(script=[{"fault": "content_policy", "nth": [1]}])
    assert _asked(caller, range(4), threads=1) == {"content_filter": 1, "ok": 3}
    away = open_call(
        1, run_id="one", budget=budget, prices={"m": PRICE}, base_url="http://127.0.0.1:9/v1"
    )
    assert _asked(away, range(9, 10), threads=1) == {"connect": 1}
    for one in (caller, away):
        one._up.quota.statistics()  # what is settled is in the ledger
    nanos = round(_charged(sandbox) * 1e9)
    assert _spent(tmp_path, "one", budget) == [nanos, 4, nanos]


def test_day_has_the_calls_of_all_runs(
    sandbox: Sandbox, open_call: OpenCaller, database: str
) -> None:
    """Two runs at once on one database share the day's budget; what one spends, the other lacks."""
    budget = BudgetSettings(per_day=BudgetCaps(calls=40))
    callers = [open_call(1, run_id=name, budget=budget, ledger=database) for name in "ab"]
    with ThreadPoolExecutor(2) as executor:
        ends = executor.map(_asked, callers, [range(30), range(100, 130)])
    assert sum(ends, Counter()) == {"ok": 40, "over_budget": 20}
    assert sandbox.stats()["requests"] == 40
    assert [use.spent for use in read_budget(database, "c", budget)] == [40]


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.chaos, id="long")])
def test_cap_holds_over_kill_and_rerun(
    sandbox: Sandbox, open_call: OpenCaller, tmp_path: Path, count: int
) -> None:
    """Killed before its cap, started again: charged is the cap, and at most the calls in flight more."""
    _asked(open_call(1, run_id="price"), range(5000, 5001))
    each = _charged(sandbox)
    sandbox.reset()
    budget = BudgetSettings(usd=each * count / 2, per_day=BudgetCaps(usd=each * count * 0.75))
    arguments = [
        sandbox.base_url,
        str(tmp_path),
        "night",
        budget.model_dump_json(),
        "0",
        str(count),
    ]
    command = [sys.executable, "-c", _CHILD, *arguments]
    with started(command) as child:
        assert all(next_line(child) for _ in range(count // 5))
    again = open_call(1, run_id="night", budget=budget, prices={"m": PRICE})
    ends = _asked(again, range(count))
    assert ends["ok"] >= count // 5, ends
    assert ends["over_budget"], ends
    in_flight = THREADS * each
    assert budget.usd is not None
    assert budget.usd - 2 * in_flight <= _charged(sandbox) <= budget.usd + in_flight
    # The next run has a budget of its own, and what is left of the day's.
    ends = _asked(open_call(1, run_id="next", budget=budget, prices={"m": PRICE}), range(count))
    assert ends["over_budget"], ends
    assert ends["ok"], ends
    day = each * count * 0.75
    assert day - 2 * in_flight <= _charged(sandbox) <= day + in_flight
