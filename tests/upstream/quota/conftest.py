"""Quotas on ledger files of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Quota

MakeQuota = Callable[..., Quota]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Path of a ledger that does not exist yet."""
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def place(request: pytest.FixtureRequest, ledger: Path) -> Path | str:
    """Where the quotas of a test have their ledger; with BOTH_STORES, a file and a database in turn."""
    if getattr(request, "param", "file") == "file":
        return ledger
    url: str = request.getfixturevalue("database")
    return url


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    """Callers that wait in the background."""
    return ThreadPoolExecutor(8)


@pytest.fixture
def make_quota(place: Path | str) -> Iterator[MakeQuota]:
    """Open a quota: `make_quota(a=(3, 1.0))` is app_id `a` with 3 requests a second."""
    made: list[Quota] = []

    def make(*app_ids: AppId, run_id: str = "run", margin: float = 0.1, **keys: object) -> Quota:
        options = {name: keys.pop(name) for name in ("stop", "longest_wait") if name in keys}
        pool = [AppId(a, windows=(Window(*w),)) for a, w in keys.items()]  # type: ignore[misc]
        quota = Quota(place, [*app_ids, *pool], margin=margin, run_id=run_id, **options)  # type: ignore[arg-type]
        made.append(quota)
        return quota

    yield make
    for quota in made:
        quota.close()
