"""Answered by another model than the one that was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np

from detectors.traces.context import Context
from detectors.traces.rules.base import Finding, Rule, Severity
from detectors.traces.told import last_answers, traces_without_reasons

_DATE: Final = re.compile(r"[-@_:]?(20\d{2}-?[01]\d-?[0-3]\d|[01]\d-?20\d{2}|\d{4})(?=$|[-:])")
_SUFFIX: Final = re.compile(
    r"([-:@](latest|preview|exp|experimental|stable|default|beta|v\d+(:\d+)?|\d{3}|free|online))+$"
)
_REGION: Final = re.compile(r"^(us|eu|apac|global|jp|au|ca)\.")
_PUBLISHER: Final = re.compile(r"^(anthropic|meta|amazon|cohere|mistral|ai21|deepseek|openai|qwen)\.")
_ROUTER: Final = re.compile(r"(^|[-/])(auto|router|default|best|fallback)($|[-/])")


_SNAPSHOTS: Final[dict[str, frozenset[str]]] = {
    "gpt-4o-mini": frozenset({"20240718"}),
    "gpt-4o": frozenset({"20240513", "20240806", "20241120"}),
    "gpt-4.1": frozenset({"20250414"}),
    "gpt-4.1-mini": frozenset({"20250414"}),
    "gpt-4.1-nano": frozenset({"20250414"}),
    "gpt-5": frozenset({"20250807"}),
    "gpt-5-mini": frozenset({"20250807"}),
    "gpt-5-nano": frozenset({"20250807"}),
    "o1": frozenset({"20241217"}),
    "o3": frozenset({"20250416"}),
    "o3-mini": frozenset({"20250131"}),
    "o4-mini": frozenset({"20250416"}),
    "claude-sonnet-4-5": frozenset({"20250929"}),
    "claude-haiku-4-5": frozenset({"20251001"}),
    "claude-opus-4-1": frozenset({"20250805"}),
    "claude-sonnet-4": frozenset({"20250514"}),
    "claude-opus-4": frozenset({"20250514"}),
}
"""Dates of the published snapshots of models that are asked for by alias, from the providers' model pages."""
_SNAPSHOT: Final = re.compile(r"(.+)-\d{4}-?\d\d-?\d\d")
_CONFIDENCE: Final = {"family": 0.9, "version": 0.8, "variant": 0.7, "snapshot": 0.6}
_SAME: Final = re.compile(
    r"([-@:_./ ]?(\d[\dbkx.]*|v\d+|[0-9a-f]{6,}|latest|preview|exp|experimental|stable|default|beta|alpha|rc|free"
    r"|online"
    r"|instruct|instant|chat|it|hf|base|text|vision|tools?|thinking|versatile|extended|standard|fast|maas|tee|turbo|global"
    r"|us|eu|apac|fp\d+|bf\d+|int\d|q\d\w*|k|m|s|l|xl|awq|gptq|gguf|mlx|nvfp4|nim|onnx|distill|date|datazone|east|west"
    r"|north|south|central|provisioned|batch|flex|priority|nitro|floor|exacto))*"
)
"""What may follow a model's name in an answer without making it another model: versions, dates, formats, regions."""
_FAMILY: Final = re.compile(
    r"gpt|o[1345]($|-)|claude|gemini|gemma|llama|mi[sx]tral|codestral|ministral|command|qwen|deepseek|grok|nova|titan|phi"
    r"|jamba|kimi|glm|minimax|granite|nemotron|dbrx|yi-|falcon|sonar|davinci|embed|palm|bison|solar|ernie|doubao|hermes"
)
"""Words by which published models are known."""


@lru_cache(maxsize=4096)
def essence(model: str) -> str:
    """A model's name without publisher, region, date, version and alias marks: what two names of one model share."""
    name = model.strip().lower().rsplit("/", 1)[-1]
    name = _PUBLISHER.sub("", _REGION.sub("", name))
    name = _SUFFIX.sub("", name)
    name = _DATE.sub("", name)
    name = _SUFFIX.sub("", name)
    return name.replace(".", "-").replace("_", "-").rstrip("-:@")


