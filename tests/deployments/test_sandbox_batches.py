"""Files and batches of the sandbox, as a raw HTTP client meets them."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.sandbox import Sandbox
from tests.deployments.batch_desk import (
    CODE,
    FOUR,
    Desk,
    failures,
    file_of,
    line,
)


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
