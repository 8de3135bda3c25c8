"""Which addresses may be called: those on the internet, and the networks of `notify.allow_private`.

A name is resolved once and the connection goes to the address that was looked at, so that an answer that changes in
between (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import sys
from collections.abc import Sequence
from typing import Any, Final

import httpx
import ssrfguard

from dimwatch.errors import PermanentError

_PORTS: Final = frozenset(range(1, 65536))
_CONNECTS: Final = ("socket.connect", "socket.sendto", "socket.sendmsg")
_STARTS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn")


def policy_of(allow_private: Sequence[str]) -> ssrfguard.Policy:
    """The policy. Raises PermanentError for a network that would allow more than it seems to."""
    try:
        return ssrfguard.Policy(
            allowed_networks=tuple(ipaddress.ip_network(network) for network in allow_private), allowed_ports=_PORTS
        )
    except ValueError as error:
        raise PermanentError(f"notify.allow_private: {error}") from error


def connect(host: str, port: int, policy: ssrfguard.Policy, timeout_s: float) -> socket.socket:
    """A connection to a host that may be called. Raises ssrfguard.SSRFGuardError or OSError."""
    bracketed = f"[{host}]" if ":" in host else host
    target = policy.check_url(f"http://{bracketed}:{port}")
    return ssrfguard.connect(ssrfguard.resolve(target, policy=policy), policy=policy, timeout=timeout_s)


def tls(ca_file: str | None = None) -> ssl.SSLContext:
    """What certificates are checked by: those of a file, of SSL_CERT_FILE, or the usual ones."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()


def confine(policy: ssrfguard.Policy) -> None:
    """Hold this whole process to the policy, for good: libraries that connect by themselves, too.

    It looks at the addresses that sockets are told to connect to. Nor may the process start others.
    """

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STARTS:
            raise PermissionError(f"{event} is not allowed here")
        if event not in _CONNECTS:
            return
        address = arguments[1]
        if address is None:
            return  # of a socket that is connected, and so was looked at
        host = address[0] if isinstance(address, tuple) else None
        try:
            policy.check_address(ipaddress.ip_address(str(host).partition("%")[0]))
        except ValueError:
            raise PermissionError("only connections to internet addresses are allowed here") from None
        except ssrfguard.SSRFGuardError as error:
            raise PermissionError(refused(error)) from None

    sys.addaudithook(look)


def refused(error: ssrfguard.SSRFGuardError) -> str:
    """Why something may not be called, with the remedy."""
    return f"{error}; if it is meant, add its network to notify.allow_private"
