"""Questions by way of the sandbox's batches into the journal, whatever a batch does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from deployments.sandbox import Sandbox
from tasks.core.errors import RunCancelled
from tasks.upstream.batches.store import open_batches
from tasks.upstream.budget import read_budget
from tests.batch.conftest import SCHEMA, Desk, question, questions
from tests.runs import await_condition


def states(desk: Desk) -> list[str]:
    """The state of each intent, oldest first."""
    with open_batches(desk.run().batches) as store:
        return [one.state for one in store.all()]


def script(*rules: Any) -> dict[str, Any]:
    """Faults of the sandbox's batches."""
    return {"seconds": 0, "script": list(rules)}


def test_answers_are_journaled_as_those_of_a_call(sandbox: Sandbox, desk: Desk) -> None:
    """Half price, with way and batch; nothing is left at the provider, nothing is asked twice."""
    asked = questions(6)
    assert desk.ask_all(asked) == 1
    replies = [one for one in desk.replies(asked) if one is not None]
    assert len(replies) == 6
    batch = sandbox.batch_log()["batches"][0]
    assert {(one.via, one.batch_id) for one in replies} == {("batch", batch["id"])}
    assert len({one.paid_for for one in replies}) == 6
    assert all(one.paid_for.startswith("run-1 ") for one in replies)
    assert all(one.usage.prompt_tokens and one.content for one in replies)
    assert batch["metadata"]["nightly_review_run"] == "run-1"
    assert sandbox.batch_log()["files"] == []
    assert states(desk) == ["closed"]
    assert [what for what, _ in desk.told] == ["submitted", "ended"]
    assert desk.ask_all(asked) == 0
    bill = sandbox.bill()
    assert {tier: one["calls"] for tier, one in bill["tiers"].items() if one["calls"]} == {
        "batch": 6
    }
    assert bill["questions_twice"] == 0


@pytest.mark.parametrize("dialect", ["azure", "together"])
def test_other_dialects(sandbox: Sandbox, desk: Desk, dialect: str) -> None:
    """Their states, paths and files; Together keeps no metadata, and its batch is found by its file."""
    sandbox.control(batch={"seconds": 0, "dialect": dialect})
    asked = questions(4)
    run = desk.run(app=f'batch_dialect = "{dialect}"')
    assert desk.ask_all(asked, run) == 1
    assert desk.unanswered(asked) == []
    assert states(desk) == ["closed"]


def test_a_key_that_is_refused_leaves_its_questions_to_calls(sandbox: Sandbox, desk: Desk) -> None:
    """No batch, no loop: the run goes on at once, and nothing is claimed."""
    sandbox.control(keys={"a": {"key": "sk-batch-a", "state": "revoked"}})
    asked = questions(4)
    assert desk.ask_all(asked) == 1
    assert len(desk.unanswered(asked)) == 4
    assert states(desk) == ["abandoned"]


def test_a_batch_that_its_provider_forgot_frees_its_questions(sandbox: Sandbox, desk: Desk) -> None:
    """As after a month, or at another account: they are asked again."""
    sandbox.control(batch={"seconds": 1000})
    asked = questions(4)

    def forget() -> None:
        if len(desk.told) == 1:
            sandbox.reset()
            sandbox.control(batch={"seconds": 0})

    with desk.rounds(look=forget) as rounds:
        assert rounds.ask(desk.file(asked))
    assert states(desk) == ["closed"]
    assert desk.ask_all(asked) == 1
    assert desk.unanswered(asked) == []


def test_files_are_kept_on_demand(sandbox: Sandbox, desk: Desk) -> None:
    """For whoever wants to look at them at the provider."""
    desk.ask_all(questions(3), desk.run(batch="keep_files = true"))
    assert len(sandbox.batch_log()["files"]) == 2
    assert states(desk) == ["closed"]


def test_an_answer_that_is_lost_while_the_list_lags_makes_no_second_batch(
    sandbox: Sandbox, desk: Desk
) -> None:
    """The batch is looked for until it shows, and adopted."""
    sandbox.control(
        batch=script({"fault": "create_reset", "times": 1}, {"fault": "list_lag", "times": 1})
    )
    asked = questions(4)
    desk.ask_all(asked)
    assert desk.unanswered(asked) == []
    assert sandbox.bill()["questions_twice"] == 0


