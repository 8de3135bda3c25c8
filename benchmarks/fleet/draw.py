"""One agent's day as columns: when runs begin, which calls they make, how each goes. No loop over calls.

Everything is drawn from the seed, the agent and the day, so that days can be drawn alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.fleet import faults
from benchmarks.fleet.faults import Mask, Times, Timetable
from benchmarks.fleet.world import AGENTS, MODELS, TOOLS, Agent

Rows = npt.NDArray[np.int64]

DAY_S: Final = 86_400.0
GROWTH_A_DAY: Final = 1.02
WEEKEND: Final = 0.75
USUAL_ERRORS: Final = 0.004
USUAL_RESCUED: Final = 0.93
USUAL_TRUNCATED: Final = 0.01
USUAL_SWALLOWED: Final = 0.008
USUAL_LOOPING: Final = 0.004
USUAL_INVALID: Final = 0.008
USUAL_TOOL_ERRORS: Final = 0.008
_BURST_SHAPE: Final = 12.0
"""Of the gamma by which the traffic of a minute differs from its mean."""
_WEATHER: Final = 0.04
"""Sigma of the slow ups and downs of a model's and a tool's speed, one knot an hour."""
_TAIL: Final = (0.01, 3.5)
"""Share of the calls that are slower for no reason, and by how much."""

OK, FAILED, LENGTH = 0, 1, 2
"""How a model call ended."""
EMPTY, ERROR, SWALLOWED, INVALID = 1, 2, 3, 4
"""How a tool call ended, 0 for well."""


@dataclass(slots=True)
class Runs:
    """Runs in order of time; seconds since the fleet's first moment."""

    start: Times
    end: Times
    failed: Mask
    release: Rows


@dataclass(slots=True)
class ModelCalls:
    """Attempts at model calls. A failed one that was rescued is followed by another."""

    run: Rows
    start: Times
    duration: Times
    model: Rows
    successor: Mask
    input_tokens: Rows
    output_tokens: Rows
    reasoning_tokens: Rows
    first_token: Times
    state: Rows
    last: Mask
    """The answer that ends the run."""


@dataclass(slots=True)
class ToolCalls:
    """Tool calls; equal `argument` within a run means equal arguments."""

    run: Rows
    start: Times
    duration: Times
    tool: Rows
    state: Rows
    argument: Rows


@dataclass(slots=True)
class Day:
    """One agent's day."""

    agent: Agent
    runs: Runs
    models: ModelCalls
    tools: ToolCalls


def draw(seed: int, number: int, day: int, end_s: float, table: Timetable) -> Day:
    """Day number `day` of agent number `number`, until `end_s`."""
    agent = AGENTS[number]
    rng = np.random.default_rng([seed, number, day])
    at = _arrivals(rng, seed, number, day, end_s, table)
    count = len(at)
    model = np.where(rng.random(count) < 0.75, *agent.models)
    looping = rng.random(count) < np.where(table.active("loops", at, agent=agent.name), faults.LOOPING, USUAL_LOOPING)
    rounds = 1 + np.minimum(rng.geometric(1 / (1 + agent.rounds), count) - 1, 12)
    repeats = np.where(looping, rng.integers(6, 12, count), 0)
    calls = rounds + repeats

    # Model calls, one a round, in order of run and round; start times are estimated first, so that what holds at
    # that time can be known, and put right when durations are.
    run = np.repeat(np.arange(count), calls)
    place = np.arange(len(run)) - np.repeat(np.cumsum(calls) - calls, calls)
    last = place == calls[run] - 1
    loop_round = (place >= 1) & (place <= repeats[run])
    model = model[run]
    about = at[run] + 4.0 * place
    drawn = _model_calls(rng, seed, agent, day, model, about, last, table)

    # Tool calls: those that each model call asks for, at the same time.
    asked = np.where(last, 0, 1 + (rng.random(len(run)) < 0.15))
    asked[loop_round] = 1
    asked[drawn.state == LENGTH] = 0
    dead = (drawn.state == FAILED) & (rng.random(len(run)) >= _rescued(agent, model, about, table))
    alive = place <= _first(run, place, dead, calls)[run]
    asked[dead | ~alive] = 0
    caller = np.repeat(np.arange(len(run)), asked)
    tools = _tool_calls(rng, seed, agent, day, run, caller, loop_round, about, table)

    # A rescued call is made again, by the same model or by the agent's other one.
    again = (drawn.state == FAILED) & ~dead & alive
    other = again & (rng.random(len(run)) < 0.4)
    second = _model_calls(rng, seed, agent, day, np.where(other, _other(agent, model), model), about, last, Timetable())
    second.state[:] = np.where(second.state == FAILED, OK, second.state)
    waited = np.where(again, drawn.duration + 0.5, 0.0)
    spent = waited + np.where(again, second.duration, drawn.duration)
    longest = np.zeros(len(run))
    np.maximum.at(longest, caller, tools.duration + 0.002)
    # What was drawn for a call that never came stays out.
    step = np.where(alive, spent + longest + 0.004, 0.0)
    begun = at[run] + np.cumsum(step) - step - np.repeat((np.cumsum(step) - step)[np.cumsum(calls) - calls], calls)
    tools.start = (begun + spent + 0.002)[caller]
    over = np.zeros(count)
    np.maximum.at(over, run, begun + step)
    failed = np.zeros(count, dtype=np.bool_)
    failed[run[dead & alive]] = True

    first, retried = np.flatnonzero(alive), np.flatnonzero(again)
    models = ModelCalls(
        *(
            np.concatenate([getattr(drawn, name)[first], getattr(second, name)[retried]])
            for name in (
                "run", "start", "duration", "model", "successor", "input_tokens", "output_tokens", "reasoning_tokens",
                "first_token", "state", "last",
            )
        )
    )  # fmt: skip
    models.run = np.concatenate([run[first], run[retried]])
    models.start = np.concatenate([begun[first], (begun + waited)[retried]])
    return Day(agent, Runs(at, over + 0.003, failed, _release(seed, number, at)), models, tools)


