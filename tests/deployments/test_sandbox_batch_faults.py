"""Files and batches of the sandbox that go wrong: rows, output files, requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from deployments.sandbox import BatchFault, Sandbox
from tests.deployments.batch_desk import (
    CODE,
    FOUR,
    LOST,
    RUNNING,
    SETTLED,
    Desk,
    failures,
    file_of,
    line,
)


def test_rows_meet_the_faults_of_calls(sandbox: Sandbox, desk: Desk) -> None:
    """Markers, rules and rates hold for rows, too: refusals are error rows, content is spoiled."""
    sandbox.control(script=[{"fault": "status_400", "tier": "batch", "match": "two"}])
    texts = ("one", "two", f"{CODE}[[sandbox:prose]]", "[[sandbox:status_500]]")
    batch = desk.ended(file_of(*(line(f"q{n}", text) for n, text in enumerate(texts))))
    assert batch["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    rows = {row["custom_id"]: row["response"] for row in desk.lines(batch["error_file_id"])}
    assert {name: row["status_code"] for name, row in rows.items()} == {"q1": 400, "q3": 500}
    assert rows["q1"]["body"]["error"]["code"] == "invalid_value"
    prose = desk.lines(batch["output_file_id"])[1]["response"]["body"]["choices"][0]
    assert "seems fine" in prose["message"]["content"]


def counts(**expected: int) -> Callable[[Desk, dict[str, Any]], None]:
    """Checks request_counts and the number of error rows by status."""

    def check(desk: Desk, batch: dict[str, Any]) -> None:
        rows = desk.lines(batch["error_file_id"])
        statuses = [str(row["response"]["status_code"]) for row in rows]
        assert {status: statuses.count(status) for status in statuses} == expected

    return check


def half_done(desk: Desk, batch: dict[str, Any]) -> None:
    """Two of four rows are there, the others are named."""
    assert len(desk.lines(batch["output_file_id"])) == 2
    assert [name for name, _ in failures(desk, batch)] == ["q2", "q3"]


def no_output(_: Desk, batch: dict[str, Any]) -> None:
    """Completed without an output file."""
    assert (batch["status"], batch["output_file_id"]) == ("completed", None)


def ids(desk: Desk, batch: dict[str, Any]) -> list[str]:
    """Custom ids of the whole lines of the output file, in their order."""
    found = []
    for text in desk.content(batch["output_file_id"]).splitlines():
        try:
            found.append(json.loads(text)["custom_id"])
        except json.JSONDecodeError:
            found.append("broken")
    return found


def lines_are(*expected: str) -> Callable[[Desk, dict[str, Any]], None]:
    """Checks the custom ids of the output file."""

    def check(desk: Desk, batch: dict[str, Any]) -> None:
        assert ids(desk, batch) == list(expected)

    return check


def in_any_order(desk: Desk, batch: dict[str, Any]) -> None:
    """All there, and not in the order of the input."""
    assert sorted(ids(desk, batch)) == ["q0", "q1", "q2", "q3"] != ids(desk, batch)


def state_is(state: str) -> Callable[[Desk, dict[str, Any]], None]:
    """Checks the state."""

    def check(_: Desk, batch: dict[str, Any]) -> None:
        assert batch["status"] == state

    return check


def starts(start: bytes, end: bytes) -> Callable[[Desk, dict[str, Any]], None]:
    """Checks the bytes at both ends of the output file."""

    def check(desk: Desk, batch: dict[str, Any]) -> None:
        content = desk.content(batch["output_file_id"])
        assert content.startswith(start)
        assert content.endswith(end)

    return check


def bare(desk: Desk, batch: dict[str, Any]) -> None:
    """The completion is the response itself."""
    row = desk.lines(batch["output_file_id"])[0]
    assert row["response"]["object"] == "chat.completion"


def empty_error(desk: Desk, batch: dict[str, Any]) -> None:
    """There is an error file, and nothing in it."""
    assert desk.content(batch["error_file_id"]) == b""


def blank_error(_: Desk, batch: dict[str, Any]) -> None:
    """No error file is an empty id."""
    assert batch["error_file_id"] == ""


TRAPS = {
    BatchFault.CAPITAL_STATES: state_is("COMPLETED"),
    BatchFault.INVALID: state_is("failed"),
    BatchFault.TOKEN_LIMIT: state_is("failed"),
    BatchFault.EXPIRED: half_done,
    BatchFault.CANCELLED: half_done,
    BatchFault.NEVER_ENDING: state_is("in_progress"),
    BatchFault.ROWS_400: counts(**{"400": 1}),
    BatchFault.ROWS_429: counts(**{"429": 1}),
    BatchFault.ROWS_500: counts(**{"500": 1}),
    BatchFault.ROWS_REFUSED: no_output,
    BatchFault.NO_FILES: no_output,
    BatchFault.EMPTY_ERROR_FILE: empty_error,
    BatchFault.BLANK_ERROR_ID: blank_error,
    BatchFault.BROKEN_LINE: lines_are("q0", "q1", "q2", "broken"),
    BatchFault.MISSING_LINE: lines_are("q1", "q2", "q3"),
    BatchFault.DUPLICATE_LINE: lines_are("q0", "q1", "q2", "q3", "q0"),
    BatchFault.FOREIGN_LINE: lines_are("q0", "q1", "q2", "q3", "foreign-0"),
    BatchFault.ANY_ORDER: in_any_order,
    BatchFault.BOM: starts(b"\xef\xbb\xbf{", b"}\n"),
    BatchFault.CRLF: starts(b"{", b"}\r\n"),
    BatchFault.BARE_RESPONSE: bare,
}


@pytest.mark.parametrize("fault", TRAPS)
def test_traps(sandbox: Sandbox, desk: Desk, fault: BatchFault) -> None:
    """Each fault of a batch's way, end and files is there when it is asked for, and only then."""
    sandbox.control(batch={"script": [{"fault": fault, "nth": [1]}]})
    TRAPS[fault](desk, desk.ended())
    assert ids(desk, desk.ended()) == ["q0", "q1", "q2", "q3"]
    assert [batch["faults"] for batch in sandbox.batch_log()["batches"]] == [[fault], []]


