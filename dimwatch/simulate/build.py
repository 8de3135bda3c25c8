"""Builds one run of an agent: the steps, their times and contents, and the fault if it has one."""

from __future__ import annotations

import re
from math import log
from random import Random
from typing import Final

import orjson

from dimwatch.simulate import faults
from dimwatch.simulate.agents.base import Agent, Tool, string
from dimwatch.simulate.models import NS, Failure, LanguageModel
from dimwatch.simulate.runs import ModelCall, Run, ToolCall
from dimwatch.simulate.scenario import MORE_TOKENS, RUNS, SLOWDOWN, SWALLOWED, TOOL_SLOWDOWN, TRUNCATED, Kind, Scenario

_OVERHEAD_NS: Final = 4_000_000
"""What the framework itself needs between two steps."""
_MAX_TOKENS: Final = 16_384
_DELEGATES: Final = 0.4
_ROOT_FAILS_WITH_TOOL: Final = 0.15
_ROOT_FAILS_WITH_MODEL: Final = 0.7
_ATTEMPTS: Final = 3
_ENDINGS: Final = frozenset({"truncated_output", "filtered_output", "empty_output", "interrupted_stream"})
_STALL_S: Final = (240.0, 900.0)


class _Stop(Exception):
    """The run ends here, with the failure that its root reports, if any."""

    def __init__(self, failure: Failure | None = None) -> None:
        super().__init__()
        self.failure = failure


def build_run(
    agent: Agent,
    rng: Random,
    start_ns: int,
    *,
    conversation_id: str,
    user_id: str,
    fault: str = "",
    scenario: Scenario | None = None,
) -> Run:
    """Build a run that starts at `start_ns`; the same random stream gives the same run."""
    return _Builder(agent, rng, start_ns, conversation_id, user_id, fault, scenario or Scenario()).build()


