"""Files and batches of the sandbox, as a raw HTTP client meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from deployments.sandbox import BatchFault, Sandbox

CODE = "File: src/app.py\n@@ -10,3 +10,4 @@\n     10 | def total(rows):\n+    11 |     return sum(rows) / len(rows)\n"
CHAT = "/v1/chat/completions"
LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
SETTLED = {"completed", "failed", "expired", "cancelled"}
RUNNING = ["validating", "in_progress", "finalizing"]


def line(name: str, text: str, model: str = "m") -> dict[str, Any]:
    """One line of an input file."""
    messages = [{"role": "user", "content": text}]
    return {
        "custom_id": name,
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "messages": messages},
    }


def file_of(*rows: dict[str, Any]) -> bytes:
    """An input file."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


FOUR = file_of(*(line(f"q{n}", f"{CODE}{n}") for n in range(4)))


class Desk:
    """What a client does with files and batches."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def upload(self, content: bytes = FOUR, purpose: str = "batch") -> httpx.Response:
        """Send a file."""
        files = {"file": ("in.jsonl", content)}
        return self.http.post("/files", data={"purpose": purpose}, files=files)

    def create(self, file_id: str, **more: Any) -> httpx.Response:
        """Make a batch of a file."""
        asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}
        return self.http.post("/batches", json=asked)

    def made(self, content: bytes = FOUR, **more: Any) -> dict[str, Any]:
        """The batch of a new file."""
        file_id = self.upload(content).raise_for_status().json()["id"]
        return dict(self.create(file_id, **more).raise_for_status().json())

    def get(self, batch_id: str) -> dict[str, Any]:
        """Look at a batch."""
        return dict(self.http.get(f"/batches/{batch_id}").raise_for_status().json())

    def ended(self, content: bytes = FOUR, **more: Any) -> dict[str, Any]:
        """The batch of a new file, over; a batch is a second long."""
        return self.get(self.made(content, **more)["id"])

    def lines(self, file_id: str) -> list[Any]:
        """The lines of a file."""
        return [json.loads(one) for one in self.content(file_id).splitlines()]

    def content(self, file_id: str) -> bytes:
        """A file as it is."""
        return self.http.get(f"/files/{file_id}/content").raise_for_status().content


@pytest.fixture
def desk(sandbox: Sandbox, http: httpx.Client) -> Desk:
    """A client of batches that take no time."""
    sandbox.control(batch={"seconds": 0})
    return Desk(http)


def failures(desk: Desk, batch: dict[str, Any]) -> list[tuple[str, Any]]:
    """Custom ids and codes of the error file."""
    rows = desk.lines(batch["error_file_id"])
    return [(row["custom_id"], (row["error"] or {}).get("code")) for row in rows]


def test_a_batch_from_upload_to_bill(sandbox: Sandbox, desk: Desk, ask: Any) -> None:
    """Answers are those of online calls, in a file of one line each, and cost exactly half."""
    online = [ask(f"{CODE}{n}").json()["choices"][0]["message"] for n in range(4)]
    batch = desk.ended(metadata={"run": "r1"})
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
    assert (batch["metadata"], batch["model"]) == ({"run": "r1"}, "m")
    rows = desk.lines(batch["output_file_id"])
    assert [row["custom_id"] for row in rows] == ["q0", "q1", "q2", "q3"]
    assert [row["response"]["body"]["choices"][0]["message"] for row in rows] == online
    usage = [row["response"]["body"]["usage"]["total_tokens"] for row in rows]
    assert batch["usage"]["total_tokens"] == sum(usage)
    bill = sandbox.bill()
    assert bill["tiers"]["batch"]["calls"] == bill["tiers"]["online"]["calls"] == 4
    assert bill["tiers"]["batch"]["usd"] * 2 == bill["tiers"]["online"]["usd"] > 0
    assert (bill["questions"], bill["questions_twice"]) == (4, 4)
    stats = sandbox.stats()
    assert stats["requests"] == 4
    assert stats["batches"]["calls"] == {"content": 1, "create": 1, "get": 1, "upload": 1}


def test_the_clock(sandbox: Sandbox, desk: Desk) -> None:
    """States and counts go by the batch clock, which stands until it is moved."""
    sandbox.control(batch={"seconds": 1000})
    batch = desk.made()
    assert (batch["status"], batch["request_counts"]["total"]) == ("validating", 0)
    seen = []
    for seconds in (101, 400, 402, 100):
        sandbox.advance(seconds)
        found = desk.get(batch["id"])
        seen.append((found["status"], found["request_counts"]["completed"]))
    assert seen == [("in_progress", 0), ("in_progress", 2), ("finalizing", 4), ("completed", 4)]


def test_list_pages(desk: Desk) -> None:
    """Newest first, `limit` at a time, and `has_more` says whether there is another page."""
    made = [desk.made()["id"] for _ in range(5)]
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = desk.http.get("/batches", params={"limit": 2, **after}).json()
        found += [batch["id"] for batch in page["data"]]
        after = {"after": page["last_id"]}
        if not page["has_more"]:
            break
    assert found == made[::-1]
    other = desk.http.get("/batches", headers={"Authorization": "Bearer sk-other"}).json()
    assert other == {"object": "list", "data": [], "has_more": False}


def test_files(sandbox: Sandbox, desk: Desk) -> None:
    """A file can be looked at, read and deleted by its key, and by no other."""
    made = desk.upload().json()
    path = f"/files/{made['id']}"
    assert desk.http.get(path).json() == made
    assert desk.content(made["id"]) == FOUR
    other = {"Authorization": "Bearer sk-other"}
    assert desk.http.delete(path, headers=other).status_code == 404
    assert desk.http.delete(path).json()["deleted"] is True
    assert desk.http.get(path).status_code == 404
    assert desk.upload(purpose="fine-tune").status_code == 400
    sandbox.control(batch={"max_bytes": len(FOUR) - 1})
    assert desk.upload().status_code == 413


@pytest.mark.parametrize(
    "more",
    [
        {"endpoint": "/v1/completions"},
        {"completion_window": "1h"},
        {"metadata": {"key": "x" * 513}},
        {"metadata": {str(n): "" for n in range(17)}},
        {"input_file_id": None},
    ],
)
def test_what_create_refuses(desk: Desk, more: dict[str, Any]) -> None:
    """Wrong parameters are a 400 at once; what is wrong with the file comes later."""
    file_id = desk.upload().json()["id"]
    assert desk.create(file_id, **more).status_code == 400
    assert desk.create("file-none").status_code == 404


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (FOUR + b"{no json\n", "invalid_json_line"),
        (FOUR + FOUR, "duplicate_custom_id"),
        (file_of(line("a", "x"), line("b", "y", "other")), "mismatched_model"),
        (file_of(line("a", "x") | {"url": "/v1/completions"}), "invalid_url"),
        (file_of(line("", "x")), "missing_required_parameter"),
    ],
)
def test_files_that_fail_validation(desk: Desk, content: bytes, code: str) -> None:
    """A wrong file makes a batch that fails, with a code for each wrong line."""
    batch = desk.ended(content)
    assert (batch["status"], batch["output_file_id"]) == ("failed", None)
    assert batch["errors"]["data"][0]["code"] == code


def test_limits(sandbox: Sandbox, desk: Desk) -> None:
    """Rows and enqueued tokens have limits by key and model, seen after validation only."""
    sandbox.control(batch={"limits": {"m": {"max_requests": 3}}})
    assert desk.ended()["errors"]["data"][0]["code"] == "too_many_tasks"
    one = file_of(line("a", CODE, "big"))
    tokens = -(-len(CODE) // 4)
    sandbox.control(batch={"seconds": 100, "limits": {"big": {"max_enqueued_tokens": tokens}}})
    first, second = desk.made(one), desk.made(one)
    sandbox.advance(11)
    assert desk.get(first["id"])["status"] == "in_progress"
    failed = desk.get(second["id"])
    assert (failed["status"], failed["errors"]["data"][0]["code"]) == (
        "failed",
        "token_limit_exceeded",
    )
    sandbox.advance(100)
    assert desk.get(first["id"])["status"] == "completed"
    assert desk.ended(one)["status"] == "validating"


def test_cancel(sandbox: Sandbox, desk: Desk) -> None:
    """A cancelled batch keeps and charges what it has done; one that is over cannot be cancelled."""
    sandbox.control(batch={"seconds": 100, "cancel_seconds": 10})
    batch_id = desk.made()["id"]
    sandbox.advance(50)
    cancelled = desk.http.post(f"/batches/{batch_id}/cancel").json()
    assert cancelled["status"] == "cancelling"
    sandbox.advance(10)
    batch = desk.get(batch_id)
    assert batch["status"] == "cancelled"
    assert [row["custom_id"] for row in desk.lines(batch["output_file_id"])] == ["q0", "q1"]
    assert failures(desk, batch) == [("q2", "batch_cancelled"), ("q3", "batch_cancelled")]
    assert sandbox.bill()["tiers"]["batch"]["calls"] == 2
    assert desk.http.post(f"/batches/{batch_id}/cancel").status_code == 409


def test_expiry(sandbox: Sandbox, desk: Desk) -> None:
    """What is not done when the window ends is in the error file; on Azure it goes on."""
    sandbox.control(batch={"seconds": 200_000})
    batch_id = desk.made()["id"]
    sandbox.advance(86_401)
    batch = desk.get(batch_id)
    assert batch["status"] == "expired"
    done = [row["custom_id"] for row in desk.lines(batch["output_file_id"])]
    assert [name for name, _ in failures(desk, batch)] == ["q0", "q1", "q2", "q3"][len(done) :]
    sandbox.control(batch={"dialect": "azure"})
    batch_id = desk.made()["id"]
    sandbox.advance(86_401)
    assert desk.get(batch_id)["status"] == "InProgress"


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


def test_azure(sandbox: Sandbox, desk: Desk) -> None:
    """Capital states, its own endpoint, no BOM in the input, no end of the window."""
    sandbox.control(batch={"dialect": "azure"})
    batch = desk.ended(endpoint="/chat/completions")
    assert (batch["status"], batch["expires_at"]) == ("Completed", None)
    assert len(desk.lines(batch["output_file_id"])) == 4
    assert desk.ended(b"\xef\xbb\xbf" + FOUR)["status"] == "failed"
    sandbox.control(batch={"dialect": "openai"})
    assert desk.ended(b"\xef\xbb\xbf" + FOUR)["status"] == "completed"


def test_together(sandbox: Sandbox, desk: Desk) -> None:
    """A job with times as texts, no metadata, lines of custom_id and body, a list without pages."""
    sandbox.control(batch={"dialect": "together"})
    content = file_of(*({"custom_id": n, "body": line(n, CODE)["body"]} for n in ("a", "b")))
    files = {"file": ("in.jsonl", content)}
    sent = desk.http.post("/files/upload", data={"purpose": "batch-api"}, files=files)
    file_id = sent.json()["id"]
    job = desk.create(file_id, metadata={"run": "r"}).json()["job"]
    assert job["created_at"].endswith("Z")
    found = desk.get(job["id"])
    assert (found["status"], found["progress"]) == ("COMPLETED", 100)
    assert "metadata" not in found
    assert desk.http.get("/batches").json() == [found]
    assert len(desk.lines(found["output_file_id"])) == 2


def test_flex(sandbox: Sandbox, ask: Any) -> None:
    """Flex is half the price; its 429 uses no quota and comes to no standard call."""
    sandbox.control(quota="3/1h", faults={"flex_unavailable": 1})
    refused = ask(service_tier="flex")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "resource_unavailable")
    assert "retry-after" not in refused.headers
    assert ask(service_tier="default").json()["service_tier"] == "default"
    capacity = {"fault": "capacity", "tier": "flex", "times": 1}
    sandbox.control(faults={}, script=[capacity])
    assert [ask(service_tier="flex").status_code for _ in range(3)] == [498, 200, 429]
    tiers = sandbox.bill()["tiers"]
    assert tiers["flex"]["usd"] * 2 == tiers["online"]["usd"] > 0
