"""The client of files and batches on the sandbox: each trap of a provider, over the wire."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deployments.sandbox import BatchFault, Sandbox, start_sandbox
from tasks.core.calls import Request
from tasks.core.endpoints import HttpOptions
from tasks.core.errors import BatchCallFailed, ConfigError, Stopped
from tasks.core.quotas import AppId
from tasks.upstream.batches.client import BatchClient
from tasks.upstream.batches.dialect import DIALECTS
from tasks.upstream.batches.records import (
    BatchRow,
    BatchStatus,
    RequestFile,
    RowBroken,
    RowFailure,
    RowMissing,
    RowReply,
)
from tasks.upstream.batches.request_file import FileLimits, write_request_files
from tasks.upstream.batches.requests import BatchCallLimits
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.key_ring import Credentials, KeyRing, KeySource

QUICK = BatchCallLimits(timeout=5, transfer_timeout=10, backoff=0.01, max_backoff=0.05)
CODE = "File: src/app.py\n+    11 |     return sum(rows) / len(rows)\n"


class Bench:
    """A client with its folder and what it asks."""

    def __init__(self, client: BatchClient, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.asked = [
            Request("m", ({"role": "user", "content": f"{CODE}{n}"},), {}, prompt_tokens=15)
            for n in range(4)
        ]

    @property
    def ids(self) -> list[str]:
        """Keys of the questions."""
        return [request.key for request in self.asked]

    def file(self) -> RequestFile:
        """The request file."""
        http = self.client.app_id.http
        dialect = self.client.dialect
        (found,) = write_request_files(self.asked, self.folder, FileLimits(), dialect, http=http)
        return found

    def ended(self, **metadata: str) -> BatchStatus:
        """A batch of the file that is over, where batches take no time."""
        made = self.client.create(self.client.upload(self.file()), metadata)
        return self.client.get(made.id)

    def rows(self, status: BatchStatus) -> list[BatchRow]:
        """What became of the questions."""
        return list(self.client.rows(status, self.ids, self.folder, "m"))


Open = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Open]:
    """Makes benches: `bench(sandbox, dialect="openai", keys=..., http=..., stop=...)`."""
    with ExitStack() as stack:

        def make(sandbox: Sandbox, dialect: str = "openai", **given: Any) -> Bench:
            keys = given.get("keys", {"a": SecretStr("plain-a")})
            app_id = AppId("a", sandbox.base_url, http=given.get("http", HttpOptions()))
            pool = stack.enter_context(ClientPool(keys, options={"a": app_id.http}, timeout=5))
            client = BatchClient(
                pool, app_id, DIALECTS[dialect], stop=given.get("stop"), limits=QUICK
            )
            return Bench(client, tmp_path)

        yield make


@pytest.fixture
def fast(sandbox: Sandbox) -> Sandbox:
    """The session's sandbox with batches that take no time."""
    sandbox.control(batch={"seconds": 0})
    return sandbox


def test_a_batch_from_file_to_replies(fast: Sandbox, bench: Open) -> None:
    """Every question is answered once, at half the price, and nothing stays at the provider."""
    b = bench(fast)
    status = b.ended(run="r1")
    assert (status.state, status.counts.total, status.counts.done) == ("completed", 4, 4)
    assert (status.metadata, status.model) == ({"run": "r1"}, "m")
    rows = b.rows(status)
    assert [row.custom_id for row in rows if isinstance(row, RowReply)] == b.ids
    assert status.usage is not None
    assert status.usage.total_tokens == sum(
        row.reply.usage.total_tokens or 0 for row in rows if isinstance(row, RowReply)
    )
    assert fast.bill()["questions_twice"] == 0
    for file_id in (status.input_file_id, *status.file_ids):
        assert b.client.delete(file_id) is True
        assert b.client.delete(file_id) is False
    assert fast.batch_log()["files"] == []
    assert [path.suffix for path in b.folder.iterdir()] == [".jsonl"]
    assert {type(row) for row in b.rows(status)} == {RowMissing}


