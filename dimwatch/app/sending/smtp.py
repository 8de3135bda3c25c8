"""One mail."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from email.message import EmailMessage
from typing import Final

import ssrfguard

from detectors.notify.outbox import Outcome, Result
from dimwatch.app.sending.guard import connect, refused, tls
from dimwatch.targets import EmailTarget

_READY: Final = 220


class _Connection(smtplib.SMTP):
    """SMTP to an address that may be called."""

    def __init__(self, target: EmailTarget, policy: ssrfguard.Policy, timeout_s: float) -> None:
        """Without connecting."""
        self._policy = policy
        self._wraps: ssl.SSLContext | None = None
        if target.tls == "tls":
            self._wraps = tls(str(target.ca_file) if target.ca_file else None)
        super().__init__(timeout=timeout_s)
        self._host = target.host  # by which STARTTLS knows the certificate; only a constructor that connects sets it

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        # Kept before the handshake, so that whoever has waited too long can hang up during it.
        self.sock = connect(host, port, self._policy, timeout)
        if self._wraps is not None:
            wrapped = self._wraps.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
            self.sock = wrapped
            wrapped.do_handshake()
        return self.sock


def send(target: EmailTarget, mail: EmailMessage, policy: ssrfguard.Policy, timeout_s: float) -> Result:
    """Hand a mail to the server; it is delivered when the server has taken it for at least one address."""
    try:
        return _send(target, mail, policy, timeout_s)
    except ssrfguard.SSRFGuardError as error:
        return Result.said(refused(error))
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        return _answer(code, f"no address was accepted: {said.decode(errors='replace')}")
    except smtplib.SMTPResponseException as error:
        answer = error.smtp_error
        return _answer(error.smtp_code, answer.decode(errors="replace") if isinstance(answer, bytes) else answer)
    except smtplib.SMTPNotSupportedError as error:
        return Result.said(f"{error} (target {target.name}: tls, user)", Outcome.REFUSED)
    except (smtplib.SMTPException, OSError, UnicodeError, ValueError) as error:
        return Result.said(f"{type(error).__name__}: {error}")


def _send(target: EmailTarget, mail: EmailMessage, policy: ssrfguard.Policy, timeout_s: float) -> Result:
    connection = _Connection(target, policy, timeout_s)
    # A server that answers a letter a second is never over its time-out: the whole has one, too.
    deadline = threading.Timer(timeout_s, _hang_up, [connection])
    deadline.daemon = True
    deadline.start()
    try:
        code, said = connection.connect(target.host, target.port)
        if code != _READY:
            raise smtplib.SMTPConnectError(code, said)
        if target.tls == "starttls":
            connection.starttls(context=tls(str(target.ca_file) if target.ca_file else None))
        if target.user:
            connection.login(target.user, target.secret("password"))
        passed_over = connection.send_message(mail)
    finally:
        deadline.cancel()
        with contextlib.suppress(smtplib.SMTPException, OSError):
            connection.close()
    error = f"not accepted: {', '.join(sorted(passed_over))}" if passed_over else ""
    return Result(Outcome.DELIVERED, 250, error)


def _hang_up(connection: smtplib.SMTP) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _answer(code: int, said: str) -> Result:
    """What a negative answer means: 4xx are for now, 5xx for good."""
    outcome = Outcome.REFUSED if code >= 500 else Outcome.FAILED
    return Result(outcome, code if 0 <= code < 1000 else None, " ".join(said.split()))
