"""Request files: one line a question, one model a file, within the provider's limits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import orjson

from tasks.core.calls import Request
from tasks.core.endpoints import HttpOptions
from tasks.upstream.batches.dialect import BatchDialect
from tasks.upstream.batches.records import RequestFile
from tasks.upstream.calls.completion import body_of

__all__ = ["FileLimits", "read_custom_ids", "write_request_files"]

_PLAIN = HttpOptions()
_STREAMED = frozenset({"stream", "stream_options", "service_tier"})
"""What has no meaning in a batch."""


@dataclass(frozen=True, slots=True)
class FileLimits:
    """How much one file may hold; a question that is larger by itself gets a file of its own."""

    max_requests: int = 50_000
    max_bytes: int = 180_000_000
    max_enqueued_tokens: int = 20_000_000

    def within(self, dialect: BatchDialect) -> FileLimits:
        """These limits, and none above what the provider takes."""
        return FileLimits(
            min(self.max_requests, dialect.max_requests),
            min(self.max_bytes, dialect.max_bytes),
            self.max_enqueued_tokens,
        )

    def has_room(self, file: _Open, size: int, tokens: int) -> bool:
        """Whether one question more fits."""
        return (
            len(file.custom_ids) < self.max_requests
            and file.size + size <= self.max_bytes
            and file.tokens + tokens <= self.max_enqueued_tokens
        )


@dataclass(slots=True)
class _Open:
    """A file that is being written."""

    model: str
    sent_model: str
    stream: IO[bytes]
    custom_ids: list[str] = field(default_factory=list)
    size: int = 0
    tokens: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, custom_id: str, line: bytes, tokens: int) -> None:
        self.stream.write(line)
        self.digest.update(line)
        self.custom_ids.append(custom_id)
        self.size += len(line)
        self.tokens += tokens

    def close(self, folder: Path) -> RequestFile:
        """On disk under a name that its content gives it."""
        sha256 = self.digest.hexdigest()
        path = folder / f"{sha256[:32]}.jsonl"
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        Path(self.stream.name).replace(path)
        return RequestFile(
            path=path,
            model=self.model,
            sent_model=self.sent_model,
            custom_ids=tuple(self.custom_ids),
            bytes=self.size,
            prompt_tokens=self.tokens,
            sha256=sha256,
        )


def write_request_files(
    requests: Iterable[Request],
    folder: Path,
    limits: FileLimits,
    dialect: BatchDialect,
    *,
    http: HttpOptions = _PLAIN,
    adapt: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
) -> Iterator[RequestFile]:
    """Files of the questions, in their order; one file is given as soon as it is full.

    custom_id is the question's key. A question that comes twice is written once. `adapt` makes a
    body what the endpoint takes. The same questions make the same files, by name and content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    limits, opened, seen = limits.within(dialect), dict[str, _Open](), set[str]()
    try:
        for request in requests:
            key = request.key  # a hash of the whole question
            if key in seen:
                continue
            seen.add(key)
            line = _line(key, request, dialect, http, adapt)
            file = opened.get(request.model)
            if file is not None and not limits.has_room(file, len(line), request.prompt_tokens):
                yield opened.pop(request.model).close(folder)
                file = None
            if file is None:
                file = opened[request.model] = _opened(request.model, http, folder)
            file.add(key, line, request.prompt_tokens)
        while opened:
            yield opened.pop(next(iter(opened))).close(folder)
    finally:
        for file in opened.values():
            file.stream.close()
            Path(file.stream.name).unlink(missing_ok=True)


def read_custom_ids(path: Path) -> tuple[str, ...]:
    """Keys of the questions of a request file, line by line."""
    with path.open("rb") as lines:
        return tuple(str(orjson.loads(line)["custom_id"]) for line in lines if line.strip())


def _opened(model: str, http: HttpOptions, folder: Path) -> _Open:
    stream = NamedTemporaryFile(dir=folder, suffix=".part", delete=False)  # noqa: SIM115
    return _Open(model, http.sent_name(model), stream)


def _line(
    key: str,
    request: Request,
    dialect: BatchDialect,
    http: HttpOptions,
    adapt: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> bytes:
    body = {k: v for k, v in adapt(body_of(request)).items() if k not in _STREAMED}
    record: dict[str, Any] = {"custom_id": key}
    if dialect.line_url is not None:
        record |= {"method": "POST", "url": dialect.line_url}
    return orjson.dumps({**record, "body": body | {"model": http.sent_name(request.model)}}) + b"\n"