AGAIN = [
    "create_429", "create_reset", "get_500", "unknown_state", "expired", "cancelled", "rows_429", "no_files",
    "empty_error_file", "broken_line", "missing_line", "token_limit",
]  # fmt: skip
OF_THE_CLIENT = [
    "upload_500", "upload_cut", "create_500", "capital_states", "rows_500", "download_500", "download_cut",
    "blank_error_id", "duplicate_line", "foreign_line", "any_order", "bom", "crlf", "bare_response",
]  # fmt: skip
"""Met by the client's own tests in every `make test`."""


@pytest.mark.parametrize(
    "fault", [*AGAIN, *(pytest.param(one, marks=pytest.mark.chaos) for one in OF_THE_CLIENT)]
)
def test_no_end_of_a_batch_loses_a_question(sandbox: Sandbox, desk: Desk, fault: str) -> None:
    """What one batch does not answer, the next one does; no batch is left, no row is charged twice in vain."""
    sandbox.control(batch=script({"fault": fault, "times": 1}))
    asked = questions(4)
    desk.ask_all(asked)
    assert desk.unanswered(asked) == []
    assert set(states(desk)) <= {"closed", "abandoned"}
    assert not [one for one in sandbox.batch_log()["batches"] if one["state"] == "in_progress"]
    lost = {"broken_line": 1, "missing_line": 1, "no_files": 4, "cancelled": 4, "expired": 4}
    assert sandbox.bill()["questions_twice"] <= lost.get(fault, 0)


def test_a_batch_that_is_not_taken_leaves_its_questions_to_calls(
    sandbox: Sandbox, desk: Desk
) -> None:
    """A file that the provider finds invalid is not handed in again; nothing was paid."""
    sandbox.control(batch=script("invalid"))
    asked = questions(4)
    assert desk.ask_all(asked) == 1
    assert len(desk.unanswered(asked)) == 4
    assert sandbox.stats()["batches"]["made"] == 1
    assert sandbox.bill()["usd"] == 0


def test_rows_that_are_refused_for_good_are_not_asked_again(desk: Desk) -> None:
    """The run knows them with their reason; the others of the batch are answered."""
    asked = [*questions(3), question("y = 1 [[sandbox:content_policy]]")]
    with desk.rounds() as rounds:
        assert rounds.ask(desk.file(asked))
    assert desk.unanswered(asked) == asked[3:]
    with open_batches(desk.run().batches) as store:
        refused = store.refusals("run-1")
        assert store.refusals("run-2") == {}
    assert [(key, one.code) for key, one in refused.items()] == [(asked[3].key, "content_filter")]


def test_a_format_that_is_refused_is_lowered_for_the_next_file(
    sandbox: Sandbox, desk: Desk
) -> None:
    """All rows of a file are alike: one refusal teaches, and the second file is taken."""
    sandbox.control(models={"m": {"response_format": "json_object"}})
    asked = questions(4, response_format=SCHEMA)
    assert desk.ask_all(asked) == 2
    assert desk.unanswered(asked) == []
    assert sandbox.bill()["questions_twice"] == 0


def test_the_deadline_cancels_and_takes_what_is_done(sandbox: Sandbox, desk: Desk) -> None:
    """Rows that were done by then are journaled; the rest is for calls, and no batch goes on."""
    sandbox.control(batch={"seconds": 1000, "cancel_seconds": 0})
    asked = questions(10)

    moved = threading.Event()

    def look() -> None:
        if not moved.is_set() and sandbox.stats()["batches"]["calls"].get("get", 0) >= 1:
            moved.set()
            sandbox.advance(500)

    with desk.rounds(desk.run(batch='deadline = "2s"'), look=look) as rounds:
        assert rounds.ask(desk.file(asked))
        assert rounds.late
        assert not rounds.ask(desk.file(asked))
    left = desk.unanswered(asked)
    assert 0 < len(left) < 10
    assert [what for what, _ in desk.told] == ["submitted", "late", "ended"]
    assert states(desk) == ["closed"]


def test_a_batch_that_never_ends_is_given_up_at_the_deadline(sandbox: Sandbox, desk: Desk) -> None:
    """Also one whose state nobody knows."""
    sandbox.control(batch=script("never_ending", "unknown_state"))
    with desk.rounds(desk.run(batch='deadline = "1s"')) as rounds:
        began = time.monotonic()
        assert rounds.ask(desk.file(questions(3)))
        assert rounds.late
        assert time.monotonic() - began < 30


def test_a_deadline_between_two_rounds_is_late_as_well(sandbox: Sandbox, desk: Desk) -> None:
    """While the shards collected their reviews it has passed: nothing more is handed in."""
    run = desk.run(batch='deadline = "1h"')
    with desk.rounds(run, started=time.time() - 3599.5) as rounds:
        await_condition(lambda: time.time() >= rounds.deadline, "the deadline", 5)
        assert not rounds.ask(desk.file(questions(3)))
        assert rounds.late
    assert sandbox.stats()["batches"]["made"] == 0


