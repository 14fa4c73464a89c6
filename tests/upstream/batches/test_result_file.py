"""Every line that a result file was seen to hold, and what becomes of its question."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tasks.core.calls import Usage
from tasks.upstream.batches.records import BatchRow, RowBroken, RowFailure, RowMissing, RowReply
from tasks.upstream.batches.result_file import ReplyOrigin, read_rows
from tasks.upstream.calls.scrub import Scrubber

ORIGIN = ReplyOrigin("a", "http://x/v1", "batch_1", "m", submitted=100.0, ended=160.0)
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def completion(text: str | None = "yes", **choice: Any) -> dict[str, Any]:
    """A completion with one choice."""
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", **choice}]
    return {"id": "c", "object": "chat.completion", "choices": choices, "usage": USAGE}


def row(
    name: str, status: int | None = 200, body: Any = None, error: Any = None, **more: Any
) -> bytes:
    """One line as OpenAI writes it; without a status there is no response."""
    body = completion() if body is None and status == 200 else body
    response = None if status is None else {"status_code": status, "request_id": "r", "body": body}
    record = {"id": "x", "custom_id": name, "response": response, "error": error, **more}
    return orjson.dumps(record) + b"\n"


def refusal(message: str, **more: Any) -> dict[str, Any]:
    """The body of an error row."""
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


def read(*lines: bytes, expected: tuple[str, ...] = ("q",), errors: tuple[bytes, ...] = ()) -> Any:
    """The rows of an output and an error file."""
    return list(read_rows([lines, errors], expected, ORIGIN))


def one(*lines: bytes, **more: Any) -> Any:
    """The only row."""
    (found,) = read(*lines, **more)
    return found


def test_a_reply() -> None:
    """What an online call would have given, and where it came from; latency is the batch's."""
    found = one(row("q"))
    assert isinstance(found, RowReply)
    reply = found.reply
    assert (reply.content, reply.usage) == ("yes", Usage(7, 2, 9))
    assert (reply.app_id, reply.endpoint, reply.trace_id) == ("a", "http://x/v1", "batch_1/q")
    assert (reply.latency, reply.queue, reply.started, reply.model) == (60.0, 0.0, 100.0, "m")


GOOD = {
    "openai": row("q"),
    "no status": row("q", None, response={"body": completion()}),
    "vllm run-batch, old": row("q", None, response=completion()),
    "vllm run-batch, new": row("q", id="vllm-1"),
    "body as a text": row("q", None, response={"status_code": 200, "body": "{}"}).replace(
        b'"{}"', orjson.dumps(orjson.dumps(completion()).decode())
    ),
    "bom": b"\xef\xbb\xbf" + row("q"),
    "crlf": row("q").replace(b"\n", b"\r\n"),
    "no newline at the end": row("q").rstrip(),
    "blank lines": b"\n",
    "together": orjson.dumps(
        {"custom_id": "q", "response": {"status_code": 200, "body": completion()}}
    ),
}


@pytest.mark.parametrize("shape", GOOD)
def test_shapes_of_a_good_line(shape: str) -> None:
    """OpenAI's, both of vLLM's, Together's, with and without what stands around them."""
    lines = (GOOD[shape], row("q")) if shape == "blank lines" else (GOOD[shape],)
    found = one(*lines)
    assert isinstance(found, RowReply)
    assert found.reply.content == "yes"


EXPIRED = {"code": "batch_expired", "message": "This request could not be executed"}
FAILURES: dict[str, tuple[bytes, str, bool]] = {
    "expired": (row("q", None, error=EXPIRED), "batch_expired", True),
    "cancelled": (row("q", None, error={"code": "batch_cancelled"}), "batch_cancelled", True),
    "429": (row("q", 429, refusal("slow", code="rate_limit_exceeded")), "rate_limited", True),
    "500": (row("q", 500, refusal("oops")), "server_error", True),
    "503": (row("q", 503, refusal("overloaded")), "overloaded", True),
    "400": (row("q", 400, refusal("bad value")), "bad_request", False),
    "too long": (
        row("q", 400, refusal("too long", code="context_length_exceeded")),
        "context_length",
        False,
    ),
    "filtered": (row("q", 400, refusal("no", code="content_filter")), "content_filter", False),
    "no response, no error": (row("q", None), "bad_reply", True),
    "no body": (row("q", None, response={"status_code": 200, "body": None}), "bad_reply", True),
    "a status in the error alone": (row("q", None, error={"code": "503"}), "overloaded", True),
    "200 with an error": (row("q", 200, refusal("crashed", code="server_error")), "", True),
    "empty": (row("q", 200, completion("")), "empty_reply", True),
    "refused by the model": (
        row("q", 200, completion(None, message={"refusal": "I cannot"})),
        "refusal",
        True,
    ),
    "cut by a filter": (
        row("q", 200, completion("x", finish_reason="content_filter")),
        "content_filter",
        False,
    ),
    "thought only": (row("q", 200, completion("", finish_reason="length")), "truncated", False),
    "no choices": (row("q", 200, {"choices": []}), "bad_reply", True),
}


