"""Every fault, as a raw HTTP client meets it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from deployments.sandbox import Fault, Sandbox

STATUSES = {
    Fault.STATUS_400: (400, "invalid_value"),
    Fault.STATUS_401: (401, "invalid_api_key"),
    Fault.STATUS_402: (402, "payment_required"),
    Fault.STATUS_403: (403, "permission_denied"),
    Fault.STATUS_429: (429, "rate_limit_exceeded"),
    Fault.STATUS_500: (500, None),
    Fault.STATUS_502: (502, None),
    Fault.STATUS_503: (503, None),
    Fault.STATUS_529: (529, None),
    Fault.INSUFFICIENT_QUOTA: (429, "insufficient_quota"),
    Fault.RESPONSE_FORMAT: (400, "unsupported_parameter"),
    Fault.CONTEXT_LENGTH: (400, "context_length_exceeded"),
    Fault.CONTENT_POLICY: (400, "content_filter"),
}

# A reset that meets the client while it still writes is swallowed there, and read as an early end.
LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def content(response: httpx.Response) -> Any:
    """The content of a completion."""
    return response.json()["choices"][0]["message"]["content"]


def events(text: str) -> list[str]:
    """The data of a stream's events."""
    return [part.removeprefix("data: ") for part in text.split("\n\n") if part]


@pytest.mark.parametrize("fault", STATUSES)
def test_status_faults(sandbox: Sandbox, ask: Any, fault: Fault) -> None:
    """Each status comes with OpenAI's error body, streaming or not."""
    sandbox.control(faults={fault: 1})
    for stream in (False, True):
        response = ask(stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == STATUSES[fault]
    assert sandbox.stats()["faults"] == {fault: 2}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER])
def test_resets_without_an_answer(sandbox: Sandbox, ask: Any, fault: Fault, stream: bool) -> None:
    """The connection is reset; only the later one has read the body."""
    sandbox.control(faults={fault: 1})
    with pytest.raises(LOST):
        ask(stream=stream)
    (row,) = sandbox.log()
    assert (row["status"], row["fault"]) == (0, fault)
    assert bool(row["body_sha"]) is (fault is Fault.RESET_AFTER)


@pytest.mark.parametrize("stream", [False, True])
def test_reset_in_the_middle(sandbox: Sandbox, http: httpx.Client, stream: bool) -> None:
    """Status 200 and half of the reply arrive, then the connection is reset."""
    sandbox.control(faults={"reset_mid": 1})
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    with http.stream("POST", "/chat/completions", json=body) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.ReadError):
            response.read()


