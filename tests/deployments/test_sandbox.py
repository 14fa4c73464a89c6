"""The sandbox as an upstream: quota on its own clock, counts, changes while it runs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from threading import Barrier
from typing import Any

import httpx
import pytest

from deployments.sandbox import Sandbox
from tasks.core.errors import ConfigError


def test_quota_is_exact_on_the_servers_clock(sandbox: Sandbox, ask: Any) -> None:
    """Recomputed from the arrivals in its log, every decision of a busy second was right."""
    quota, seconds = 3, 0.1
    sandbox.control(quota=f"{quota}/{seconds}s")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: ask(f"q{n}"), range(300)))
    accepted: list[float] = []
    rows = sandbox.log()
    for row in rows:
        fits = sum(row["at"] - seconds < at for at in accepted) < quota
        assert row["status"] == (200 if fits else 429)
        accepted += [row["at"]] if fits else []
    key = sandbox.stats()["keys"][rows[0]["key"]]
    assert (key["accepted"], key["refused"]) == (len(accepted), 300 - len(accepted))
    assert key["windows"][0]["peak_accepted"] == quota < key["windows"][0]["peak_arrived"]


def test_each_key_has_its_own_windows(sandbox: Sandbox, ask: Any) -> None:
    """A key of the table has its quota, others the default; aliases are shown, keys are not."""
    sandbox.control(keys={"team-a": {"key": "sk-a", "quota": ["2/1h"]}}, quota=["1/1h"])
    got = [ask(key=key).status_code for key in ("sk-a", "sk-a", "sk-a", "sk-b", "sk-b")]
    assert got == [200, 200, 429, 200, 429]
    stats = sandbox.stats()
    assert stats["keys"]["team-a"]["accepted"] == 2
    assert (stats["accepted"], stats["refused"]) == (3, 2)
    assert "sk-" not in json.dumps([stats, sandbox.log()])


def test_keys_that_are_refused(sandbox: Sandbox, ask: Any, http: httpx.Client) -> None:
    """401 without a key or, when strict, with an unknown one."""
    sandbox.control(keys={"team-a": {"key": "sk-a"}}, strict_keys=True)
    assert ask(key="sk-a").status_code == 200
    assert ask(key="sk-b").json()["error"]["code"] == "invalid_api_key"
    del http.headers["Authorization"]
    assert ask().json()["error"]["code"] == "missing_api_key"
    assert sandbox.stats()["statuses"] == {"200": 1, "401": 2}


@pytest.mark.parametrize(
    ("state", "status"), [("revoked", 401), ("forbidden", 403), ("unpaid", 402), ("exhausted", 429)]
)
def test_key_states(sandbox: Sandbox, ask: Any, state: str, status: int) -> None:
    """Each state has its status, and none of them says to wait."""
    sandbox.control(keys={"team-a": {"key": "sk-a", "state": state}})
    response = ask(key="sk-a")
    assert response.status_code == status
    assert "retry-after" not in response.headers


def test_revoke_and_restore(sandbox: Sandbox, ask: Any) -> None:
    """A key can be taken away and given back while it is in use; its quota goes on."""
    sandbox.control(keys={"team-a": {"key": "sk-a", "quota": "2/1h"}})
    assert ask(key="sk-a").status_code == 200
    sandbox.control(revoke=["team-a"])
    assert ask(key="sk-a").status_code == 401
    sandbox.control(restore=["team-a"])
    assert [ask(key="sk-a").status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("form", ["seconds", "ms", "date", "none"])
def test_retry_after(sandbox: Sandbox, ask: Any, form: str) -> None:
    """The wait comes in each form that providers use, and is never short."""
    sandbox.control(quota="1/100s", retry_after=form)
    ask()
    headers = ask().headers
    if form == "seconds":
        assert 90 <= int(headers["retry-after"]) <= 100
    elif form == "ms":
        assert 99_000 < int(headers["retry-after-ms"]) <= 100_000
    elif form == "date":
        until = parsedate_to_datetime(headers["retry-after"]).timestamp()
        assert until >= sandbox.log()[0]["epoch"] + 100
    else:
        assert not [name for name in headers if name.startswith("retry-after")]


def test_ratelimit_headers(sandbox: Sandbox, ask: Any) -> None:
    """OpenAI's headers tell limit, rest and reset of the first window."""
    sandbox.control(quota="5/6m", ratelimit_headers=True)
    headers = ask().headers
    assert headers["x-ratelimit-limit-requests"] == "5"
    assert headers["x-ratelimit-remaining-requests"] == "4"
    assert headers["x-ratelimit-reset-requests"].startswith(("5m", "6m"))


def test_token_quota(sandbox: Sandbox, ask: Any) -> None:
    """A token window refuses what does not fit, by size."""
    sandbox.control(tokens="400/1h")
    assert ask("x" * 1000).status_code == 200
    assert ask("x" * 1000).status_code == 429
    assert ask("x" * 20).status_code == 200


def test_counts(sandbox: Sandbox, ask: Any) -> None:
    """Duplicates, repeats, traces and bytes are counted by what arrived and what was answered."""
    sandbox.control(script=[{"fault": "prose", "nth": [1]}, {"fault": "status_500", "nth": [2]}])
    for trace in ("t1", "t2", "t2", "t3"):
        ask("same", trace=trace)
    ask("other", trace="t4")
    stats = sandbox.stats()
    assert stats["requests"] == 5
    assert stats["statuses"] == {"200": 4, "500": 1}
    assert (stats["bodies"], stats["repeats"]) == (2, 3)
    assert (stats["answered"], stats["duplicates"]) == (3, 1)
    assert (stats["billed"], stats["billed_twice"]) == (4, 2)
    assert (stats["traces"], stats["traces_resent"]) == (4, {"t2": 2})
    rows = sandbox.log()
    assert [row["attempt"] for row in rows] == [1, 2, 3, 4, 1]
    assert [row["trace_id"] for row in rows] == ["t1", "t2", "t2", "t3", "t4"]
    assert stats["bytes_out"] == sum(row["bytes_out"] for row in rows) > 0
    assert [row["n"] for row in sandbox.log(after=3)] == [4, 5]


