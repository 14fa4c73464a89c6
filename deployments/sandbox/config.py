"""The sandbox's settings, which are also the vocabulary of POST /control."""

from __future__ import annotations

from dataclasses import replace
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

from deployments.sandbox.batch_settings import SandboxBatchSettings
from deployments.sandbox.faults import Fault, FaultRule
from deployments.sandbox.profiles import PROFILES, Profile, Traits
from tasks.core.errors import ConfigError
from tasks.core.quotas import Window, parse_window

__all__ = [
    "KeySpec",
    "ModelSpec",
    "PriceSpec",
    "SandboxConfig",
    "ScriptedAnswer",
    "merged",
]


def _window(value: object) -> object:
    try:
        return parse_window(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _profile(value: object) -> object:
    if value not in PROFILES:
        msg = f"there is no profile {value!r}; there are {', '.join(PROFILES)}"
        raise ValueError(msg)
    return value


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


class PriceSpec(_Strict):
    """US dollars per million tokens, as /bill reckons them."""

    input: float = Field(default=1.0, ge=0)
    output: float = Field(default=4.0, ge=0)
    cached: float | None = Field(default=None, ge=0)
    """Of the prompt, from the cache; left out: as input."""


class ModelSpec(_Strict):
    """How one model behaves. What is left out comes from the settings for all models."""

    skill: Literal["default", "silent", "scripted", "obedient"] = "default"
    latency: Seconds | None = None
    jitter: Seconds | None = None
    response_format: Literal["json_schema", "json_object", "none"] | None = None
    """The most it accepts, more is a 400; left out: the profile's."""
    context_tokens: int | None = Field(default=None, ge=1)
    """Prompt plus max_tokens above it is a 400 context_length_exceeded; left out: the profile's."""
    cached_share: Share | None = None
    """Share of prompt tokens reported as cached; left out: not reported."""
    price: PriceSpec = PriceSpec()


class ScriptedAnswer(_Strict):
    """A scripted answer: given when `match` is in the prompt. The first one that matches counts."""

    match: str = ""
    model: str | None = None
    """Left out: any model whose skill is "scripted" or "obedient"."""
    comments: tuple[dict[str, Any], ...] | None = None
    """What a check answers; missing fields are filled in."""
    verdicts: tuple[dict[str, Any], ...] | None = None
    """What a review answers. `comment_id` picks a comment by its name in the prompt, `about` by a text near it,
    neither means every comment; `omit: true` leaves the verdict out."""
    content: str | None = None
    """The whole content, as it is; wins over the other two."""


class SandboxConfig(_Strict):
    """Settings of the sandbox. Times in seconds, rates from 0 to 1."""

    profile: Annotated[str, BeforeValidator(_profile)] = "plain"
    """Whose refusals, headers, units and reply shapes it has: see `profiles`."""
    seed: int = 0
    quota: Windows | None = None
    """Request windows of every key that has none of its own, unknown keys included. Left out: the
    profile's."""
    tokens: Windows = ()
    """Token windows, likewise. A request takes its bytes / 4, settled by the reply's usage."""
    enforce: bool = True
    """False: windows are measured and nothing is refused."""
    count_refused: bool = False
    """True: a refused request uses up quota as well, as with some providers."""
    shared_quota: bool | None = None
    """True: all keys share the quota of one; left out: the profile's."""
    keys: dict[str, KeySpec] = {}
    strict_keys: bool = False
    """True: a key that is not in the table is answered 401."""
    models: dict[str, ModelSpec] = {}
    strict_models: bool | None = None
    """True: a model that neither the table nor the profile has is refused; left out: the profile's,
    which is True for all but "plain"."""
    latency: Seconds = 0.0
    jitter: Seconds = 0.0
    tail: Literal["uniform", "heavy"] = "uniform"
    """Jitter is uniform in +-jitter, or a Pareto tail above latency, cut at 100 x jitter."""
    first_token: Share = 0.3
    """Share of the latency before a stream's first chunk."""
    chunks: int = Field(default=8, ge=1)
    """Chunks of a stream."""
    batch: SandboxBatchSettings = SandboxBatchSettings()
    """Of /files and /batches."""
    flex_price: float = Field(default=0.5, ge=0)
    """Price of service_tier "flex", of the standard one."""
    faults: dict[Fault, Share] = {}
    script: tuple[FaultRule, ...] = ()
    markers: bool = True
    """Obey `[[sandbox:NAME]]`, or `[[sandbox:NAME*2]]` for the first two sends, in a prompt."""
    answers: tuple[ScriptedAnswer, ...] = ()
    retry_after: Literal["seconds", "ms", "date", "none"] | None = None
    """Form of Retry-After; left out: the profile's."""
    fault_wait: Seconds = 1.0
    """What Retry-After says when a 429 is injected."""
    ratelimit_headers: bool | None = None
    """Send the profile's rate-limit headers; left out: if it has some. "plain" has OpenAI's, for
    the first window of each kind, when asked."""
    prompt_cache: bool = False
    """Count equal beginnings of prompts by key and model, and report them as cached tokens."""
    hang_seconds: Seconds = 3600.0
    huge_bytes: int = Field(default=5_000_000, ge=0)
    log_limit: int = Field(default=200_000, ge=0)
    """Rows that /log keeps; older ones are dropped and counted."""

    @property
    def provider(self) -> Profile:
        """The profile's record."""
        return PROFILES[self.profile]

    @property
    def default_quota(self) -> tuple[Window, ...]:
        """Request windows of a key that has none of its own."""
        return self.provider.quota if self.quota is None else self.quota

    @property
    def one_quota(self) -> bool:
        """Whether all keys share one quota."""
        return self.provider.shared_quota if self.shared_quota is None else self.shared_quota

    @property
    def retry_forms(self) -> tuple[str, ...]:
        """Forms of Retry-After that are sent."""
        return self.provider.retry_after if self.retry_after is None else (self.retry_after,)

    def knows(self, model: str) -> bool:
        """Whether requests for this model are served."""
        strict = self.provider.strict if self.strict_models is None else self.strict_models
        return not strict or model in self.models or model in self.provider.models

    def spec(self, model: str) -> ModelSpec:
        """How a model behaves, by the table."""
        return self.models.get(model) or ModelSpec()

    def traits(self, model: str) -> Traits:
        """What the profile has of a model, with the table's changes."""
        traits = self.provider.models.get(model, self.provider.traits)
        spec = self.spec(model)
        changes = {
            "response_format": spec.response_format or traits.response_format,
            "context_tokens": spec.context_tokens or traits.context_tokens,
        }
        return replace(traits, **changes)  # type: ignore[arg-type]

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
    """`raw` with `changes`: keys, models and batch are merged by name, all else is replaced.

    `revoke` and `restore` list aliases whose state becomes "revoked" or "ok".

    Raises:
        ConfigError: an alias to revoke or restore is not in the key table.
    """
    changes = dict(changes)
    states = [(alias, "revoked") for alias in changes.pop("revoke", ())]
    states += [(alias, "ok") for alias in changes.pop("restore", ())]
    result = {**raw, **changes}
    for table in {"keys", "models", "batch"} & changes.keys():
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
