"""
Server-sent events of one reply, put together.

Lines are split at LF, CRLF and CR only: a text splitter also breaks at U+2028, which servers that do
not escape non-ASCII send in the middle of a JSON string.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from tasks.core.calls import Usage
from tasks.core.errors import ReplyError
from tasks.upstream.calls.completion import (
    THOUGHTS,
    Completion,
    check_complete,
    first_choice,
    join_text,
    raise_if_error,
    read_created,
    read_text,
    read_usage,
    thought_answer,
)
from tasks.upstream.calls.transport import Probe

__all__ = ["assemble", "events"]

_END = "[DONE]"


def events(chunks: Iterable[bytes]) -> Iterator[str]:
    """The data of each event; comments and other fields are passed over.

    Follows the parsing rules of the HTML standard, section "Server-sent events", but for its end:
    an event that nothing ends is given if it is whole, as OpenAI's own client does.
    """
    data: list[bytes] = []
    for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data).decode("utf-8", "replace")
            data = []
    tail = b"\n".join(data).decode("utf-8", "replace")
    if tail and (tail == _END or _is_json(tail)):
        yield tail


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        if b"\r" not in text:  # nearly always
            lines = text.split(b"\n")
            rest = lines.pop()
            yield from lines
            continue
        # A CR at the end may be half of a CRLF.
        held = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(held) if held else text
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop() + held
        yield from lines
    yield from (line for line in [rest.removesuffix(b"\r")] if line)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def assemble(chunks: Iterable[bytes], probe: Probe) -> Completion:
    """The reply that a stream adds up to.

    Raises:
        TimeoutError: only comments came for as long as a stream may be silent.
        ServerError: an event is an error object.
        ReplyError: code stream_cut (it ended before finish_reason and [DONE]) or as in completion.
    """
    reply = _Parts(probe)
    for event in events(reply.watch(chunks)):
        # Read on after the end mark: only a reply that is read to its end leaves its connection usable.
        if event == _END:
            reply.ended = True
        elif not reply.ended:
            reply.add(_chunk(event))
    return reply.completion()


def _chunk(event: str) -> dict[str, Any]:
    try:
        record = orjson.loads(event)
    except orjson.JSONDecodeError as error:
        msg = f"an event of the stream is not JSON: {error}"
        raise ReplyError(msg) from None
    if not isinstance(record, dict):
        msg = "an event of the stream is not a JSON object"
        raise ReplyError(msg)
    raise_if_error(record)
    return record


class _Parts:
    """What has come so far."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._last = time.monotonic()
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._said = (("content", self._content), ("refusal", self._refusal))
        self._thoughts: list[str] = []
        self._first: dict[str, Any] = {}
        self._usage = Usage()
        self._finish: str | None = None
        self._first_token: float | None = None
        self._has_choices = False
        self.ended = False

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks; once the reply has begun, keep-alive comments do not count as life."""
        for chunk in chunks:
            yield chunk
            if self._first_token and time.monotonic() - self._last > self._probe.idle:
                msg = f"no event of the stream for {self._probe.idle:g} s"
                raise TimeoutError(msg)

    def add(self, record: dict[str, Any]) -> None:
        """Take one event in."""
        self._last = time.monotonic()
        self._first = self._first or record
        if usage := record.get("usage"):
            self._usage = read_usage(usage)
        choice = first_choice(record.get("choices"))
        if isinstance(choice, dict):
            raise_if_error(choice)
            self._add_choice(choice)

    def _add_choice(self, choice: dict[str, Any]) -> None:
        self._has_choices = True
        finish, delta = choice.get("finish_reason"), choice.get("delta")
        self._finish = finish if isinstance(finish, str) else self._finish
        if not isinstance(delta, dict):
            return
        for name, parts in self._said:
            if (value := delta.get(name)) and (text := join_text(value)):
                parts.append(text)
                self._probe.begun = True
                self._first_token = self._first_token or self._last
        if value := delta.get(THOUGHTS[0]) or delta.get(THOUGHTS[1]):
            self._thoughts.append(join_text(value))

    def completion(self) -> Completion:
        """The whole. Either end mark will do: some servers send no [DONE], some no finish_reason."""
        if not (self.ended or self._finish):
            msg = f"the stream ended after {len(self._content)} chunks without an end mark"
            raise ReplyError(msg, code="stream_cut", usage=self._usage)
        if not self._has_choices:
            msg = "the stream has no choices"
            raise ReplyError(msg, usage=self._usage)
        thoughts = {THOUGHTS[0]: "".join(self._thoughts)}
        completion = Completion(
            content="".join(self._content) or thought_answer(thoughts, self._finish),
            model=read_text(self._first.get("model")),
            finish_reason=self._finish,
            usage=self._usage,
            request_id=read_text(self._first.get("id")),
            created=read_created(self._first.get("created")),
            refusal="".join(self._refusal) or None,
            first_token=self._first_token,
            tier=read_text(self._first.get("service_tier")),
        )
        check_complete(completion)
        return completion