def test_files_wait_for_room_among_the_enqueued_tokens(sandbox: Sandbox, desk: Desk) -> None:
    """Never more prompts at the provider than the limit; all are answered in the end."""
    sandbox.control(batch={"seconds": 0, "max_enqueued_tokens": 100_000})
    run = desk.run(batch="max_requests = 3\nmax_enqueued_tokens = 1000")
    asked = questions(40)
    most = []
    with desk.rounds(run, show=lambda all_: most.append(_enqueued(all_))) as rounds:
        assert rounds.ask(desk.file(asked))
    assert desk.unanswered(asked) == []
    assert sandbox.stats()["batches"]["made"] == 14
    assert max(most) <= 1000


def _enqueued(intents: Any) -> int:
    return sum(one.prompt_tokens for one in intents if one.state in ("uploaded", "working"))


def test_a_limit_that_is_lower_than_told_halves_the_file(sandbox: Sandbox, desk: Desk) -> None:
    """The provider fails a batch of too many tokens; smaller ones go through."""
    asked = questions(16)
    sandbox.control(batch={"seconds": 0, "max_enqueued_tokens": 700})
    desk.ask_all(asked)
    assert desk.unanswered(asked) == []
    assert sandbox.bill()["questions_twice"] == 0


def test_two_runs_wait_for_one_answer(sandbox: Sandbox, desk: Desk) -> None:
    """A question in the batch of another living run is not put into a second one, nor called."""
    sandbox.control(batch={"seconds": 1000})
    first, second = questions(6), [*questions(4), *questions(3, "r")]
    submitted = threading.Event()

    def one() -> None:
        with desk.rounds(desk.run("run-1"), tell=lambda *_: submitted.set()) as rounds:
            assert rounds.ask(desk.file(first))

    thread = threading.Thread(target=one)
    thread.start()
    assert submitted.wait(20)

    def look() -> None:
        if sandbox.stats()["batches"]["made"] == 2:
            sandbox.advance(5000)

    path = desk.folder / "second.jsonl"
    desk.file(second)[0].rename(path)
    with desk.rounds(desk.run("run-2"), look=look) as rounds:
        assert rounds.ask([path])
    thread.join(20)
    assert desk.unanswered([*first, *second]) == []
    assert sorted(one["rows"] for one in sandbox.batch_log()["batches"]) == [3, 6]
    assert sandbox.bill()["questions_twice"] == 0


def test_a_cancelled_run_leaves_its_batches_to_the_next(sandbox: Sandbox, desk: Desk) -> None:
    """Nothing is cancelled at the provider; the next run takes the answers, and asks nothing."""
    sandbox.control(batch={"seconds": 1000})
    asked = questions(5)

    def cancelled() -> None:
        if desk.told:
            msg = "cancelled"
            raise RunCancelled(msg)

    with desk.rounds(desk.run("run-1"), look=cancelled) as rounds, pytest.raises(RunCancelled):
        rounds.ask(desk.file(asked))
    assert [one.state for one in rounds.working] == ["working"]
    assert states(desk) == ["working"]
    sandbox.advance(5000)
    run = desk.run("run-2")
    assert desk.ask_all(asked, run) == 0
    assert desk.unanswered(asked) == []
    assert sandbox.stats()["batches"]["made"] == 1
    assert states(desk) == ["closed"]


def test_few_questions_go_online_unless_all_are_to_go_by_batch(desk: Desk) -> None:
    """Auto counts per model; always takes what there is."""
    asked = questions(5)
    with desk.rounds(desk.run(min_calls=6)) as rounds:
        assert not rounds.ask(desk.file(asked))
    models = 'models = ["m", "r"]'
    with desk.rounds(desk.run(min_calls=6, use="always", app=models)) as rounds:
        assert rounds.ask(desk.file(asked))
    assert desk.unanswered(asked) == []


def test_a_budget_bounds_what_is_handed_in(sandbox: Sandbox, desk: Desk) -> None:
    """Files are halved until one fits; no more than the cap is asked, and what was paid is booked."""
    asked = questions(32)
    run = desk.run(batch="[budget]\ncalls = 20")
    with desk.rounds(run) as rounds:
        assert rounds.ask(desk.file(asked))
    paid = sandbox.bill()["tiers"]["batch"]["calls"]
    assert 0 < paid <= 20
    assert [one.spent for one in read_budget(run.ledger, run.run_id, run.settings.budget)] == [paid]
