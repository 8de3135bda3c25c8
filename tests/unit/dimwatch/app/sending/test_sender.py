"""One attempt by every kind of target, to real servers; and secrets stay where they are."""

from __future__ import annotations

import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from detectors.notify.outbox import Outcome, Result
from detectors.notify.texts import EXAMPLE
from dimwatch.app.sending import by_apprise
from dimwatch.app.sending.sender import MASK, Sender
from dimwatch.clock import SystemClock
from dimwatch.errors import PermanentError
from dimwatch.targets import Notify
from tests.certificates import certificate
from tests.webhook_receiver import SECRET, Got, Receiver, reply

CANARY = "canary0123456789abcdefghijklmnop"


def send(target: dict[str, Any], **more: Any) -> Result:
    given = {"targets": [{"name": "t"} | target], "allow_private": ["127.0.0.1"], "timeout_s": 30.0} | more
    return Sender(Notify.model_validate(given)).send("t", "msg_1", EXAMPLE, SystemClock().now_ns())


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server that is just good enough, on loopback; it may offer STARTTLS and want a password."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, tls: ssl.SSLContext | None = None, *, rcpt: str = "250 ok", slow: str = "") -> None:
        self.tls, self.rcpt, self.slow = tls, rcpt, slow
        self.mails: list[str] = []
        self.secure: list[bool] = []
        self.logins: list[str] = []
        super().__init__(("127.0.0.1", 0), _Session)
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def server_close(self) -> None:
        """Stop for good: a loop that goes on over a closed socket spins, and takes hold of sockets of others."""
        self.shutdown()
        self._thread.join()
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up."""


class _Session(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        secure = False
        if self.server.slow == "greeting":
            self._drip(b"220" + b" a letter at a time" * 10)
        self._say("220 mailbox")
        while line := self.rfile.readline().decode().strip():
            word = line.upper()
            if self.server.slow:
                self._drip(b"250" + b" a letter at a time" * 10)
            elif word.startswith("EHLO"):
                offers = ["STARTTLS"] if self.server.tls and not secure else ["AUTH PLAIN"]
                self._say("250-mailbox", f"250 {offers[0]}")
            elif word == "STARTTLS" and self.server.tls is not None:
                self._say("220 go on")
                self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
                secure = True
            elif word.startswith("AUTH"):
                self.server.logins.append(line)
                self._say("235 welcome")
            elif word.startswith("RCPT"):
                self._say(self.server.rcpt)
            elif word == "DATA":
                self._say("354 go on")
                lines = []
                while (read := self.rfile.readline()) != b".\r\n":
                    lines.append(read.decode())
                self.server.mails.append("".join(lines))
                self.server.secure.append(secure)
                self._say("250 taken")
            else:
                self._say("250 ok")
        if secure:
            self.connection.close()

    def _drip(self, text: bytes) -> None:
        for letter in text:
            self.wfile.write(bytes([letter]))
            time.sleep(0.2)

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is signed by itself, and its key."""
    return certificate(tmp_path_factory.mktemp("certificate"), "mailbox")


@pytest.fixture
def secure(signed: tuple[Path, Path]) -> Iterator[Mailbox]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*signed)
    mailbox = Mailbox(context)
    yield mailbox
    mailbox.shutdown()
    mailbox.server_close()


def mail(mailbox: Mailbox, **more: Any) -> dict[str, Any]:
    given = {
        "type": "email",
        "host": "127.0.0.1",
        "port": mailbox.port,
        "sender": "d@example.com",
        "to": ["a@example.com"],
    }
    return given | more


def test_mail_over_starttls_with_a_sign_in(secure: Mailbox, signed: tuple[Path, Path]) -> None:
    result = send(mail(secure, ca_file=str(signed[0]), user="dim", password=CANARY))
    assert (result.outcome, result.status) == (Outcome.DELIVERED, 250)
    assert secure.secure == [True]
    assert len(secure.logins) == 1
    assert "Message-ID: <msg_1@dimwatch>" in secure.mails[0]
    assert "nothing is wrong" in secure.mails[0]


def test_mail_is_not_sent_in_the_clear_nor_to_a_server_that_nobody_vouches_for(secure: Mailbox) -> None:
    assert "certificate" in send(mail(secure)).error.lower()
    plain = Mailbox()
    result = send(mail(plain, user="dim", password=CANARY))
    assert result.outcome is Outcome.REFUSED
    assert "STARTTLS" in result.error
    assert not plain.mails
    assert not plain.logins
    plain.server_close()