@lru_cache(maxsize=16384)
def differs(asked: str, answered: str) -> str:
    """Why the two names can not be one model: "family", "version" (another date than the one asked for), "snapshot"
    (an alias now means a dated model that it did not mean so far), or "" when they can."""
    if not asked or not answered or _ROUTER.search(asked.lower()):
        return ""
    first, second = asked.strip().lower(), answered.strip().lower()
    if first in _SNAPSHOTS and (dated := _DATE.search(second)) and second.startswith(first):
        return "" if dated[1].replace("-", "") in _SNAPSHOTS[first] else "snapshot"
    if first == second or first in second or second in first:
        rest = second.replace(first, "", 1) if first in second else first.replace(second, "", 1)
        if re.search(r"-(mini|nano|lite|flash|small|haiku|turbo|pro|max|large|micro|8b|tiny)\b", rest):
            return "family"
        return "variant" if second.startswith(first) and not _SAME.fullmatch(rest) else ""
    if not _FAMILY.search(first):
        return ""  # the name of a deployment or an alias of a gateway: it says nothing about the model behind it
    left, right = essence(asked), essence(answered)
    if left == right:
        dates = _DATE.findall(first), _DATE.findall(second)
        return "version" if all(dates) and dates[0] != dates[1] else ""
    if sorted(left.split("-")) == sorted(right.split("-")):
        return ""
    return "family"


def find(context: Context) -> Iterator[Finding]:
    """Model calls whose answered model is not the asked one, aliases and dated versions understood."""
    batch = context.batch
    rows = np.flatnonzero(batch.model_calls & batch.present("request_model") & batch.present("response_model"))
    (asked_of, asked_names), (answered_of, answered_names) = map(batch.encoded, ("request_model", "response_model"))
    pairs, pair_of = np.unique(asked_of[rows] * np.int64(len(answered_names)) + answered_of[rows], return_inverse=True)
    first, second = np.divmod(pairs, max(len(answered_names), 1))
    names = list(zip(asked_names.take(first).to_pylist(), answered_names.take(second).to_pylist(), strict=True))
    differences = np.array([differs(*pair) if pair[0] != pair[1] else "" for pair in names], dtype=np.object_)
    unlike = np.flatnonzero(differences != "")
    for position in np.flatnonzero(np.isin(pair_of, unlike)).tolist():
        row, (asked, answered) = int(rows[position]), names[pair_of[position]]
        difference = differences[pair_of[position]]
        yield Finding(
            row=row,
            confidence=_CONFIDENCE[difference],
            summary=f"{asked} was asked and {answered} answered",
            evidence={"asked": asked, "answered": answered, "difference": difference},
            severity=Severity.INFO if difference == "snapshot" else None,
        )
    yield from _unknown_snapshots(context)


def _unknown_snapshots(context: Context) -> Iterator[Finding]:
    """Where nobody says which model was asked for: answers of a dated model that its alias did not mean so far."""
    batch = context.batch
    rows = np.flatnonzero(batch.model_calls & ~batch.present("request_model") & batch.present("response_model"))
    told = [(row, model or "") for row, model in zip(rows.tolist(), batch.texts("response_model", rows), strict=True)]
    for answer in last_answers(context, traces_without_reasons(context)):
        told += [(answer.row, model) for model in answer.facts.models[-1:]]
    for row, answered in told:
        if alias := _unknown_snapshot_of(answered):
            yield Finding(
                row,
                0.4,
                f"{answered} answered, a snapshot of {alias} that is not known",
                {"answered": answered, "difference": "snapshot"},
                severity=Severity.INFO,
            )


@lru_cache(maxsize=4096)
def _unknown_snapshot_of(answered: str) -> str:
    """The alias that a dated model belongs to without being a known snapshot of it, "" if there is none."""
    match = _SNAPSHOT.fullmatch(answered)
    return match[1] if match is not None and match[1] in _SNAPSHOTS and differs(match[1], answered) else ""


RULE = Rule(
    name="model_mismatch",
    severity=Severity.WARNING,
    find=find,
    detects="A model call that another model, or another dated version than the one asked for, answered.",
    needs=("request_model", "response_model"),
    kinds=("llm",),
    blind_spots="Aliases that the provider points elsewhere: the change ledger sees those.",
)
