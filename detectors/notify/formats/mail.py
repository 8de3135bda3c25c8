"""Mail: text and HTML, in one thread for each matter (RFC 5322)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from detectors.notify.formats.base import Draft, cut
from dimwatch.clock import NS_PER_SECOND
from dimwatch.targets import EmailTarget

_MOST_SUBJECT: Final = 200


def message(target: EmailTarget, draft: Draft) -> EmailMessage:
    """The mail; every attempt has the same Message-ID, by which servers and readers know it again."""
    mail = EmailMessage()
    mail["Subject"] = cut(_line(draft.texts.title) or "Dimwatch", _MOST_SUBJECT)
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.to)
    mail["Date"] = format_datetime(datetime.fromtimestamp(draft.page.at_ns // NS_PER_SECOND, UTC))
    mail["Message-ID"] = f"<{draft.key}@dimwatch>"
    mail["References"] = f"<{draft.page.key}@dimwatch>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(draft.texts.body)
    mail.add_alternative(draft.texts.html, subtype="html")
    return mail


def _line(text: str) -> str:
    """Without what would begin another header."""
    return "".join(character if character.isprintable() else " " for character in text)
