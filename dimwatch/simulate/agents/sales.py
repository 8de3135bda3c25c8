"""Sales enrichment: fills in company records, thousands of them, in the background."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate.agents.base import Agent, Tool, string
from dimwatch.simulate.models import FLASH, GPT_MINI

_COMPANIES: Final = ("Nordwind Logistics", "Alba Foods", "Quarzwerk", "Blue Heron Media", "Petit Atelier")
_DOMAINS: Final = ("nordwind.example", "albafoods.example", "quarzwerk.example", "heron.example")

SALES: Final = Agent(
    name="lead_enrichment",
    service="sales-enrichment",
    release="2025.11.4",
    convention="openllmetry",
    models={FLASH: 0.75, GPT_MINI: 0.25},
    system=(
        "Enrich the lead: find the company, its size and industry, verify the contact, and update the record. "
        "Never invent figures."
    ),
    tools=(
        Tool(
            "company_profile",
            "Profile of a company by its domain.",
            {"domain": string("Web domain")},
            ["domain"],
            lambda rng: {"domain": rng.choice(_DOMAINS)},
            lambda rng, args: {
                "domain": args["domain"],
                "name": rng.choice(_COMPANIES),
                "employees": rng.choice([12, 48, 230, 1900]),
                "industry": rng.choice(["logistics", "food", "glass", "media"]),
            },
            empty={},
            median_s=0.5,
        ),
        Tool(
            "verify_email",
            "Say whether an address takes mail.",
            {"email": string("Address", format="email")},
            ["email"],
            lambda rng: {"email": f"{rng.choice('abcdefgh')}.meyer@{rng.choice(_DOMAINS)}"},
            # "errors": 0 is no error.
            lambda rng, args: {
                "email": args["email"],
                "deliverable": rng.random() < 0.8,
                "errors": 0,
                "checked_by": "smtp",
            },
            empty=None,
            median_s=0.9,
            sigma=0.6,
        ),
        Tool(
            "update_crm",
            "Write fields of a lead.",
            {"lead_id": string("Lead"), "fields": {"type": "object", "description": "Fields to write"}},
            ["lead_id", "fields"],
            lambda rng: {
                "lead_id": f"L-{rng.randint(1000, 9999)}",
                "fields": {
                    "industry": rng.choice(["logistics", "food"]),
                    "employees": rng.choice([12, 48, 230]),
                },
            },
            lambda rng, args: {"lead_id": args["lead_id"], "updated": True, "error": None},
            empty={},
            median_s=0.25,
        ),
    ),
    question=lambda rng: f"Enrich lead L-{rng.randint(1000, 9999)}, {rng.choice(_COMPANIES)}.",
    answer=lambda rng: (
        f"{rng.choice(_COMPANIES)} works in {rng.choice(['logistics', 'food', 'media'])} with about "
        f"{rng.choice([12, 48, 230, 1900])} people. The contact is verified and the record is up to date."
    ),
    # Between ServeGen's language/m-small clients (output mu 2.9 sigma 0.66) and Azure's chats.
    input_tokens=(6.3, 0.5),
    output_tokens=(3.9, 0.6),
    tool_steps=(2, 4),
    share=0.20,
    burst_shape=2.0,
    users=15,
    parallel_tools=0.25,
    continues=0.0,
)
