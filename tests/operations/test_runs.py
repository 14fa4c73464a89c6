"""Both deployments on a real server and worker, read back through the API as an operator would."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import AwaitingRetry, Suspended

from flows.shards.process_end import GRACE
from tasks.upstream.journal import open_journal
from tests.operations.conftest import SLOW, Evening
from tests.operations.stack import KEYS, Operator


def test_nightly_completes_and_says_what_came_of_it(operator: Operator, evening: Evening) -> None:
    """Its state, its name and its manifest carry the counts; a subflow per shard does likewise."""
    run = operator.ended(evening.nightly)

    assert run.state is not None
    assert (run.state.type, run.state.message) == ("COMPLETED", "complete: 8 of 8 inputs")
    assert re.fullmatch(r"nightly \d{4}-\d\d-\d\d, 8 inputs, \d+ comments", run.name)
    manifest = json.loads((operator.output("nightly") / "manifest.json").read_text())
    assert manifest["flow_run_id"] == str(run.id)
    assert manifest["flow_run_url"].startswith(operator.stack.url)
    assert manifest["flow_run_url"].endswith(str(run.id))
    (shard,) = operator.shards(run)
    assert shard.name == "nightly shard-000"
    assert shard.state is not None
    assert shard.state.message == "8 inputs, 8 calls, 0 from the journal"


def test_nights_do_not_overlap(operator: Operator, evening: Evening) -> None:
    """A nightly that begins while one is running is cancelled, and says why."""
    run = operator.ended(evening.overlap)

    assert run.state is not None
    assert run.state.type == "CANCELLED"
    assert "concurrency limit" in str(run.state.message)


def test_gaps_are_not_green(operator: Operator, evening: Evening) -> None:
    """A run with failed cells ends as Failed, by name too: its deployment's page knows no other names."""
    run = operator.ended(evening.gaps)

    assert run.state is not None
    assert (run.state.type, run.state.name) == ("FAILED", "Failed")
    assert ", incomplete, 4 of 6 inputs, " in run.name
    message = "INCOMPLETE: 4 of 6 inputs, 2 not in full: 2 content_filter"
    assert str(run.state.message).startswith(message)
    (shard,) = operator.shards(run)
    assert shard.state is not None
    assert (shard.state.type, shard.state.name) == ("FAILED", "Failed")
    assert "2 cells failed" in str(shard.state.message)


def test_artifacts_have_stable_keys_and_say_what_happened(
    operator: Operator, evening: Evening
) -> None:
    """Progress, report, failed cells, top findings, outputs and a link are there, and bounded."""
    run = operator.ended(evening.gaps)
    found = operator.until(
        lambda: (made := operator.artifacts(run)) and len(made) == 6 and made, "six artifacts"
    )

    assert set(found) == {
        "bulk-review-progress",
        "bulk-review-report",
        "bulk-review-failed-cells",
        "bulk-review-top-findings",
        "bulk-review-outputs",
        "bulk-review-report-file",
    }
    failed = json.loads(found["bulk-review-failed-cells"]["data"])
    assert [(row["input"], row["reason"]) for row in failed] == [
        ("gaps-000", "content_filter"),
        ("gaps-001", "content_filter"),
    ]
    outputs = {row["file"]: row for row in json.loads(found["bulk-review-outputs"]["data"])}
    assert all(Path(row["path"]).stat().st_size == row["bytes"] for row in outputs.values())
    report = found["bulk-review-report"]["data"]
    for heading in ("Coverage", "Check models", "Upstream", "Quota proof"):
        assert f"## {heading}" in report
    assert "| team-two |" in report
    assert found["bulk-review-progress"]["data"] == 100
    link = f"{operator.stack.reports}/gaps/report.html"
    assert f"({link})" in found["bulk-review-report-file"]["data"]
    assert f"]({link})" in report
    user, _, password = operator.stack.login.partition(":")
    assert "<title>Review" in httpx.get(link, auth=(user, password), trust_env=False).text
    assert max(line.count(" | ") for line in report.splitlines()) <= 7


def test_lines_land_in_the_run_they_belong_to(operator: Operator, evening: Evening) -> None:
    """One line per failed call in the shard's run, none per good one, none of them in the parent's."""
    run = operator.ended(evening.gaps)
    (shard,) = operator.shards(run)
    lines = operator.until(
        lambda: (log := operator.log(shard.id)) and any("Finished" in one for one in log) and log,
        "the shard's last line",
    )

    failures = [line for line in lines if "failed call" in line]
    assert {re.findall(r"gaps-\d+", line)[0] for line in failures} == {"gaps-000", "gaps-001"}
    assert len(failures) == 2
    # Each of the stages says so of itself.
    ours = [line for line in operator.log(run.id) if "Finished in state" not in line]
    assert not any("gaps-00" in line for line in ours)
    assert len(lines) < 20
    assert len(set(ours)) == len(ours)
    ends = [line for line in ours if line.startswith("INCOMPLETE: ")]
    assert ends == [line for line in ends if line.endswith(f"outputs: {operator.output('gaps')}")]
    assert len(ends) == 1


