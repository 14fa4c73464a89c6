"""An endpoint that sends whatever hurts: too much, too slow, too deep, twice, or to somebody else."""

from __future__ import annotations

import gzip
import resource
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count, repeat
from pathlib import Path

from pydantic import SecretStr

from tasks.core.calls import MAX_COUNT, Reply, Request
from tasks.core.errors import ReviewError
from tasks.core.quotas import AppId
from tasks.review.replies.replies import parse_comments
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import open_caller
from tests.attacks.tally import Tally
from tests.attacks.upstream import Pieces, asked, completion, http, serving
from tests.end_to_end.test_secrets import readable

__all__ = ["endpoints", "numbers", "wires"]

KEY = "planted-key-attack-7d1f52"
_LIMITS = CallLimits(
    timeout=1.0, connect_timeout=1.0, stream_idle_timeout=0.5, max_attempts=2, backoff=0.01,
    max_backoff=0.02,
)  # fmt: skip
_BOUND = 12.0
"""Seconds that two questions may take: two attempts of 1 s each, and what a busy machine adds."""
_MEMORY = 400_000
"""KB by which the process may grow; the bombs unpack to 600 MB each."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    replies: tuple[Reply | ReviewError, ...]
    seconds: float

    def text(self) -> str:
        return repr(self.replies)

    def is_wrong(self) -> bool:
        """An answer that is not the question's own, or an end that comes too late."""
        given = [one.content for one in self.replies if isinstance(one, Reply)]
        return any("poison" in text for text in given) or self.seconds > _BOUND


def _ask(folder: Path, answer: Pieces, *, gap: float = 0.0, stream: bool = False) -> _Outcome:
    """Two questions, one after the other, over one connection if it is kept."""
    folder.mkdir(parents=True)
    with serving(answer, gap) as url, open_caller(
        [AppId("a", url)], keys={"a": SecretStr(KEY)}, journal=folder / "journal.sqlite",
        ledger=folder / "ledger.sqlite", limits=_LIMITS, margin=0.05,
    ) as caller:  # fmt: skip
        begun = time.monotonic()
        replies: list[Reply | ReviewError] = []
        for text in ("first question", "second question"):
            message = ({"role": "user", "content": text},)
            try:
                replies.append(caller.call(Request("m", message, stream=stream)))
            except ReviewError as error:
                replies.append(error)
        return _Outcome(tuple(replies), time.monotonic() - begun)


def _good(heard: bytes) -> bytes:
    return http(completion(f"answer to {asked(heard)}"))


_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_POISON = http(completion("poison"))


def _bomb(heard: bytes) -> Iterable[bytes]:
    del heard
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(600))
    yield http(packed + packer.flush(), "Content-Encoding: gzip")


def _chunks(data: Iterable[bytes]) -> Iterable[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in data:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


_WIRES: dict[str, tuple[Pieces, float]] = {
    "header bytes one by one": (lambda _: [b"HTTP/1.1 200 OK\r\nX: ", *repeat(b"a", 200)], 0.1),
    "100 Continue without end": (lambda _: repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 200), 0.1),
    "103 as fast as it goes": (lambda _: repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n", 50_000), 0.0),
    "body bytes one by one": (
        lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", *repeat(b"a", 200)], 0.1,
    ),
    "a body without end": (lambda _: _chunks(repeat(b" " * 65_536, 5_000)), 0.0),
    "a stream without end": (lambda _: [_SSE, *repeat(b": alive\n\n", 200)], 0.1),
    "a stream line without end": (lambda _: [_SSE, *repeat(b"data: " + b"x" * 65_536, 1_000)], 0.0),
    "an answer sent twice": (lambda heard: [_good(heard) + _POISON], 0.0),
    "an answer and a byte": (lambda heard: [_good(heard) + b"H"], 0.0),
    "a length too short": (
        lambda heard: [_good(heard).replace(b"Content-Length: ", b"Content-Length: 9\r\nX: ")
                       + _POISON], 0.0,
    ),
    "a length too long": (
        lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + completion("poison")], 0.0,
    ),
    "two lengths": (
        lambda heard: [_good(heard).replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1)], 0.0,
    ),
    "length and chunks": (
        lambda heard: [_good(heard).replace(b"\r\n", b"\r\nTransfer-Encoding: chunked\r\n", 1)], 0.0,
    ),
    "5,000 headers": (
        lambda heard: [_good(heard).replace(b"\r\n", b"\r\n" + b"X: y\r\n" * 5_000, 1)], 0.0,
    ),
    "a header of 300 KB": (
        lambda heard: [_good(heard).replace(b"\r\n", b"\r\nX: " + b"y" * 300_000 + b"\r\n", 1)], 0.0,
    ),
    "bytes that are no text": (lambda _: [http(b'{"choices": "\xff\xfe\x80"}')], 0.0),
    "200,000 levels of a body": (lambda _: [http(b"[" * 200_000 + b"]" * 200_000)], 0.0),
    "a page": (lambda _: [http(b"<html>poison</html>", "Content-Type: text/html")], 0.0),
    "204": (lambda _: [b"HTTP/1.1 204 No Content\r\n\r\n"], 0.0),
    "nothing": (lambda _: [http(b"")], 0.0),
    "HTTP/2": (lambda _: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 0.0),
    "garbage": (lambda _: [bytes(range(256)) * 9], 0.0),
    "status 999": (lambda _: [http(completion("poison"), status="999 What")], 0.0),
    "status 418": (lambda _: [http(completion("poison"), status="418 Teapot")], 0.0),
    "gzip that is none": (lambda _: [http(completion("poison"), "Content-Encoding: gzip")], 0.0),
    "gzip, cut": (
        lambda _: [http(gzip.compress(completion("poison"))[:-9], "Content-Encoding: gzip")], 0.0,
    ),
    "gzip that unpacks to 600 MB": (_bomb, 0.0),
}  # fmt: skip


