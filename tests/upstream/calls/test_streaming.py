"""Server-sent events: however they are cut into packets, the reply is the same."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ReplyError
from tasks.upstream.calls.completion import ServerError
from tasks.upstream.calls.retry import Circumstances, decide
from tasks.upstream.calls.streaming import assemble, events
from tasks.upstream.calls.transport import Probe


def probe(idle: float = 60.0) -> Probe:
    """A probe that nothing is sent through."""
    return Probe(timeout=60, idle=idle, max_bytes=10**6, on_sent=lambda _: None)


def event(record: Any, end: bytes = b"\n\n") -> bytes:
    """One event of a stream."""
    return b"data: " + orjson.dumps(record) + end


def delta(text: Any, finish: str | None = None) -> dict[str, Any]:
    """One chunk of a chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c1", "created": 5, "model": "m1", "choices": [choice]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
DONE = b"data: [DONE]\n\n"


@given(
    st.lists(st.text(min_size=1), min_size=1, max_size=8),
    st.lists(st.integers(1, 40), min_size=1),
    st.sampled_from([b"\n\n", b"\r\n\r\n"]),
)
def test_any_cut_gives_the_same_reply(texts: list[str], cuts: list[int], end: bytes) -> None:
    """Split anywhere, inside a character or a line end, with comments in between."""
    parts = [event(delta(text), end) + b": ping" + end for text in texts]
    data = b"".join([*parts, event(delta("", "stop"), end), event(USAGE, end), DONE])
    chunks: list[bytes] = []
    position = 0
    while position < len(data):
        step = cuts[len(chunks) % len(cuts)]
        chunks.append(data[position : position + step])
        position += step
    whole = "".join(texts)
    if not whole.strip():
        return
    completion = assemble(chunks, probe())
    assert completion.content == whole
    assert (completion.model, completion.request_id, completion.created) == ("m1", "c1", 5)
    assert (completion.finish_reason, completion.usage.total_tokens) == ("stop", 5)
    assert completion.first_token is not None


def test_line_separators_inside_text_do_not_split() -> None:
    """U+2028 and friends, as a server without ASCII escapes sends them."""
    text = "a\u2028b\u2029c\x85d"
    record = orjson.dumps(delta(text, "stop"))
    assert text.encode() in record
    assert assemble([b"data: " + record + b"\n\n"], probe()).content == text


def test_data_over_several_lines_is_one_event() -> None:
    """As the standard has it; other fields and comments are passed over."""
    chunks = [b"event: x\nid: 1\n: comment\ndata: a\ndata:b\n\nretry: 5\n\ndata: c\n"]
    assert list(events(chunks)) == ["a\nb"]


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([event(delta("half"))], "stream_cut"),
        ([event(delta("half")), event(delta("x", "stop"))[:-20]], "stream_cut"),
        ([], "stream_cut"),
        ([DONE], "bad_reply"),
        ([b"data: {oops\n\n", DONE], "bad_reply"),
        ([b"data: [1]\n\n", DONE], "bad_reply"),
        ([event(delta(" ", "stop")), DONE], "empty_reply"),
        ([event(delta("x", "content_filter")), DONE], "content_filter"),
        ([event({"choices": [{"delta": {"refusal": "no"}, "finish_reason": "stop"}]})], "refusal"),
    ],
)
def test_what_is_no_reply(chunks: list[bytes], code: str) -> None:
    """Each way to fall short has its reason."""
    with pytest.raises(ReplyError) as caught:
        assemble(chunks, probe())
    assert caught.value.code == code


def test_an_error_in_the_stream_keeps_its_status() -> None:
    """Some proxies answer 200 and put the real status into an event."""
    with pytest.raises(ServerError) as caught:
        assemble([event(delta("x")), event({"error": {"message": "busy", "code": 529}})], probe())
    decision = decide(caught.value, Circumstances(reached=True))
    assert (decision.reason, decision.message) == ("overloaded", "HTTP 529: busy")


def test_comments_are_no_sign_of_life() -> None:
    """Once it has begun, a server that only sends keep-alives is as silent as one that sends nothing."""
    with pytest.raises(TimeoutError):
        assemble([event(delta("x"))] + [b": ping\n\n"] * 5, probe(idle=-1.0))
    with pytest.raises(ReplyError, match="end mark"):  # until then the call's own time rules
        assemble([b": ping\n\n"] * 5, probe(idle=-1.0))


@pytest.mark.parametrize(
    "chunks",
    [
        [event(delta("whole")), event(delta("", "stop"))[:-1]],
        [event(delta("whole")), b"data: [DONE]"],
        [event(delta("whole"), b"\r\r"), event(delta("", "stop"), b"\r\r"), b"data: [DONE]\r"],
        [event(delta("whole"), b"\r"), b"\r", event(delta("", "stop"), b"\r\n\r"), b"\n"],
        [event({"choices": [{"index": 1, "delta": {"content": "B"}}]}), event(delta("whole", "stop"))],
        [event(delta([{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "whole"}], "eos"))],
    ],
)  # fmt: skip
def test_tails_lines_choices_and_parts(chunks: list[bytes]) -> None:
    """No last newline, CR line ends, another choice, content as parts: the same reply."""
    assert assemble(chunks, probe()).content == "whole"


def test_an_answer_among_the_thoughts_is_read() -> None:
    """A server's parser of thoughts that took everything for them loses no answer."""
    parts = [{"choices": [{"delta": {"reasoning_content": t}}]} for t in ('{"comments"', ": []}")]
    chunks = [*map(event, parts), event(delta("", "stop"))]
    assert assemble(chunks, probe()).content == '{"comments": []}'


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource", "abort"])
def test_a_reply_that_the_provider_broke_off_is_none(reason: str) -> None:
    """Only known good ends make a reply: whatever else would be journaled as the answer for ever."""
    with pytest.raises(ReplyError, match=reason) as caught:
        assemble([event(delta("half", reason)), DONE], probe())
    assert decide(caught.value, Circumstances(reached=True)).action == "retry"


def test_an_error_beside_half_a_reply_is_an_error() -> None:
    """OpenRouter's error in mid-stream has choices too."""
    chunk = delta("", "error") | {"error": {"code": 502, "message": "Provider disconnected"}}
    with pytest.raises(ServerError, match="Provider disconnected"):
        assemble([event(delta("half")), event(chunk), DONE], probe())


def test_thoughts_that_used_up_max_tokens_are_paid_once() -> None:
    """The reason and the remedy are said, the usage goes along, and nothing is asked again."""
    with pytest.raises(
        ReplyError, match="all 2 tokens went into reasoning: raise max_tokens"
    ) as caught:
        assemble([event(delta("", "length")), event(USAGE), DONE], probe())
    assert caught.value.usage is not None
    assert caught.value.usage.total_tokens == 5
    assert decide(caught.value, Circumstances(reached=True)).action == "give_up"


@pytest.mark.parametrize(
    "tail", [[event(delta("", "stop"))], [DONE], [event(delta("", "stop")), DONE]]
)
def test_either_end_mark_will_do(tail: list[bytes]) -> None:
    """Servers differ; a stream with one of both is whole."""
    assert assemble([event(delta("whole")), *tail], probe()).content == "whole"
