"""The paths of files and batches: who may use them, what they take, what they answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from deployments.sandbox import refusals
from deployments.sandbox.batch_settings import BatchFault
from deployments.sandbox.batch_store import Batch, StoredFile
from deployments.sandbox.batches.dialects import BATCH_DIALECTS, SandboxDialect
from deployments.sandbox.batches.objects import batch_object, file_object
from deployments.sandbox.batches.progress import advance, cancel
from deployments.sandbox.batches.refusals import (
    CRASHED,
    NO_BATCH,
    NO_FILE,
    TOO_MANY,
    UNKNOWN_EXPIRY,
    bad_create,
    bad_upload,
    over,
)
from deployments.sandbox.batches.uploads import read_upload
from deployments.sandbox.batches.validation import first_model
from deployments.sandbox.delivery import reset
from deployments.sandbox.exchange import key_of, refusal_payload
from deployments.sandbox.request_log import SHARED
from deployments.sandbox.state import SandboxState
from deployments.sandbox.wire import SandboxRefusal

__all__ = ["BatchDesk", "desk_for"]

_KEYS = ("authorization", "api-key")
_UPLOADS = (BatchFault.UPLOAD_CUT, BatchFault.UPLOAD_500, BatchFault.UPLOAD_EXPIRY)
_FILE = re.compile(r"/files/([^/]+)(/content)?")
_BATCH = re.compile(r"/batches/([^/]+)(/cancel)?")
_Handler = Callable[..., Awaitable[web.StreamResponse]]


def desk_for(request: web.BaseRequest, state: SandboxState) -> BatchDesk | None:
    """Who answers the request; None: its path is none of files and batches."""
    config = state.config
    name = config.batch.dialect or config.provider.batches
    bases = [config.provider.base]
    if name == "azure":
        bases.append(config.provider.base.removesuffix("/v1"))
    for base in bases:
        path = request.path.removeprefix(base)
        if name and request.path.startswith(base) and path.startswith(("/files", "/batches")):
            return BatchDesk(request, state, BATCH_DIALECTS[name], path)
    return None


class BatchDesk:
    """One request about a file or a batch."""

    def __init__(
        self, request: web.BaseRequest, state: SandboxState, dialect: SandboxDialect, path: str
    ) -> None:
        self.request, self.state, self.dialect, self.path = request, state, dialect, path
        self.store, self.settings = state.batches, state.config.batch
        self.owner = ""

    async def run(self) -> web.StreamResponse:
        """Answer it, or do it the harm that its fault says."""
        key, config = key_of(self.request, _KEYS), self.state.config
        alias = self.state.ring.alias(key) if key is not None else "none"
        refusal = refusals.for_key(key, alias, config)
        if refusal is not None:
            return self.refuse(refusal)
        self.owner = SHARED if config.one_quota else alias
        found = self._handler()
        if found is None:
            return self.refuse(refusals.NO_ROUTE)
        name, handler, arguments = found
        self.store.calls[name] += 1
        await advance(self.state, self.dialect)
        return await handler(*arguments)

    def _handler(self) -> tuple[str, _Handler, tuple[str, ...]] | None:
        method = self.request.method
        fixed: dict[tuple[str, str], tuple[str, _Handler]] = {
            ("POST", self.dialect.upload_path): ("upload", self._upload),
            ("GET", "/files"): ("list_files", self._list_files),
            ("POST", "/batches"): ("create", self._create),
            ("GET", "/batches"): ("list", self._list),
        }
        if (method, self.path) in fixed:
            return (*fixed[method, self.path], ())
        of_file, of_batch = _FILE.fullmatch(self.path), _BATCH.fullmatch(self.path)
        named: dict[tuple[str, bool, str | None], tuple[str, _Handler]] = {
            ("GET", True, None): ("get_file", self._get_file),
            ("DELETE", True, None): ("delete", self._delete_file),
            ("GET", True, "/content"): ("content", self._content),
            ("GET", False, None): ("get", self._get),
            ("POST", False, "/cancel"): ("cancel", self._cancel),
        }
        match = of_file or of_batch
        one = named.get((method, of_file is not None, match[2])) if match else None
        return (*one, (match[1],)) if one and match else None

    async def _upload(self) -> web.StreamResponse:
        self.store.uploads += 1
        rules = [rule for rule in self.settings.script if rule.fault in _UPLOADS]
        faults = self.store.ruled(rules, self.store.uploads)
        cut = BatchFault.UPLOAD_CUT in faults
        sent = await read_upload(self.request, half=cut)
        if sent is None or cut:
            return reset(self.request)
        if BatchFault.UPLOAD_EXPIRY in faults and sent.expires:
            return self.refuse(UNKNOWN_EXPIRY)
        purpose, name, content = sent.purpose, sent.name, sent.content
        most = self.settings.limit("max_bytes", self.owner, first_model(content))
        refusal = bad_upload(purpose, len(content), self.dialect.purpose, most or 0)
        if refusal is not None:
            return self.refuse(refusal)
        stored = self.store.save(self.owner, name, content, purpose)
        if BatchFault.UPLOAD_500 in faults:
            return self.refuse(CRASHED)
        state = {"status": "pending"} if self.dialect.pending else {}
        return self.answer(file_object(stored) | state)

    async def _list_files(self) -> web.StreamResponse:
        mine = [f for f in reversed(self.store.files.values()) if f.owner == self.owner]
        return self.answer({"object": "list", "data": [file_object(f) for f in mine]})

    async def _get_file(self, file_id: str) -> web.StreamResponse:
        stored = self.store.file(self.owner, file_id)
        return self.refuse(NO_FILE) if stored is None else self.answer(file_object(stored))

    async def _delete_file(self, file_id: str) -> web.StreamResponse:
        if self.store.file(self.owner, file_id) is None:
            return self.refuse(NO_FILE)
        del self.store.files[file_id]
        self.store.deleted += 1
        return self.answer({"id": file_id, "object": "file", "deleted": True})

    async def _content(self, file_id: str) -> web.StreamResponse:
        stored = self.store.file(self.owner, file_id)
        if stored is None:
            return self.refuse(NO_FILE)
        writer = self.store.batches.get(stored.batch)
        if writer is not None and writer.spend(BatchFault.DOWNLOAD_500):
            return self.refuse(CRASHED)
        if writer is not None and writer.spend(BatchFault.DOWNLOAD_CUT):
            return await self._cut(stored)
        return web.Response(body=stored.content, content_type="application/octet-stream")

    async def _cut(self, stored: StoredFile) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(stored.content)
        await response.prepare(self.request)
        await response.write(stored.content[: len(stored.content) // 2])
        return reset(self.request)

    async def _create(self) -> web.StreamResponse:
        try:
            asked = orjson.loads(await self.request.content.read())
        except orjson.JSONDecodeError:
            return self.refuse(refusals.BAD_JSON)
        refusal = bad_create(asked, self.dialect)
        source = None if refusal else self.store.file(self.owner, str(asked["input_file_id"]))
        if refusal is not None or source is None:
            return self.refuse(refusal or NO_FILE)
        return self._made(source, asked)

    def _made(self, source: StoredFile, asked: dict[str, Any]) -> web.StreamResponse:
        rules = [rule for rule in self.settings.script if rule.fault not in _UPLOADS]
        model = first_model(source.content)
        faults = self.store.ruled(rules, len(self.store.batches) + 1, model, source.content)
        if BatchFault.CREATE_429 in faults:
            return self.refuse(TOO_MANY)
        metadata = asked.get("metadata") if self.dialect.metadata else None
        batch = self.store.add(self.owner, source, asked["endpoint"], metadata)
        batch.counts = faults
        if BatchFault.CREATE_RESET in faults:
            return reset(self.request)
        if BatchFault.CREATE_500 in faults:
            return self.refuse(CRASHED)
        return self.answer({"job": self._shown(batch)} if self.dialect.job else self._shown(batch))

    async def _list(self) -> web.StreamResponse:
        mine = [batch for batch in self.store.of(self.owner) if not _hidden(batch)]
        if not self.dialect.paged:
            return self.answer([self._shown(batch) for batch in mine])
        query = self.request.query
        names = [batch.id for batch in mine]
        after = query.get("after")
        if after is not None and after not in names:
            return self.refuse(NO_BATCH)
        start = names.index(after) + 1 if after is not None else 0
        limit = query.get("limit", "")
        end = start + (min(100, int(limit)) if limit.isdecimal() else self.settings.page)
        page = [self._shown(batch) for batch in mine[start:end]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        more = end < len(mine)
        return self.answer({"object": "list", "data": page, **ends, "has_more": more})

    async def _get(self, batch_id: str) -> web.StreamResponse:
        batch = self.store.batch(self.owner, batch_id)
        if batch is None:
            return self.refuse(NO_BATCH)
        if batch.spend(BatchFault.GET_500):
            return self.refuse(CRASHED)
        return self.answer(self._shown(batch))

    async def _cancel(self, batch_id: str) -> web.StreamResponse:
        batch = self.store.batch(self.owner, batch_id)
        if batch is None:
            return self.refuse(NO_BATCH)
        if batch.over:
            return self.refuse(over(batch.state))
        cancel(batch, self.state)
        return self.answer(self._shown(batch))

    def _shown(self, batch: Batch) -> dict[str, Any]:
        return batch_object(batch, self.dialect, self.settings.window)

    def answer(self, value: Any) -> web.Response:
        """200."""
        return web.Response(body=orjson.dumps(value), content_type="application/json")

    def refuse(self, refusal: SandboxRefusal) -> web.Response:
        """The refusal in the provider's words and shape."""
        provider = self.state.config.provider
        sent = refusal_payload(provider.worded(refusal), provider, {})
        body = b"".join(sent.parts)
        return web.Response(status=sent.status, body=body, content_type=sent.content_type)


def _hidden(batch: Batch) -> bool:
    return BatchFault.LIST_LAG in batch.counts and batch.state == "validating"
