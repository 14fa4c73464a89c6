"""
review.toml as typed settings. This is a trust boundary: what is wrong is said with file, key and remedy.

The file holds references to keys ("env:NAME", "secret:BLOCK", "file:PATH", "cmd:COMMAND"); what looks
like a key is refused, so settings may be stored with a run as they are.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from tasks.core.acceptance import AcceptSettings
from tasks.core.app_id_settings import ALIAS, AppIdSettings
from tasks.core.batch_settings import BatchSettings
from tasks.core.budgets import BudgetSettings
from tasks.core.canary_settings import CanarySettings
from tasks.core.check_settings import CheckSettings, ReviewSettings, ToolSettings
from tasks.core.code_links import check_link
from tasks.core.errors import ConfigError
from tasks.core.fields import Table
from tasks.core.git_source import join_sources
from tasks.core.locations import check_state, is_database
from tasks.core.notify_settings import NotifySettings
from tasks.core.policy_settings import Policy
from tasks.core.prices import Price
from tasks.core.quotas import AppId, shared_quotas
from tasks.core.rule_settings import RuleSettings
from tasks.core.selection import GitOptions, Reach
from tasks.core.settings_errors import remedies
from tasks.core.source_settings import GitSettings, SourceSettings
from tasks.core.worker_settings import WorkersSettings

__all__ = ["Settings", "load_settings"]

_OF_TOOLS = frozenset({"command", "sarif"})


class Settings(Table):
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
        lines = "\n".join(f"  {line}" for line in remedies(error, Settings.model_fields))
        msg = f"{name} cannot be used:\n{lines}"
        raise ConfigError(msg) from None
