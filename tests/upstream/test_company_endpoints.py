"""Endpoints as companies have them: Azure's classic URL, own headers, a private authority, proxies."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.core.calls import Request
from tasks.core.endpoints import HttpOptions
from tasks.core.errors import CallFailed
from tasks.core.quotas import AppId
from tasks.core.settings import load_settings
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller
from tasks.upstream.calls.key_ring import Credentials, KeyRing, KeySource
from tests.upstream.company_network import (
    HOST,
    Authority,
    behind_tls,
    make_authority,
    serve_model,
    serve_proxy,
)

Ask = Callable[..., Request]
OpenCaller = Callable[..., Caller]
ONE_TRY = CallLimits(timeout=5, connect_timeout=2, max_attempts=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A company's own authority, with the extensions that RFC 5280 asks for."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def failure(caller: Caller, request: Request) -> str:
    """What a call that fails says."""
    with pytest.raises(CallFailed) as caught:
        caller.call(request)
    return str(caught.value)


# -- Azure and gateways -----------------------------------------------------------------------------

AZURE = """
mode = "check"
[app_ids.azure]
key = "env:AZURE_KEY"
base_url = "%s"
quota = []
auth_header = "api-key"
query = { "api-version" = "2024-10-21" }
chat_path = "/openai/deployments/{model}/chat/completions"
names = { "our-model" = "gpt-4.1" }
[[check]]
name = "one"
model = "our-model"
"""


def test_azures_classic_url(sandbox: Sandbox, open_call: OpenCaller) -> None:
    """Its header, version and path, and a deployment's name for a model, from review.toml alone."""
    key = {"azure": {"key": "sk-azure"}}
    sandbox.control(profile="azure", keys=key, strict_keys=True)
    settings = load_settings(AZURE % sandbox.root)
    caller = open_call(app_ids=settings.pool, keys={"azure": SecretStr("sk-azure")}, limits=ONE_TRY)
    request = Request("our-model", ({"role": "user", "content": "q"},), settings.check[0].params())
    reply = caller.call(request)

    assert [(row["key"], row["model"], row["status"]) for row in sandbox.log()] == [
        ("azure", "gpt-4.1", 200)
    ]
    assert (reply.sent_model, reply.app_id) == ("gpt-4.1", "azure")


def test_the_journal_knows_our_name(sandbox: Sandbox, open_call: OpenCaller) -> None:
    """A model that is called otherwise there, or elsewhere from now on, is the same question."""
    sandbox.control(profile="azure")
    request = Request("our-model", ({"role": "user", "content": "q"},))
    for name in ("gpt-4.1", "gpt-5"):
        app_id = AppId(
            "a0", f"{sandbox.root}/openai/v1", http=HttpOptions(names={"our-model": name})
        )
        caller = open_call(app_ids=[app_id], keys={"a0": SecretStr("k")}, limits=ONE_TRY)
        assert caller.call(request).sent_model == "gpt-4.1"
    assert sandbox.stats()["requests"] == 1


def test_headers_of_a_gateway(open_call: OpenCaller, ask: Ask) -> None:
    """The key alone in its header and nowhere else, plain and secret headers, the query."""
    options = HttpOptions(
        auth_header="api-key", headers={"X-Tenant": "blue"}, query={"api-version": "1", "a": "b c"}
    )
    secret = {"X-Signed": SecretStr("planted-header")}
    source = KeySource(lambda: Credentials(SecretStr("planted-key"), secret))
    with serve_model() as endpoint:
        app_id = AppId("a0", f"http://127.0.0.1:{endpoint.port}/v1", http=options)
        open_call(app_ids=[app_id], keys=KeyRing({"a0": source})).call(ask("q"))
    path, headers, _ = endpoint.seen[0]

    assert path == "/v1/chat/completions?api-version=1&a=b+c"
    assert headers["api-key"] == "planted-key"
    assert (headers["x-tenant"], headers["x-signed"]) == ("blue", "planted-header")
    assert "authorization" not in headers
    assert [name for name, value in headers.items() if "planted" in value] == [
        "x-signed",
        "api-key",
    ]


def test_a_key_may_be_the_whole_authorization(open_call: OpenCaller, ask: Ask) -> None:
    """A scheme that is not Bearer: auth_header = "Authorization" sends the key as it is."""
    with serve_model() as endpoint:
        http = HttpOptions(auth_header="Authorization")
        app_id = AppId("a0", f"http://127.0.0.1:{endpoint.port}", http=http)
        open_call(app_ids=[app_id], keys={"a0": SecretStr("Basic abc")}).call(ask("q"))
    assert endpoint.seen[0][1]["authorization"] == "Basic abc"


def test_a_secret_header_is_scrubbed_like_a_key(open_call: OpenCaller, ask: Ask) -> None:
    """Where an error repeats it, nobody reads it."""
    secret = {"X-Signed": SecretStr("planted-header-0123456789")}
    ring = KeyRing({"a0": KeySource(lambda: Credentials(SecretStr("k"), secret))})
    with serve_model(echo="x-signed") as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}/v1"
        caller = open_call(app_ids=[AppId("a0", url)], keys=ring, limits=ONE_TRY)
        said = failure(caller, ask("q"))
    assert "refused: ***" in said
    assert "planted" not in said


# -- certificates and proxies -----------------------------------------------------------------------