class _Builder:
    def __init__(
        self,
        agent: Agent,
        rng: Random,
        start_ns: int,
        conversation_id: str,
        user_id: str,
        fault: str,
        scenario: Scenario,
        trace_id: bytes | None = None,
    ) -> None:
        self.agent, self.rng, self.scenario = agent, rng, scenario
        self.now = start_ns
        self.run = Run(
            agent,
            trace_id or rng.randbytes(16),
            rng.randbytes(8),
            conversation_id,
            user_id,
            agent.question(rng),
            start_ns,
            offered=(*agent.tools, *([_delegation(agent.delegate)] if agent.delegate else [])),
        )
        self.fault = fault
        self.happened: dict[str, None] = {}
        self.model = rng.choices(list(agent.models), list(agent.models.values()))[0]
        self.context_tokens = int(min(rng.lognormvariate(*agent.input_tokens), 120_000)) + 60
        self.touched: dict[str, None] = {}
        self.trouble = False
        for kind, (name, share) in RUNS.items():
            if self._touch(kind, agent.name) and rng.random() < share:
                self.fault = name

    def build(self) -> Run:
        run, rng = self.run, self.rng
        rounds = rng.randint(*self.agent.tool_steps)
        fault_round = rng.randrange(rounds)
        delegate_round = rng.randrange(rounds) if self.agent.delegate and rng.random() < _DELEGATES else -1
        try:
            for number in range(rounds):
                self._round(number == fault_round, number == delegate_round)
            if self.fault == "incomplete_trace":
                run.root_sent = False
                self._happen("incomplete_trace")
            else:
                self._conclude()
        except _Stop as stop:
            run.failure = stop.failure
        run.end_ns = self.now + _OVERHEAD_NS
        run.faults, run.scenario = tuple(self.happened), tuple(self.touched)
        return run

    def _round(self, faulty: bool, delegating: bool) -> None:
        fault = self.fault if faulty else ""
        if fault == "llm_error":
            self._fail_model()
        elif fault == "rescued_failure":
            self._rescue()
            return
        elif fault == "tool_loop":
            self._loop()
            return
        elif fault == "invalid_tool_call":
            self._invalid()
            return
        spoil = fault if fault in faults.TOOL_FAULTS else ""
        if delegating and not spoil:
            tools = [self.run.offered[-1]]
        else:
            several = self.rng.random() < self.agent.parallel_tools
            tools = self.rng.sample(self.agent.tools, min(2 if several else 1, len(self.agent.tools)))
        step = self._ask(tools)
        self._execute(step, spoil)
        if spoil == "tool_error" and self.rng.random() < _ROOT_FAILS_WITH_TOOL:
            raise _Stop(step.tool_calls[0].failure)
        if fault == "stalled_trace":
            stall = self.rng.uniform(*_STALL_S)
            self._happen(fault, f"{stall:.0f} s")
            self.now += int(stall * NS)

    # Model calls

    def _call_model(self, output_tokens: int) -> ModelCall:
        """A model call that succeeds, unless its provider is in trouble; then it is retried, and may fail for good."""
        model = self.model
        for attempt in range(_ATTEMPTS):
            call = self._request(model, output_tokens)
            trouble = self.scenario.failing(model.provider, call.start_ns)
            if trouble is not None:
                kind, share = trouble
                self.touched[kind] = None
                if self.rng.random() < share:
                    self._break(call, self.rng.choice(model.failures))
                    self.now += int(NS * 2**attempt * self.rng.uniform(0.5, 1.5))
                    continue
            if attempt:
                self._happen("rescued_failure", "retry")
            return call
        self._happen("llm_error")
        raise _Stop(self.run.steps[-1].failure)

    def _request(self, model: LanguageModel, output_tokens: int) -> ModelCall:
        if self._touch(Kind.REASONING, model.name):
            output_tokens = int(output_tokens * MORE_TOKENS)
        first, total = model.latency(self.rng, output_tokens)
        if self._touch(Kind.BROWNOUT, model.provider):
            first, total = int(first * SLOWDOWN), int(total * SLOWDOWN)
        start = self.now + _OVERHEAD_NS
        answered = self.scenario.answered(model.name, start)
        if answered is not None:
            self.touched[Kind.MODEL_CHANGE] = None
            version_of_it = re.fullmatch(re.escape(model.name) + r"(-20[\d-]+)?", answered)
            hidden = "model_mismatch" in faults.HIDDEN.get(self.agent.convention, ())
            if not version_of_it and not hidden:
                self._happen("model_mismatch", answered)
        elif self.fault == "model_mismatch":
            answered = model.other_family
            self._happen("model_mismatch", answered)
        call = ModelCall(
            self.rng.randbytes(8),
            f"resp_{self.rng.getrandbits(64):016x}",
            model,
            answered or model.answered,
            start,
            start + total,
            start + first if self.agent.streams else None,
            self.context_tokens,
            output_tokens,
            int(self.context_tokens * 0.6) if len(self.run.steps) else 0,
            "stop",
        )
        self.context_tokens += output_tokens
        self.now = call.end_ns
        self.run.steps.append(call)
        return call

    def _output_tokens(self) -> int:
        return max(4, min(_MAX_TOKENS, int(self.rng.lognormvariate(*self.agent.output_tokens))))

    def _break(self, call: ModelCall, failure: Failure) -> None:
        """Let the call that was just made fail."""
        timeout = failure.http_status is None
        call.end_ns = call.start_ns + (60 * NS if timeout else int(self.rng.uniform(0.05, 0.6) * NS))
        call.failure, call.finish, call.text, call.first_token_ns = failure, "", "", None
        self.context_tokens -= call.output_tokens
        call.output_tokens = call.cached_tokens = 0
        self.now = call.end_ns

    def _fail_model(self) -> None:
        failure = self.rng.choice(self.model.failures)
        self._happen("llm_error", failure.type)
        self._break(self._request(self.model, self._output_tokens()), failure)
        if self.rng.random() < _ROOT_FAILS_WITH_MODEL:
            raise _Stop(failure)
        # The framework swallows it and the user gets an excuse.
        self.run.answer = "I could not complete your request right now. Is there anything else I can help with?"
        raise _Stop

    def _rescue(self) -> None:
        kind = self.rng.choice(["retry", "other_model", "tool_retry"])
        if kind == "other_model" and len(self.agent.models) == 1:
            kind = "retry"
        self._happen("rescued_failure", kind)
        if kind == "tool_retry":
            tool = self.rng.choice(self.agent.tools)
            first = self._ask([tool])
            self._execute(first, "tool_error")
            again = self._ask([tool], arguments=first.tool_calls[0].arguments)
            self._execute(again)
            return
        self._break(self._request(self.model, self._output_tokens()), self.rng.choice(self.model.failures))
        if kind == "retry":
            self.now += int(self.rng.uniform(0.5, 4) * NS)
        else:
            self.model = next(model for model in self.agent.models if model is not self.model)
        self._execute(self._ask([self.rng.choice(self.agent.tools)]))

    def _conclude(self) -> None:
        call = self._call_model(self._output_tokens())
        call.text = self.agent.answer(self.rng)
        fault = self.fault if self.fault in _ENDINGS else ""
        if not fault and self._touch(Kind.TRUNCATION, self.model.name) and self.rng.random() < TRUNCATED:
            fault = "truncated_output"
        if fault:
            self._happen(fault)
        if fault == "truncated_output":
            call.finish, call.text = "length", call.text[: max(12, len(call.text) * 3 // 5)]
            call.output_tokens = 256
        elif fault == "filtered_output":
            call.finish, call.text, call.output_tokens = "content_filter", "", 0
        elif fault == "empty_output":
            call.text, call.output_tokens = "", 0
        elif fault == "interrupted_stream":
            call.finish, call.text = "", call.text[: len(call.text) // 3]
            call.first_token_ns = call.first_token_ns or (call.start_ns + (call.end_ns - call.start_ns) // 3)
        elif self.trouble and self.rng.random() < 0.3:
            call.text = "I could not reach one of the systems, so this is based on what I had. " + call.text
        self.run.answer = call.text

    # Tool calls

    def _ask(self, tools: list[Tool], arguments: str | None = None) -> ModelCall:
        """A model call that asks for tools."""
        call = self._call_model(max(16, self._output_tokens() // 4))
        call.finish = "tool_calls"
        for tool in tools:
            text = arguments or orjson.dumps(tool.arguments(self.rng)).decode()
            call.tool_calls.append(
                ToolCall(self.rng.randbytes(8), f"call_{self.rng.getrandbits(48):012x}", tool.name, text, tool)
            )
        return call

    def _execute(self, step: ModelCall, spoil: str = "", results: dict[str, object] | None = None) -> None:
        """Run the tools that the model asked for, at once if there are several; `spoil` hits the first."""
        start = self.now + _OVERHEAD_NS
        for number, call in enumerate(step.tool_calls):
            tool = call.tool
            assert tool is not None
            call.start_ns = start
            usual = self.rng.lognormvariate(log(tool.median_s), tool.sigma) * NS
            call.end_ns = start + int(usual * (TOOL_SLOWDOWN if self._touch(Kind.SLOW_TOOL, tool.name) else 1))
            if self.agent.delegate is not None and tool.name == self.agent.delegate.name:
                self._delegate(call)
            else:
                arguments = orjson.loads(call.arguments)
                if results is not None and call.name in results:
                    call.result = results[call.name]
                else:
                    call.result = tool.result(self.rng, arguments)
            if self._touch(Kind.EMPTY_TOOL, tool.name):
                call.result = tool.empty
                self._happen("empty_tool_result", "scenario")
            elif self._touch(Kind.SWALLOWED_ERRORS, tool.name) and self.rng.random() < SWALLOWED:
                self._happen("silent_tool_failure", faults.fail_silently(self.rng, call))
            if spoil and not number:
                variety = faults.TOOL_FAULTS[spoil](self.rng, call)
                if self.fault == spoil:
                    self._happen(spoil, variety)
                self.trouble = True
        self.now = max(call.end_ns for call in step.tool_calls)
        self.context_tokens += 40 * len(step.tool_calls)

    def _delegate(self, call: ToolCall) -> None:
        delegate = self.agent.delegate
        assert delegate is not None
        child = _Builder(
            delegate,
            self.rng,
            call.start_ns + _OVERHEAD_NS,
            self.run.conversation_id,
            self.run.user_id,
            "",
            self.scenario,
            trace_id=self.run.trace_id,
        )
        call.run = child.build()
        self.touched.update(child.touched)
        self.happened.update(child.happened)
        call.result, call.failure = call.run.answer, call.run.failure
        call.end_ns = call.run.end_ns + _OVERHEAD_NS

    def _loop(self) -> None:
        """The same call again and again, or two calls in turn, with the same results."""
        alternating = self.rng.random() < 0.4 and len(self.agent.tools) > 1
        self._happen("tool_loop", "alternating" if alternating else "identical")
        tools = self.rng.sample(self.agent.tools, 2 if alternating else 1)
        arguments = {tool.name: orjson.dumps(tool.arguments(self.rng)).decode() for tool in tools}
        results: dict[str, object] = {}
        for number in range(self.rng.randint(6, 8) if alternating else self.rng.randint(4, 6)):
            tool = tools[number % len(tools)]
            step = self._ask([tool], arguments=arguments[tool.name])
            self._execute(step, results=results)
            results[tool.name] = step.tool_calls[0].result

    def _invalid(self) -> None:
        """A call that can not run, and then the same thing done right."""
        tool = self.rng.choice(self.agent.tools)
        step = self._ask([tool])
        call = step.tool_calls[0]
        call.start_ns = self.now + _OVERHEAD_NS
        self._happen("invalid_tool_call", faults.invalidate(self.rng, call))
        self.now = call.end_ns
        self._execute(self._ask([tool]))

    def _touch(self, kind: Kind, where: str) -> bool:
        """Whether an effect holds now; then the run is marked with it."""
        active = self.scenario.active(kind, where, self.now + _OVERHEAD_NS)
        if active:
            self.touched[kind] = None
        return active

    def _happen(self, fault: str, detail: str = "") -> None:
        """Note a fault that really happened, once."""
        self.run.detail = self.run.detail if self.happened else detail
        self.happened[fault] = None


def _delegation(delegate: Agent) -> Tool:
    return Tool(
        delegate.name,
        f"Hand over to {delegate.name.replace('_', ' ')}: {delegate.system}",
        {"request": string("What to do")},
        ["request"],
        lambda rng: {"request": delegate.question(rng)},
        lambda rng, args: "",
    )
