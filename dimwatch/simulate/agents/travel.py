"""Travel planner on the web site: streams its answers, people come in the evening."""

from __future__ import annotations

from typing import Final

from dimwatch.simulate.agents.base import Agent, Tool, integer, string, words
from dimwatch.simulate.models import FLASH, GPT_MINI

_CITIES: Final = ("Lisbon", "Copenhagen", "Naples", "Krakow", "Bergen", "Valencia")
_AIRPORTS: Final = ("LIS", "CPH", "NAP", "KRK", "BGO", "VLC")
_ANSWERS: Final = (
    "There is a direct flight in the morning and a cheaper one with a stop in the afternoon.",
    "Expect mild days and cool evenings; a light jacket is enough.",
    "The hotel near the old town has the best ratings within your budget.",
    "From the airport the metro takes twenty-five minutes.",
    "Prices rise next week, so booking early pays.",
    "I can hold the room without charge until tomorrow evening.",
)


def _day(month: int, day: int) -> str:
    return f"2026-{month:02}-{day:02}"


TRAVEL: Final = Agent(
    name="travel_planner",
    service="travel-planner",
    release="4.0.2",
    convention="vercel_ai",
    models={FLASH: 0.6, GPT_MINI: 0.4},
    system="You plan short trips. Use the tools, name prices, and never book without consent.",
    tools=(
        Tool(
            "search_flights",
            "Flights between two airports on a day.",
            {
                "origin": string("IATA code", minLength=3, maxLength=3),
                "destination": string("IATA code", minLength=3, maxLength=3),
                "date": string("Day", format="date"),
                "passengers": integer("People", minimum=1, maximum=9),
            },
            ["origin", "destination", "date"],
            lambda rng: {
                "origin": "BER",
                "destination": rng.choice(_AIRPORTS),
                "date": _day(rng.randint(1, 12), rng.randint(1, 28)),
                "passengers": rng.randint(1, 4),
            },
            lambda rng, args: [
                {
                    "flight": f"XY{rng.randint(100, 999)}",
                    "departure": f"{rng.randint(6, 21):02}:{rng.choice(['05', '30', '50'])}",
                    "price_eur": rng.randint(49, 380),
                }
                for _ in range(rng.randint(1, 4))
            ],
            median_s=1.1,
            sigma=0.5,
        ),
        Tool(
            "search_hotels",
            "Hotels in a city.",
            {
                "city": string("City"),
                "nights": integer("Nights", minimum=1, maximum=30),
                "max_price_eur": integer("Most per night", minimum=20),
            },
            ["city", "nights"],
            lambda rng: {"city": rng.choice(_CITIES), "nights": rng.randint(1, 6), "max_price_eur": 160},
            lambda rng, args: [
                {
                    "hotel": " ".join([rng.choice(["Casa", "Hotel", "Pension"]), rng.choice(["Mar", "Sol"])]),
                    "price_eur": rng.randint(60, 160),
                    "rating": round(rng.uniform(3.6, 4.9), 1),
                }
                for _ in range(rng.randint(2, 4))
            ],
            median_s=0.7,
        ),
        Tool(
            "get_weather",
            "Forecast for a city.",
            {"city": string("City")},
            ["city"],
            lambda rng: {"city": rng.choice(_CITIES)},
            lambda rng, args: f"{args['city']}: {rng.randint(4, 29)}C, {rng.choice(['sunny', 'cloudy', 'showers'])}",
            empty="",
            median_s=0.2,
        ),
    ),
    question=lambda rng: f"A long weekend in {rng.choice(_CITIES)} for {rng.randint(1, 4)}, not too expensive?",
    answer=lambda rng: words(rng, _ANSWERS, 2, 5),
    # AzureLLMInferenceTrace_conv (2023): output mu 5.02 sigma 0.86.
    input_tokens=(6.4, 0.7),
    output_tokens=(5.0, 0.7),
    tool_steps=(1, 3),
    share=0.12,
    burst_shape=8.0,
    users=700,
    parallel_tools=0.35,
    continues=0.5,
    streams=True,
)