def test_a_private_authority(authority: Authority, open_call: OpenCaller, ask: Ask) -> None:
    """Trusted by ca_file, for that app_id; without it the message names both remedies."""
    with serve_model(authority.tls) as endpoint:
        url = f"https://127.0.0.1:{endpoint.port}/v1"
        trusting = AppId("a0", url, http=HttpOptions(ca_file=str(authority.ca_file)))
        keys = {"a0": SecretStr("k")}
        assert open_call(app_ids=[trusting], keys=keys, limits=ONE_TRY).call(ask("q")).content
        said = failure(open_call(app_ids=[AppId("a0", url)], keys=keys, limits=ONE_TRY), ask("r"))

    assert "certificate is not trusted: set ca_file of the app_id, or SSL_CERT_FILE" in said
    assert len(endpoint.seen) == 1


def test_an_authority_that_does_not_name_its_key(
    tmp_path: Path, open_call: OpenCaller, ask: Ask
) -> None:
    """Python before 3.13 takes its certificates; later ones do not, and the message says so."""
    authority = make_authority(tmp_path, identified=False)
    with serve_model(authority.tls) as endpoint:
        url = f"https://127.0.0.1:{endpoint.port}/v1"
        app_id = AppId("a0", url, http=HttpOptions(ca_file=str(authority.ca_file)))
        caller = open_call(app_ids=[app_id], keys={"a0": SecretStr("key-of-a0")}, limits=ONE_TRY)
        if ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT:
            said = failure(caller, ask("q"))
            assert "breaks a rule of RFC 5280 which Python 3.13 and later enforce" in said
            assert "Missing Authority Key Identifier" in said
        else:
            assert caller.call(ask("q")).content


def test_a_proxy_for_http(open_call: OpenCaller, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole URLs go to the proxy, with the login in its URL; its connection is used again."""
    with serve_model() as endpoint, serve_proxy(endpoint.port, login="Basic dTpw") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://u:p@127.0.0.1:{proxy.port}")
        caller = open_call(1, base_url=f"http://{HOST}/v1", limits=ONE_TRY)
        for n in range(3):
            assert caller.call(ask(f"q{n}")).content

    assert proxy.asked == [f"POST http://{HOST}/v1/chat/completions HTTP/1.1"]
    assert len(endpoint.seen) == 3


def test_a_proxy_for_https(
    authority: Authority, open_call: OpenCaller, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel (CONNECT), in it TLS with the private authority; it is used again, too."""
    with serve_model(authority.tls) as endpoint, serve_proxy(endpoint.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        http = HttpOptions(ca_file=str(authority.ca_file))
        app_id = AppId("a0", f"https://{HOST}/v1", http=http)
        caller = open_call(app_ids=[app_id], keys={"a0": SecretStr("k")}, limits=ONE_TRY)
        for n in range(3):
            assert caller.call(ask(f"q{n}")).content

    assert proxy.asked == [f"CONNECT {HOST}:443 HTTP/1.1"]
    assert len(endpoint.seen) == 3


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_itself_reached_by_tls(
    scheme: str,
    authority: Authority,
    open_call: OpenCaller,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The authority of ca_file may have signed the proxy's certificate; TLS goes within TLS."""
    with (
        serve_model(authority.tls if scheme == "https" else None) as endpoint,
        serve_proxy(endpoint.port) as proxy,
        behind_tls(proxy.port, authority.tls) as port,
    ):
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"https://127.0.0.1:{port}")
        http = HttpOptions(ca_file=str(authority.ca_file))
        app_id = AppId("a0", f"{scheme}://{HOST}/v1", http=http)
        caller = open_call(app_ids=[app_id], keys={"a0": SecretStr("k")}, limits=ONE_TRY)
        for n in range(3):
            assert caller.call(ask(f"q{n}")).content

    assert len(proxy.asked) == 1
    assert len(endpoint.seen) == 3


def test_no_proxy_goes_straight(
    open_call: OpenCaller, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host in NO_PROXY is asked without it."""
    with serve_model() as endpoint, serve_proxy(endpoint.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        open_call(1, base_url=f"http://127.0.0.1:{endpoint.port}/v1").call(ask("q"))
    assert (len(endpoint.seen), proxy.asked) == (1, [])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login(
    scheme: str, open_call: OpenCaller, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """407, to a request as well as to a tunnel, is told as the proxy's and with what to do."""
    with serve_model() as endpoint, serve_proxy(endpoint.port, login="Basic dTpw") as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://127.0.0.1:{proxy.port}")
        said = failure(open_call(1, base_url=f"{scheme}://{HOST}/v1", limits=ONE_TRY), ask("q"))
    assert (
        "the proxy refused the connection (407 asks for a user and password in HTTPS_PROXY or"
        in said
    )
    assert not endpoint.seen


def test_a_name_that_nobody_knows(open_call: OpenCaller, ask: Ask) -> None:
    """DNS is named, and what to do about it."""
    said = failure(
        open_call(1, base_url="http://no-such-host.invalid/v1", limits=ONE_TRY), ask("q")
    )
    assert "the endpoint's name is not known to DNS: check base_url, or set HTTPS_PROXY" in said


def test_an_address_where_nothing_listens(open_call: OpenCaller, ask: Ask) -> None:
    """A refused connection is named, and what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = failure(open_call(1, base_url=f"http://127.0.0.1:{port}/v1", limits=ONE_TRY), ask("q"))
    assert "nothing listens at the endpoint's address: check host and port of base_url" in said


def test_an_address_without_tls(open_call: OpenCaller, ask: Ask) -> None:
    """https:// where http:// is spoken: the remedy is told, and not only OpenSSL's code."""
    with serve_model() as endpoint:
        url = f"https://127.0.0.1:{endpoint.port}/v1"
        said = failure(open_call(1, base_url=url, limits=ONE_TRY), ask("q"))
    assert "does not speak TLS on that port: write http:// in base_url" in said
