"""Prefect's global concurrency limits `app-id-<alias>`: read, made, slots taken and given back."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.ui.limit_slots import Limit

__all__ = ["PREFIX", "Limits", "open_limits"]

PREFIX = "app-id-"
"""The name of a limit is this and the alias; never the key."""

_PAGE = 200
_TIMEOUT = 5.0  # seconds; the caller comes back in a moment anyway


class Limits:
    """The limits, over one client. Every method raises what the client raises."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def read(self, aliases: Collection[str]) -> dict[str, Limit]:
        """Those that exist, by alias: one request for every 200 limits of the server."""
        found: dict[str, Limit] = {}
        for one in self._all():
            alias = one.name.removeprefix(PREFIX)
            if one.name.startswith(PREFIX) and alias in aliases:
                found[alias] = Limit(
                    str(one.id), alias, one.limit, bool(one.active), one.active_slots
                )
        return found

    def create(self, alias: str, number: int) -> None:
        """Make one; when somebody was faster, theirs stays."""
        wanted = GlobalConcurrencyLimitCreate(name=PREFIX + alias, limit=number)
        with suppress(ObjectAlreadyExists):
            self._client.create_global_concurrency_limit(wanted)

    def renumber(self, alias: str, number: int) -> None:
        """Change only the number."""
        wanted = GlobalConcurrencyLimitUpdate(limit=number)
        self._client.update_global_concurrency_limit(PREFIX + alias, wanted)

    def add(self, aliases: Collection[str], slots: int, seconds: float) -> bool:
        """Take `slots` on each limit, or give them back if negative; all of them or none.

        It is a relative change on the server, so slots of others stay. `seconds`: how long one
        slot was held. False: they are not free. An inactive limit is left as it is, without a word.
        """
        names = [PREFIX + alias for alias in aliases]
        try:
            if slots > 0:
                self._client.increment_concurrency_slots(names, slots, "concurrency")
            else:
                self._client.release_concurrency_slots(names, -slots, -slots * seconds)
        except PrefectHTTPStatusError as error:
            if error.response.status_code != HTTPStatus.LOCKED:
                raise
            return False
        return True

    def _all(self) -> Iterator[GlobalConcurrencyLimitResponse]:
        offset = 0
        while True:
            page = self._client.read_global_concurrency_limits(limit=_PAGE, offset=offset)
            yield from page
            offset += len(page)
            if len(page) < _PAGE:
                return


@contextmanager
def open_limits() -> Iterator[Limits]:
    """Limits that answer or fail within seconds; the client's own retries take a minute."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": _TIMEOUT}, sync_client=True) as client,
    ):
        yield Limits(client)
