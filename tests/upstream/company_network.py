"""What stands between a company's machines and a model: gateways, proxies, a private authority."""

from __future__ import annotations

import datetime as dt
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = [
    "HOST",
    "Authority",
    "Endpoint",
    "Proxy",
    "behind_tls",
    "make_authority",
    "serve_model",
    "serve_proxy",
]

HOST = "models.example.test"
"""A name that only the proxy knows, as in a company whose machines have no DNS of the world."""


# -- an endpoint that notes what it is sent ---------------------------------------------------------


@dataclass
class Endpoint:
    """A model server and the requests that came to it."""

    port: int
    seen: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    """Path with query, headers in lower case, body."""


@contextmanager
def serve_model(tls: ssl.SSLContext | None = None, echo: str = "") -> Iterator[Endpoint]:
    """A model server on loopback that answers every question, or refuses with the header `echo`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.seen.append((self.path, headers, body))
            message = {"role": "assistant", "content": '{"comments": []}'}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            data = orjson.dumps({"id": "c", "model": body["model"], "choices": [choice]})
            if echo:
                data = orjson.dumps({"error": {"message": f"refused: {headers[echo]}"}})
            self.send_response(400 if echo else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    found = Endpoint(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


# -- a forward proxy --------------------------------------------------------------------------------


@dataclass
class Proxy:
    """A forward proxy and the first lines of what it was asked."""

    port: int
    asked: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


@contextmanager
def serve_proxy(target: int, *, login: str = "") -> Iterator[Proxy]:
    """A proxy that brings every host to `target` on loopback; with `login`, only who sends it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Proxy(server.getsockname()[1])
        args = (server, target, login, found)
        threading.Thread(target=_accept, args=args, daemon=True).start()
        yield found


def _accept(server: socket.socket, target: int, login: str, found: Proxy) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            args = (client, target, login, found)
            threading.Thread(target=_forward, args=args, daemon=True).start()


def _forward(client: socket.socket, target: int, login: str, found: Proxy) -> None:
    with suppress(OSError), client:
        head, piece = b"", b"-"
        while piece and b"\r\n\r\n" not in head:
            piece = client.recv(65_536)
            head += piece
        lines = head.decode("latin-1").split("\r\n")
        found.asked.append(lines[0])
        found.logins += [line for line in lines if line.lower().startswith("proxy-authorization")]
        if login and not any(login in line for line in found.logins):
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
            )
            return
        with socket.create_connection(("127.0.0.1", target)) as upstream:
            if lines[0].startswith("CONNECT"):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(head)
            _pump(client, upstream)


def _pump(one: socket.socket, other: socket.socket) -> None:
    while True:
        for source in select.select([one, other], [], [])[0]:
            data = source.recv(65_536)
            if not data:
                return
            (other if source is one else one).sendall(data)


@contextmanager
def behind_tls(port: int, tls: ssl.SSLContext) -> Iterator[int]:
    """A port where `port` is reached by TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept_tls, args=(server, port, tls), daemon=True).start()
        yield server.getsockname()[1]


def _accept_tls(server: socket.socket, port: int, tls: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            client = tls.wrap_socket(server.accept()[0], server_side=True)
            behind = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, behind), (behind, client)):
                threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError), one, other:
        while data := one.recv(65_536):
            other.sendall(data)


# -- a private authority ----------------------------------------------------------------------------


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Authority:
    """A certificate for the endpoint, and the file with that of the authority which signed it."""

    ca_file: Path
    tls: ssl.SSLContext


def make_authority(folder: Path, *, identified: bool = True) -> Authority:
    """An authority; unless `identified`, what it signs does not say with which of its keys."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    ca = _certificate(ca_name, ca_key, ca_name)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(_SIGNS_CERTIFICATES, critical=True)
    hosts = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = _certificate(name, key, ca_name)
    leaf = leaf.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    if identified:
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        leaf = leaf.add_extension(signer, critical=False)
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    signed = [one.sign(ca_key, hashes.SHA256()).public_bytes(pem) for one in (ca, leaf)]
    (folder / "ca.pem").write_bytes(signed[0])
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (folder / "server.pem").write_bytes(signed[1] + secret)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    return Authority(folder / "ca.pem", tls)


def _certificate(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1))
    builder = builder.not_valid_after(now + dt.timedelta(days=1))
    subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(subject, critical=False)