TRAPS: dict[BatchFault, tuple[str, tuple[int, int, int, int]]] = {
    # state, and how many replies, failures, broken lines, missing rows
    BatchFault.UNKNOWN_STATE: ("completed", (4, 0, 0, 0)),
    BatchFault.CAPITAL_STATES: ("completed", (4, 0, 0, 0)),
    BatchFault.INVALID: ("failed", (0, 0, 0, 4)),
    BatchFault.TOKEN_LIMIT: ("failed", (0, 0, 0, 4)),
    BatchFault.EXPIRED: ("expired", (2, 2, 0, 0)),
    BatchFault.CANCELLED: ("cancelled", (2, 2, 0, 0)),
    BatchFault.NEVER_ENDING: ("running", (0, 0, 0, 4)),
    BatchFault.ROWS_400: ("completed", (3, 1, 0, 0)),
    BatchFault.ROWS_429: ("completed", (3, 1, 0, 0)),
    BatchFault.ROWS_500: ("completed", (3, 1, 0, 0)),
    BatchFault.ROWS_REFUSED: ("completed", (0, 4, 0, 0)),
    BatchFault.NO_FILES: ("completed", (0, 0, 0, 4)),
    BatchFault.EMPTY_ERROR_FILE: ("completed", (4, 0, 0, 0)),
    BatchFault.BLANK_ERROR_ID: ("completed", (4, 0, 0, 0)),
    BatchFault.BROKEN_LINE: ("completed", (3, 0, 1, 1)),
    BatchFault.MISSING_LINE: ("completed", (3, 0, 0, 1)),
    BatchFault.DUPLICATE_LINE: ("completed", (4, 0, 0, 0)),
    BatchFault.FOREIGN_LINE: ("completed", (4, 0, 1, 0)),
    BatchFault.ANY_ORDER: ("completed", (4, 0, 0, 0)),
    BatchFault.BOM: ("completed", (4, 0, 0, 0)),
    BatchFault.CRLF: ("completed", (4, 0, 0, 0)),
    BatchFault.BARE_RESPONSE: ("completed", (4, 0, 0, 0)),
    BatchFault.UPLOAD_CUT: ("completed", (4, 0, 0, 0)),
    BatchFault.UPLOAD_500: ("completed", (4, 0, 0, 0)),
    BatchFault.UPLOAD_EXPIRY: ("completed", (4, 0, 0, 0)),
    BatchFault.CREATE_429: ("completed", (4, 0, 0, 0)),
    BatchFault.CREATE_500: ("completed", (4, 0, 0, 0)),
    BatchFault.CREATE_RESET: ("completed", (4, 0, 0, 0)),
    BatchFault.LIST_LAG: ("completed", (4, 0, 0, 0)),
    BatchFault.GET_500: ("completed", (4, 0, 0, 0)),
    BatchFault.DOWNLOAD_500: ("completed", (4, 0, 0, 0)),
    BatchFault.DOWNLOAD_CUT: ("completed", (4, 0, 0, 0)),
}


def test_every_trap_is_tried() -> None:
    """A fault that the sandbox learns gets its row in the table."""
    assert set(TRAPS) == set(BatchFault)


@pytest.mark.parametrize("fault", TRAPS)
def test_traps(fast: Sandbox, bench: Open, fault: BatchFault) -> None:
    """Each trap ends in a known state with an outcome for every question, and one batch."""
    fast.control(batch={"script": [{"fault": fault, "times": 1}]})
    b = bench(fast)
    status = b.ended()
    state, expected = TRAPS[fault]
    rows = b.rows(status)
    kinds = (RowReply, RowFailure, RowBroken, RowMissing)
    assert status.state == state
    assert tuple(sum(isinstance(row, kind) for row in rows) for kind in kinds) == expected
    assert sorted(row.custom_id for row in rows if not isinstance(row, RowBroken)) == sorted(b.ids)
    assert fast.stats()["batches"]["made"] == 1
    assert all(
        "says something else" not in row.reply.content for row in rows if isinstance(row, RowReply)
    )


def test_a_provider_whose_files_stay(fast: Sandbox, bench: Open) -> None:
    """Where files cannot be asked to go by themselves, they are sent without asking."""
    fast.control(batch={"script": "upload_expiry"})
    b = bench(fast)
    assert b.client.upload(b.file()).startswith("file-")
    assert fast.stats()["batches"]["calls"] == {"upload": 2}


