"""The table [app_ids.<alias>] of review.toml: a key, its endpoint and its quota."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from tasks.core.batch_settings import BatchDialectName
from tasks.core.endpoints import (
    CHAT_PATH,
    HttpOptions,
    check_base_url,
    check_chat_path,
    check_header,
    check_query,
    check_reference,
    is_reference,
)
from tasks.core.errors import ConfigError
from tasks.core.fields import Duration, Table
from tasks.core.quotas import AppId, parse_window

__all__ = ["ALIAS", "AppIdSettings"]

ALIAS = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
"""What an alias, a quota group and a check may be called."""


class AppIdSettings(Table):
    """One app_id: where its key is, what it may send."""

    key: Annotated[str, AfterValidator(check_reference)]
    """"env:VARIABLE", "secret:<Prefect Secret block>", "file:PATH" or "cmd:COMMAND"; never the key
    itself. It is read anew when it is refused."""
    key_max_age: Duration | None = None
    """"45m": the key is read anew after so long; None: only when it is refused."""
    base_url: Annotated[str, AfterValidator(check_base_url)]
    quota: tuple[str, ...]
    """Request windows, "LIMIT/SECONDS"; all hold at once; empty: no limit, which has to be said."""
    tokens: tuple[str, ...] = ()
    """Token windows, "TOKENS/SECONDS"."""
    models: tuple[str, ...] | None = None
    """Models this key serves; left out: all."""
    pace: bool = False
    """Spread sends evenly over the window instead of bursting."""
    max_in_flight: int | None = Field(default=None, ge=1)
    provider: str | None = Field(default=None, min_length=1)
    """Who answers: keys with the same label share journaled answers; None: the place of base_url."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers of each request; a value may be a reference, as `key` is, and is scrubbed then."""
    auth_header: str | None = Field(default=None, min_length=1)
    """The header that the key goes into, alone; None: "Authorization: Bearer <key>"."""
    query: dict[str, str] = Field(default_factory=dict)
    """Parameters behind the URL of each request."""
    chat_path: Annotated[str, AfterValidator(check_chat_path)] = CHAT_PATH
    """Behind base_url; `{model}` in it is the model's name there."""
    names: dict[str, str] = Field(default_factory=dict)
    """Model -> its name at this endpoint, where that is another one (a deployment)."""
    ca_file: str | None = Field(default=None, min_length=1)
    """Certificates (PEM) that are trusted beside those of the system."""
    quota_group: str | None = Field(default=None, pattern=ALIAS.pattern)
    """Keys with the same name share their windows, as those of one subscription; None: its own."""
    batch: bool = False
    """Its calls may go through the provider's Batch API; see [batch]."""
    batch_dialect: BatchDialectName = "openai"
    """Whose Batch API it is."""

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            check_header(name, text)
        return value

    @field_validator("auth_header")
    @classmethod
    def _auth_header(cls, value: str | None) -> str | None:
        if value is not None and value.lower() != "authorization":
            check_header(value)
        return value

    @field_validator("query")
    @classmethod
    def _query(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            check_query(name, text)
        return value

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.auth_header and self.auth_header.lower() in map(str.lower, self.headers):
            msg = f"{self.auth_header} is both auth_header and one of headers: leave one out"
            raise ValueError(msg)
        return self

    @field_validator("quota", "tokens", mode="before")
    @classmethod
    def _windows(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(one, str) for one in texts):
            msg = 'must be windows as ["3/60s"], LIMIT/SECONDS each; [] is no limit'
            raise ValueError(msg)
        for text in texts:
            _as_value_error(text)
        return texts

    def record(self, alias: str) -> AppId:
        """The quota as the limiter's record."""
        return AppId(
            alias=alias,
            base_url=self.base_url,
            windows=tuple(parse_window(text) for text in self.quota),
            token_windows=tuple(parse_window(text) for text in self.tokens),
            models=None if self.models is None else frozenset(self.models),
            pace=self.pace,
            max_in_flight=self.max_in_flight,
            provider=self.provider or "",
            http=HttpOptions(
                chat_path=self.chat_path,
                query=self.query,
                headers={n: v for n, v in self.headers.items() if not is_reference(v)},
                auth_header=self.auth_header or "",
                names=self.names,
                ca_file=self.ca_file,
            ),
            quota_group=self.quota_group or "",
        )

    @property
    def bounds(self) -> tuple[object, ...]:
        """What the members of a quota group must have in common."""
        windows = [tuple(map(parse_window, texts)) for texts in (self.quota, self.tokens)]
        return (*windows, self.pace, self.max_in_flight)


def _as_value_error(text: str) -> None:
    try:
        parse_window(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
