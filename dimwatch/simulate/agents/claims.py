"""Claims intake of an insurer: checks the policy, estimates the damage, proposes a decision."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate.agents.base import Agent, Tool, string, words
from dimwatch.simulate.models import GPT, SONNET

_DAMAGES: Final = ("water in the kitchen", "a dent in the door", "hail on the roof", "a broken windscreen")
_ANSWERS: Final = (
    "The policy covers this damage with a deductible of 250.",
    "The estimate is plausible for the region and the type of damage.",
    "No earlier claim of the same kind was found.",
    "Proposed decision: pay in full after the invoice has arrived.",
    "Proposed decision: send an assessor, since the estimate is above the limit.",
)

CLAIMS: Final = Agent(
    name="claims_intake",
    service="claims-intake",
    release="1.7.0",
    convention="langfuse",
    models={SONNET: 0.6, GPT: 0.4},
    system=(
        "You handle new insurance claims. Check cover first, then estimate the damage, then look for signs of "
        "fraud. Propose a decision with reasons; a human signs it."
    ),
    tools=(
        Tool(
            "get_policy",
            "Cover and state of a policy.",
            {"policy_number": string("Number of the policy", pattern="^P-[0-9]{6}$")},
            ["policy_number"],
            lambda rng: {"policy_number": f"P-{rng.randint(100000, 999999)}"},
            lambda rng, args: {
                "policy_number": args["policy_number"],
                "state": "active",
                "covers": rng.sample(["water", "hail", "theft", "glass", "fire"], 3),
                "deductible": rng.choice([150, 250, 500]),
            },
            empty=None,
            median_s=0.3,
        ),
        Tool(
            "estimate_damage",
            "Estimate what a repair costs.",
            {
                "kind": string("Kind of damage"),
                "postcode": string("Where"),
                "photos": {"type": "integer", "minimum": 0},
            },
            ["kind", "postcode"],
            lambda rng: {
                "kind": rng.choice(["water", "hail", "glass"]),
                "postcode": f"{rng.randint(10000, 99999)}",
                "photos": rng.randint(0, 6),
            },
            lambda rng, args: {
                "amount": round(rng.lognormvariate(7, 0.8), 2),
                "currency": "EUR",
                "margin_of_error": round(rng.uniform(0.05, 0.2), 2),
            },
            empty={},
            median_s=1.2,
            sigma=0.6,
        ),
        Tool(
            "fraud_score",
            "Likelihood that a claim is fraudulent, 0 to 1.",
            {"claim_id": string("Claim"), "history_years": {"type": "integer", "minimum": 1, "maximum": 20}},
            ["claim_id"],
            lambda rng: {"claim_id": f"CL-{rng.randint(1000, 9999)}", "history_years": 5},
            lambda rng, args: {
                "claim_id": args["claim_id"],
                "score": round(rng.betavariate(1, 9), 3),
                "flags": ["none"],
            },
            empty=None,
            median_s=0.6,
        ),
    ),
    question=lambda rng: (
        f"Claim CL-{rng.randint(1000, 9999)} on policy P-{rng.randint(100000, 999999)}: {rng.choice(_DAMAGES)}."
    ),
    answer=lambda rng: words(rng, _ANSWERS, 2, 4),
    # ServeGen reason/deepseek-r1 clients: input mu 5.8 sigma 0.70, output mu 6.47 sigma 0.46.
    input_tokens=(6.6, 0.7),
    output_tokens=(5.6, 0.46),
    tool_steps=(2, 3),
    share=0.10,
    burst_shape=12.0,
    users=400,
    continues=0.25,
)