def test_the_token_limit_is_seen_later(fast: Sandbox, bench: Open) -> None:
    """The batch is made and fails; when there is room the same file goes."""
    fast.control(batch={"seconds": 100, "max_enqueued_tokens": 90})
    b = bench(fast)
    file_id = b.client.upload(b.file())
    first, second = (b.client.create(file_id, {}) for _ in range(2))
    fast.advance(11)
    late = b.client.get(second.id)
    assert (late.state, late.token_limited) == ("failed", True)
    fast.advance(100)
    assert b.client.get(first.id).state == "completed"
    third = b.client.create(file_id, {}, known={first.id, second.id})
    fast.advance(11)
    assert b.client.get(third.id).said == "in_progress"


def test_a_lost_creation_is_found_later(fast: Sandbox, bench: Open) -> None:
    """A batch that the list does not show yet is uncertain; then it is found, and not made twice."""
    fast.control(batch={"seconds": 100, "script": ["create_500", "list_lag"]})
    b = bench(fast)
    file_id = b.client.upload(b.file())
    with pytest.raises(BatchCallFailed, match="server_error") as caught:
        b.client.create(file_id, {"run": "r"})
    assert caught.value.uncertain
    assert b.client.find(file_id) is None
    fast.advance(11)
    found = b.client.find(file_id)
    assert found is not None
    by_metadata = b.client.find(metadata={"run": "r"})
    assert by_metadata is not None
    assert by_metadata.id == found.id
    assert b.client.find(file_id, known={found.id}) is None
    assert fast.stats()["batches"]["made"] == 1


def test_a_refused_creation_is_certain(fast: Sandbox, bench: Open) -> None:
    """What a provider has refused it has not made, and is not looked for."""
    b = bench(fast)
    with pytest.raises(BatchCallFailed) as caught:
        b.client.create("file-none", {})
    assert (caught.value.code, caught.value.uncertain) == ("not_found", False)
    assert "list" not in fast.stats()["batches"]["calls"]


def test_an_earlier_batch_is_not_taken_for_a_lost_one(fast: Sandbox, bench: Open) -> None:
    """A second batch of a file is told from the first, which is known."""
    b = bench(fast)
    file_id = b.client.upload(b.file())
    first = b.client.create(file_id, {})
    fast.control(batch={"script": ["create_reset"]})
    second = b.client.create(file_id, {}, known={first.id})
    assert second.id != first.id
    assert fast.stats()["batches"]["made"] == 2


def test_lists_have_pages(fast: Sandbox, bench: Open) -> None:
    """All batches of a run are found, however many there are of others, newest first."""
    b = bench(fast)
    file_id = b.client.upload(b.file())
    made = [b.client.create(file_id, {"run": f"r{n % 2}"}) for n in range(205)]
    assert [s.id for s in b.client.list()] == [s.id for s in made[::-1]]
    assert [s.id for s in b.client.list({"run": "r1"})] == [s.id for s in made[1::2][::-1]]
    assert fast.stats()["batches"]["calls"]["list"] == 6
    assert list(b.client.list(since=(made[-1].created or 0) + 60)) == []


def test_cancel(fast: Sandbox, bench: Open) -> None:
    """What is done stays; a batch that is over gives its state; one that is not there is not found."""
    fast.control(batch={"seconds": 100, "cancel_seconds": 10})
    b = bench(fast)
    made = b.client.create(b.client.upload(b.file()), {})
    fast.advance(50)
    assert (b.client.cancel(made.id).said, b.client.cancel(made.id).state) == (
        "cancelling",
        "running",
    )
    fast.advance(11)
    assert b.client.cancel(made.id).state == "cancelled"
    rows = b.rows(b.client.get(made.id))
    assert [type(row) for row in rows] == [RowReply, RowReply, RowFailure, RowFailure]
    assert all(row.again for row in rows if isinstance(row, RowFailure))
    with pytest.raises(BatchCallFailed) as caught:
        b.client.cancel("batch_none")
    assert caught.value.code == "not_found"