@pytest.mark.parametrize("fault", [BatchFault.CREATE_500, BatchFault.CREATE_RESET])
def test_made_without_an_answer(sandbox: Sandbox, desk: Desk, fault: BatchFault) -> None:
    """The batch is there although its creator was told nothing good; with LIST_LAG not at once."""
    sandbox.control(batch={"seconds": 100, "script": [fault, "list_lag"]})
    file_id = desk.upload().json()["id"]
    if fault is BatchFault.CREATE_500:
        assert desk.create(file_id).status_code == 500
    else:
        with pytest.raises(LOST):
            desk.create(file_id)
    assert desk.http.get("/batches").json()["data"] == []
    sandbox.advance(11)
    assert [b["input_file_id"] for b in desk.http.get("/batches").json()["data"]] == [file_id]


def test_an_unknown_state(sandbox: Sandbox, desk: Desk) -> None:
    """While it runs a batch is in a state that nobody knows; its end is a known one."""
    sandbox.control(batch={"seconds": 100, "script": "unknown_state"})
    batch = desk.made()
    assert batch["status"] not in {*RUNNING, *SETTLED}
    sandbox.advance(100)
    assert desk.get(batch["id"])["status"] == "completed"


def test_faults_that_go_away(sandbox: Sandbox, desk: Desk) -> None:
    """Uploads, creations, looks and downloads fail as often as was asked, and no more."""
    uploads = [{"fault": "upload_500", "nth": [1]}, {"fault": "upload_cut", "nth": [2]}]
    sandbox.control(batch={"script": uploads})
    assert desk.upload().status_code == 500
    with pytest.raises(LOST):
        desk.upload(FOUR * 2000)
    file_id = desk.upload().json()["id"]
    twice = [{"fault": name, "count": 2} for name in ("get_500", "download_cut")]
    sandbox.control(batch={"script": [{"fault": "create_429", "times": 1}, *twice]})
    assert [desk.create(file_id).status_code for _ in range(2)] == [429, 200]
    (made,) = desk.http.get("/batches").json()["data"]
    looks = [desk.http.get(f"/batches/{made['id']}") for _ in range(3)]
    assert [look.status_code for look in looks] == [500, 500, 200]
    for _ in range(2):
        with pytest.raises(LOST):
            desk.content(looks[2].json()["output_file_id"])
    assert len(desk.lines(looks[2].json()["output_file_id"])) == 4
