"""
review.toml as typed settings. This is a trust boundary: what is wrong is said with file, key and remedy.

The file holds references to keys ("env:NAME", "secret:BLOCK", "file:PATH", "cmd:COMMAND"); what looks
like a key is refused, so settings may be stored with a run as they are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.core.acceptance import AcceptSettings
from tasks.core.app_id_settings import ALIAS, AppIdSettings
from tasks.core.batch_settings import BatchSettings
from tasks.core.budgets import BudgetSettings
from tasks.core.calls import Usage, Via
from tasks.core.canary_settings import CanarySettings
from tasks.core.code_links import check_link
from tasks.core.credentials import credential_in
from tasks.core.errors import ConfigError
from tasks.core.git_source import join_sources
from tasks.core.locations import check_state, is_database
from tasks.core.notify_settings import NotifySettings
from tasks.core.quotas import AppId, parse_duration, shared_quotas
from tasks.core.records import CATEGORIES, SEVERITIES, TOOL, Category, Severity
from tasks.core.selection import DEFAULT_EXCLUDE, GitOptions, Reach, pattern_problem

__all__ = [
    "CheckSettings",
    "GitSettings",
    "Policy",
    "Price",
    "ReviewSettings",
    "RuleSettings",
    "Settings",
    "SourceSettings",
    "ToolSettings",
    "WorkersSettings",
    "load_settings",
]

_OF_TOOLS = frozenset({"command", "sarif"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ModelSettings(_Strict):
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
    flex_patience: str = "10m"
    """So long is a call tried again that the flex tier has no room for; then it goes as standard."""

    @field_validator("flex_patience")
    @classmethod
    def _patience(cls, value: str) -> str:
        try:
            parse_duration(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return value

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


class ToolSettings(_Strict):
    """One check that is a program, or its SARIF file, and no model: a [[check]] with `command` or `sarif`."""

    name: Annotated[str, Field(pattern=ALIAS.pattern)]
    """Label in the output."""
    command: tuple[str, ...] = ()
    """Program and arguments, without a shell, with "{files}" for the inputs' files; SARIF on its output."""
    sarif: str | None = None
    """File that a program has written, relative to where the run starts."""
    include: tuple[str, ...] = ()
    """Patterns as in a .gitignore of the paths that it is for; empty: all."""
    review: bool = True
    """False: the review model is not asked; findings stay as the tool says them, unverified."""
    timeout: float = Field(default=120, gt=0)
    """Seconds that one run of the command may take."""
    severities: dict[str, Severity] = Field(default_factory=dict)
    """Start of a rule's id -> severity, instead of what the tool says; "" is every rule."""
    categories: dict[str, Category] = Field(default_factory=dict)
    """Start of a rule's id -> category."""

    @field_validator("include")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if problem := pattern_problem(value):
            raise ValueError(problem)
        return value

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


class ReviewSettings(_ModelSettings):
    """The review model: which comments it judges, and how many in a call."""

    batch: int = Field(default=8, ge=1, le=50)
    """Comments of one input per call."""
    scope: Literal["all", "canonical"] = "all"
    """"canonical" reviews one comment per cluster; the others inherit its verdict."""
    when: Literal["always", "disagreement"] = "always"
    """"disagreement" reviews only where checks disagree or severity is high."""


