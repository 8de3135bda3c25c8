"""Support triage: reads a complaint, looks the customer up, files a ticket. Steady traffic."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate.agents.base import Agent, Tool, string, words
from dimwatch.simulate.models import GPT_MINI, SONNET

_TOPICS: Final = (
    "my invoice of last month is charged twice",
    "the export button gives error 502 since this morning",
    "I can not log in after the password reset",
    "the delivery of order {order} has not arrived",
    "please cancel my subscription before the renewal",
    "the mobile app crashes when I open the calendar",
    "I need the data processing agreement for our audit",
)
_ANSWERS: Final = (
    "Thanks for getting in touch, I have looked into your account.",
    "I have opened a ticket with the team in charge and set its priority.",
    "The charge you saw is a pre-authorisation and disappears within three working days.",
    "You will get an e-mail as soon as there is news, usually within four hours.",
    "In the meantime the web version can do everything the app does.",
    "Your subscription stays active until the end of the paid period.",
    "If anything is unclear, reply to this message and a colleague takes over.",
)

SUPPORT: Final = Agent(
    name="support_triage",
    service="support-triage",
    release="2.14.0",
    convention="otel_genai",
    models={GPT_MINI: 0.85, SONNET: 0.15},
    system=(
        "You are the support triage agent of an online shop. Find the customer, search for similar tickets, "
        "decide on urgency, file a ticket, and answer politely and briefly."
    ),
    tools=(
        Tool(
            "lookup_customer",
            "Find a customer by e-mail address.",
            {"email": string("E-mail address", format="email")},
            ["email"],
            lambda rng: {"email": f"user{rng.randint(1, 900)}@example.com"},
            lambda rng, args: {
                "customer_id": f"C-{rng.randint(10000, 99999)}",
                "email": args["email"],
                "plan": rng.choice(["free", "team", "business"]),
                "since": f"20{rng.randint(15, 25)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}",
                "open_tickets": rng.randint(0, 3),
            },
            empty=None,
            median_s=0.12,
        ),
        Tool(
            "search_tickets",
            "Full-text search in earlier tickets.",
            {
                "query": string("Words to look for"),
                "status": string("Only tickets in this state", enum=["open", "solved", "any"]),
            },
            ["query"],
            lambda rng: {
                "query": rng.choice(["double charge", "error 502 export", "password reset", "late delivery"]),
                "status": rng.choice(["open", "solved", "any"]),
            },
            # What customers wrote about errors is not an error of the tool.
            lambda rng, args: [
                {
                    "id": f"T-{rng.randint(1000, 9999)}",
                    "subject": rng.choice(["Error 502 when exporting", "Charged twice", "Login fails"]),
                    "status": rng.choice(["open", "solved"]),
                }
                for _ in range(rng.randint(1, 3))
            ],
            median_s=0.35,
        ),
        Tool(
            "create_ticket",
            "File a ticket with the team in charge.",
            {
                "subject": string("One line"),
                "priority": string("How urgent it is", enum=["low", "normal", "high"]),
                "team": string("Team in charge"),
            },
            ["subject", "priority"],
            lambda rng: {
                "subject": rng.choice(["Charged twice", "Export fails", "Late delivery"]),
                "priority": rng.choice(["low", "normal", "high"]),
                "team": rng.choice(["billing", "platform", "logistics"]),
            },
            lambda rng, args: {"ticket": f"T-{rng.randint(1000, 9999)}", "status": "created"},
            empty={},
            median_s=0.2,
        ),
    ),
    question=lambda rng: "Hello, " + rng.choice(_TOPICS).format(order=rng.randint(100000, 999999)) + ".",
    answer=lambda rng: words(rng, _ANSWERS, 2, 4),
    # AzureLLMInferenceTrace_conv (2023): input mu 6.63 sigma 0.99, output mu 5.02 sigma 0.86;
    # counts in windows of 10 s are over-dispersed like a gamma of shape 18.
    input_tokens=(6.63, 0.99),
    output_tokens=(4.6, 0.6),
    tool_steps=(1, 3),
    share=0.30,
    burst_shape=18.0,
    users=900,
    continues=0.4,
)
