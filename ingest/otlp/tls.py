"""TLS of the receiver: one certificate for both doors, and certificates of senders if they are asked for."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from dimwatch.errors import PermanentError
from dimwatch.settings import Receiver


def http_context(receiver: Receiver) -> ssl.SSLContext | None:
    """What OTLP/HTTP is served with, None for plain text. Raises PermanentError for files that do not serve."""
    certificate, key = _pair(receiver)
    if certificate is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The password is asked for on the terminal otherwise, which nobody may be sitting at.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise PermanentError(
            f"receiver.tls_cert {certificate} and receiver.tls_key {key} can not be used ({_reason(error)}): they must "
            "be PEM files that belong together and that this user can read, the key without a password"
        ) from error
    if receiver.tls_client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(receiver.tls_client_ca)
        except (OSError, ValueError) as error:
            raise PermanentError(
                f"receiver.tls_client_ca {receiver.tls_client_ca} can not be used ({_reason(error)}): it must be a PEM "
                "file of certificates that this user can read"
            ) from error
    return context


def grpc_credentials(receiver: Receiver) -> grpc.ServerCredentials | None:
    """The same for OTLP/gRPC."""
    if http_context(receiver) is None:  # which says more of bad files than gRPC does
        return None
    pair = Path(receiver.tls_key or "").read_bytes(), Path(receiver.tls_cert or "").read_bytes()
    ca = None if receiver.tls_client_ca is None else receiver.tls_client_ca.read_bytes()
    return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)


def _pair(receiver: Receiver) -> tuple[Path | None, Path | None]:
    certificate, key = receiver.tls_cert, receiver.tls_key
    if (certificate is None) != (key is None):
        raise PermanentError("receiver.tls_cert and receiver.tls_key go together: set both, or none for plain text")
    if certificate is None and receiver.tls_client_ca is not None:
        raise PermanentError("receiver.tls_client_ca needs TLS: set receiver.tls_cert and receiver.tls_key too")
    return certificate, key


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