class Price(_Strict):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    """Input tokens served from the provider's cache; left out: as `input`."""
    cache_write: float | None = Field(default=None, ge=0)
    """Input tokens that the provider has put into its cache; left out: as `input`."""
    batch: float = Field(default=0.5, ge=0, le=1)
    """What a call through the Batch API costs of it, as a share."""
    flex: float = Field(default=0.5, ge=0, le=1)
    """The same for the flex tier."""

    def share(self, via: Via) -> float:
        """What a call on that way costs, as a share of the price."""
        return {"batch": self.batch, "flex": self.flex}.get(via, 1.0)

    def cost(self, usage: Usage, via: Via = "online") -> float | None:
        """US dollars of so many tokens on a way; None when the usage is unknown."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
        written = min(usage.cache_write_tokens or 0, usage.prompt_tokens - cached)
        cached_price = self.input if self.cached is None else self.cached
        write_price = self.input if self.cache_write is None else self.cache_write
        dollars = (usage.prompt_tokens - cached - written) * self.input
        dollars += cached * cached_price + written * write_price
        return (dollars + usage.completion_tokens * self.output) * self.share(via) / 1e6


class Policy(_Strict):
    """The table [policy]: what verdicts lead to; a finished run can be decided anew with other values.

    Scores are the review model's, 0 to 10.
    """

    keep_uncertain_score: int = Field(default=5, ge=0, le=10)
    """An uncertain comment is kept from this score on."""
    min_score: int = Field(default=0, ge=0, le=10)
    """A confirmed or uncertain comment below this score is dropped."""
    min_scores: dict[str, Annotated[int, Field(ge=0, le=10)]] = Field(default_factory=dict)
    """Instead of min_score for a category, "style", or one of its severities, "bug/low", which wins."""
    min_severity: Severity = "low"
    """Anything milder is dropped, with mode "check" as well."""
    require_evidence: bool = False
    """A confirmed comment is dropped when the line that is to prove it does not stand in the input."""

    @field_validator("min_scores")
    @classmethod
    def _known(cls, value: dict[str, int]) -> dict[str, int]:
        known = {*CATEGORIES, *(f"{one}/{other}" for one in CATEGORIES for other in SEVERITIES)}
        if unknown := [name for name in value if name not in known]:
            msg = (
                f"{unknown[0]!r} is no category; use one of {', '.join(CATEGORIES)}, alone or with "
                'a severity as "bug/low"'
            )
            raise ValueError(msg)
        return value

    def min_score_of(self, category: str, severity: str) -> int:
        """The score that a comment of this category and severity needs."""
        of_category = self.min_scores.get(category, self.min_score)
        return self.min_scores.get(f"{category}/{severity}", of_category)


class GitSettings(_Strict):
    """The table [git]: what is taken from a git source; folders use all but `context`."""

    include: tuple[str, ...] = ()
    """Patterns as in a .gitignore; empty: every file."""
    exclude: tuple[str, ...] = ()
    """Added to the default ones; exclusion wins over `include`, a later "!PATTERN" takes back."""
    default_excludes: bool = True
    """Leave out lock files, vendored, generated and minified code, snapshots and data."""
    max_bytes: int = Field(default=400_000, ge=1000)
    """Bytes of one file's diff, or of one file in a folder; larger ones are rejected."""
    context: int = Field(default=10, ge=0, le=1000)
    """Unchanged lines around each change of a diff."""

    @field_validator("include", "exclude")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if problem := pattern_problem(value):
            raise ValueError(problem)
        return value

    @property
    def options(self) -> GitOptions:
        """The options as the readers of git and folder sources take them."""
        defaults = DEFAULT_EXCLUDE if self.default_excludes else ()
        exclude = (*defaults, *self.exclude)
        return GitOptions(self.include, exclude, self.max_bytes, self.context)


class RuleSettings(_Strict):
    """One table [[rules]]: what the team wants looked for, or left alone, in the files that it covers."""

    paths: tuple[str, ...] = ()
    """Patterns as in a .gitignore of the paths that it is for; empty: all."""
    text: str = Field(min_length=1)
    """The rule in words, as the models read it."""

    @field_validator("paths")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if problem := pattern_problem(value):
            raise ValueError(problem)
        return value


class SourceSettings(_Strict):
    """One table [[source]]: a repository, or the one source, of runs that name no SOURCE."""

    at: str = Field(min_length=1)
    """As SOURCE: "git:../shop@since=last"."""


class WorkersSettings(_Strict):
    """The table [workers], shards on other machines: the Dask scheduler whose workers run them."""

    scheduler: str = Field(pattern=r"^(tcp|tls)://[^/@\s]+:[0-9]+$")
    """Its address as its workers use it: "tls://host:8786"."""
    scheduler_patience: float = Field(default=300, ge=0)
    """Seconds that a run waits for a scheduler that is away, before it ends with gaps."""
    worker_patience: float = Field(default=3600, ge=0)
    """Seconds that a run waits while no worker with a place is connected, before it ends with gaps."""


