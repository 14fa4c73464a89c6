"""The command that checks, before a run, what can be checked: settings, folders, source, one small call each."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from flows.setup.config import new_run, new_run_id, read_config
from flows.setup.key_rules import key_variables, names_block
from flows.setup.keys import resolve_key
from flows.ui.terminal import mute_prefect_console
from tasks.core.app_id_settings import AppIdSettings
from tasks.core.errors import ReviewError, StateError
from tasks.core.settings import Settings
from tasks.core.text_safety import visible_lines
from tasks.estimate.loads import duration
from tasks.load.sources import check_source
from tasks.upstream.calls.key_ring import KeyRing

if TYPE_CHECKING:
    from tasks.doctor.preflight import Diagnosis
    from tasks.doctor.sample_calls import SampleResult
    from tasks.estimate.estimate import Estimate

__all__ = ["doctor_command"]

_WIDTH = 80  # columns
_RUNS = "data/runs"
"""Where a run writes when nobody says."""
_NO_SERVER = "none is named by PREFECT_API_URL: a run starts its own, which ends with it"


class _Checkup:
    """What was found so far; in a terminal each line is printed at once."""

    def __init__(self, *, quiet: bool) -> None:
        self.found: list[Diagnosis] = []
        self._quiet = quiet

    def add(self, one: Diagnosis) -> None:
        """One more."""
        self.found.append(one)
        if not self._quiet:
            _print_wrapped(f"{one.level:<8} {one.about:<10} ", one.message)

    def check(self, about: str, look: Callable[[], str]) -> None:
        """What `look` returns is well; what it raises is a problem."""
        from tasks.doctor.preflight import Diagnosis  # noqa: PLC0415 - see doctor_command

        try:
            self.add(Diagnosis(about, "ok", look()))
        except ReviewError as error:
            self.add(Diagnosis(about, "problem", visible_lines(str(error))))

    def note(self, about: str, message: str) -> None:
        """What does not keep a run from starting."""
        from tasks.doctor.preflight import Diagnosis  # noqa: PLC0415 - see doctor_command

        self.add(Diagnosis(about, "note", message))

    def has_problem(self, about: str) -> bool:
        """Whether something of it is wrong."""
        return any(one.about == about and one.level == "problem" for one in self.found)


def doctor_command(source: str | None, *, config: str, calls: bool, as_json: bool) -> int:
    """Check all that can be checked before a run of SOURCE; print it, as JSON if asked.

    Returns 0, or 2 when something would keep a run from being whole. `calls` False: nothing is sent.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    mute_prefect_console()
    logging.getLogger("tasks").addHandler(logging.NullHandler())  # the table says it
    settings = read_config(config)
    source = source or settings.sources
    checkup, keys = _Checkup(quiet=as_json), dict[str, KeyRing]()
    checkup.check("settings", lambda: f"{config}: {_size(settings)}")
    with _server(settings, checkup):
        for alias, app in settings.app_ids.items():
            checkup.check("key", lambda a=alias, k=app: _key(a, k, keys))  # type: ignore[misc]
    _check_places(settings, source, checkup)
    estimate = _read_source(source, config, settings, checkup) if source is not None else None
    results: list[SampleResult] = []
    if calls and (why := _why_none(keys, checkup)):
        checkup.note("calls", f"none was made: {why}")
    elif calls:
        results = _call(settings, keys, quiet=as_json)
        _compare(settings, results, checkup)
        _check_batches(settings, keys, checkup)
    wrong = sum(one.level == "problem" for one in checkup.found)
    wrong += sum(one.outcome == "refused" for one in results)
    if as_json:
        print(json.dumps(_facts(checkup, results, estimate, ok=not wrong), indent=2))
    else:
        _conclude(settings, estimate, wrong)
    return 2 if wrong else 0


def _conclude(settings: Settings, found: Estimate | None, wrong: int) -> None:
    from flows.cli.estimate import show_estimate  # noqa: PLC0415 - imports Prefect

    print()
    if found is not None:
        show_estimate(found, settings)
    if wrong:
        things = "thing is" if wrong == 1 else "things are"
        print(f"{wrong} {things} wrong, see `problem` and `refused` above")
    else:
        print("nothing was found that keeps a run from being whole")