def test_hang(sandbox: Sandbox, ask: Any) -> None:
    """No byte comes; the server lets go when the client leaves."""
    sandbox.control(faults={"hang": 1})
    with pytest.raises(httpx.ReadTimeout):
        ask(timeout=0.2)
    # The end of the connection is an event like any other: it is noticed within a few round trips.
    assert any(sandbox.stats()["in_flight"] == 0 for _ in range(200))
    assert sandbox.log()[0]["status"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_stall(sandbox: Sandbox, http: httpx.Client, stream: bool) -> None:
    """A reply that starts and stops."""
    sandbox.control(faults={"stall": 1})
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    with http.stream("POST", "/chat/completions", json=body, timeout=0.2) as response:
        chunks = response.iter_bytes()
        assert next(chunks).startswith(b"data: " if stream else b"{")
        with pytest.raises(httpx.ReadTimeout):
            for _ in chunks:
                pass


def test_hung_requests_end_with_a_reset(sandbox: Sandbox, http: httpx.Client) -> None:
    """POST /reset frees what hangs, so that no test waits for another's."""
    sandbox.control(faults={"stall": 1})
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    with http.stream("POST", "/chat/completions", json=body) as response:
        sandbox.reset()
        with pytest.raises(httpx.ReadError):
            response.read()


def test_truncated_body(sandbox: Sandbox, ask: Any) -> None:
    """HTTP is content, the JSON is cut."""
    sandbox.control(faults={"truncated": 1})
    response = ask()
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_truncated_stream(sandbox: Sandbox, ask: Any) -> None:
    """The stream ends properly, in the middle of an event."""
    sandbox.control(faults={"truncated": 1})
    *whole, last = events(ask(stream=True).text)
    assert all(json.loads(event)["choices"] for event in whole)
    with pytest.raises(json.JSONDecodeError):
        json.loads(last)


def test_wrong_content_type(sandbox: Sandbox, ask: Any) -> None:
    """An HTML page with status 200."""
    sandbox.control(faults={"wrong_type": 1})
    response = ask()
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


def test_error_body(sandbox: Sandbox, ask: Any) -> None:
    """Status 200 around an error; in a stream the error is an event."""
    sandbox.control(faults={"error_body": 1})
    assert ask().json()["error"]["message"] == "The model crashed."
    stream = ask(stream=True)
    assert stream.status_code == 200
    assert "error" in json.loads(events(stream.text)[-1])


def test_empty_choices(sandbox: Sandbox, ask: Any) -> None:
    """A completion without a choice."""
    sandbox.control(faults={"empty_choices": 1})
    assert ask().json()["choices"] == []
    assert all(json.loads(e)["choices"] == [] for e in events(ask(stream=True).text)[:-1])


def test_null_content_and_refusal(sandbox: Sandbox, ask: Any) -> None:
    """Content is null in both; a refusal says why."""
    sandbox.control(faults={"null_content": 1})
    assert content(ask()) is None
    sandbox.control(faults={"refusal": 1})
    message = ask().json()["choices"][0]["message"]
    assert message["content"] is None
    assert message["refusal"].startswith("I'm sorry")
    assert "refusal" in ask(stream=True).text


@pytest.mark.parametrize("fault", ["length", "content_filter"])
def test_cut_content(sandbox: Sandbox, ask: Any, fault: str) -> None:
    """Half of the good content, and the finish reason tells."""
    whole = content(ask())
    sandbox.control(faults={fault: 1})
    choice = ask().json()["choices"][0]
    assert choice["finish_reason"] == fault
    assert choice["message"]["content"] == whole[: len(whole) // 2]


@pytest.mark.parametrize("fault", ["broken_json", "prose", "fenced", "trailing_commas"])
def test_content_that_is_not_json(sandbox: Sandbox, ask: Any, fault: str) -> None:
    """The content does not parse as it is."""
    sandbox.control(faults={fault: 1})
    text = content(ask())
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    expected = {"fenced": "```json", "trailing_commas": ",]", "prose": "fine", "broken_json": '" '}
    assert expected[fault] in text


def test_fence_and_commas_hide_the_good_answer(sandbox: Sandbox, ask: Any) -> None:
    """Taking the fence, or the commas, away gives what would have been answered."""
    good = content(ask())
    assert len(json.loads(good)["comments"]) > 0
    sandbox.control(faults={"fenced": 1})
    assert content(ask()).split("```json\n")[1].split("\n```")[0] == good
    sandbox.control(faults={"trailing_commas": 1})
    assert content(ask()).replace(",}", "}").replace(",]", "]") == good


def test_huge(sandbox: Sandbox, ask: Any) -> None:
    """5 MB of reply around good JSON."""
    sandbox.control(faults={"huge": 1})
    response = ask()
    assert len(response.content) > 5_000_000
    assert "comments" in json.loads(content(response))


@pytest.mark.parametrize(("fault", "status"), [("echo_key", 401), ("echo_key_500", 500)])
def test_echoed_key(sandbox: Sandbox, ask: Any, fault: str, status: int) -> None:
    """The key comes back in the message, and still is in no row, count or setting."""
    sandbox.control(faults={fault: 1})
    response = ask(key="sk-planted-12345")
    assert response.status_code == status
    assert "sk-planted-12345" in response.json()["error"]["message"]
    seen = json.dumps([sandbox.log(), sandbox.stats(), sandbox.control()])
    assert "sk-planted" not in seen


def test_marker_in_the_prompt(sandbox: Sandbox, ask: Any) -> None:
    """A marker applies to its own prompt; with *2 to its first two sends."""
    text = "[[sandbox:status_503*2]] hello"
    assert [ask(text).status_code for _ in range(3)] == [503, 503, 200]
    assert ask("hello").status_code == 200
    assert ask("[[sandbox:no_such_fault]]").status_code == 200
    sandbox.control(markers=False)
    assert ask("[[sandbox:status_500]]").status_code == 200


def test_script(sandbox: Sandbox, ask: Any) -> None:
    """Rules by number, by text and by model; `times` bounds them."""
    rules = [
        {"fault": "status_500", "nth": [2]},
        {"fault": "status_502", "match": "gamma", "times": 1},
        {"fault": "status_503", "model": "other"},
    ]
    sandbox.control(script=rules)
    got = [ask(t).status_code for t in ("alpha", "beta", "gamma", "gamma")]
    assert got == [200, 500, 502, 200]
    assert ask("delta", model="other").status_code == 503


def test_scripted_reset_before(sandbox: Sandbox, ask: Any) -> None:
    """A reset before reading can be scripted by number."""
    sandbox.control(script=[{"fault": "reset_before", "nth": [1]}])
    with pytest.raises(LOST):
        ask()
    assert ask().status_code == 200


def test_rates_are_near_and_repeatable(sandbox: Sandbox, ask: Any) -> None:
    """At 30 % about 30 % fail, the same ones after a reset and in another order."""
    texts = [f"question {n}" for n in range(200)]

    def failed(order: list[str], seed: int) -> set[str]:
        sandbox.reset()
        sandbox.control(faults={"status_500": 0.3}, seed=seed)
        return {text for text in order if ask(text).status_code == 500}

    first = failed(texts, 1)
    assert 40 <= len(first) <= 80
    assert failed(texts[::-1], 1) == first
    assert failed(texts, 2) != first
