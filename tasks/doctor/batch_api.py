"""Whether a provider has the Batch API that review.toml says it has: one look at its list."""

from __future__ import annotations

from tasks.core.errors import BatchCallFailed, ConfigError
from tasks.core.settings import Settings
from tasks.upstream.batches.client import BatchClient
from tasks.upstream.batches.dialect import dialect_of
from tasks.upstream.batches.requests import BatchCallLimits
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.key_ring import KeyRing

__all__ = ["check_batch_api"]

_ONCE = BatchCallLimits(timeout=30, max_attempts=1)


def check_batch_api(settings: Settings, alias: str, ring: KeyRing) -> str:
    """List the batches of an app_id; returns that it could be done. It costs nothing.

    Raises:
        ConfigError: the provider does not answer; the message has its words and the remedy.
    """
    app = settings.app_ids[alias]
    app_id = app.record(alias)
    with ClientPool(ring, options={alias: app_id.http}) as pool:
        client = BatchClient(pool, app_id, dialect_of(app.batch_dialect), limits=_ONCE)
        try:
            next(client.list(), None)
        except BatchCallFailed as error:
            msg = (
                f"{alias}: its Batch API does not answer ({error}): see base_url and batch_dialect, or "
                "leave batch = true out, and its calls go online"
            )
            raise ConfigError(msg) from None
    return f"{alias}: its Batch API answers"
