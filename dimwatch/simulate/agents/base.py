"""What an agent of the fleet is: data only, its behaviour is in `dimwatch.simulate.runs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from dimwatch.simulate.models import LanguageModel

Json = Mapping[str, object]


@dataclass(frozen=True)
class Tool:
    """One tool: what the model is told of it, and how it is called and answers. Times in seconds."""

    name: str
    description: str
    properties: Mapping[str, Json]
    required: Sequence[str]
    arguments: Callable[[Random], Json]
    result: Callable[[Random, Json], object]
    """Text, or anything JSON can hold."""
    empty: object = field(default_factory=list)
    """What it returns when it finds nothing."""
    median_s: float = 0.25
    sigma: float = 0.5

    @cached_property
    def parameters(self) -> Json:
        """The JSON Schema of the arguments."""
        return {
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
            "additionalProperties": False,
        }


@dataclass(frozen=True)
class Agent:
    """One agent: who it is, what it asks models, how it is used.

    Token numbers are log-normal (mu, sigma). `burst_shape` is the shape of the gamma that modulates its
    arrivals in blocks of ten seconds: the smaller, the burstier.
    """

    name: str
    service: str
    release: str
    convention: str
    models: Mapping[LanguageModel, float]
    system: str
    tools: Sequence[Tool]
    question: Callable[[Random], str]
    answer: Callable[[Random], str]
    input_tokens: tuple[float, float]
    output_tokens: tuple[float, float]
    tool_steps: tuple[int, int]
    """Fewest and most rounds of tool calls."""
    share: float
    """Its part of the fleet's traffic."""
    burst_shape: float
    users: int = 200
    parallel_tools: float = 0.1
    """Share of rounds with two tool calls at once."""
    continues: float = 0.3
    """Share of runs that go on in an earlier conversation."""
    streams: bool = False
    delegate: Agent | None = None
    """An agent that is called like a tool."""


def words(rng: Random, sentences: Sequence[str], fewest: int, most: int) -> str:
    """Some of the sentences, in random order, as one text."""
    return " ".join(rng.sample(sentences, min(len(sentences), rng.randint(fewest, most))))


def string(description: str, **more: object) -> Json:
    """The schema of a text."""
    return {"type": "string", "description": description, **more}


def integer(description: str, **more: object) -> Json:
    """The schema of a whole number."""
    return {"type": "integer", "description": description, **more}
