"""Request files: whose lines, of which size, and the same every time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.calls import Request
from tasks.core.endpoints import HttpOptions
from tasks.upstream.batches.dialect import DIALECTS
from tasks.upstream.batches.records import RequestFile
from tasks.upstream.batches.request_file import FileLimits, read_custom_ids, write_request_files

OPENAI = DIALECTS["openai"]


def question(text: str, model: str = "m", tokens: int = 10, **params: Any) -> Request:
    """A question of one message."""
    messages = ({"role": "user", "content": text},)
    return Request(model, messages, params, stream=True, prompt_tokens=tokens)


def lines(file: RequestFile) -> list[Any]:
    """What is in a file."""
    return [json.loads(line) for line in file.path.read_bytes().splitlines()]


def test_a_line_is_the_question(tmp_path: Path) -> None:
    """custom_id is the question's key; the body is that of an online call that is not streamed."""
    asked = question("Größe?", temperature=0, seed=None, service_tier="flex")
    (file,) = write_request_files([asked, asked], tmp_path, FileLimits(), OPENAI)
    (line,) = lines(file)
    assert line == {
        "custom_id": asked.key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "m",
            "messages": [{"role": "user", "content": "Größe?"}],
            "temperature": 0,
        },
    }
    content = file.path.read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf")
    assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (file.requests, file.prompt_tokens) == (1, 10)
    assert read_custom_ids(file.path) == file.custom_ids == (asked.key,)


def test_one_model_a_file(tmp_path: Path) -> None:
    """Questions of several models come mixed, and each file has one."""
    asked = [question(f"q{n}", f"m{n % 3}") for n in range(9)]
    files = list(write_request_files(asked, tmp_path, FileLimits(), OPENAI))
    assert [file.model for file in files] == ["m0", "m1", "m2"]
    for file in files:
        assert {line["body"]["model"] for line in lines(file)} == {file.model}
        assert file.custom_ids == tuple(q.key for q in asked if q.model == file.model)


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (FileLimits(max_requests=2), [2, 2, 1]),
        (FileLimits(max_enqueued_tokens=30), [3, 2]),
        (FileLimits(max_enqueued_tokens=9), [1] * 5),
        (FileLimits(max_bytes=500), [2, 2, 1]),
        (FileLimits(max_bytes=1), [1] * 5),
    ],
)
def test_limits_cut(tmp_path: Path, limits: FileLimits, sizes: list[int]) -> None:
    """Rows, bytes and enqueued tokens each end a file; a question too large goes alone."""
    files = list(
        write_request_files([question(f"q{n}") for n in range(5)], tmp_path, limits, OPENAI)
    )
    assert [file.requests for file in files] == sizes
    if limits.max_bytes == 500:
        assert all(file.bytes <= 500 for file in files)


def test_the_providers_own_limits_hold(tmp_path: Path) -> None:
    """A configured limit above what the provider takes is the provider's."""
    limits = FileLimits(max_requests=10**9, max_bytes=10**12).within(DIALECTS["together"])
    assert (limits.max_requests, limits.max_bytes) == (50_000, 100_000_000)
    assert FileLimits(max_requests=5).within(OPENAI).max_requests == 5
    assert list(write_request_files([], tmp_path, limits, OPENAI)) == []


def test_dialects(tmp_path: Path) -> None:
    """Azure has a deployment for a model, Together lines of custom_id and body only."""
    http = HttpOptions(names={"m": "gpt-batch"})
    asked = question("q")
    (azure,) = write_request_files([asked], tmp_path, FileLimits(), DIALECTS["azure"], http=http)
    assert (azure.model, azure.sent_model) == ("m", "gpt-batch")
    (line,) = lines(azure)
    assert (line["url"], line["body"]["model"]) == ("/chat/completions", "gpt-batch")
    (together,) = write_request_files([asked], tmp_path, FileLimits(), DIALECTS["together"])
    assert lines(together)[0].keys() == {"custom_id", "body"}


def test_bodies_are_adapted(tmp_path: Path) -> None:
    """What an endpoint refuses is left out of the body, and the key stays the question's."""
    asked = question("q", response_format={"type": "json_schema"})

    def adapt(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "response_format": {"type": "json_object"}}

    (file,) = write_request_files([asked], tmp_path, FileLimits(), OPENAI, adapt=adapt)
    (line,) = lines(file)
    assert line["body"]["response_format"] == {"type": "json_object"}
    assert line["custom_id"] == asked.key


def test_the_same_questions_make_the_same_files(tmp_path: Path) -> None:
    """A run that begins anew finds its file by name, and nothing half-written stays."""
    asked = [question(f"q{n}") for n in range(4)]
    first, _ = write_request_files(asked, tmp_path, FileLimits(max_requests=2), OPENAI)
    begun = write_request_files(asked, tmp_path, FileLimits(max_requests=2), OPENAI)
    assert next(begun) == first
    begun.close()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jsonl", ".jsonl"]