def _why_none(keys: dict[str, KeyRing], checkup: _Checkup) -> str | None:
    """Why no call can be made; None: they can."""
    if not keys:
        return "no key can be read"
    return "they would use the state, see above" if checkup.has_problem("state") else None


def _size(settings: Settings) -> str:
    names = settings.check_names + ["review"] * settings.reviews
    return (
        f"app_ids: {len(settings.app_ids)}, models: {len(settings.models)}, for {', '.join(names)}"
    )


def _key(alias: str, app: AppIdSettings, keys: dict[str, KeyRing]) -> str:
    keys[alias] = resolve_key(alias, app)
    return f"{alias}: {app.key} is set"


@contextmanager
def _server(settings: Settings, checkup: _Checkup) -> Iterator[None]:
    """Look at Prefect's server; Secret blocks need one, so an own one is there while keys are read."""
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415 - after mute_prefect_console

    from flows.setup.preflight import check_workers  # noqa: PLC0415 - imports fsspec
    from flows.ui.server import prefect_server  # noqa: PLC0415 - imports Prefect

    url = PREFECT_API_URL.value()
    checkup.check("server", lambda: _answering(url) if url else _NO_SERVER)
    if settings.workers is not None:
        checkup.check("workers", lambda: check_workers(settings))
    if url or not names_block(settings):
        yield
        return
    with prefect_server(keys=key_variables(settings)):
        yield


def _answering(url: str) -> str:
    from tasks.report.server_health import server_answers  # noqa: PLC0415 - imports Prefect

    if not server_answers():
        msg = (
            f"Prefect's server at {url} does not answer: start it with `nightly-review up`, or unset "
            "PREFECT_API_URL to use an own one"
        )
        raise StateError(msg)
    return f"{url} answers"


def _check_places(settings: Settings, source: str | None, checkup: _Checkup) -> None:
    from tasks.core.locations import redacted  # noqa: PLC0415 - only here
    from tasks.doctor.preflight import (  # noqa: PLC0415 - Arrow takes a while to import
        check_canaries,
        check_folder,
        check_state_folder,
        check_suppressions,
        check_tools,
        low_space,
        settings_notes,
    )

    def state() -> str:
        check_state_folder(settings)
        return f"journal and ledger in {redacted(settings.state)}"

    def output() -> str:
        check_folder(Path(_RUNS))
        return f"{_RUNS} can be written"

    checkup.check("state", state)
    checkup.check("output", output)
    for folder in dict.fromkeys([settings.state, _RUNS]):
        if "://" not in folder and (low := low_space(Path(folder))):
            checkup.note("disk", low)
    checkup.check("files", lambda: f"{check_suppressions(settings, source)} known false positives")
    if settings.canaries:
        checkup.check("canaries", lambda: f"{check_canaries(settings, source)} labelled inputs")
    if settings.tool_check:
        checkup.check("tools", lambda: check_tools(settings))
    for one in settings_notes(settings):
        checkup.add(one)


def _read_source(
    source: str, config: str, settings: Settings, checkup: _Checkup
) -> Estimate | None:
    from flows.setup.source_range import resolved_now  # noqa: PLC0415 - imports Prefect
    from tasks.estimate.estimate import estimate  # noqa: PLC0415 - imports Prefect

    found: list[Estimate] = []

    def look() -> str:
        check_source(source)
        found.append(estimate(resolved_now(source, config, settings), settings, None, fresh=False))
        return f"{source}: {found[0].loaded.sentence()}"

    checkup.check("source", look)
    return found[0] if found else None


# -- calls -----------------------------------------------------------------------------------


