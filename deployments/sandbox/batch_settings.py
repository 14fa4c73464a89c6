"""Settings of the batch endpoints: their clock, their limits, and what goes wrong with which batch."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["BatchFault", "BatchLimits", "BatchRule", "SandboxBatchSettings"]

Seconds = Annotated[float, Field(ge=0)]
Dialect = Literal["openai", "azure", "together"]


class BatchFault(StrEnum):
    """Every fault of files and batches by name."""

    # The upload of a file.
    UPLOAD_CUT = "upload_cut"  # the connection is reset when half of it has come
    UPLOAD_500 = "upload_500"  # 500, and the file is there
    UPLOAD_EXPIRY = (
        "upload_expiry"  # 400 where expires_after is said: a file stays until it is deleted
    )

    # The creation of a batch.
    CREATE_429 = "create_429"  # refused, not made
    CREATE_500 = "create_500"  # 500, and it was made
    CREATE_RESET = "create_reset"  # the connection is reset, and it was made
    LIST_LAG = "list_lag"  # the list does not have it while it is being validated

    # Its way and its end.
    GET_500 = "get_500"  # the first `count` looks at it fail
    UNKNOWN_STATE = "unknown_state"  # while it runs it is in a state that no document has
    CAPITAL_STATES = "capital_states"  # every state in capitals
    INVALID = "invalid"  # failed: line 1 of the input is wrong
    TOKEN_LIMIT = "token_limit"  # failed: token_limit_exceeded, whatever the limit  # noqa: S105
    EXPIRED = "expired"  # expired, half of the rows done
    CANCELLED = "cancelled"  # cancelled by the provider, half of the rows done
    NEVER_ENDING = "never_ending"  # in progress for ever, half of the rows done

    # Rows that fail: the first `count` of them.
    ROWS_400 = "rows_400"
    ROWS_429 = "rows_429"
    ROWS_500 = "rows_500"
    ROWS_REFUSED = "rows_refused"  # all of them with 400, so there is no output file

    # Its files.
    NO_FILES = "no_files"  # completed, and there is neither an output nor an error file
    EMPTY_ERROR_FILE = "empty_error_file"  # an error file without a line
    BLANK_ERROR_ID = "blank_error_id"  # error_file_id is ""
    DOWNLOAD_500 = "download_500"  # the first `count` downloads fail
    DOWNLOAD_CUT = "download_cut"  # the first `count` downloads break off in the middle

    # The lines of its output file: `count` of them.
    BROKEN_LINE = "broken_line"
    MISSING_LINE = "missing_line"
    DUPLICATE_LINE = "duplicate_line"  # a second time, with another answer
    FOREIGN_LINE = "foreign_line"  # of a custom_id that nobody asked

    # All lines of it.
    ANY_ORDER = "any_order"
    BOM = "bom"
    CRLF = "crlf"
    BARE_RESPONSE = "bare_response"  # the completion is `response` itself, as vLLM once wrote it


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class BatchRule(_Strict):
    """A fault of some uploads or batches; every condition that is given must hold."""

    fault: BatchFault
    nth: tuple[int, ...] | None = None
    """Which uploads, or which batches, since the last reset, from 1."""
    model: str | None = None
    match: str = ""
    """A text in the input file. Not for uploads."""
    times: int | None = Field(default=None, ge=1)
    """So many uploads or batches at most."""
    count: int = Field(default=1, ge=1)
    """How many lines, or how often, for faults that say so."""


class BatchLimits(_Strict):
    """What one key or model may have; left out: the general limit."""

    max_requests: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)
    max_enqueued_tokens: int | None = Field(default=None, ge=1)


def _rules(value: object) -> object:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return value
    return [{"fault": name} if isinstance(name, str) else name for name in names]


class SandboxBatchSettings(_Strict):
    """Files and batches. Times in seconds of the batch clock, which POST /batch-clock moves."""

    dialect: Dialect | None = None
    """Whose paths, states and purpose it has; left out: the profile's."""
    seconds: Seconds = 1.0
    """From creation to the end: a tenth to validate, then the rows, then a tenth to write the files."""
    cancel_seconds: Seconds = 0.0
    """Between cancelling and cancelled."""
    window: Seconds = 86_400.0
    """What is not done by then expires, except on Azure."""
    max_requests: int = Field(default=50_000, ge=1)
    """Rows of one file; more fail validation."""
    max_bytes: int = Field(default=200_000_000, ge=1)
    """Of one file; more are refused when it is uploaded."""
    max_enqueued_tokens: int | None = Field(default=None, ge=1)
    """Prompt tokens of one key and model that may wait at once; more fail validation."""
    limits: dict[str, BatchLimits] = {}
    """Other limits, by a key's alias or a model's name; the key's win."""
    price: float = Field(default=0.5, ge=0)
    """Of the standard price."""
    page: int = Field(default=20, ge=1, le=100)
    """Batches in a list that asks for no number."""
    script: Annotated[tuple[BatchRule, ...], BeforeValidator(_rules)] = ()
    """A fault alone, or its name, is of every batch."""

    def limit(self, name: str, alias: str, model: str) -> int | None:
        """The limit of that name for a key and model."""
        for key in (alias, model):
            own = self.limits.get(key)
            value: int | None = None if own is None else getattr(own, name)
            if value is not None:
                return value
        general: int | None = getattr(self, name)
        return general
