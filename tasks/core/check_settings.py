"""The tables [[check]] and [review] of review.toml: which models and tools are asked, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.app_id_settings import ALIAS
from tasks.core.credentials import credential_in
from tasks.core.fields import Duration, Patterns, Table
from tasks.core.quotas import parse_duration
from tasks.core.records import TOOL, Category, Severity

__all__ = ["CheckSettings", "ReviewSettings", "ToolSettings"]


class _ModelSettings(Table):
    model: str = Field(min_length=1)
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """None: not sent, for models that refuse it."""
    max_tokens: int | None = Field(default=4096, ge=1)
    """Most tokens of a reply; None: not sent."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Reasoning models of some providers only take the second."""
    stream: bool = False
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request body, as the endpoint names them; they win over our own."""
    omit: tuple[str, ...] = ()
    """Fields that the endpoint refuses and that are not sent: "temperature", "stream_options"."""
    reply_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """What is asked of the reply's format; an endpoint that refuses one gets the next by itself."""
    expected_tokens: int = Field(default=600, ge=1)
    """Tokens of a usual reply: for token quotas and forecasts."""
    service_tier: Literal["flex"] | None = None
    """flex: half price on a normal call, when the provider has room; None: the standard tier."""
    flex_patience: Duration = "10m"
    """So long is a call tried again that the flex tier has no room for; then it goes as standard."""

    @field_validator("extra")
    @classmethod
    def _no_key(cls, value: dict[str, Any]) -> dict[str, Any]:
        if name := credential_in(value):
            msg = (
                f"{name} looks like a key: it would be stored with every run. Leave it out; a key is "
                'named in [app_ids], as key = "env:VARIABLE" or "secret:BLOCK", and what a gateway '
                "wants in a header belongs into the headers of the app_id"
            )
            raise ValueError(msg)
        return value

    @property
    def flex_seconds(self) -> float | None:
        """Seconds for which the flex tier is tried; None: it is not."""
        return parse_duration(self.flex_patience) if self.service_tier == "flex" else None

    def params(self) -> dict[str, Any]:
        """The part of the request body that does not depend on the input."""
        body: dict[str, Any] = {}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.max_tokens is not None:
            body[self.max_tokens_field] = self.max_tokens
        body |= self.extra
        # None is not sent, also where a later step would add the field.
        return body | dict.fromkeys(self.omit)


class CheckSettings(_ModelSettings):
    """One check model: comments on every input."""

    name: Annotated[str, Field(pattern=ALIAS.pattern)]
    """Label in the output; one model may appear under several names."""
    fallback: tuple[str, ...] = ()
    """Models that answer instead, in their order, when this one is closed or out of quota for the run."""


class ReviewSettings(_ModelSettings):
    """The review model: which comments it judges, and how many in a call."""

    batch: int = Field(default=8, ge=1, le=50)
    """Comments of one input per call."""
    scope: Literal["all", "canonical"] = "all"
    """"canonical" reviews one comment per cluster; the others inherit its verdict."""
    when: Literal["always", "disagreement"] = "always"
    """"disagreement" reviews only where checks disagree or severity is high."""


class ToolSettings(Table):
    """One check that is a program, or its SARIF file, and no model: a [[check]] with `command` or `sarif`."""

    name: Annotated[str, Field(pattern=ALIAS.pattern)]
    """Label in the output."""
    command: tuple[str, ...] = ()
    """Program and arguments, without a shell, with "{files}" for the inputs' files; SARIF on its output."""
    sarif: str | None = None
    """File that a program has written, relative to where the run starts."""
    include: Patterns = ()
    """Patterns as in a .gitignore of the paths that it is for; empty: all."""
    review: bool = True
    """False: the review model is not asked; findings stay as the tool says them, unverified."""
    timeout: float = Field(default=120, gt=0)
    """Seconds that one run of the command may take."""
    severities: dict[str, Severity] = Field(default_factory=dict)
    """Start of a rule's id -> severity, instead of what the tool says; "" is every rule."""
    categories: dict[str, Category] = Field(default_factory=dict)
    """Start of a rule's id -> category."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.command) == (self.sarif is not None):
            msg = 'give a check either command = ["ruff", ...] or sarif = "file", one of the two'
            raise ValueError(msg)
        return self

    @property
    def model(self) -> str:
        """What stands in the place of a model in rows and tables."""
        return TOOL