def wires(folder: Path) -> Tally:
    """What is no HTTP, never ends, or goes on behind an answer: each as a reply and as a stream."""
    tally = Tally()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, (name, (answer, gap)) in enumerate(_WIRES.items()):
        for stream in (False, True):
            outcome = _ask(folder / f"{number}-{stream}", answer, gap=gap, stream=stream)
            tally.note(name, came_through=outcome.is_wrong())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    tally.note(f"memory grew by {grown} KB", came_through=grown > _MEMORY)
    return tally


_NUMBERS = ("9223372036854775808", "-1", "1e999", "NaN", "Infinity", "1.5", "true", '"7"', "[]")
_FIELDS = ("prompt_tokens", "completion_tokens", "total_tokens")


def numbers(folder: Path) -> Tally:
    """Counts that no table holds, ids that are no text, contents of 200,000 levels."""
    tally, serial = Tally(), count()

    def sent(body: bytes) -> _Outcome:
        return _ask(folder / str(next(serial)), lambda _: [http(body)])

    for field in _FIELDS:
        for number in _NUMBERS:
            body = completion("ok", usage={field: "@"}).replace(b'"@"', number.encode())
            replies = [one for one in sent(body).replies if isinstance(one, Reply)]
            wrong = [one for one in replies if not _fits(getattr(one.usage, field))]
            tally.note(f"{field} {number}", came_through=bool(wrong))
    for field in ("id", "model", "created", "system_fingerprint", "object"):
        for number in _NUMBERS:
            body = completion("ok", **{field: "@"}).replace(b'"@"', number.encode())
            kinds = [type(getattr(one, "created", 0.0)) for one in sent(body).replies]
            tally.note(f"{field} {number}", came_through=not {*kinds} <= {int, float})
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('{"comments":[', "]}")):
        begun = time.process_time()
        parsed = parse_deep(opening * 200_000 + closing * 200_000)
        late = time.process_time() - begun > _BOUND
        tally.note(f"200,000 times {opening}", came_through=parsed or late)
    return tally


def parse_deep(text: str) -> bool:
    """Whether a content gets past the parser as a finding, or ends it by anything but its own error."""
    try:
        return bool(parse_comments(text, finish_reason="stop").items)
    except ReviewError:
        return False


def _fits(number: object) -> bool:
    return number is None or (isinstance(number, int) and 0 <= number <= MAX_COUNT)


def endpoints(folder: Path) -> Tally:
    """An endpoint that sends the key elsewhere, gives it back, or holds a run for days."""
    tally = Tally()
    heard: list[bytes] = []

    def elsewhere(request: bytes) -> Iterable[bytes]:
        heard.append(request)
        yield _POISON

    with serving(elsewhere) as trap:
        for number, status in enumerate((301, 302, 303, 307, 308)):
            moved = http(b"", f"Location: {trap}/chat/completions", status=f"{status} Moved")
            _ask(folder / f"moved-{number}", lambda _, moved=moved: [moved])
            tally.note(f"{status} to another host", came_through=bool(heard))
    for name, answer in _echoes().items():
        for stream in (False, True):
            place = folder / f"{name}-{stream}"
            outcome = _ask(place, answer, stream=stream)
            files = [path for path in place.rglob("*") if path.is_file()]
            texts = (text for path in files for text in readable(path))
            kept = any(KEY[: len(KEY) // 2].encode() in text for text in texts)
            tally.note(f"the key in {name}", came_through=kept or KEY in outcome.text())
    for header in (
        "Retry-After: 604800",
        f"Retry-After: {formatdate(time.time() + 604_800, usegmt=True)}",
    ):
        held = http(b"{}", header, status="429 Too Many Requests")
        outcome = _ask(folder / header[13:16].strip(), lambda _, held=held: [held])
        tally.note(header, came_through=outcome.seconds > _BOUND)
    return tally


def _echoes() -> dict[str, Callable[[bytes], Iterable[bytes]]]:
    half = KEY[: len(KEY) // 2 + 4]
    statuses = ("200 OK", "400 Bad", "401 No", "403 No", "404 Gone", "500 Down")
    said = b'{"error": {"message": "wrong key ' + KEY.encode() + b'"}}'
    found: dict[str, Callable[[bytes], Iterable[bytes]]] = {
        "content": lambda _: [http(completion(f"the key is {KEY}"))],
        "half a key": lambda _: [http(completion(f"the key is {half}"))],
        "id": lambda _: [http(completion("ok", id=KEY))],
        "model": lambda _: [http(completion("ok", model=KEY))],
        "request id": lambda _: [http(completion("ok"), f"x-request-id: {KEY}")],
    }
    for status in statuses:
        found[f"status {status}"] = lambda _, status=status: [http(said, status=status)]
        found[f"page {status}"] = lambda _, status=status: [
            http(f"<html>{KEY}</html>".encode(), "Content-Type: text/html", status=status)
        ]
    return found