class Settings(_Strict):
    """The whole of review.toml."""

    mode: Literal["check_and_review", "check"] = "check_and_review"
    processes: int = Field(default=2, ge=1, le=64)
    """Shards at a time; with `workers`, over all of them."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Calls in flight per process; None: computed from the quotas."""
    shards: int | None = Field(default=None, ge=1, le=1000)
    """None: computed from the number of inputs."""
    state: str = "data/state"
    """Folder of journal and ledger, relative to where the run starts; or postgresql://user@host/db."""
    state_mode: Literal["0700", "0770"] = "0700"
    """Who may enter the state folder and new output folders: their owner, or their group as well."""
    margin: float = Field(default=0.4, ge=0, le=10)
    """Seconds added to each window against jitter on the way to the upstream."""
    timeout: float = Field(default=600, gt=0)
    """Seconds a whole call may take."""
    connect_timeout: float = Field(default=10, gt=0)
    stream_idle_timeout: float = Field(default=60, gt=0)
    """Seconds between two chunks of a stream."""
    max_input_tokens: int = Field(default=32_000, ge=100)
    """Larger snippets are rejected, larger diffs are split at hunks (at most 3 calls per check)."""
    context: Reach = "hunk"
    """What is shown around the hunks of a diff, where the source has the whole new file: their functions
    (or classes), or all of the file. Findings count on changed lines only then."""
    max_context_tokens: int = Field(default=8000, ge=0)
    """Tokens of a diff beyond which it is shown with less around its hunks."""
    prompt: Literal["full", "short"] = "full"
    """"full" has examples and is long enough for providers to cache its beginning; "short" is for
    servers that cache nothing and are slow to read."""
    source: tuple[SourceSettings, ...] = ()
    """The tables [[source]]."""
    rules: tuple[RuleSettings, ...] = ()
    """The tables [[rules]]."""
    rule_files: tuple[Annotated[str, Field(pattern=r"^[^/\\\\]+$")], ...] = (
        "REVIEW.md",
        "AGENTS.md",
    )
    """Names of files with the team's rules, in any folder of a git source, as they stood before the
    commits under review; empty: none is read."""
    max_rule_tokens: int = Field(default=2000, ge=0)
    """Tokens of the team's rules in a prompt; of more, the nearest to the input are kept."""
    language: Annotated[str, Field(pattern=r"^\w[\w ()-]{0,39}$")] | None = None
    """Language of titles, messages and reasons; None: the model's choice, mostly English."""
    max_clients: int = Field(default=64, ge=1)
    give_up_after: float = Field(default=120, gt=0)
    """Seconds an endpoint may be down before its calls are left for the next run."""
    longest_wait: float = Field(default=1800, gt=0)
    """Seconds a provider may hold a key before the key is out of the run."""
    app_ids: dict[str, AppIdSettings]
    check: tuple[CheckSettings, ...]
    """The tables [[check]] that have a model."""
    tool_check: tuple[ToolSettings, ...] = ()
    """The tables [[check]] that have a command or a SARIF file."""
    review: ReviewSettings | None = None
    policy: Policy = Policy()
    suppressions: str | None = None
    """File of known false positives; None: suppressions.jsonl where the run starts, if it is there.

    Never one inside the code under review."""
    link: str | None = None
    """Address of a line at the code host, with {repo}, {commit}, {path} and {line}; None: no links."""
    git: GitSettings = GitSettings()
    workers: WorkersSettings | None = None
    """Shards on other machines; None: processes of this one."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """Per model; unknown prices make unknown costs, not free calls."""
    budget: BudgetSettings = BudgetSettings()
    """The most that a run, or a day, may spend."""
    batch: BatchSettings = BatchSettings()
    """Calls at half price through the Batch API of app_ids with `batch = true`."""
    accept: AcceptSettings = AcceptSettings()
    """Shares of gaps with which a run still ends well."""
    canaries: CanarySettings | None = None
    """Labelled inputs that tell what the reviewers are worth; None: none are planted."""
    notify: NotifySettings | None = None
    """Notifications of the server that `nightly-review up` starts; None: none."""

    @field_validator("source")
    @classmethod
    def _repositories(cls, value: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        join_sources([one.at for one in value])
        return value

    @field_validator("link")
    @classmethod
    def _addresses_a_line(cls, link: str | None) -> str | None:
        return None if link is None else check_link(link)

    @field_validator("state")
    @classmethod
    def _place(cls, value: str) -> str:
        return check_state(value)

    @field_validator("app_ids")
    @classmethod
    def _groups(cls, value: dict[str, AppIdSettings]) -> dict[str, AppIdSettings]:
        first: dict[str, str] = {}
        for alias, app in value.items():
            group = app.quota_group
            if group is None:
                continue
            other = first.setdefault(group, alias)
            if value[other].bounds != app.bounds:
                msg = (
                    f"{other} and {alias} share the quota_group {group!r} and differ in quota, tokens, "
                    "pace or max_in_flight: say the same in both, it is one quota"
                )
                raise ValueError(msg)
            if group in value:
                msg = f"the quota_group {group!r} has the name of an app_id: give it its own"
                raise ValueError(msg)
        return value

    @field_validator("app_ids")
    @classmethod
    def _pool(cls, value: dict[str, AppIdSettings]) -> dict[str, AppIdSettings]:
        if not value:
            msg = "the pool is empty: add a table [app_ids.<alias>] with key, base_url and quota"
            raise ValueError(msg)
        bad = [alias for alias in value if not ALIAS.match(alias)]
        if bad:
            msg = "an alias is letters, digits, '.', '_' and '-', at most 63 of them"
            raise ValueError(msg)
        return value

    @model_validator(mode="before")
    @classmethod
    def _tools_apart(cls, data: Any) -> Any:
        checks = data.get("check") if isinstance(data, dict) else None
        if not isinstance(checks, list):
            return data
        tools = [one for one in checks if isinstance(one, dict) and one.keys() & _OF_TOOLS]
        models = [one for one in checks if one not in tools]
        return data | {"check": models, "tool_check": [*data.get("tool_check", ()), *tools]}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = self.check_names
        if not names:
            msg = "there is no check; add a table [[check]] with name and model"
            raise ValueError(msg)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"two checks are named {twice[0]!r}: give each [[check]] its own name"
            raise ValueError(msg)
        if "review" in names:
            msg = 'a check is named "review", as the review stage is in every output: rename it'
            raise ValueError(msg)
        if self.mode == "check_and_review" and self.review is None:
            msg = (
                'mode "check_and_review" needs a [review] table with a model; or set mode = "check"'
            )
            raise ValueError(msg)
        for model in self.models:
            if not any(app.models is None or model in app.models for app in self.app_ids.values()):
                msg = (
                    f"no app_id serves {model!r}: add it to the models of one, or leave models out"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _shared(self) -> Self:
        if self.workers is not None and not is_database(self.state):
            msg = (
                "[workers] need journal and ledger where every machine reaches them: set state to a "
                'database as "postgresql://user@host/database"; a folder is for one machine'
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _batches(self) -> Self:
        if self.batch.use == "always" and (missing := self.unbatched_models):
            msg = (
                f'[batch] use = "always", and no app_id with batch = true serves {missing[0]!r}: set '
                'batch = true for one that does, or use = "auto"'
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        review = [self.review.model] if self.review else []
        models = [*(check.model for check in self.check), *review]
        unpriced = [model for model in dict.fromkeys(models) if model not in self.prices]
        if self.budget.needs_prices and unpriced:
            msg = (
                f'budget.usd needs the price of every model: add [prices."{unpriced[0]}"] with input '
                "and output, or bound tokens or calls instead"
            )
            raise ValueError(msg)
        return self

    @property
    def sources(self) -> str | None:
        """The tables [[source]] as one SOURCE; None: there are none."""
        return join_sources([one.at for one in self.source]) if self.source else None

    @property
    def load_options(self) -> GitOptions:
        """What the load stage takes of a source."""
        most = min(self.max_context_tokens, self.max_input_tokens)
        return replace(self.git.options, reach=self.context, reach_tokens=most)

    @property
    def check_names(self) -> list[str]:
        """The names of all checks, those that are tools last."""
        return [one.name for one in self.check] + [one.name for one in self.tool_check]

    @property
    def reviews(self) -> bool:
        """Whether the review stage runs."""
        return self.mode == "check_and_review"

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that the run may call, once each."""
        review = [self.review.model] if self.reviews and self.review else []
        checks = [model for check in self.check for model in (check.model, *check.fallback)]
        return tuple(dict.fromkeys(checks + review))

    @property
    def batch_pool(self) -> tuple[AppId, ...]:
        """The app_ids whose calls may go through a Batch API; empty when [batch] says never."""
        if self.batch.use == "never":
            return ()
        return tuple(app.record(alias) for alias, app in self.app_ids.items() if app.batch)

    @property
    def batch_problem(self) -> str:
        """Why [batch] cannot be followed; empty: it can."""
        missing = self.unbatched_models if self.batch.use == "always" else ()
        if not missing:
            return ""
        return (
            f"every call is to go by batch, and no app_id with batch = true serves {missing[0]!r}: set "
            'batch = true for one that does, or [batch] use = "auto"'
        )

    @property
    def unbatched_models(self) -> tuple[str, ...]:
        """Models of the run that no app_id with `batch = true` serves."""
        pool = self.batch_pool
        named = (model for model in self.models if not any(app.serves(model) for app in pool))
        return tuple(named)

    @property
    def pool(self) -> tuple[AppId, ...]:
        """The app_ids as the limiter's records."""
        return tuple(app.record(alias) for alias, app in self.app_ids.items())

    @property
    def quotas(self) -> tuple[AppId, ...]:
        """The quotas of the pool: app_ids, with those of a quota group as one of its name."""
        return shared_quotas(self.pool)