def test_events_name_the_run_and_carry_counts_not_keys(
    operator: Operator, evening: Evening
) -> None:
    """Finished, incomplete, written, disabled and raised are events with their documented payload."""
    done, gaps = operator.ended(evening.nightly), operator.ended(evening.gaps)
    wanted = {"run.finished", "run.incomplete", "output.written", "key.disabled", "margin.raised"}

    def told() -> dict[str, dict[str, object]]:
        events = operator.events("bulk-review.")
        return {one["event"].removeprefix("bulk-review."): one["payload"] for one in events}

    payloads = operator.until(lambda: wanted <= set(told()) and told(), f"{wanted} among {told()}")
    related = {
        one["event"]: [other["prefect.resource.id"] for other in one["related"]]
        for one in operator.events("bulk-review.run.")
    }
    assert payloads["run.incomplete"]["counts"]["failed_by_reason"] == {"content_filter": 2}
    assert payloads["run.finished"]["output"] == str(operator.output("nightly"))
    assert payloads["key.disabled"]["app_id"] == "team-two"
    assert payloads["margin.raised"]["app_id"] == "team-one"
    assert f"prefect.flow-run.{done.id}" in related["bulk-review.run.finished"]
    assert f"prefect.flow-run.{gaps.id}" in related["bulk-review.run.incomplete"]


def test_cancel_stops_calls_at_once_and_leaves_nobody(operator: Operator, evening: Evening) -> None:
    """`prefect flow-run cancel`: no call begins any more, answers of those in flight are kept."""
    run = evening.cancelled
    operator.until(lambda: len(operator.calls("cancelled")) > 2, "calls")
    group = _process(operator, run)
    operator.stack.command("flow-run", "cancel", str(run.id), program="prefect")
    operator.until(lambda: _state(operator, run) != "RUNNING", "the cancellation")
    asked = time.time()

    ended = operator.ended(run)
    assert ended.state is not None
    assert ended.state.type == "CANCELLED"
    assert all(shard.state and shard.state.type == "CANCELLED" for shard in operator.shards(run))
    # The worker hears of it over a web socket; then the stop takes as long as a call, not the grace.
    assert not [at for at in operator.calls("cancelled") if at > asked + 2]
    (shard,) = operator.shards(run)
    assert shard.end_time is not None
    assert shard.end_time.timestamp() < asked + SLOW + GRACE / 2
    with open_journal(operator.folder / "state-cancelled" / "journal.sqlite") as journal:
        assert journal.statistics()["rows"] == len(operator.calls("cancelled"))
    operator.until(lambda: not Path(f"/proc/{group}").exists(), "the end of its process")
    assert not _members(group)


@pytest.mark.chaos  # five minutes, most of them the worker's and the server's patience
def test_suspended_killed_and_retried_run_pays_once(
    operator: Operator, interrupted: FlowRun
) -> None:
    """
    Suspend frees the machine and says until when, resume goes on; one that nobody resumed is Failed, and
    a retry goes on; kill -9 is Crashed at once, and a retry goes on.
    """
    run, client = interrupted, operator.client
    operator.until(lambda: len(operator.calls("interrupted")) > 2, "calls")
    group = _process(operator, run)
    client.set_flow_run_state(run.id, Suspended(timeout_seconds=600))
    operator.until(lambda: not _members(group), "the end of its processes")
    assert _state(operator, run) == "PAUSED"

    said = operator.until(
        lambda: [line for line in operator.log(run.id) if line.startswith("suspended until")],
        "the time in the log",
    )
    assert "Retry goes on from the journal" in said[0]

    _until_more_calls(operator, lambda: client.resume_flow_run(run.id))
    group = _process(operator, run)
    client.set_flow_run_state(run.id, Suspended(timeout_seconds=1))
    operator.until(lambda: _state(operator, run) == "FAILED", "the end of the pause")
    operator.until(lambda: not _members(group), "the end of its processes")

    _until_more_calls(
        operator, lambda: client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    )
    group = _process(operator, run)
    os.kill(group, signal.SIGKILL)
    operator.until(lambda: _state(operator, run) == "CRASHED", "the crash")
    operator.until(lambda: not _members(group), "the end of its children")

    operator.upstream.control(models={"model-interrupted": {"latency": 0}})
    client.set_flow_run_state(run.id, AwaitingRetry(), force=True)

    def completed() -> bool:
        state = _state(operator, run)
        # On a busy machine the worker reports the same death once more, after the first retry.
        if state == "CRASHED":
            client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        return state == "COMPLETED"

    operator.until(completed, "the retry")
    # Two threads: at most two calls are in flight when a process is stopped or killed.
    assert len(operator.calls("interrupted")) <= 120 + 3 * 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"limit": 0}, "limit"), ({"mode": "reviews"}, "mode"), ({"fresh": "perhaps"}, "fresh")],
)
def test_wrong_parameters_are_refused_before_a_run_exists(
    operator: Operator, wrong: dict[str, object], said: str
) -> None:
    """The API checks a form against the flow's own schema."""
    with pytest.raises(PrefectHTTPStatusError, match=said):
        operator.start("adhoc", "wrong", "x", "review.toml", **wrong)


def test_no_key_is_anywhere(operator: Operator, evening: Evening) -> None:
    """The planted keys are in no file of the server, the worker, the runs or their state."""
    operator.ended(evening.gaps)
    planted = [key.encode() for key in KEYS.values()]
    read = 0
    for folder in (operator.stack.folder, operator.folder):
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                read += len(data)
                assert not [key for key in planted if key in data], path
    assert read > 100_000


def _until_more_calls(operator: Operator, begin: Callable[[], object]) -> None:
    before = len(operator.calls("interrupted"))
    begin()
    operator.until(lambda: len(operator.calls("interrupted")) > before + 2, "calls again")


def _state(operator: Operator, run: FlowRun) -> str:
    now = operator.read(run).state
    return now.type.value if now is not None else ""


def _process(operator: Operator, run: FlowRun) -> int:
    """The process of a worker's run; it leads its process group."""
    return int(str(operator.read(run).infrastructure_pid).rpartition(":")[2])


def _members(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
