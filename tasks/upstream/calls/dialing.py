"""
How a connection to an endpoint comes to be: TCP, a proxy of the environment, TLS.

Proxies are those of the environment: HTTPS_PROXY for https, HTTP_PROXY for http, ALL_PROXY for both,
with user and password in the URL where it asks for them, and NO_PROXY for hosts that are reached
without. Certificates are those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR, and the app_id's
own ca_file.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import h11
import httpcore2
import httpx2

from tasks.core.errors import ConfigError
from tasks.upstream.calls.http_reply import ReplyParser

__all__ = ["Route", "check_proxies"]

Left = Callable[[], float]
"""Seconds that the next step may take; raises httpx2.ConnectTimeout when there are none."""

_READ = 65_536
_SUCCESS = range(200, 300)


class Route:
    """The way to one endpoint, as environment and app_id have it."""

    def __init__(self, base_url: str, ca_file: str | None = None) -> None:
        self._url = httpx2.URL(base_url)
        self._ca_file = ca_file
        proxy = _proxy(self._url)
        self._proxy = None if proxy is None else httpx2.Proxy(proxy)

    def head(self, request: httpx2.Request) -> bytes:
        """Request line and headers as they go over this way, without the blank line that ends them.

        Raises:
            httpx2.LocalProtocolError: a header cannot be written.
        """
        headers, target = list(request.headers.raw), request.url.raw_path
        if self._proxy is not None and self._url.scheme == "http" and not self._is_socks:
            headers += self._login
            target = str(request.url).encode()
        try:
            event = h11.Request(method=request.method, target=target, headers=headers)
        except h11.LocalProtocolError as error:
            raise httpx2.LocalProtocolError(str(error)) from error
        return (h11.Connection(h11.CLIENT).send(event) or b"").removesuffix(b"\r\n")

    def connect(self, left: Left, on_tcp: Callable[[], None]) -> httpcore2.NetworkStream:
        """A connection on which the endpoint can be asked; `on_tcp` is called once one is opened.

        Raises:
            httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError: there is none.
        """
        with _as_connecting():
            first = self._url if self._proxy is None else self._proxy.url
            stream = httpcore2.SyncBackend().connect_tcp(first.host, _port(first), left())
            on_tcp()
            try:
                return self._prepare(stream, left)
            except BaseException:
                stream.close()
                raise

    def _prepare(self, stream: httpcore2.NetworkStream, left: Left) -> httpcore2.NetworkStream:
        secure = self._url.scheme == "https"
        if self._proxy is not None:
            if self._proxy.url.scheme == "https":
                stream = self._start_tls(stream, self._proxy.url.host, left)
            if self._is_socks:
                _ask_socks(stream, self._url, self._proxy.raw_auth, left)
            elif secure:
                _ask_tunnel(stream, _place(self._url), self._login, left)
        return self._start_tls(stream, self._url.host, left) if secure else stream

    def _start_tls(
        self, stream: httpcore2.NetworkStream, host: str, left: Left
    ) -> httpcore2.NetworkStream:
        return stream.start_tls(_ssl_context(self._ca_file), host, left())

    @property
    def _is_socks(self) -> bool:
        return self._proxy is not None and self._proxy.url.scheme.startswith("socks")

    @property
    def _login(self) -> list[tuple[bytes, bytes]]:
        """Headers for the proxy."""
        if self._proxy is None or self._proxy.raw_auth is None:
            return []
        login = base64.b64encode(b":".join(self._proxy.raw_auth))
        return [(b"Proxy-Authorization", b"Basic " + login)]


def check_proxies() -> None:
    """Check that a SOCKS proxy of the environment can be used; HTTP proxies always can.

    Raises:
        ConfigError: the package that speaks SOCKS is not installed.
    """
    if find_spec("socksio") is not None:
        return
    for scheme, proxy in getproxies().items():
        if scheme != "no" and proxy.lower().startswith("socks"):
            msg = (
                f"{scheme.upper()}_PROXY names a SOCKS proxy, which needs a package more: pip install "
                "socksio; or set HTTPS_PROXY to an HTTP proxy, or unset it"
            )
            raise ConfigError(msg)


def _proxy(url: httpx2.URL) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, NO_PROXY), which httpx2 ignores for own transports."""
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


@cache
def _ssl_context(ca_file: str | None) -> ssl.SSLContext:
    # Loading the certificates takes 20 ms, so once per process and not once per connection.
    context = httpx2.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(Path(ca_file).expanduser())
    return context


def _port(url: httpx2.URL) -> int:
    return url.port or {"https": 443, "http": 80}.get(url.scheme, 1080)


def _place(url: httpx2.URL) -> bytes:
    host = url.raw_host
    return b"%b:%d" % (b"[%b]" % host if b":" in host else host, _port(url))


def _ask_tunnel(
    stream: httpcore2.NetworkStream, place: bytes, login: list[tuple[bytes, bytes]], left: Left
) -> None:
    lines = [(b"Host", place), (b"Accept", b"*/*"), *login]
    event = h11.Request(method=b"CONNECT", target=place, headers=lines)
    stream.write(h11.Connection(h11.CLIENT).send(event) or b"", left())
    reply = ReplyParser()
    while not reply.headed:
        reply.feed(stream.read(_READ, left()))
    if reply.status not in _SUCCESS:
        msg = f"{reply.status} {reply.reason.decode('ascii', 'ignore')}"
        raise httpx2.ProxyError(msg)


def _ask_socks(
    stream: httpcore2.NetworkStream,
    url: httpx2.URL,
    auth: tuple[bytes, bytes] | None,
    left: Left,
) -> None:
    # Only where one is used: the package under it is not among what we install.
    from httpcore2._sync.socks_proxy import _init_socks5_connection  # noqa: PLC0415

    seconds = left()
    timeouts: dict[str, float | None] = {"read": seconds, "write": seconds}
    _init_socks5_connection(
        stream, host=url.raw_host, port=_port(url), auth=auth, timeouts=timeouts
    )


@contextmanager
def _as_connecting() -> Iterator[None]:
    """Errors of httpcore as those that the openai client's transport raises."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise httpx2.ConnectTimeout(str(error)) from error
    except httpcore2.ProxyError as error:
        raise httpx2.ProxyError(str(error)) from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise httpx2.ConnectError(str(error)) from error