def test_keys_are_read_anew(fast: Sandbox, bench: Open) -> None:
    """A key that has expired is refused once; the request goes on with the new one."""
    keys = {"old": {"key": "key-old", "state": "revoked"}, "new": {"key": "key-new"}}
    fast.control(keys=keys, strict_keys=True)
    values = iter(["key-old", "key-new"])
    source = KeySource(lambda: Credentials(SecretStr(next(values))), changes=True)
    b = bench(fast, keys=KeyRing({"a": source}))
    assert b.ended().state == "completed"


def test_errors_cross_process_borders() -> None:
    """What decides over the next creation is there after pickling."""
    error = BatchCallFailed("m", code="timeout", uncertain=True, wait=3.0, app_id="a")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.code, copy.uncertain, copy.wait, copy.app_id) == (
        "m",
        "timeout",
        True,
        3.0,
        "a",
    )


def test_a_bad_key_is_no_matter_of_waiting(fast: Sandbox, bench: Open) -> None:
    """It is told at once, once, and without the key."""
    fast.control(strict_keys=True, faults={})
    b = bench(fast)
    with pytest.raises(BatchCallFailed) as caught:
        b.client.get("batch_1")
    error = caught.value
    assert (error.code, error.uncertain, error.attempts) == ("unauthorized", False, 1)
    assert (error.app_id, "plain-a" in str(error)) == ("a", False)


def test_attempts_end(fast: Sandbox, bench: Open) -> None:
    """A look that fails again and again is given up after so many."""
    fast.control(batch={"script": [{"fault": "get_500", "count": 9}]})
    b = bench(fast)
    made = b.client.create(b.client.upload(b.file()), {})
    with pytest.raises(BatchCallFailed) as caught:
        b.client.get(made.id)
    assert (caught.value.code, caught.value.attempts) == ("server_error", 4)


def test_nobody_listens() -> None:
    """A creation that never left is certain not to be there."""
    pool = ClientPool({"a": SecretStr("plain-a")}, timeout=2)
    gone = BatchClient(pool, AppId("a", "http://127.0.0.1:9/v1"), DIALECTS["openai"], limits=QUICK)
    with pool, pytest.raises(BatchCallFailed) as caught:
        gone.create("file-1", {})
    assert (caught.value.code, caught.value.uncertain) == ("connect", False)


def test_a_stopped_run_asks_nothing(fast: Sandbox, bench: Open) -> None:
    """The batches go on; the next run reads them."""
    stop = threading.Event()
    b = bench(fast, stop=stop)
    stop.set()
    with pytest.raises(Stopped, match="next run"):
        b.client.get("batch_1")
    assert fast.stats()["batches"]["calls"] == {}


@pytest.mark.parametrize("dialect", ["azure", "together"])
def test_dialects(fast: Sandbox, bench: Open, dialect: str) -> None:
    """From upload to replies, by each provider's paths, words and states."""
    fast.control(batch={"dialect": dialect})
    b = bench(fast, dialect)
    status = b.ended(run="r")
    assert status.state == "completed"
    assert status.metadata == ({"run": "r"} if dialect == "azure" else {})
    assert [type(row) for row in b.rows(status)] == [RowReply] * 4
    found = b.client.find(status.input_file_id, {"run": "r"})
    assert found is not None
    assert found.id == status.id


def test_an_azure_resource(bench: Open) -> None:
    """Its own paths and header, a deployment's name for the model, and files that take a moment."""
    keys = {"team": {"key": "plain-a"}}
    models = {"gpt-batch": {}}
    with start_sandbox(
        profile="azure", keys=keys, strict_keys=True, models=models, batch={"seconds": 0}
    ) as sandbox:
        http = HttpOptions(auth_header="api-key", names={"m": "gpt-batch"})
        b = bench(sandbox, "azure", http=http)
        rows = b.rows(b.ended())
        assert [type(row) for row in rows] == [RowReply] * 4
        assert isinstance(rows[0], RowReply)
        assert (rows[0].reply.model, rows[0].reply.sent_model) == ("gpt-batch", "gpt-batch")
        assert sandbox.stats()["batches"]["calls"]["get_file"] == 1


def test_a_pool_without_the_key(sandbox: Sandbox, bench: Open) -> None:
    """An alias without a key is the configuration's fault."""
    b = bench(sandbox, keys={"other": SecretStr("x")})
    with pytest.raises(ConfigError, match="no key is known"):
        b.client.get("batch_1")
