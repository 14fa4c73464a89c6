"""Keys that change: by age, when refused, for many threads at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from tasks.core.errors import ConfigError
from tasks.upstream.calls.key_ring import Credentials, KeyRing, KeySource


class Source:
    """Gives `key-1`, `key-2`, ...; waits for `gate` from the second on, and fails while `broken`."""

    def __init__(self) -> None:
        self.reads = 0
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False

    def __call__(self) -> Credentials:
        if self.reads:
            self.gate.wait(10)
        if self.broken:
            msg = "no login"
            raise ConfigError(msg)
        self.reads += 1
        return Credentials(SecretStr(f"key-{self.reads}"))


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_burst_of_refusals_reads_once() -> None:
    """Twenty threads whose key was refused at once: one reads, and all have another key."""
    source = Source()
    ring = KeyRing({"a": KeySource(source, changes=True)})
    used = ring.current("a")
    with ThreadPoolExecutor(20) as executor:
        found = list(executor.map(lambda _: ring.refresh("a", used), range(20)))
    assert (all(found), source.reads) == (True, 2)


def test_a_key_that_stays_is_no_other_one() -> None:
    """A variable is not read again; a file that has the same key still is no news."""
    same = KeySource(lambda: Credentials(SecretStr("same")), changes=True)
    source = Source()
    ring = KeyRing({"fixed": KeySource(source), "same": same})
    assert not ring.refresh("fixed", ring.current("fixed"))
    assert not ring.refresh("same", ring.current("same"))
    assert source.reads == 1


def test_a_new_key_that_is_refused_too_is_not_read_again() -> None:
    """Until it was answered: then it may expire like any other."""
    source = Source()
    ring = KeyRing({"a": KeySource(source, changes=True)})
    assert ring.refresh("a", ring.current("a"))
    assert not ring.refresh("a", ring.current("a"))
    ring.answered("a")
    assert ring.refresh("a", ring.current("a"))
    assert source.reads == 3


def test_an_old_key_is_read_anew_while_others_go_on() -> None:
    """One call reads; another one has the old key meanwhile, and does not wait."""
    source = Source()
    ring = KeyRing({"a": KeySource(source, changes=True, max_age=0.01)})
    source.gate.clear()
    reader = threading.Thread(target=lambda: _eventually(lambda: _renewed(ring)))
    reader.start()
    _eventually(ring._held["a"].lock.locked)
    began = time.monotonic()
    ring.renew("a")
    assert ring["a"].get_secret_value() == "key-1"
    assert time.monotonic() - began < 1
    source.gate.set()
    reader.join(10)
    assert ring["a"].get_secret_value() != "key-1"


def _renewed(ring: KeyRing) -> bool:
    ring.renew("a")
    return ring["a"].get_secret_value() != "key-1"


def test_a_source_that_fails_in_mid_run_leaves_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on with the key it has, and the log says why it is no newer."""
    source = Source()
    ring = KeyRing({"a": KeySource(source, changes=True)})
    source.broken = True
    with caplog.at_level(logging.WARNING, logger="tasks"):
        assert not ring.refresh("a", ring.current("a"))
    assert ring["a"].get_secret_value() == "key-1"
    assert "app_id a goes on with the key it has: no login" in caplog.text
