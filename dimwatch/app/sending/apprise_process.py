"""The process that Apprise and its hundreds of plug-ins run in: one message, then it ends."""

from __future__ import annotations

import logging
import sys
from typing import Any

import apprise
import orjson

from dimwatch.app.sending.by_apprise import MOST_SAID
from dimwatch.app.sending.guard import confine, policy_of


class _Heard(logging.Handler):
    """What Apprise says of why it failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def main() -> None:
    """Send what standard input says, and say on standard output what came of it."""
    order: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    heard = _Heard()
    logging.getLogger("apprise").addHandler(heard)
    asset = apprise.AppriseAsset(http_redirects=False, async_mode=False, storage_mode="memory")
    sender = apprise.Apprise(asset=asset)
    unknown = sum(not sender.add(url) for url in order["urls"])
    if unknown:
        answer = {"sent": False, "error": f"{unknown} of the URLs is none that Apprise understands"}
    else:
        confine(policy_of(order["allow_private"]))
        sent = sender.notify(
            body=order["body"], title=order["title"], notify_type=order["type"], body_format="text",
            timeout=order["timeout_s"],
        )  # fmt: skip
        answer = {"sent": bool(sent), "error": "; ".join(heard.said)[:MOST_SAID]}
    sys.stdout.buffer.write(b"\n" + orjson.dumps(answer) + b"\n")


if __name__ == "__main__":
    main()
