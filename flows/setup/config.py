"""The settings and folders of a run, from what a user typed."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.errors import ConfigError, SourceError
from tasks.core.git_source import join_sources
from tasks.core.locations import is_url, resolve_state, without_password
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import Settings, load_settings
from tasks.infer.thread_count import default_threads

__all__ = [
    "new_run",
    "new_run_id",
    "read_config",
    "run_paths",
    "source_of",
    "with_batch",
    "with_mode",
    "with_run_id",
]

_RUN_ID: ContextVar[str | None] = ContextVar("run_id", default=None)
"""The id that the next run gets, when its folder was named before it begins."""


def read_config(path: str) -> Settings:
    """The settings in the file `path`.

    Raises:
        ConfigError: no such file, or it cannot be used; the message names file, key and remedy.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): copy deployments/review.example.toml and edit it"
        raise ConfigError(msg) from None
    except UnicodeDecodeError:
        msg = f"{path} is not UTF-8 text: save it as UTF-8"
        raise ConfigError(msg) from None
    return load_settings(text, path)


def source_of(named: Sequence[str] | None, config: str) -> str:
    """SOURCE as it was typed, several repositories as one; the tables [[source]] where none was.

    Raises:
        ConfigError: the configuration cannot be used.
        SourceError: neither is there; several, and one of them is no repository.
    """
    if named:
        try:
            return join_sources(named)
        except ValueError as error:
            raise SourceError(str(error)) from None
    source = read_config(config).sources if Path(config).exists() else None
    if source is None:
        msg = f"Missing argument 'SOURCE', and {config} has no tables [[source]]."
        raise SourceError(msg)
    return source


def with_mode(settings: Settings, mode: str) -> Settings:
    """The settings with another mode; "as_configured": as they are.

    Raises:
        ConfigError: the mode needs a [review] table that is not there.
    """
    if mode in ("as_configured", settings.mode):
        return settings
    if mode == "check_and_review" and settings.review is None:
        msg = 'mode "check_and_review" needs a [review] table with a model in review.toml'
        raise ConfigError(msg)
    return settings.model_copy(update={"mode": mode})


def with_batch(settings: Settings, use: str) -> Settings:
    """The settings with another `use` of batches; "as_configured": as they are.

    Raises:
        ConfigError: all is to go by batch, and no app_id serves a model so.
    """
    if use == "as_configured":
        return settings
    changed = settings.batch.model_copy(update={"use": use})
    settings = settings.model_copy(update={"batch": changed})
    if problem := settings.batch_problem:
        raise ConfigError(problem)
    return settings


def new_run_id() -> str:
    """A unique id that sorts by time, 20261124T013000-1a2b3c; in `with_run_id` the one named there."""
    return _RUN_ID.get() or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


@contextmanager
def with_run_id(run_id: str) -> Iterator[None]:
    """Give `run_id` to the run of the block, whose folder has that name already."""
    token = _RUN_ID.set(run_id)
    try:
        yield
    finally:
        _RUN_ID.reset(token)


def run_paths(output: str | None, run_id: str) -> RunPaths:
    """The output folder of a run; data/runs/<run_id> when nobody says. `{run_id}` in `output` is its id.

    For a URL a folder in data/runs as well, always the same one: it has the outputs until they are
    copied, and keeps out a second run to the same place.

    Raises:
        ConfigError: the URL holds a password.
    """
    output = (output or "data/runs/{run_id}").replace("{run_id}", run_id)
    if not is_url(output):
        return RunPaths(Path(output).absolute(), run_id=run_id)
    try:
        url = without_password(output)
    except ValueError as error:
        msg = f"--output {error}"
        raise ConfigError(msg) from None
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    return RunPaths(Path(f"data/runs/{name}").absolute(), url, run_id)


def new_run(run_id: str, settings: Settings, *, fresh: bool) -> Run:
    """The record of a run that its processes read."""
    now = time.time()
    return Run(
        run_id=run_id,
        settings=settings,
        state=resolve_state(settings.state),
        threads=settings.threads or default_threads(settings.quotas),
        fresh_since=now if fresh else None,
        started=now,
    )
