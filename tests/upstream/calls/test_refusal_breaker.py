"""The canary and the refusal breaker: who may go, when it closes, and how it heals."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.core.errors import CallFailed, Stopped
from tasks.upstream.calls.refusal_breaker import RefusalBreakers
from tasks.upstream.calls.refusal_rules import About
from tasks.upstream.calls.refusals import Refusal

PLACE = ("http://x.test/v1", "m")


class Board:
    """Notes of one process, as the ledger keeps them for all."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    @property
    def notes(self) -> Mapping[str, str]:
        """All of them."""
        return self.texts

    def note(self, name: str, value: str) -> None:
        """Write one."""
        self.texts[name] = value


def nothing() -> None:
    """No reason to leave."""


def said(about: About = "endpoint", sentence: str = "no such path 17") -> Refusal:
    """A refusal."""
    return Refusal(about, None, None, sentence, None, certain=True, status=404)


def closed(board: Board, **options: float) -> RefusalBreakers:
    """A breaker that five refusals have closed."""
    breakers = RefusalBreakers(board, run_id="r", **options)  # type: ignore[arg-type]
    for number in range(5):
        breakers.enter([PLACE], nothing)
        ended = breakers.refused(PLACE, said(sentence=f"no such path {number}"), "No such path.")
        assert ended == (number == 4)
    return breakers


def test_as_many_go_as_have_proved_good() -> None:
    """One, then two, four, eight: the next has to wait until a call is answered."""
    breakers, stop = RefusalBreakers(Board(), patience=60), threading.Event()
    stop.set()

    def leave() -> None:
        msg = "no room"
        raise Stopped(msg)

    for successes in range(4):
        for _ in range(2**successes):
            breakers.enter([PLACE], nothing)
        with pytest.raises(Stopped):
            breakers.enter([PLACE], leave)
        for _ in range(2**successes - 1):
            breakers.leave(PLACE)
        breakers.succeeded(PLACE)


def test_a_call_that_hangs_does_not_stop_the_others() -> None:
    """After the patience one more may go, and no second one at once."""
    breakers = RefusalBreakers(Board(), patience=0.1)
    breakers.enter([PLACE], nothing)
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(breakers.enter, [PLACE], nothing).result(timeout=5) == [PLACE]


def test_five_equal_refusals_close_it() -> None:
    """Numbers in the sentence make no difference; the sixth call ends with the provider's sentence."""
    with pytest.raises(CallFailed, match="No such path") as caught:
        closed(Board()).enter([PLACE], nothing)
    assert caught.value.code == "refused_by_endpoint"


def test_different_refusals_and_those_of_keys_do_not() -> None:
    """What differs is no pattern, and another key may be served."""
    breakers = RefusalBreakers(Board())
    for number in range(30):
        breakers.enter([PLACE], nothing)
        about: About = "key" if number % 2 else "endpoint"
        assert not breakers.refused(PLACE, said(about, "ab"[number // 2 % 2]), "")


def test_questions_of_an_endpoint_that_answers_may_be_refused() -> None:
    """Once it has answered, ten too long questions in a row are the questions' matter."""
    breakers = RefusalBreakers(Board())
    breakers.enter([PLACE], nothing)
    breakers.succeeded(PLACE)
    for _ in range(10):
        breakers.enter([PLACE], nothing)
        assert not breakers.refused(PLACE, said("length", "too long"), "")


def test_a_probe_opens_it_again() -> None:
    """After the pause one call may go; its answer lets all others go."""
    breakers = closed(Board(), pause=0.0)
    assert breakers.enter([PLACE], nothing) == [PLACE]
    with pytest.raises(CallFailed):
        breakers.enter([PLACE], nothing)
    breakers.succeeded(PLACE)
    for _ in range(99):
        breakers.enter([PLACE], nothing)


def test_others_of_the_run_know_and_a_later_run_asks_once() -> None:
    """A shard that never asked is closed too; the next run sends one request, and not five."""
    board = Board()
    closed(board)
    with pytest.raises(CallFailed, match="No such path"):
        RefusalBreakers(board, run_id="r").enter([PLACE], nothing)
    later = RefusalBreakers(board, run_id="later")
    later.enter([PLACE], nothing)
    with pytest.raises(CallFailed):
        later.enter([PLACE], nothing)
    later.refused(PLACE, said(), "Still no such path.")
    with pytest.raises(CallFailed, match="Still"):
        later.enter([PLACE], nothing)


def test_another_endpoint_serves_what_one_refuses() -> None:
    """A place is taken where there is room."""
    breakers = closed(Board())
    other = ("http://y.test/v1", "m")
    assert breakers.enter([PLACE, other], nothing) == [other]
