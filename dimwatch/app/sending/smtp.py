"""One mail."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from email.message import EmailMessage

import ssrfguard

from detectors.notify.outbox import Outcome, Result
from dimwatch.app.sending.guard import connect, refused, tls
from dimwatch.targets import EmailTarget


class _Connection(smtplib.SMTP):
    """SMTP to an address that may be called."""

    def __init__(self, target: EmailTarget, policy: ssrfguard.Policy, timeout_s: float) -> None:
        self._policy = policy
        self._wraps: ssl.SSLContext | None = None
        if target.tls == "tls":
            self._wraps = tls(str(target.ca_file) if target.ca_file else None)
        super().__init__(target.host, target.port, timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = connect(host, port, self._policy, timeout)
        return plain if self._wraps is None else self._wraps.wrap_socket(plain, server_hostname=host)


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