def load_settings(text: str, name: str = "review.toml") -> Settings:
    """Read the text of a review.toml; `name` is what messages call the file.

    Raises:
        ConfigError: not TOML, unknown or wrong keys, an empty pool, a model nobody serves.
    """
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        msg = f"{name} is not valid TOML: {error}"
        raise ConfigError(msg) from None
    except ValidationError as error:
        lines = "\n".join(f"  {_place(item)}: {_remedy(item)}" for item in error.errors())
        msg = f"{name} cannot be used:\n{lines}"
        raise ConfigError(msg) from None


def _place(item: Any) -> str:
    named = ("check that is a tool" if part == "tool_check" else str(part) for part in item["loc"])
    return ".".join(named) or "(whole file)"


def _remedy(item: Any) -> str:
    """What to write instead."""
    place = tuple(item["loc"])
    if item["type"] == "extra_forbidden":
        return _unknown(place)
    if item["type"] == "missing":
        return _MISSING.get((place[0], *place[2:]), "is missing; add it")
    if item["type"].endswith("_type") and (shape := _SHAPES.get(place[:1])) and len(place) <= 2:  # noqa: PLR2004
        return shape
    return str(item["msg"]).removeprefix("Value error, ")


_TABLES: Mapping[str, tuple[str, type[BaseModel]]] = {
    "app_ids": ("[app_ids.<alias>]", AppIdSettings),
    "check": ("[[check]]", CheckSettings),
    "tool_check": ("a [[check]] with command or sarif", ToolSettings),
    "review": ("[review]", ReviewSettings),
    "policy": ("[policy]", Policy),
    "git": ("[git]", GitSettings),
    "rules": ("[[rules]]", RuleSettings),
    "source": ("[[source]]", SourceSettings),
    "workers": ("[workers]", WorkersSettings),
    "prices": ("[prices.<model>]", Price),
    "budget": ("[budget]", BudgetSettings),
    "batch": ("[batch]", BatchSettings),
    "accept": ("accept = {}", AcceptSettings),
    "canaries": ("[canaries]", CanarySettings),
    "notify": ("[notify]", NotifySettings),
}
"""What each table is written as, and what it may hold."""
_SHAPES = {
    (
        "check",
    ): "write [[check]], with two brackets on each side: there is one table per check model",
    (
        "source",
    ): "write [[source]], with two brackets on each side: there is one table per repository",
    ("rules",): "write [[rules]], with two brackets on each side: there is one table per rule",
    ("review",): "write [review], with one bracket on each side: there is one review model",
    ("app_ids",): "write [app_ids.<alias>], a table with key, base_url and quota for each key",
    ("prices",): 'write [prices."<model>"], a table with input and output for each model',
}
_MISSING: Mapping[tuple[Any, ...], str] = {
    ("check",): "is missing; add a table [[check]] with name and model",
    ("app_ids",): "is missing; add a table [app_ids.<alias>] with key, base_url and quota",
    ("app_ids", "quota"): 'is missing; say quota = ["3/60s"], or [] for no limit',
}
"""By table and key, without the alias between them."""


def _unknown(place: tuple[Any, ...]) -> str:
    name = str(place[-1])
    own = _TABLES[place[0]][1].model_fields if len(place) > 1 else Settings.model_fields
    if close := get_close_matches(name, own, n=1):
        return f"unknown key; did you mean {close[0]}?"
    if len(place) > 1 and name in Settings.model_fields:
        return "unknown key in this table; move it above the first [table] of the file"
    if place[0] == "tool_check" and name in CheckSettings.model_fields:
        return "a check that is a tool has no model and makes no call; leave it out"
    others = [text for table, (text, model) in _TABLES.items() if name in model.model_fields]
    if others:
        return f"unknown key here; it belongs in {' or '.join(others)}"
    return "unknown key; see deployments/review.example.toml for those that exist"