@pytest.mark.parametrize(("answer", "outcome"), [("450 later", Outcome.FAILED), ("550 nobody", Outcome.REFUSED)])
def test_addresses_that_are_not_accepted(answer: str, outcome: Outcome) -> None:
    mailbox = Mailbox(rcpt=answer)
    result = send(mail(mailbox, tls="none"))
    assert (result.outcome, result.status) == (outcome, int(answer[:3]))
    mailbox.server_close()


@pytest.mark.parametrize("slow", ["greeting", "answers"])
def test_a_mail_server_of_a_letter_at_a_time_is_left_on_time(slow: str) -> None:
    mailbox = Mailbox(slow=slow)
    began = time.monotonic()
    result = send(mail(mailbox, tls="none"), timeout_s=0.7)
    assert result.outcome is Outcome.FAILED
    assert time.monotonic() - began < 20.0
    mailbox.server_close()


def test_private_mail_servers_are_not_called() -> None:
    mailbox = Mailbox()
    result = send(mail(mailbox, tls="none"), allow_private=[])
    assert "notify.allow_private" in result.error
    assert not mailbox.mails
    mailbox.server_close()


def test_a_web_server_of_a_byte_at_a_time_is_left_on_time() -> None:
    def drip(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 400:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.1)

    with Receiver(drip) as receiver:
        began = time.monotonic()
        result = send({"type": "webhook", "url": receiver.url}, timeout_s=0.7)
    assert "no answer within 0.7 s" in result.error
    assert time.monotonic() - began < 20.0


def test_a_good_answer_counts_however_long_the_rest_of_it_takes() -> None:
    def drip(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        time.sleep(1.0)

    with Receiver(drip) as receiver:
        assert send({"type": "webhook", "url": receiver.url}, timeout_s=0.7).outcome is Outcome.DELIVERED


def test_apprise_sends_in_a_confined_process() -> None:
    with Receiver() as receiver:
        url = f"json://127.0.0.1:{receiver.port}/{CANARY}"
        assert send({"type": "apprise", "url": url}).outcome is Outcome.DELIVERED
        assert receiver.requests[0].json["title"].startswith("[TEST]")
        result = send({"type": "apprise", "url": url}, allow_private=[])
        assert result.outcome is Outcome.FAILED
        assert CANARY not in result.error
        assert len(receiver.requests) == 1


def test_an_apprise_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_apprise, "_START_UP_S", 0.0)
    result = send({"type": "apprise", "url": "json://127.0.0.1:9/"}, timeout_s=0.05)
    assert "no answer" in result.error


@pytest.mark.parametrize(
    "target",
    [
        {"type": "webhook", "url": "{url}/hook/" + CANARY, "secrets": SECRET, "bearer": CANARY},
        {"type": "slack", "url": "{url}/services/T000/B000/" + CANARY},
        {"type": "pagerduty", "url": "{url}/v2/enqueue", "routing_key": CANARY},
        {"type": "opsgenie", "url": "{url}", "api_key": CANARY},
        {"type": "alertmanager", "url": "{url}", "bearer": CANARY},
    ],
    ids=lambda target: target["type"],
)
def test_a_server_that_repeats_what_it_was_told_gives_no_secret_away(target: dict[str, Any]) -> None:
    def echo(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        said = f"{got.path} {got.headers.get('authorization', '')} {got.body.decode()[:60]}"
        reply(handler, 500, said.encode())

    with Receiver(echo) as receiver:
        result = send({**target, "url": target["url"].format(url=receiver.url)})
    assert result.status == 500
    assert CANARY not in result.error
    assert CANARY[4:] not in result.error
    assert MASK in result.error


def test_a_secret_in_a_file_is_read_anew_and_its_absence_told(tmp_path: Path) -> None:
    with Receiver() as receiver:
        file = tmp_path / "url"
        file.write_text(f"{receiver.url}/one\n")
        notify = {"targets": [{"name": "t", "type": "slack", "url_file": str(file)}], "allow_private": ["127.0.0.1"]}
        sender = Sender(Notify.model_validate(notify))
        sender.send("t", "msg_1", EXAMPLE, 0)
        file.write_text(f"{receiver.url}/two\n")
        sender.send("t", "msg_2", EXAMPLE, 0)
        file.unlink()
        assert "url_file" in sender.send("t", "msg_3", EXAMPLE, 0).error
        assert [got.path for got in receiver.requests] == ["/one", "/two"]
    with pytest.raises(PermanentError, match="url_file"):
        Sender(Notify.model_validate(notify))
