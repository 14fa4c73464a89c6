"""
Rounds of batches: hand questions to the provider, wait, journal the answers; whoever dies is taken over.

    with open_rounds(run, keys, folder, ...) as rounds:
        rounds.adopt()                    # what earlier runs have left
        while rounds.ask(question_files): # checks, then reviews, then what is worth asking again
            ...                           # the shards collect anew

An intent belongs to the process that has claimed it in the journal; the claim goes with the process.
What another living run has handed in is waited for, and never asked again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tasks.batch.file_queue import FileQueue, PendingFile
from tasks.batch.plan import group_questions, want
from tasks.batch.request_files import RequestFiles
from tasks.batch.steps import Steps, owner_key
from tasks.core.batch_settings import instant_after
from tasks.core.errors import BatchCallFailed
from tasks.core.files import output_errors
from tasks.upstream.batches.intents import Intent
from tasks.upstream.batches.records import BatchStatus

__all__ = ["Rounds", "Told"]

_GLANCE = 0.5
"""Seconds between two looks whether the run is to stop."""

_CANCELLING = 900.0
"""Seconds that a provider gets to cancel a batch: OpenAI says ten minutes."""

_CANCEL_POLL = 10.0
_BACKOFF = 300.0
"""Most seconds between two tries of what a provider refuses for now."""

_HOPELESS = frozenset(
    {
        "unauthorized",
        "forbidden",
        "insufficient_quota",
        "not_found",
        "endpoint_refused",
        "bad_request",
    }
)
"""Failures after which no more files go to an app_id; what works there already is waited for."""

Told = Callable[[str, Intent], None]
"""Hears of submitted, ended and late batches."""


@dataclass(slots=True)
class Rounds:
    """The batches of a run; one thread."""

    steps: Steps
    started: float
    look: Callable[[], None] = lambda: None
    """Called twice a second; what it raises ends the wait."""
    tell: Told = lambda _what, _intent: None
    show: Callable[[Sequence[Intent]], None] = lambda _intents: None
    poll: float | None = None
    """Seconds between two looks at a batch; None: as [batch] says."""
    seen: dict[str, Intent] = field(default_factory=dict)
    """Every batch that the run had to do with, as it is now."""
    late: bool = False
    """The deadline came before all was answered."""
    _mine: dict[str, Intent] = field(default_factory=dict)
    _theirs: set[str] = field(default_factory=set)
    _files: dict[str, PendingFile] = field(default_factory=dict)
    _rest: dict[str, float] = field(default_factory=dict)
    """Intent -> when the next step may be tried."""
    _failures: Counter[str] = field(default_factory=Counter)
    _queue: FileQueue = field(init=False)
    _rounds: int = 0

    def __post_init__(self) -> None:
        self._queue = FileQueue(RequestFiles(self.steps), self._has_room)

    # -- what a run calls --------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When what is not answered goes online, in seconds since the epoch."""
        return instant_after(self.steps.run.settings.batch.deadline, self.started)

    def adopt(self) -> None:
        """Take what earlier runs have left behind: results that are there are journaled now.

        Batches that still work stay, claimed by nobody: they are waited for when a question of this
        run is among them.
        """
        self.steps.store.prune()
        for intent in self.steps.store.open():
            if self._take_over(intent):
                with suppress(BatchCallFailed):
                    self._advance(self._mine[intent.id])
                if self._mine.get(intent.id, intent).state == "working":
                    self._let_go(intent.id)
        self._settle_all()

    def ask(self, files: Sequence[Path]) -> bool:
        """Have the questions answered that are worth a batch, or that one has already; False: there were none.

        Raises:
            StateError: the state cannot be used.
        """
        if time.time() >= self.deadline:
            self.late = True
            return False
        wanted = want(files, self.steps.store.holders, self._queue.tries)
        self._theirs = set(self.steps.store.holders(list(wanted.held)).values())
        settings, again = self.steps.run.settings, self._rounds >= 2  # noqa: PLR2004 - checks, reviews
        groups = group_questions(wanted, settings, self._queue.closed, again=again)
        self._queue.fill(files, groups, wanted)
        if not self._queue and not self._theirs:
            return False
        self._rounds += 1
        self._wait()
        return True

    def close(self) -> None:
        """Let go of what still works: the next run takes it over."""
        for name in list(self._mine):
            self._let_go(name)

    @property
    def working(self) -> list[Intent]:
        """Batches that work at a provider, as far as is known."""
        return [one for one in self.seen.values() if one.state in ("uploaded", "working")]

    # -- one round ---------------------------------------------------------------------------

    def _wait(self) -> None:
        while self._queue or self._theirs or self._mine:
            self.look()
            if not self.late and time.time() >= self.deadline:
                self._cancel_all()
            self._cancel_working()
            self._submit()
            self._advance_all()
            self._look_at_theirs()
            self.show(list(self.seen.values()))
            if not (self._queue or self._theirs or self._mine):
                break
            self._pause()

    def _pause(self) -> None:
        until = time.monotonic() + self._interval()
        while (left := until - time.monotonic()) > 0:
            self.look()
            time.sleep(min(_GLANCE, left))

    def _interval(self) -> float:
        least = max((self._least_poll(one) for one in self._mine.values()), default=0.0)
        wanted = self.steps.run.settings.batch.poll_seconds if self.poll is None else self.poll
        interval = max(wanted, least) if self.poll is None else wanted
        if self.late:
            interval = min(interval, _CANCEL_POLL)
        return max(0.0, interval if self.late else min(interval, self.deadline - time.time()))

    def _least_poll(self, intent: Intent) -> float:
        return self.steps.endpoints[intent.app_id].dialect.poll_seconds

    # -- submitting --------------------------------------------------------------------------

    def _submit(self) -> None:
        """Hand in the files that have room beside what is enqueued already."""
        if self.late:
            self._queue.clear()  # their questions go online
        for pending in self._queue.ready():
            self._begin(pending)

    def _has_room(self, pending: PendingFile) -> bool:
        enqueued = self.steps.store.enqueued(*pending.place)
        most = self.steps.run.settings.batch.max_enqueued_tokens
        return not enqueued or enqueued + pending.file.prompt_tokens <= most

    def _begin(self, pending: PendingFile) -> None:
        file, batch = pending.file, self.steps.run.settings.batch
        intent = self._queue.writer.intent(pending.group, file)
        self.steps.journal.claim(owner_key(intent.id))
        if held := self.steps.store.plan(intent, self._queue.writer.questions(file)):
            # Another run was faster with some: those are waited for, the others go anew.
            self.steps.journal.release(owner_key(intent.id))
            self._theirs |= set(self.steps.store.holders(list(held)).values())
            self._queue.again(pending, set(file.custom_ids) - held, file.prompt_tokens)
            return
        if not self.steps.is_affordable(intent, self._queue.writer.usage(file)):
            # A smaller one may be; what is left goes online, call by call to the end of the budget.
            self.steps.abandon(intent)
            self.steps.journal.release(owner_key(intent.id))
            if file.requests >= 2 * batch.min_calls:
                self._queue.again(pending, set(file.custom_ids), -(-file.prompt_tokens // 2))
            return
        self._files[intent.id] = pending
        self._keep(intent)
        self._advance_safely(intent)

    # -- advancing ---------------------------------------------------------------------------

    def _advance_all(self) -> None:
        for intent in list(self._mine.values()):
            if self._rest.get(intent.id, 0.0) <= time.time():
                self._advance_safely(intent)

    def _advance_safely(self, intent: Intent) -> None:
        """Go on with a batch; what a provider refuses for now is tried again later."""
        try:
            self._advance(intent)
        except BatchCallFailed as error:
            self._failures[intent.id] += 1
            number = self._failures[intent.id]
            pause = error.wait or min(_BACKOFF, 2.0**number)
            self._rest[intent.id] = time.time() + pause
            self.steps.log.warning("batch %s: %s", intent.batch_id or intent.id, error)
            if error.code in _HOPELESS and intent.state in ("planned", "uploaded"):
                self._give_up(intent)
        else:
            self._failures.pop(intent.id, None)

    def _advance(self, intent: Intent) -> None:
        """Every step that can be made now."""
        steps, pending = self.steps, self._files.get(intent.id)
        if intent.state in ("planned", "uploaded") and (pending is None or self.late):
            adopted = steps.adopt(intent)
            if adopted is None:
                return
            intent = self._keep(adopted)
        if intent.state == "planned" and pending is not None:
            intent = self._keep(steps.upload(intent, pending.file))
        if intent.state == "uploaded":
            created = steps.create(intent)
            if created is None:
                return
            intent = self._keep(created)
            self.tell("submitted", intent)
        if intent.state == "working":
            intent = self._keep(steps.poll(intent))
        if intent.state == "ended":
            status = steps.status(intent)
            with output_errors(steps.folder):
                intent = self._keep(steps.read(intent, status))
            self.tell("ended", intent)
            self._look_into_failure(intent, status)
        if intent.state == "read":
            intent = self._keep(steps.tidy(intent))
        if intent.state in ("closed", "abandoned"):
            self._let_go(intent.id)

    def _keep(self, intent: Intent) -> Intent:
        self._mine[intent.id] = self.seen[intent.id] = intent
        return intent

    def _let_go(self, name: str) -> None:
        self._mine.pop(name, None)
        self._files.pop(name, None)
        self.steps.journal.release(owner_key(name))

    def _give_up(self, intent: Intent) -> None:
        """No more batches of its app_id and model: what was not made is not made any more."""
        self._queue.closed.add((intent.app_id, intent.model))
        self._keep(self.steps.abandon(intent))
        self._let_go(intent.id)

    def _look_into_failure(self, intent: Intent, status: BatchStatus | None) -> None:
        """A batch that was refused as a whole: too many tokens wait, or its questions go online."""
        if status is None or status.state != "failed":
            return
        said = "; ".join(f"{one.code}: {one.message}" for one in status.problems[:3])
        self.steps.log.warning("batch %s failed: %s", intent.batch_id, self.steps.scrub(said, 500))
        pending = self._files.get(intent.id)
        if not status.token_limited:
            self._queue.closed.add((intent.app_id, intent.model))
        elif pending is not None:
            pending.refused += 1
            others = any(one.id != intent.id for one in self._mine.values())
            pending.not_before = time.time() + (0.0 if others else self._interval())
            if others or pending.refused == 1 or pending.file.requests == 1:
                self._queue.put_back(pending)
            else:
                half = -(-pending.file.prompt_tokens // 2)
                self._queue.again(pending, set(pending.file.custom_ids), half)

    # -- others ------------------------------------------------------------------------------

    def _take_over(self, intent: Intent) -> bool:
        """Claim what its maker does not work on any more; False: he does, or its key is not ours."""
        endpoint = self.steps.endpoints.get(intent.app_id)
        if endpoint is None or endpoint.app_id.base_url != intent.endpoint:
            return False
        if intent.id in self._mine or not self.steps.journal.claim(owner_key(intent.id)):
            return False
        now = self.steps.store.get(intent.id)  # he may just have moved it
        if now is None or now.state in ("closed", "abandoned"):
            self.steps.journal.release(owner_key(intent.id))
            return False
        self._keep(now)
        return True

    def _look_at_theirs(self) -> None:
        for name in list(self._theirs):
            intent = self.steps.store.get(name)
            if intent is None or intent.state in ("read", "closed", "abandoned"):
                self._theirs.discard(name)
            elif self._take_over(intent):
                self._theirs.discard(name)
                self._advance_safely(self._mine[name])
            elif intent.app_id not in self.steps.endpoints:
                self._theirs.discard(name)  # nobody here can read it: its questions go online

    def _settle_all(self) -> None:
        for intent in list(self._mine.values()):
            self._advance_safely(intent)

    # -- the deadline ------------------------------------------------------------------------

    def _cancel_all(self) -> None:
        """What has no answer by now goes online; what the provider has done until then is read."""
        self.late = True
        self._queue.clear()
        self._theirs.clear()
        self._rest.clear()
        for intent in list(self._mine.values()):
            if intent.state == "planned":
                self._keep(self.steps.abandon(intent))
                self._let_go(intent.id)
            elif intent.state == "working":
                self.tell("late", intent)

    def _cancel_working(self) -> None:
        """Once it is late: have each batch stopped that works; one that does not stop is left behind."""
        if not self.late:
            return
        for intent in list(self._mine.values()):
            if intent.state == "working" and not intent.cancelled:
                with suppress(BatchCallFailed):
                    self._keep(self.steps.cancel(intent, late=True))
        if time.time() >= self.deadline + _CANCELLING:
            self.steps.log.warning("%d batches do not stop; asking online", len(self._mine))
            self.close()