def _call(settings: Settings, keys: dict[str, KeyRing], *, quiet: bool) -> list[SampleResult]:
    from tasks.doctor.sample_calls import (  # noqa: PLC0415 - clients take a while to import
        least_wait,
        make_sample_calls,
        sample_calls,
    )

    calls = [call for call in sample_calls(settings) if call.app_id.alias in keys]
    requests, waits = sum(len(call.formats) for call in calls), least_wait(calls, settings.margin)
    if not quiet:
        long = f", at least {duration(waits)} under the quotas" if waits else ""
        print(f"\n{requests} small calls{long}")
    run = new_run(f"doctor-{new_run_id()}", settings, fresh=True)
    with _progress(len(calls)) as on_result:
        results = make_sample_calls(calls, run, keys, on_result)
    if not quiet:
        _show_calls(results, settings)
    return results


@contextmanager
def _progress(total: int) -> Iterator[Callable[[SampleResult], None]]:
    """A bar in a terminal, a line per result elsewhere, on stderr."""
    console = Console(stderr=True, markup=False)
    columns = (TextColumn("calling"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("calling", total=total)

        def show(result: SampleResult) -> None:
            bar.advance(task)
            if not console.is_terminal:
                line = f"{_subject(result)}, {_sent(result)}: {result.outcome}"
                print(line, file=sys.stderr, flush=True)

        yield show


def _show_calls(results: Sequence[SampleResult], settings: Settings) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("app_id", "model", "for", "sent", "result", "seconds", "price"):
        table.add_column(head, justify="right" if head == "seconds" else "left", overflow="fold")
    for one in results:
        seconds = "" if one.latency is None else f"{one.latency:.1f}"
        price = "known" if one.model in settings.prices else "unknown"
        row = (one.app_id, one.model, ", ".join(one.names), _sent(one), one.outcome, seconds, price)
        table.add_row(*row)
    Console(markup=False, width=_WIDTH).print(table)
    notes = (
        (f"{_subject(one)} ({one.outcome}):", text)
        for one in results
        for text in filter(None, (one.adapted, one.message))
    )
    for head, text in dict.fromkeys(notes):  # a stream is refused in the same words
        print(head)
        _print_wrapped("    ", visible_lines(text))


def _compare(settings: Settings, results: Sequence[SampleResult], checkup: _Checkup) -> None:
    """The limits in rate-limit headers against `quota`."""
    said = {one.app_id: one.allowed for one in results if one.allowed}
    for alias, allowed in said.items():
        app = settings.app_ids[alias]
        limits = ", ".join(f"{count:,} {what}" for what, count in allowed.items())
        quota = ", ".join([*app.quota, *app.tokens]) or "no limit"
        record = app.record(alias)
        pairs = (("requests", record.windows), ("tokens", record.token_windows))
        fewer = any(w.limit > allowed.get(what, w.limit) for what, ws in pairs for w in ws)
        advice = "; the headers allow fewer: see which period they mean" if fewer else ""
        checkup.note("quota", f"{alias}: its headers say {limits}; quota says {quota}{advice}")


def _check_batches(settings: Settings, keys: dict[str, KeyRing], checkup: _Checkup) -> None:
    from tasks.doctor.batch_api import check_batch_api  # noqa: PLC0415 - clients take a while

    for one in settings.batch_pool:
        if one.alias in keys:
            alias = one.alias
            checkup.check("batch", partial(check_batch_api, settings, alias, keys[alias]))


def _subject(result: SampleResult) -> str:
    return f"{result.app_id}, {result.model}"


def _sent(result: SampleResult) -> str:
    return "streamed" if result.stream else "plain"


def _facts(
    checkup: _Checkup, results: Sequence[SampleResult], found: Estimate | None, *, ok: bool
) -> dict[str, Any]:
    return {
        "ok": ok,
        "checks": [asdict(one) for one in checkup.found],
        "calls": [asdict(one) for one in results],
        "estimate": None if found is None else asdict(found),
    }


def _print_wrapped(head: str, text: str) -> None:
    indent = " " * len(head)
    for number, line in enumerate(text.splitlines() or [""]):
        first = head if number == 0 else indent
        print(
            textwrap.fill(
                line,
                _WIDTH,
                initial_indent=first,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