def _arrivals(rng: np.random.Generator, seed: int, number: int, day: int, end_s: float, table: Timetable) -> Times:
    agent = AGENTS[number]
    minute = np.arange(day * DAY_S, min((day + 1) * DAY_S, end_s), 60.0)
    hour = minute / 3600
    shape = 1 + agent.swing * (
        0.8 * np.cos(2 * np.pi * (hour - agent.peak_h) / 24) + 0.2 * np.cos(4 * np.pi * (hour - agent.peak_h - 2) / 24)
    )
    rate = agent.rate * 60 * shape * GROWTH_A_DAY ** (hour / 24) * (WEEKEND if day % 7 >= 5 else 1.0)
    rate *= rng.gamma(_BURST_SHAPE, 1 / _BURST_SHAPE, len(minute))
    for _ in range(rng.poisson(1.5)):  # bursts that mean nothing
        begin, length = rng.uniform(0, DAY_S), rng.uniform(300, 1500)
        rate[(minute % DAY_S >= begin) & (minute % DAY_S < begin + length)] *= rng.uniform(1.5, 3.0)
    rate[table.active("silence", minute, agent=agent.name)] = 0
    counts = rng.poisson(rate)
    at = np.repeat(minute, counts) + rng.uniform(0, 60, int(counts.sum()))
    at.sort()
    return at[~table.active("silence", at, agent=agent.name)]


def _model_calls(
    rng: np.random.Generator,
    seed: int,
    agent: Agent,
    day: int,
    model: Rows,
    at: Times,
    last: Mask,
    table: Timetable,
) -> ModelCalls:
    size = len(model)
    speed, first = np.empty(size), np.empty(size)
    reasoning, errors, truncated = np.zeros(size), np.full(size, USUAL_ERRORS), np.full(size, USUAL_TRUNCATED)
    successor = np.zeros(size, dtype=np.bool_)
    shift = _shift(seed, agent, at)
    length = np.where(last, agent.output_tokens[0], 0.35 * agent.output_tokens[0])
    for index in agent.models:
        rows = np.flatnonzero(model == index)
        known, when = MODELS[index], at[rows]
        weather = _weather(seed, f"{known.name}", when) * (1 + 0.06 * np.cos(2 * np.pi * (when / 3600 - 16) / 24))
        where = {"provider": known.provider, "model": known.name, "agent": agent.name}
        brown = table.active("brownout", when, **where)
        first[rows] = weather * rng.lognormal(np.log(known.first_token[0]), known.first_token[1], len(rows))
        first[rows] *= np.where(brown, faults.BROWNOUT_FIRST_TOKEN, 1.0)
        speed[rows] = rng.lognormal(np.log(known.speed[0]), known.speed[1], len(rows)) / weather
        speed[rows] *= np.where(brown, faults.BROWNOUT_SPEED, 1.0)
        if known.reasoning:
            reasoning[rows] = rng.lognormal(np.log(known.reasoning), 0.7, len(rows))
            reasoning[rows] *= np.where(table.active("reasoning", when, **where), faults.REASONING, 1.0)
        errors[rows[table.active("provider_errors", when, **where)]] = faults.ERRORS
        errors[rows[table.active("outage", when, **where)]] = faults.OUTAGE_ERRORS
        truncated[rows[table.active("truncation", when, **where)]] = faults.TRUNCATED
        successor[rows] = table.active("model_change", when, **where)
    output = 1 + rng.lognormal(np.log(length), agent.output_tokens[1]) * shift * np.where(successor, 1.1, 1.0)
    chance = rng.random(size)
    state = np.where(chance < errors, FAILED, np.where(chance < errors + truncated, LENGTH, OK))
    output = np.where(state == LENGTH, 1024.0, np.minimum(output, 1000.0)) + reasoning
    first *= np.where(rng.random(size) < _TAIL[0], _TAIL[1], 1.0)
    duration = first + output / speed
    duration = np.where(state == FAILED, rng.lognormal(np.log(0.8), 0.8, size), duration)
    first_token = first + reasoning / speed
    return ModelCalls(
        model, at, duration, model, successor,
        (1 + rng.lognormal(np.log(agent.input_tokens[0]), agent.input_tokens[1], size) * shift).astype(np.int64),
        output.astype(np.int64), reasoning.astype(np.int64), first_token, state, last,
    )  # fmt: skip


