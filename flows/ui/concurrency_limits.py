"""Prefect's global concurrency limits `app-id-<alias>`: read, made, slots taken and given back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
    VariableCreate,
)
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, Settings, get_current_settings

from flows.ui.limit_slots import Limit

__all__ = ["PREFIX", "Limits", "open_limits"]

PREFIX = "app-id-"
"""The name of a limit is this and the alias; never the key."""

_PAGE = 200
_TIMEOUT = 5.0  # seconds; the caller comes back in a moment anyway


class Limits:
    """The limits, over one client. Every method raises what the client raises.

    `suffixes`: by alias, what ends the name of a limit where another state has the plain one.
    """

    def __init__(
        self, client: SyncPrefectClient, suffixes: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        self._suffixes = suffixes or {}

    def name(self, alias: str) -> str:
        """The name of an app_id's limit."""
        return f"{PREFIX}{alias}{self._suffixes.get(alias, '')}"

    def read(self, aliases: Collection[str]) -> dict[str, Limit]:
        """The limits that exist, by alias: one request for every 200 limits of the server."""
        found: dict[str, Limit] = {}
        named = {self.name(alias): alias for alias in aliases}
        for one in self._all():
            alias = named.get(one.name)
            if alias is not None:
                found[alias] = Limit(
                    str(one.id), alias, one.limit, bool(one.active), one.active_slots
                )
        return found

    def owner(self, limit_id: str, state: str) -> str:
        """The state that a limit belongs to: the given one, if no other state has taken it before."""
        name = f"app_id_limit_{limit_id.replace('-', '_')}"
        with suppress(ObjectAlreadyExists):
            self._client.create_variable(VariableCreate(name=name, value=state, tags=["app-id"]))
            return state
        found = self._client.read_variable_by_name(name)
        return state if found is None else str(found.value)

    def create(self, alias: str, number: int) -> None:
        """Make a limit; when somebody was faster, theirs stays."""
        wanted = GlobalConcurrencyLimitCreate(name=self.name(alias), limit=number)
        with suppress(ObjectAlreadyExists):
            self._client.create_global_concurrency_limit(wanted)

    def renumber(self, alias: str, number: int) -> None:
        """Change the number of a limit, and nothing else."""
        wanted = GlobalConcurrencyLimitUpdate(limit=number)
        self._client.update_global_concurrency_limit(self.name(alias), wanted)

    def add(self, aliases: Collection[str], slots: int, seconds: float) -> bool:
        """Take `slots` on each limit, or give them back if negative; all of them or none.

        It is a relative change on the server, so slots of others stay. `seconds`: how long one
        slot was held. False: they are not free. An inactive limit is left as it is, without a word.
        """
        names = [self.name(alias) for alias in aliases]
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
def open_limits(suffixes: Mapping[str, str] | None = None) -> Iterator[Limits]:
    """Limits that answer or fail within seconds; the client's own retries take a minute."""
    with (
        SettingsContext(profile=get_settings_context().profile, settings=_impatient()),
        get_client(httpx_settings={"timeout": _TIMEOUT}, sync_client=True) as client,
    ):
        yield Limits(client, suffixes)


_made: list[tuple[Settings, Settings]] = []


def _impatient() -> Settings:
    """The settings of this context without retries; Prefect takes 0.1 s of CPU to make them."""
    now = get_current_settings()
    if not _made or _made[0][0] is not now:
        _made[:] = [(now, now.copy_with_update({PREFECT_CLIENT_MAX_RETRIES: 0}))]
    return _made[0][1]