@pytest.mark.parametrize("trap", FAILURES)
@pytest.mark.parametrize("file", ["output", "error"])
def test_rows_that_failed(trap: str, file: str) -> None:
    """Asked again or given up as online would, whichever file has the line."""
    line, reason, again = FAILURES[trap]
    found = one(errors=(line,)) if file == "error" else one(line)
    assert isinstance(found, RowFailure)
    assert (found.reason, found.again) == (reason or found.reason, again)


def test_a_useless_reply_was_paid_for() -> None:
    """Tokens of a reply that cannot be used are told."""
    assert one(FAILURES["empty"][0]).usage == Usage(7, 2, 9)
    assert one(FAILURES["400"][0]).usage is None


def test_a_refused_response_format_is_adaptable() -> None:
    """The questions of that file can go without it; of a bad value they cannot."""
    message = "Unsupported parameter: 'response_format' is not supported with this model."
    found = one(row("q", 400, refusal(message, param="response_format")))
    assert (found.adaptable, found.again) == (True, False)
    assert not one(FAILURES["500"][0]).adaptable


BROKEN = {
    "half a line": row("q")[:40],
    "an array": b"[1]\n",
    "no custom_id": orjson.dumps({"response": None}),
    "custom_id is a number": orjson.dumps({"custom_id": 1}),
    "nobody asked": row("other"),
    "not utf-8": b'{"custom_id": "q\xff"}\n',
    "nul bytes": b"\x00" * 50,
}


@pytest.mark.parametrize("trap", BROKEN)
def test_broken_lines(trap: str) -> None:
    """A line that cannot be read is one line: it is named, and its question is missing."""
    broken, missing = read(BROKEN[trap])
    assert isinstance(broken, RowBroken)
    assert (broken.file, broken.line, missing) == (0, 1, RowMissing("q"))


def test_the_first_good_line_wins() -> None:
    """Of two replies the first counts; a reply counts before and after a failure."""
    again = row("q", 200, completion("later"))
    assert one(row("q"), again).reply.content == "yes"
    failed = row("q", 500, refusal("oops"))
    assert one(failed, row("q")).reply.content == "yes"
    assert one(row("q"), errors=(failed,)).reply.content == "yes"
    assert one(row("q", 429, refusal("x")), failed).status == 429


def test_nothing_at_all() -> None:
    """A batch that is completed and has no files leaves every question missing."""
    assert list(read_rows([], ("a", "b"), ORIGIN)) == [RowMissing("a"), RowMissing("b")]


def test_keys_are_masked() -> None:
    """What a row says, reply or refusal, may repeat a key."""
    scrub = Scrubber([SecretStr("planted-key-123")])
    lines = [row("q", 401, refusal("bad key planted-key-123")), row("planted-key-123")]
    lines.append(row("z", 200, completion("You sent planted-key-123.")))
    found = list(read_rows([lines], ("q", "z"), ORIGIN, scrub))
    assert "planted" not in "".join(repr(asdict(item)) for item in found)
    assert {type(item) for item in found} == {RowBroken, RowFailure, RowReply}


LINES = st.sampled_from([*GOOD.values(), *(f[0] for f in FAILURES.values()), *BROKEN.values()])


@given(st.lists(LINES, max_size=6), st.lists(LINES, max_size=6))
def test_each_question_has_one_outcome(output: list[bytes], errors: list[bytes]) -> None:
    """However lines are mixed over both files: one outcome a question, a reply if there is any."""
    found: list[BatchRow] = list(read_rows([output, errors], ("q", "z"), ORIGIN))
    outcomes = [item for item in found if not isinstance(item, RowBroken)]
    assert sorted(item.custom_id for item in outcomes) == ["q", "z"]
    good = {line for line in GOOD.values() if line.strip()}
    # A BOM is one at the start of a file only.
    at_all = any(line in good for line in [*output, *errors] if not line.startswith(b"\xef"))
    assert not at_all or any(isinstance(item, RowReply) for item in outcomes)


def test_memory_is_that_of_ids() -> None:
    """10,000 replies of 4 kB pass through without being kept."""
    names = [f"{n:064x}" for n in range(10_000)]
    body = completion("x" * 4000)

    def lines() -> Iterator[bytes]:
        return (row(name, 200, body) for name in names)

    tracemalloc.start()
    try:
        replies = sum(isinstance(item, RowReply) for item in read_rows([lines()], names, ORIGIN))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert replies == 10_000
    assert peak < 6_000_000