def _tool_calls(
    rng: np.random.Generator,
    seed: int,
    agent: Agent,
    day: int,
    run: Rows,
    caller: Rows,
    loop_round: Mask,
    about: Times,
    table: Timetable,
) -> ToolCalls:
    size = len(caller)
    numbers = np.array([number for number, _ in agent.tools])
    weights = np.array([weight for _, weight in agent.tools])
    tool = rng.choice(numbers, size, p=weights / weights.sum())
    looped = loop_round[caller]
    # One run goes round with one tool and the same arguments.
    tool = np.where(looped, numbers[run[caller] % len(numbers)], tool)
    argument = np.where(looped, -1, rng.integers(0, 1 << 40, size))
    when = about[caller] + 2.0
    duration, empty, swallowed = np.empty(size), np.empty(size), np.full(size, USUAL_SWALLOWED)
    for index in numbers.tolist():
        known, rows = TOOLS[index], np.flatnonzero(tool == index)
        where = {"tool": known.name, "agent": agent.name}
        then = when[rows]
        duration[rows] = rng.lognormal(np.log(known.latency[0]), known.latency[1], len(rows))
        duration[rows] *= _weather(seed, known.name, then)
        duration[rows] *= np.where(table.active("tool_latency", then, **where), faults.TOOL_LATENCY, 1.0)
        empty[rows] = np.where(table.active("tool_empty", then, **where), faults.EMPTY, known.empty)
        swallowed[rows[table.active("swallowed_errors", then, **where)]] = faults.SWALLOWED
    invalid = np.where(table.active("invalid_calls", when, agent=agent.name), faults.INVALID, USUAL_INVALID)
    chance, edges = rng.random(size), np.cumsum([empty, np.full(size, USUAL_TOOL_ERRORS), swallowed, invalid], axis=0)
    state = np.where(chance >= edges[-1], 0, 1 + (chance >= edges).sum(axis=0))
    state[looped] = 0
    duration = np.where(state == INVALID, 0.001 + 0.004 * rng.random(size), duration)
    return ToolCalls(run[caller], np.zeros(size), duration, tool, state, argument)


def _rescued(agent: Agent, model: Rows, at: Times, table: Timetable) -> Times:
    share = np.full(len(model), USUAL_RESCUED)
    for index in agent.models:
        rows = np.flatnonzero(model == index)
        out = table.active("outage", at[rows], provider=MODELS[index].provider)
        share[rows[out]] = faults.OUTAGE_RESCUED
    return share


def _other(agent: Agent, model: Rows) -> Rows:
    return np.where(model == agent.models[0], agent.models[1], agent.models[0])


def _first(run: Rows, place: Rows, dead: Mask, calls: Rows) -> Rows:
    """By run: the place of the call at which it died, or the last one."""
    first = calls - 1
    np.minimum.at(first, run[dead], place[dead])
    return first


def _weather(seed: int, name: str, at: Times) -> Times:
    """Slow ups and downs around one, the same for all agents."""
    if not len(at):
        return np.ones(0)
    rng = np.random.default_rng([seed, *name.encode()])
    knots = rng.normal(0, _WEATHER, int(at.max() // 3600) + 2)
    # Each hour remembers most of the one before.
    smooth = np.convolve(knots, np.array([0.7, 0.5, 0.4, 0.3]) / 1.0)[: len(knots)]
    return np.exp(np.interp(at / 3600, np.arange(len(smooth)), smooth))


def _deploys(seed: int, number: int) -> npt.NDArray[np.float64]:
    """Times of releases, one in two days in the mean."""
    rng = np.random.default_rng([seed, 1000 + number])
    return np.cumsum(rng.exponential(2 * DAY_S, 64))


def _release(seed: int, number: int, at: Times) -> Rows:
    return np.searchsorted(_deploys(seed, number), at).astype(np.int64)


def _shift(seed: int, agent: Agent, at: Times) -> Times:
    """What each release changed in lengths: little."""
    number = AGENTS.index(agent)
    rng = np.random.default_rng([seed, 2000 + number])
    return np.exp(rng.normal(0, 0.03, 65))[_release(seed, number, at)]
