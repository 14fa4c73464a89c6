"""Files and batches of one app_id at its provider, by its keys and the connections of the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import openai

from tasks.core.errors import BatchCallFailed, ReplyError
from tasks.core.quotas import AppId
from tasks.upstream.batches.dialect import BatchDialect
from tasks.upstream.batches.records import BatchRow, BatchStatus, RequestFile
from tasks.upstream.batches.requests import BatchCallLimits, Requests, json_of, sent
from tasks.upstream.batches.result_file import ReplyOrigin, read_rows
from tasks.upstream.batches.status import read_page, read_status
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.retry import backoff

__all__ = ["BatchClient"]

_PAGE = 100
_RECENT = 3600.0
"""A batch that was made just now is not older, by whatever clock."""
_LONGEST_LINE = 64 * 2**20
_PENDING = frozenset({"pending", "running", "notrunning", "uploading"})
_DEFAULTS = BatchCallLimits()


class BatchClient:
    """What can be done with files and batches; nothing is remembered between two calls.

    All methods raise BatchCallFailed where the provider has no answer, and Stopped.
    """

    def __init__(
        self,
        pool: ClientPool,
        app_id: AppId,
        dialect: BatchDialect,
        *,
        stop: threading.Event | None = None,
        limits: BatchCallLimits = _DEFAULTS,
    ) -> None:
        self.app_id = app_id
        self.dialect = dialect
        self._limits = limits
        self._stop = stop or threading.Event()
        self._requests = Requests(pool, app_id, self._stop, limits)

    def upload(self, file: RequestFile) -> str:
        """Send a file and wait until it can be used; its id.

        Sent again after a failure: a file that nobody uses costs nothing, and goes by itself.
        """
        what, fields = f"upload of {file.path.name}", self._fields(file)
        try:
            found = self._sent(file, fields, what)
        except BatchCallFailed as error:
            if error.code != "bad_request" or fields.pop("expires_after", None) is None:
                raise
            found = self._sent(file, fields, what)  # some take no file that goes by itself
        return self._usable(found, what)

    def create(
        self, file_id: str, metadata: Mapping[str, str], *, known: Collection[str] = ()
    ) -> BatchStatus:
        """Make a batch of an uploaded file, once.

        Where the answer is lost, the batch is looked for; `known` are ids of earlier ones of this
        file. BatchCallFailed.uncertain: it may be there later, so `find` it before the next `create`.
        """
        asked: dict[str, Any] = {
            "input_file_id": file_id,
            "endpoint": self.dialect.endpoint,
            "completion_window": "24h",
        }
        if self.dialect.metadata:
            asked["metadata"] = dict(metadata)

        def send(client: openai.OpenAI, headers: Mapping[str, Any]) -> BatchStatus:
            response = sent(client, "post", "/batches", headers, body=asked)
            return read_status(json_of(response), self.dialect)

        try:
            return self._requests.run(f"batch of {file_id}", send, repeatable=False)
        except BatchCallFailed as error:
            found = self._lost(file_id, known) if error.uncertain else None
            if found is None:
                raise
            return found

    def get(self, batch_id: str) -> BatchStatus:
        """Look at a batch; code not_found: there is none."""
        return self._status("get", f"/batches/{batch_id}", f"batch {batch_id}")

    def cancel(self, batch_id: str) -> BatchStatus:
        """Stop a batch, if it is not over; what is done is charged, and in its files."""
        try:
            path = f"/batches/{batch_id}/cancel"
            return self._status("post", path, f"cancelling of batch {batch_id}")
        except BatchCallFailed as error:
            if error.code == "not_found":
                raise
            found = self.get(batch_id)  # one that is over is refused, with 400 or 409
            if not found.is_over:
                raise
            return found

    def list(
        self, metadata: Mapping[str, str] | None = None, *, since: float = 0.0
    ) -> Iterator[BatchStatus]:
        """Batches with all of this metadata, made after `since` (epoch seconds), as the provider lists
        them: newest first, by OpenAI's rule. The last page that is read has none that is new enough.
        """
        after, seen = "", set[str]()
        while True:
            page, more = self._page(after)
            fresh = [status for status in page if status.id not in seen]
            new = [status for status in fresh if (status.created or since) >= since]
            seen.update(status.id for status in fresh)
            yield from (status for status in new if _has(status, metadata or {}))
            if not more or not new:
                return
            after = page[-1].id

    def find(
        self,
        file_id: str = "",
        metadata: Mapping[str, str] | None = None,
        *,
        known: Collection[str] = (),
        since: float = 0.0,
    ) -> BatchStatus | None:
        """The newest batch of that input file or with all of that metadata, none of the `known`."""
        for status in self.list(since=since):
            same_file = bool(file_id) and status.input_file_id == file_id
            if status.id not in known and (same_file or (metadata and _has(status, metadata))):
                return status
        return None

    def read(self, file_id: str, folder: Path) -> Iterator[bytes]:
        """The lines of a file, once all of it is in `folder`, where it stays as long as it is read."""
        with NamedTemporaryFile(dir=folder, prefix=f"{file_id}.", suffix=".part") as stream:
            self._download(file_id, stream)
            stream.seek(0)
            while line := stream.readline(_LONGEST_LINE):
                yield line

    def rows(
        self, status: BatchStatus, expected: Collection[str], folder: Path, model: str
    ) -> Iterator[BatchRow]:
        """What became of the questions of a batch that is over, by both of its files.

        `model` is our name of it. A file that its provider has no more is as one without lines.
        """
        http = self.app_id.http
        sent_name = http.sent_name(model)
        origin = ReplyOrigin(
            app_id=self.app_id.alias,
            endpoint=self.app_id.base_url,
            batch_id=status.id,
            model=model,
            sent_model=None if sent_name == model else sent_name,
            submitted=status.created,
            ended=status.ended,
        )
        files = (self._read_if_there(file_id, folder) for file_id in status.file_ids)
        return read_rows(files, expected, origin, self._requests.pool.keys.scrub)

    def delete(self, file_id: str) -> bool:
        """Remove a file; False: there was none."""

        def send(client: openai.OpenAI, headers: Mapping[str, Any]) -> bool:
            json_of(sent(client, "delete", f"/files/{file_id}", headers))
            return True

        try:
            return self._requests.run(f"deletion of {file_id}", send)
        except BatchCallFailed as error:
            if error.code != "not_found":
                raise
            return False

    def _read_if_there(self, file_id: str, folder: Path) -> Iterator[bytes]:
        try:
            yield from self.read(file_id, folder)
        except BatchCallFailed as error:
            if error.code != "not_found":
                raise

    def _sent(self, file: RequestFile, fields: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        def send(client: openai.OpenAI, headers: Mapping[str, Any]) -> Mapping[str, Any]:
            with file.path.open("rb") as stream:
                response = sent(
                    client,
                    "post",
                    self.dialect.upload_path,
                    {**headers, "Content-Type": "multipart/form-data"},
                    body=fields,
                    files={"file": (file.path.name, stream, "application/jsonl")},
                )
                return _with_id(json_of(response))

        return self._requests.run(what, send, transfer=True)

    def _fields(self, file: RequestFile) -> dict[str, Any]:
        fields: dict[str, Any] = {"purpose": self.dialect.purpose}
        if self.dialect.line_url is None:
            fields |= {"file_name": file.path.name, "file_type": "jsonl"}
        if self.dialect.file_seconds is not None:
            fields["expires_after"] = {"anchor": "created_at", "seconds": self.dialect.file_seconds}
        return fields

    def _usable(self, found: Mapping[str, Any], what: str) -> str:
        """The id of a file, once its provider has looked at it."""
        file_id, looks = str(found["id"]), 0

        def send(client: openai.OpenAI, headers: Mapping[str, Any]) -> Any:
            return _with_id(json_of(sent(client, "get", f"/files/{file_id}", headers)))

        while str(found.get("status")).lower() in _PENDING:
            looks += 1
            limits = self._limits
            self._stop.wait(backoff(looks, base=limits.backoff, most=limits.max_backoff))
            found = self._requests.run(what, send)
        if str(found.get("status")).lower() == "error":
            said = str(found.get("status_details") or "no reason given")[:200]
            msg = f"{what}: the provider cannot use the file: {said}"
            raise BatchCallFailed(msg, code="bad_request", app_id=self.app_id.alias)
        return file_id

    def _lost(self, file_id: str, known: Collection[str]) -> BatchStatus | None:
        """The batch whose creation was not answered, if it can be seen already."""
        try:
            return self.find(file_id, known=known, since=time.time() - _RECENT)
        except BatchCallFailed:
            return None

    def _status(self, method: str, path: str, what: str) -> BatchStatus:
        def send(client: openai.OpenAI, headers: Mapping[str, Any]) -> BatchStatus:
            return read_status(json_of(sent(client, method, path, headers)), self.dialect)

        return self._requests.run(what, send)

    def _page(self, after: str) -> tuple[Sequence[BatchStatus], bool]:
        query = {"limit": _PAGE} | ({"after": after} if after else {})

        def send(client: openai.OpenAI, headers: Mapping[str, Any]) -> Any:
            response = sent(client, "get", "/batches", headers, params=query)
            return read_page(json_of(response), self.dialect)

        found: tuple[Sequence[BatchStatus], bool] = self._requests.run("list of batches", send)
        return found

    def _download(self, file_id: str, stream: IO[bytes]) -> None:
        def send(client: openai.OpenAI, headers: Mapping[str, Any]) -> None:
            stream.seek(0)
            stream.truncate()
            response = sent(client, "get", f"/files/{file_id}/content", headers)
            try:
                for chunk in response.iter_bytes():
                    stream.write(chunk)
            finally:
                response.close()

        self._requests.run(f"reading of {file_id}", send, transfer=True)


def _has(status: BatchStatus, metadata: Mapping[str, str]) -> bool:
    return all(status.metadata.get(name) == value for name, value in metadata.items())


def _with_id(found: Any) -> Mapping[str, Any]:
    """An answer about a file.

    Raises:
        ReplyError: it names no file.
    """
    if not isinstance(found, Mapping) or not isinstance(found.get("id"), str) or not found["id"]:
        msg = "the answer is no file: it has no id"
        raise ReplyError(msg)
    return found