def test_connections_and_concurrency(sandbox: Sandbox) -> None:
    """One connection per client that keeps it; requests in flight together are counted."""
    sandbox.control(latency=0.5)
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    together = Barrier(5)

    def client(n: int) -> list[int]:
        headers = {"Authorization": f"Bearer sk-{n}"}
        with httpx.Client(base_url=sandbox.base_url, headers=headers) as http:
            together.wait(10)
            return [http.post("/chat/completions", json=body).status_code for _ in range(2)]

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(client, range(5))) == [[200, 200]] * 5
    stats = sandbox.stats()
    assert stats["connections_opened"] == 5
    assert stats["in_flight_max"] == 5
    assert stats["in_flight"] == 0


def test_an_answer_nobody_waits_for_is_billed(sandbox: Sandbox, ask: Any) -> None:
    """A client that leaves has still used its quota and its money, as with a provider."""
    sandbox.control(latency=0.3)
    with pytest.raises(httpx.ReadTimeout):
        ask(timeout=0.1)
    ask("another, which is answered after the first one would have been")
    stats = sandbox.stats()
    assert (stats["billed"], stats["abandoned"]) == (2, 1)


def test_latency_by_model(sandbox: Sandbox, ask: Any) -> None:
    """A slow model answers after its latency and jitter on the server's clock."""
    models = {"slow": {"latency": 0.2, "jitter": 0.05}}
    sandbox.control(models=models)
    ask(model="slow")
    ask(model="slow", stream=True)
    for row in sandbox.log():
        assert row["done"] - row["at"] >= 0.14
    sandbox.control(tail="heavy", models={"slow": {"jitter": 0.001}})
    ask(model="slow")
    assert sandbox.log(after=2)[0]["done"] - sandbox.log(after=2)[0]["at"] >= 0.2


def test_control_explains_what_is_wrong(sandbox: Sandbox) -> None:
    """A wrong change is refused with its place, without its value, and changes nothing."""
    before = sandbox.control()
    wrong: list[dict[str, Any]] = [
        {"quota": "3 per minute"},
        {"faults": {"no_such_fault": 1}},
        {"faults": {"hang": 2}},
        {"latency": -1},
        {"colour": "red"},
        {"keys": {"team-a": {"key": ["sk-in-a-list"]}}},
        {"revoke": ["nobody"]},
    ]
    for change in wrong:
        with pytest.raises(ConfigError) as error:
            sandbox.control(**change)
        place = next(iter(change))
        assert place in str(error.value) or "nobody" in str(error.value)
        assert "sk-in-a-list" not in str(error.value)
    assert sandbox.control() == before


def test_reset_returns_to_the_start(sandbox: Sandbox, ask: Any) -> None:
    """Settings, counts, log and used quota are gone."""
    before = sandbox.control()
    sandbox.control(quota="1/1h", faults={"prose": 1})
    assert [ask().status_code for _ in range(2)] == [200, 429]
    sandbox.reset()
    assert sandbox.control() == before
    assert (sandbox.log(), sandbox.stats()["requests"]) == ([], 0)
    assert ask().status_code == 200


def test_models(sandbox: Sandbox, ask: Any, http: httpx.Client) -> None:
    """GET /v1/models lists the table; a strict table refuses the rest with 404."""
    models = {"mini": {"response_format": "json_object", "context_tokens": 50}}
    sandbox.control(models=models, strict_models=True)
    assert [card["id"] for card in http.get("/models").json()["data"]] == ["mini"]
    assert ask(model="maxi").json()["error"]["code"] == "model_not_found"
    assert ask("x" * 400, model="mini").json()["error"]["code"] == "context_length_exceeded"
    strict = {"type": "json_schema", "json_schema": {"name": "review_comments"}}
    refused = ask(model="mini", response_format=strict)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")
    assert ask(model="mini", response_format={"type": "json_object"}).status_code == 200


def test_requests_that_are_no_requests(sandbox: Sandbox, http: httpx.Client) -> None:
    """Broken JSON, no messages and unknown routes are 4xx, not a crash."""
    bodies = [b"{", b"[]", b"{}", b'{"messages": 5}', b'{"messages": []}', b"\xff"]
    got = [http.post("/chat/completions", content=body).status_code for body in bodies]
    assert got == [400] * 6
    odd = {"messages": [5, {"content": [7, {"text": 8}]}], "response_format": 3, "max_tokens": "x"}
    assert http.post("/chat/completions", json=odd).status_code == 200
    assert http.get("/nothing").status_code == 404
    assert sandbox.stats()["requests"] == 7


def test_stream(sandbox: Sandbox, ask: Any) -> None:
    """The chunks join to the plain answer; usage comes last when it is asked for."""
    sandbox.control(models={"m": {"cached_share": 0.5}})
    plain = ask().json()
    text = ask(stream=True, stream_options={"include_usage": True}).text
    *chunks, last, done = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
    assert done == "[DONE]"
    deltas = [json.loads(chunk)["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(deltas) == plain["choices"][0]["message"]["content"]
    assert json.loads(last)["usage"] == plain["usage"]
    tokens = plain["usage"]["prompt_tokens"]
    assert plain["usage"]["prompt_tokens_details"] == {"cached_tokens": tokens // 2}
    assert '"usage":{' not in ask(stream=True).text
