"""The client pool on real connections: made once, bounded, replaced, closed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from pydantic import SecretStr

from deployments.sandbox import Fault, Sandbox
from tasks.core.calls import Request
from tasks.core.errors import ConfigError
from tasks.upstream.calls.client_pool import ClientPool, PooledClient
from tasks.upstream.calls.http_attempt import Attempt
from tasks.upstream.calls.key_ring import Credentials, KeyRing, KeySource
from tasks.upstream.calls.transport import Probe

KEYS = {f"a{n}": SecretStr(f"key-of-a{n}-0123456789") for n in range(6)}


def send(lease: PooledClient, text: str) -> str:
    """One real request on a client."""
    probe = Probe(timeout=5, idle=5, max_bytes=10**6, on_sent=lambda _: None)
    request = Request("m", ({"role": "user", "content": text},))
    return Attempt(request, "trace", probe).send(lease.client).content


def test_one_client_per_key_and_endpoint(sandbox: Sandbox) -> None:
    """Threads that come at once make no client twice."""
    with ClientPool(KEYS) as pool:

        def call(n: int) -> str:
            with pool.lease(f"a{n % 3}", sandbox.base_url) as lease:
                return send(lease, f"{n}")

        with ThreadPoolExecutor(12) as executor:
            assert len(list(executor.map(call, range(60)))) == 60
        counts = pool.statistics()
    assert (counts["created"], counts["reused"], counts["in_use"]) == (3, 57, 0)
    assert len({row["key"] for row in sandbox.log()}) == 3


def test_the_least_recently_used_goes_first(sandbox: Sandbox) -> None:
    """Three fit, the fourth takes the place of the one used longest ago."""
    with ClientPool(KEYS, max_clients=3) as pool:
        clients = {}
        for alias in ("a0", "a1", "a2", "a0", "a3"):
            with pool.lease(alias, sandbox.base_url) as lease:
                clients[alias] = lease.client
        assert pool.statistics()["evicted"] == 1
        assert clients["a1"].is_closed()
        assert not clients["a0"].is_closed()
        with pool.lease("a0", sandbox.base_url) as lease:
            assert lease.client is clients["a0"]


def test_a_client_in_use_is_never_closed(sandbox: Sandbox) -> None:
    """With room for one and two in use, both work; the surplus goes when it is free."""
    with ClientPool(KEYS, max_clients=1) as pool:
        with pool.lease("a0", sandbox.base_url) as first:
            with pool.lease("a1", sandbox.base_url) as second:
                assert send(first, "one")
                assert send(second, "two")
            assert not first.client.is_closed()
        with pool.lease("a2", sandbox.base_url):
            pass
        assert first.client.is_closed()
        assert second.client.is_closed()
        assert pool.statistics()["clients"] == 1


def test_a_broken_client_is_replaced_once(sandbox: Sandbox) -> None:
    """Two threads that saw the same break make one new client; the old one closes after its users."""
    with ClientPool(KEYS) as pool:
        with (
            pool.lease("a0", sandbox.base_url) as first,
            pool.lease("a0", sandbox.base_url) as same,
        ):
            assert first is same
            pool.replace(first)
            pool.replace(same)
            assert not first.client.is_closed()
            with pool.lease("a0", sandbox.base_url) as new:
                assert new is not first
                assert send(new, "new")
        assert first.client.is_closed()
        counts = pool.statistics()
    assert (counts["created"], counts["replaced"]) == (2, 1)


def test_a_connection_that_the_server_closed_is_not_used(sandbox: Sandbox) -> None:
    """The second request meets no dead connection; a third one is opened only for the reset."""
    sandbox.control(script=[{"fault": Fault.RESET_MID, "nth": [2]}])
    with ClientPool(KEYS) as pool, pool.lease("a0", sandbox.base_url) as lease:
        assert send(lease, "first")
        with pytest.raises(Exception, match="reset"):
            send(lease, "second")
        assert send(lease, "third")
        assert pool.statistics()["connections"] == 2


def test_the_probe_sees_the_wire(sandbox: Sandbox) -> None:
    """Sent once, reached, opened a connection; with nobody listening, no byte left."""
    sent: list[float] = []
    probe = Probe(timeout=5, idle=5, max_bytes=10**6, on_sent=sent.append)
    attempt = Attempt(Request("m", ({"role": "user", "content": "wire"},)), "trace", probe)
    with ClientPool(KEYS, connect_timeout=1) as pool:
        with pool.lease("a0", sandbox.base_url) as lease:
            attempt.send(lease.client)
        assert probe.reached
        assert len(sent) == 1
        assert probe.started <= sent[0]
        nobody = Probe(timeout=5, idle=5, max_bytes=10**6, on_sent=sent.append)
        attempt = Attempt(attempt.request, "trace", nobody)
        with (
            pool.lease("a0", "http://127.0.0.1:9/v1") as lease,
            pytest.raises(Exception, match="Connection error"),
        ):
            attempt.send(lease.client)
        assert not nobody.reached
        assert len(sent) == 1


def test_no_key_is_shown(sandbox: Sandbox) -> None:
    """Neither repr nor statistics; a missing key is named by its alias."""
    with ClientPool(KEYS) as pool:
        with pool.lease("a0", sandbox.base_url):
            shown = f"{pool!r} {pool.statistics()}"
        assert "0123456789" not in shown
        assert "created=1" in shown
        with pytest.raises(ConfigError, match="app_id zz"), pool.lease("zz", sandbox.base_url):
            pass


def test_the_environment_of_openai_does_not_leak_in(sandbox: Sandbox) -> None:
    """OPENAI_* variables of the machine change neither key nor organisation."""
    code = (
        "import sys; from pydantic import SecretStr; from tasks.upstream.calls.client_pool import ClientPool\n"
        "with ClientPool({'a': SecretStr('right')}) as pool, pool.lease('a', sys.argv[1]) as lease:\n"
        "    headers = lease.client.default_headers\n"
        "    print(headers['Authorization'], 'test-org' in repr(headers))\n"
    )
    variables = {
        "OPENAI_API_KEY": "wrong",
        "OPENAI_ORG_ID": "test-org",
        "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer wrong",
    }
    shown = subprocess.run(
        [sys.executable, "-c", code, sandbox.base_url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, **variables},
    )
    assert shown.stdout == "Bearer right False\n"


def test_closing_ends_connections(sandbox: Sandbox) -> None:
    """After close, the server has no connection of ours open."""
    before = sandbox.stats()["connections_open"]
    pool = ClientPool(KEYS)
    with pool.lease("a0", sandbox.base_url) as lease:
        send(lease, "last")
    assert sandbox.stats()["connections_open"] == before + 1
    pool.close()
    pool.close()
    pause = threading.Event()
    for _ in range(200):
        if sandbox.stats()["connections_open"] == before:
            return
        pause.wait(0.01)
    pytest.fail("the connection is still open")


def test_a_key_that_changed_gets_a_new_client(sandbox: Sandbox) -> None:
    """By age: the next lease carries the new key; the client in use keeps the old one until it is free."""
    numbers = count()
    source = KeySource(
        lambda: Credentials(SecretStr(f"key-number-{next(numbers)}-0123456789")), max_age=0.0
    )
    with ClientPool(KeyRing({"a0": source})) as pool:
        with pool.lease("a0", sandbox.base_url) as first:
            assert send(first, "one")
            with pool.lease("a0", sandbox.base_url) as second:
                assert send(second, "two")
                assert send(first, "three")
            assert not first.client.is_closed()
        assert first.client.is_closed()
        assert pool.statistics()["connections"] == 1
    one, two, three = (row["key"] for row in sandbox.log())
    assert one == three != two
