"""TLS at both doors, with certificates made here."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from dimwatch.errors import PermanentError
from tests.certificates import certificate
from tests.unit.ingest.otlp.test_doors import EXPORT, PROTOBUF, call


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"), "own")


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"), "sender")


def by_http(collector: Any, body: bytes, own: Path, sender: tuple[Path, Path] | None = None) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(own))
    if sender is not None:
        context.load_cert_chain(*sender)
    url = f"https://127.0.0.1:{collector.doors.http_port}/v1/traces"
    with httpx.Client(verify=context, timeout=20) as client:
        return client.post(url, content=body, headers=PROTOBUF)


def by_grpc(collector: Any, body: bytes, own: Path, sender: tuple[Path, Path] | None = None) -> bytes:
    pair = (None, None) if sender is None else (sender[1].read_bytes(), sender[0].read_bytes())
    credentials = grpc.ssl_channel_credentials(own.read_bytes(), *pair)
    with grpc.secure_channel(collector.grpc, credentials) as channel:
        export: Any = channel.unary_unary(EXPORT)
        answer: bytes = export(body, timeout=20)
        return answer


def test_both_doors_speak_tls_and_nothing_else(serve: Any, make_request: Any, own: tuple[Path, Path]) -> None:
    body = make_request().SerializeToString()
    with serve(tls_cert=own[0], tls_key=own[1]) as collector:
        assert by_http(collector, body, own[0]).status_code == 200
        assert by_grpc(collector, body, own[0]) == b""
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{collector.url}/v1/traces", content=body, headers=PROTOBUF, timeout=20)
        with pytest.raises(grpc.RpcError):
            call(collector, body)
        assert len(collector.stored()) == 2


def test_senders_show_a_certificate_where_it_is_asked_for(
    serve: Any, make_request: Any, own: tuple[Path, Path], sender: tuple[Path, Path]
) -> None:
    body = make_request().SerializeToString()
    with serve(tls_cert=own[0], tls_key=own[1], tls_client_ca=sender[0]) as collector:
        assert by_http(collector, body, own[0], sender).status_code == 200
        assert by_grpc(collector, body, own[0], sender) == b""
        for stranger in (None, own):
            with pytest.raises(httpx.TransportError):
                by_http(collector, body, own[0], stranger)
            with pytest.raises(grpc.RpcError):
                by_grpc(collector, body, own[0], stranger)
        assert len(collector.stored()) == 2


def test_files_that_do_not_serve_are_told(
    serve: Any, own: tuple[Path, Path], sender: tuple[Path, Path], tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for files, told in (
        ({"tls_cert": own[0]}, "set both"),
        ({"tls_client_ca": own[0]}, "set receiver.tls_cert"),
        ({"tls_cert": own[0], "tls_key": sender[1]}, "belong together"),
        ({"tls_cert": own[0], "tls_key": tmp_path / "none"}, "No such file"),
        ({"tls_cert": garbage, "tls_key": own[1]}, "must be PEM"),
        ({"tls_cert": own[0], "tls_key": own[1], "tls_client_ca": garbage}, "receiver.tls_client_ca"),
    ):
        with pytest.raises(PermanentError, match=told), serve(**files):
            pass
