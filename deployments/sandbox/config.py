"""The sandbox's settings, which are also the vocabulary of POST /control."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
)

from deployments.sandbox.faults import Fault
from tasks.core.errors import ConfigError
from tasks.core.quotas import Window, parse_window

__all__ = ["Answer", "FaultRule", "KeySpec", "ModelProfile", "SandboxConfig", "merged"]


def _window(value: object) -> object:
    try:
        return parse_window(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Windows = Annotated[
    tuple[Annotated[Window, BeforeValidator(_window), PlainSerializer(str)], ...],
    BeforeValidator(_listed),
]
"""`"3/60s"` or `["3/60s", "1/1s"]`; all hold at once; empty: no limit."""
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    # Inputs stay out of messages: one of them may be a key.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KeySpec(_Strict):
    """One key of the table; its alias is what /log and /stats show."""

    key: SecretStr
    quota: Windows | None = None
    """Request windows; left out: the default quota."""
    tokens: Windows | None = None
    """Token windows; left out: the default ones."""
    state: Literal["ok", "revoked", "forbidden", "unpaid", "exhausted"] = "ok"
    """Not "ok": answered 401, 403, 402, or 429 insufficient_quota."""


class ModelProfile(_Strict):
    """How one model behaves. What is left out comes from the settings for all models."""

    skill: Literal["default", "silent", "scripted"] = "default"
    latency: Seconds | None = None
    jitter: Seconds | None = None
    response_format: Literal["json_schema", "json_object", "none"] = "json_schema"
    """The most it accepts; more is a 400."""
    context_tokens: int | None = Field(default=None, ge=1)
    """Prompt plus max_tokens above it is a 400 context_length_exceeded."""
    cached_share: Share | None = None
    """Share of prompt tokens reported as cached; left out: not reported."""


class Answer(_Strict):
    """A scripted answer: given when `match` is in the prompt. The first one that matches counts."""

    match: str = ""
    model: str | None = None
    """Left out: any model whose skill is "scripted"."""
    comments: tuple[dict[str, Any], ...] | None = None
    """What a check answers; missing fields are filled in."""
    verdicts: tuple[dict[str, Any], ...] | None = None
    """What a review answers. `comment_id` picks a comment by its id, `about` by a text near it,
    neither means every comment; `omit: true` leaves the verdict out."""
    content: str | None = None
    """The whole content, as it is; wins over the other two."""


class FaultRule(_Strict):
    """A scripted fault; every condition that is given must hold."""

    fault: Fault
    match: str = ""
    """A text in the prompt."""
    nth: tuple[int, ...] | None = None
    """Which requests since the last reset, from 1."""
    model: str | None = None
    key: str | None = None
    """Alias."""
    times: int | None = Field(default=None, ge=1)
    """Fires this often at most."""


class SandboxConfig(_Strict):
    """All of it. Times in seconds, rates from 0 to 1."""

    seed: int = 0
    quota: Windows = ()
    """Request windows of every key that has none of its own, unknown keys included."""
    tokens: Windows = ()
    """Token windows, likewise. A request takes its bytes / 4, settled by the reply's usage."""
    enforce: bool = True
    """False: windows are measured and nothing is refused."""
    count_refused: bool = False
    """True: a refused request uses up quota as well, as with some providers."""
    keys: dict[str, KeySpec] = {}
    strict_keys: bool = False
    """True: a key that is not in the table is answered 401."""
    models: dict[str, ModelProfile] = {}
    strict_models: bool = False
    """True: a model that is not in the table is answered 404."""
    latency: Seconds = 0.0
    jitter: Seconds = 0.0
    tail: Literal["uniform", "heavy"] = "uniform"
    """Jitter is uniform in +-jitter, or a Pareto tail above latency, cut at 100 x jitter."""
    first_token: Share = 0.3
    """Share of the latency before a stream's first chunk."""
    chunks: int = Field(default=8, ge=1)
    """Chunks of a stream."""
    faults: dict[Fault, Share] = {}
    script: tuple[FaultRule, ...] = ()
    markers: bool = True
    """Obey `[[sandbox:NAME]]`, or `[[sandbox:NAME*2]]` for the first two sends, in a prompt."""
    answers: tuple[Answer, ...] = ()
    retry_after: Literal["seconds", "ms", "date", "none"] = "seconds"
    fault_wait: Seconds = 1.0
    """What Retry-After says when a 429 is injected."""
    ratelimit_headers: bool = False
    """Send x-ratelimit-* as OpenAI does, for the first window of each kind."""
    hang_seconds: Seconds = 3600.0
    huge_bytes: int = Field(default=5_000_000, ge=0)
    log_limit: int = Field(default=200_000, ge=0)
    """Rows that /log keeps; older ones are dropped and counted."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> SandboxConfig:
        """Validate plain data.

        Raises:
            ConfigError: unknown names or wrong values; the message lists each with its place.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(_explained(error)) from None


def _explained(error: ValidationError) -> str:
    lines = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return "sandbox settings: " + "; ".join(lines) + "; see --help for what there is"


def merged(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`raw` with `changes`: keys and models are merged by name, all else is replaced.

    `revoke` and `restore` list aliases whose state becomes "revoked" or "ok".

    Raises:
        ConfigError: an alias to revoke or restore is not in the key table.
    """
    changes = dict(changes)
    states = [(alias, "revoked") for alias in changes.pop("revoke", ())]
    states += [(alias, "ok") for alias in changes.pop("restore", ())]
    result = {**raw, **changes}
    for table in {"keys", "models"} & changes.keys():
        result[table] = _overlaid(raw.get(table, {}), changes[table])
    for alias, state in states:
        if alias not in result.get("keys", {}):
            msg = f'no key "{alias}" to change: add it under "keys" first'
            raise ConfigError(msg)
        result["keys"] = _overlaid(result["keys"], {alias: {"state": state}})
    return result


def _overlaid(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {name: _overlaid(old.get(name), value) for name, value in new.items()}
