"""The files of a batch that is over, with what is wrong in them."""

from __future__ import annotations

import random
from typing import Any

import orjson

from deployments.sandbox.batch_settings import BatchFault
from deployments.sandbox.batch_store import Batch

__all__ = ["error_file", "output_file"]

_OTHER_ANSWER = "A second line of the same question says something else."


def output_file(batch: Batch) -> bytes | None:
    """The lines of the rows that were answered; None: there is no such file."""
    faults = batch.counts
    if not batch.good or BatchFault.NO_FILES in faults:
        return None
    lines = _lines(list(batch.good), faults)
    if BatchFault.ANY_ORDER in faults:
        random.Random(batch.n).shuffle(lines)  # noqa: S311 -- the same order in every run
    end = b"\r\n" if BatchFault.CRLF in faults else b"\n"
    start = b"\xef\xbb\xbf" if BatchFault.BOM in faults else b""
    return start + b"".join(line + end for line in lines)


def error_file(batch: Batch) -> bytes | None:
    """The lines of the rows that failed; None: there is no such file."""
    if BatchFault.NO_FILES in batch.counts:
        return None
    if not batch.bad:
        return b"" if BatchFault.EMPTY_ERROR_FILE in batch.counts else None
    return b"".join(line + b"\n" for line in batch.bad)


def _lines(lines: list[bytes], faults: dict[BatchFault, int]) -> list[bytes]:
    """Missing ones are taken from the start, broken ones from the end, so that both are seen."""
    del lines[: faults.get(BatchFault.MISSING_LINE, 0)]
    again = [_other(line) for line in lines[: faults.get(BatchFault.DUPLICATE_LINE, 0)]]
    for at in range(min(faults.get(BatchFault.BROKEN_LINE, 0), len(lines))):
        lines[-1 - at] = lines[-1 - at][: len(lines[-1 - at]) // 2]
    strange = [_foreign(at) for at in range(faults.get(BatchFault.FOREIGN_LINE, 0))]
    return [*lines, *again, *strange]


def _other(line: bytes) -> bytes:
    record = orjson.loads(line)
    response: dict[str, Any] = record["response"]
    for choice in response.get("body", response)["choices"]:
        choice["message"]["content"] = _OTHER_ANSWER
    return orjson.dumps(record)


def _foreign(at: int) -> bytes:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Whose is it?"}}]}
    response = {"status_code": 200, "request_id": "", "body": body}
    name = f"foreign-{at}"
    return orjson.dumps({"id": name, "custom_id": name, "response": response, "error": None})
