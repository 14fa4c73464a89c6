"""The allocator against a server that enforces sliding windows on arrival, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.key_log import PLANNED, SENT, KeyLog, Reservation
from tasks.upstream.quota.reservations import SlotRequest

_EPS = 1e-9


@dataclass
class Trip:
    """What becomes of one call: seconds late at the gate, to the write, and on the way."""

    late: float
    write: float
    travel: float
    call: float
    tokens: int
    fate: str = "ok"


@dataclass
class World:
    """Several owners that share one ledger, a clock, and the server's log of arrivals."""

    app_ids: list[AppId]
    margin: float
    grace: float
    notice: float = 0.2
    attention: Iterator[bool] = field(default_factory=lambda: itertools.repeat(True))
    """Whether a transaction follows the plans first; the gate must hold without it."""
    owners: list[Allocator] = field(default_factory=list)
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    arrivals: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    trips: dict[SlotRequest, Trip] = field(default_factory=dict)
    now: float = 0.0
    order: itertools.count[int] = field(default_factory=itertools.count)
    served: int = 0

    def add_owner(self) -> Allocator:
        """A process joins and reads the ledger."""
        owner = Allocator(
            self.app_ids,
            owner=len(self.owners) + 1,
            margin=self.margin,
            grace=self.grace,
            notice=self.notice,
        )
        self.owners.append(owner)
        return owner

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def publish(self, writer: Allocator) -> None:
        """Commit: everybody else learns what the writer changed."""
        rows = [replace(reservation) for reservation in writer.changed.values()]
        writer.changed.clear()
        for reader in self.owners:
            if reader is not writer:
                for reservation in rows:
                    reader.learn(replace(reservation))
                reader.last_ticket = max(reader.last_ticket, writer.last_ticket)

    def ask(self, owner: Allocator, trip: Trip, model: str = "m", urgent: bool = False) -> None:
        """A caller arrives."""
        request = SlotRequest(model, trip.tokens, urgent=urgent)
        self.trips[request] = trip
        self.place(owner, request)

    def place(self, owner: Allocator, request: SlotRequest) -> None:
        if owner.place(request, self.now) is None:
            owner.lost.append(request)
        self.publish(owner)

    def transaction(self, owner: Allocator) -> None:
        """One transaction of one process: follow, reserve, pass the gate."""
        owner.trim(self.now)
        if next(self.attention):
            owner.replan(self.now, everything=True)
        lost, owner.lost = owner.lost, []
        for request in lost:
            self.place(owner, request)
        for reservation in owner.due(self.now):
            caller = owner.mine.get(reservation.ticket)
            if caller is None or reservation.state != PLANNED or reservation.at > self.now:
                continue
            trip = self.trips[caller]
            if trip.late > 0:  # the thread wakes late once, and is asked again then
                late, trip.late = trip.late, 0.0
                held = owner.mine.pop(reservation.ticket)
                self.at(self.now + late, partial(self.wake, owner, reservation.ticket, held))
            elif owner.start(reservation, self.now):
                self.send(owner, reservation, trip)
        self.publish(owner)

    def wake(self, owner: Allocator, ticket: int, request: SlotRequest) -> None:
        if ticket in owner.by_ticket and owner.by_ticket[ticket].state == PLANNED:
            owner.mine[ticket] = request
        else:
            owner.lost.append(request)

    def send(self, owner: Allocator, reservation: Reservation, trip: Trip) -> None:
        ticket, alias = reservation.ticket, reservation.alias
        if trip.fate == "refund":
            self.at(self.now + trip.write, lambda: self.act(owner, lambda: owner.cancel(ticket)))
            return
        written = self.now + trip.write
        self.served += 1
        log = self.arrivals.setdefault(alias, [])
        self.at(written, lambda: log.append((written + trip.travel, trip.tokens)))
        if trip.fate == "killed":  # nobody will ever confirm it; others find out after the write
            others = [o for o in self.owners if o is not owner] or [owner]
            self.at(written, lambda: self.act(others[0], lambda: self.end_of(others[0], ticket)))
            return
        self.at(written, lambda: self.act(owner, lambda: owner.sent(ticket, written)))
        self.at(written + trip.call, lambda: self.act(owner, lambda: self.end_of(owner, ticket)))

    def end_of(self, owner: Allocator, ticket: int) -> None:
        owner.end(ticket, None, self.now)

    def act(self, owner: Allocator, what: Callable[[], object]) -> None:
        what()
        self.publish(owner)

    def run(self, check: Callable[[], None] = lambda: None) -> None:
        """Until nothing is left to do."""
        for _ in range(3_000):
            for owner in self.owners * 3:  # each sees what the others did at this instant
                self.transaction(owner)
            check()
            next_event = self.events[0][0] if self.events else math.inf
            due = min((d for o in self.owners if (d := o.next_due()) > self.now), default=math.inf)
            if math.isinf(min(next_event, due)):
                return
            self.now = min(next_event, due)
            while self.events and self.events[0][0] <= self.now:
                heapq.heappop(self.events)[2]()
        pytest.fail("the world does not come to rest")

    def worst(self, app_id: AppId, window: Window, *, tokens: bool = False) -> int:
        """Most arrivals, or tokens, that the server saw in any window."""
        log = sorted(self.arrivals.get(app_id.alias, []))
        return max(
            (
                sum(
                    cost if tokens else 1
                    for at, cost in log
                    if start - _EPS <= at < start + window.seconds - _EPS
                )
                for start, _ in log
            ),
            default=0,
        )


