"""Blocks for an incoming webhook of Slack.

https://docs.slack.dev/reference/block-kit/blocks: a header has 150 characters at most, the text of a section 3,000.
"""

from __future__ import annotations

from typing import Any, Final

from detectors.notify.formats.base import Draft, Request, cut, post
from detectors.notify.texts import slack_escaped
from dimwatch.targets import SlackTarget

_SIGNS: Final = {
    "critical": ":red_circle:",
    "warning": ":large_orange_circle:",
    "ticket": ":large_blue_circle:",
}
_OVER: Final = {"resolved": ":large_green_circle:", "false": ":white_circle:", "silenced": ":no_bell:"}
_MOST_HEADER: Final = 150
_MOST_TEXT: Final = 3000


def request(target: SlackTarget, draft: Draft) -> Request:
    """The request of one attempt."""
    return post(target.secret("url"), document(draft))


def document(draft: Draft) -> dict[str, Any]:
    """The body."""
    page, texts = draft.page, draft.texts
    sign = _OVER.get(page.status) or _SIGNS.get(page.severity, ":large_green_circle:")
    title = texts.title or "Dimwatch"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(f"{sign} {title}", _MOST_HEADER), "emoji": True}}
    ]
    if texts.slack:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": cut(texts.slack, _MOST_TEXT)}})
    if draft.url:
        button = {
            "type": "button",
            "text": {"type": "plain_text", "text": "Open in Dimwatch"},
            "url": draft.url,
            "action_id": "open",
        }
        blocks.append({"type": "actions", "elements": [button]})
    return {"text": slack_escaped(title), "blocks": blocks, "unfurl_links": False}
