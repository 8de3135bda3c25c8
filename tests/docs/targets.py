"""An example of every kind of target, as docs/pages.md shows it; a test reads each as settings."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final = {
    "webhook": """\
[[notify.targets]]
name = "our-bot"
type = "webhook"
url = "https://bots.example.com/dimwatch"
secrets_file = "/etc/dimwatch/webhook-secrets"
""",
    "slack": """\
[[notify.targets]]
name = "oncall"
type = "slack"
url_file = "/etc/dimwatch/slack-url"
""",
    "pagerduty": """\
[[notify.targets]]
name = "payments-pagerduty"
type = "pagerduty"
routing_key_file = "/etc/dimwatch/pagerduty-key"
""",
    "opsgenie": """\
[[notify.targets]]
name = "opsgenie"
type = "opsgenie"
api_key_file = "/etc/dimwatch/opsgenie-key"
team = "agents"
""",
    "alertmanager": """\
[[notify.targets]]
name = "alertmanager"
type = "alertmanager"
url = "http://alertmanager.internal:9093"   # a private address: list its network in notify.allow_private
labels = { cluster = "eu-1" }
""",
    "email": """\
[[notify.targets]]
name = "finops-mail"
type = "email"
host = "smtp.example.com"
user = "dimwatch"
password_file = "/etc/dimwatch/smtp-password"
sender = "dimwatch@example.com"
to = ["finops@example.com"]
""",
    "apprise": """\
[[notify.targets]]
name = "phone"
type = "apprise"
url_file = "/etc/dimwatch/apprise-urls"     # such as ntfys://ntfy.example.com/oncall
""",
}