_WINDOWS = st.lists(
    st.builds(Window, st.integers(1, 4), st.sampled_from([1.0, 2.0, 5.0])),
    min_size=1,
    max_size=2,
    unique_by=lambda window: window.seconds,
).map(tuple)
_TIMES = st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.6, 4.0])


@st.composite
def _pools(draw: st.DrawFn, *, tokens: bool = True) -> list[AppId]:
    pool = []
    for n in range(draw(st.integers(1, 3))):
        budget = (Window(draw(st.integers(12, 40)), 4.0),) if tokens and draw(st.booleans()) else ()
        pool.append(
            AppId(
                f"k{n}",
                windows=draw(_WINDOWS),
                token_windows=budget,
                pace=tokens and draw(st.booleans()),
                max_in_flight=draw(st.none() | st.integers(1, 3)) if tokens else None,
            )
        )
    return pool


@st.composite
def _trips(draw: st.DrawFn) -> Trip:
    return Trip(
        late=draw(_TIMES),
        write=draw(_TIMES),
        travel=draw(st.floats(0.0, 0.3)),
        call=draw(st.sampled_from([0.0, 0.5, 9.0])),
        tokens=draw(st.integers(0, 12)),
        fate=draw(st.sampled_from(["ok", "ok", "ok", "refund", "killed"])),
    )


@settings(max_examples=60)
@given(
    _pools(),
    st.lists(st.tuples(_trips(), st.integers(0, 2), st.booleans()), min_size=12, max_size=50),
    st.data(),
)
def test_server_never_sees_more_than_a_window_allows(
    pool: list[AppId], calls: list[tuple[Trip, int, bool]], data: st.DataObject
) -> None:
    """Whatever is late, lost, held, refunded or killed: jitter up to the margin breaks nothing."""
    world = World(pool, margin=0.35, grace=0.05)
    world.attention = itertools.cycle(data.draw(st.lists(st.booleans(), min_size=1, max_size=9)))
    for _ in range(3):
        world.add_owner()
    for number, (trip, owner, urgent) in enumerate(calls):
        who = world.owners[owner]
        world.at(number // 8 * 1.5, partial(world.ask, who, trip, urgent=urgent))
    for alias in data.draw(st.lists(st.sampled_from([a.alias for a in pool]), max_size=2)):
        until = data.draw(st.floats(0.0, 8.0))
        world.at(1.0, partial(_hold, world, alias, until))
    world.run()
    assert world.served == sum(trip.fate != "refund" for trip, _, _ in calls)
    for app_id in pool:
        for window in app_id.windows:
            assert world.worst(app_id, window) <= window.limit
        for window in app_id.token_windows:
            assert world.worst(app_id, window, tokens=True) <= window.limit


def _has_room(key_log: KeyLog, now: float) -> bool:
    """Whether one more could go now, beside those that have just been told to."""
    sent_now = [
        replace(reservation, state=SENT, at=now)
        for reservation in key_log.planned
        if reservation.at <= now + 0.06
    ]
    later = replace(key_log, past=[*key_log.past, *sent_now], planned=[], flying=set(), dirty=set())
    return later.release(0) <= now


def _hold(world: World, alias: str, until: float) -> None:
    for owner in world.owners:
        owner.key_logs[alias].hold = until
        owner.key_logs[alias].touch(dirty=True)


@settings(max_examples=25)
@given(
    _pools(tokens=False),
    st.lists(st.tuples(_trips(), st.integers(0, 2), st.booleans()), min_size=12, max_size=50),
)
def test_no_key_idles_while_somebody_waits(
    pool: list[AppId], calls: list[tuple[Trip, int, bool]]
) -> None:
    """At every instant: if a caller waits, history allows no key to send for it."""
    world = World(pool, margin=0.35, grace=0.05, notice=0.05)
    for _ in range(3):
        world.add_owner()
    for number, (trip, owner, urgent) in enumerate(calls):
        trip.late = 0.0
        who = world.owners[owner]
        world.at(number // 8 * 1.5, partial(world.ask, who, trip, urgent=urgent))

    def check() -> None:
        for owner in world.owners:
            assert not owner.lost
            for ticket in owner.mine:
                if owner.by_ticket[ticket].at > world.now + 0.061:
                    for key_log in owner.key_logs.values():
                        assert not _has_room(key_log, world.now)

    world.run(check)
    assert world.served == sum(trip.fate != "refund" for trip, _, _ in calls)
