"""Proposals from a language model, by the OpenAI SDK's structured output; any failure hands over to the rules.

The model may ask for what-if simulations within the budget before it answers. One simulation is kept for its answer.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from opendt.optimize.limits import Limits
from opendt.optimize.llm_schema import (
    SYSTEM,
    Answer,
    UnacceptableAnswer,
    Variant,
    changes_of,
    clean,
    error_result,
    prompt,
    reasons_of,
    tool_result,
)
from opendt.optimize.proposal import Proposal
from opendt.optimize.trials import Problem, Trial, Trials, conclude
from opendt.settings import LlmSettings

if TYPE_CHECKING:
    from openai import OpenAI

TOOL = "what_if"
TURNS_MOST = 40
LOGGED_CHARACTERS = 20_000  # of one message
_KEY = re.compile(r"\b(sk|key)-[A-Za-z0-9_*-]{6,}")


class NoAnswer(Exception):
    """The model gave no usable answer; the text is the reason that is stored."""


@dataclass(slots=True)
class Conversation:
    """What was said and what it cost; goes into the lake without the key."""

    settings: LlmSettings
    messages: list[dict[str, Any]]
    deadline: float
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    answer: str | None = None
    what_ifs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens spent so far."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost_usd(self) -> float:
        """Cost so far at the prices in the settings [USD]."""
        s = self.settings
        return (self.prompt_tokens * s.input_usd_per_million + self.completion_tokens * s.output_usd_per_million) / 1e6

    def check_limits(self) -> None:
        """Raises ``NoAnswer`` when time is up or another answer could pass the token or the cost limit."""
        s = self.settings
        if time.monotonic() > self.deadline:
            raise NoAnswer(f"timeout: the conversation took longer than {s.deadline_s:g} s")
        if self.tokens + s.max_output_tokens > s.max_total_tokens and self.requests:
            raise NoAnswer(f"token limit: {self.tokens} used of {s.max_total_tokens}, an answer may take more")
        answer_usd = s.max_output_tokens * s.output_usd_per_million / 1e6
        if self.cost_usd + answer_usd > s.max_cost_usd:
            raise NoAnswer(
                f"cost limit: {self.cost_usd:.4f} USD spent of {s.max_cost_usd} USD, an answer may cost more"
            )

    def count(self, usage: Any) -> None:
        """Add the usage a server reported; one that reports none counts as nothing."""
        self.prompt_tokens += int(getattr(usage, "prompt_tokens", 0) or 0)
        self.completion_tokens += int(getattr(usage, "completion_tokens", 0) or 0)

    def facts(self) -> dict[str, Any]:
        """Everything worth keeping, secrets removed."""
        found = {
            "model": self.settings.model,
            "server": _server(self.settings),
            "prompt": [_shortened(m) for m in self.messages],
            "answer": None if self.answer is None else self.answer[:LOGGED_CHARACTERS],
            "what_ifs": self.what_ifs,
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_usd": self.cost_usd,
            "latency_s": self.latency_s,
        }
        return _redacted_tree(found, self.settings)


def by_llm(
    problem: Problem,
    budget: int,
    llm: LlmSettings,
    fallback: Callable[[], Proposal],
) -> tuple[Proposal, Trials]:
    """The model's proposal; the rules' with ``fallback_reason`` when there is no key or the model gives none.

    Never raises for what a server does or says.
    """  # fmt: skip
    started = time.monotonic()
    trials = Trials(problem, budget)
    if not llm.api_key.get_secret_value():
        return fallback().but(fallback_reason="no API key is set (llm.api_key)"), trials
    limits = problem.limits
    user = prompt(problem, limits, budget - 1)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]
    talk = Conversation(llm, messages, started + llm.deadline_s)
    try:
        answer = _within(llm.deadline_s, lambda: _converse(talk, trials, limits))
        chosen = _accept(answer, trials, limits)
    except NoAnswer as error:
        reason = redacted(str(error), llm)
        stand_in = fallback()
        return stand_in.but(fallback_reason=reason, details=stand_in.details | {"llm": talk.facts()}), trials
    said = tuple(redacted(reason, llm) for reason in reasons_of(answer))

    def reasons(best: Trial) -> tuple[str, ...]:
        return said if best.number == chosen.number else ("a variant the model tried beats its answer", *said)

    proposal = conclude(trials, "llm", started, reasons, "the model's answer brings nothing", {"llm": talk.facts()})
    return proposal, trials


def _accept(answer: Answer, trials: Trials, limits: Limits) -> Trial:
    """Simulate the answer. Raises ``NoAnswer`` when it is unacceptable or cannot be simulated."""
    settings = trials.problem.settings
    try:
        changes, allocation = changes_of(answer, limits, list(settings.vary), settings.speed_power_exponent)
    except UnacceptableAnswer as error:
        raise NoAnswer(f"the answer was rejected: {error}") from None
    trial = trials.attempt(changes, allocation)
    if trial.simulated is None:
        raise NoAnswer(f"the answer cannot be simulated: {trial.reason}")
    return trial


def _converse(talk: Conversation, trials: Trials, limits: Limits) -> Answer:
    """Talk until the model answers. Raises ``NoAnswer``."""
    client = _client(talk.settings)
    try:
        for _ in range(TURNS_MOST):
            message = _turn(client, talk, tools=trials.left > 1)
            if message.refusal:
                raise NoAnswer(f"the model refused: {clean(str(message.refusal), 300)}")
            if message.tool_calls:
                _use_tools(message, talk, trials, limits)
            elif isinstance(message.parsed, Answer):
                return message.parsed
            else:
                raise NoAnswer("the answer is empty")
        raise NoAnswer(f"no answer within {TURNS_MOST} turns")
    finally:
        client.close()


def _turn(client: OpenAI, talk: Conversation, *, tools: bool) -> Any:
    """One request and its message; every way it can fail becomes ``NoAnswer``."""
    import openai

    talk.check_limits()
    started = time.monotonic()
    talk.requests += 1
    try:
        raw = client.chat.completions.with_raw_response.parse(
            model=talk.settings.model,
            messages=talk.messages,  # type: ignore[arg-type]
            response_format=Answer,
            max_completion_tokens=talk.settings.max_output_tokens,
            tools=[openai.pydantic_function_tool(Variant, name=TOOL, description="Simulate a variant.")]
            if talk.settings.tools
            else openai.omit,
            tool_choice=("auto" if tools else "none") if talk.settings.tools else openai.omit,
        )
        talk.answer = raw.text
        completion = raw.parse()
        talk.count(completion.usage)
        return completion.choices[0].message
    except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError) as error:
        talk.count(getattr(getattr(error, "completion", None), "usage", None))
        cut = isinstance(error, openai.LengthFinishReasonError)
        raise NoAnswer(
            "the answer was cut off at the token limit" if cut else "the content filter stopped it"
        ) from None
    except openai.APITimeoutError:
        raise NoAnswer(f"timeout: no answer within {talk.settings.timeout_s:g} s") from None
    except openai.RateLimitError as error:
        raise NoAnswer(f"rate limit: {error.message}") from None
    except openai.OpenAIError as error:
        raise NoAnswer(f"{type(error).__name__}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "answer"
        raise NoAnswer(f"malformed answer: {where}: {first['msg']}") from None
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        # The SDK trusts servers to send its own types; one that is not quite compatible surfaces as any of these.
        raise NoAnswer(f"malformed answer: {type(error).__name__}: {error}") from None
    finally:
        talk.latency_s += time.monotonic() - started


def _use_tools(message: Any, talk: Conversation, trials: Trials, limits: Limits) -> None:
    """Run the simulations a message asks for and append their results."""
    calls = message.tool_calls
    talk.messages.append(
        {
            "role": "assistant",
            "content": message.content,
            "tool_calls": [
                {
                    "id": c.id,
                    "type": "function",
                    "function": {"name": c.function.name, "arguments": c.function.arguments},
                }
                for c in calls
            ],
        }
    )
    for call in calls:
        result = _what_if(call, trials, limits)
        talk.what_ifs.append({"arguments": clean(str(call.function.arguments), 2000), "result": result})
        talk.messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def _what_if(call: Any, trials: Trials, limits: Limits) -> str:
    left = trials.left - 1  # one is kept for the answer
    wanted = call.function.parsed_arguments
    if call.function.name != TOOL or not isinstance(wanted, Variant):
        return error_result(f"there is no tool {clean(str(call.function.name))}; there is {TOOL}", left)
    if left <= 0:
        return error_result("the simulations are spent: answer now", 0)
    settings = trials.problem.settings
    try:
        changes, allocation = changes_of(wanted, limits, list(settings.vary), settings.speed_power_exponent)
    except UnacceptableAnswer as error:
        return error_result(clean(str(error), 300), left)
    trial = trials.attempt(changes, allocation)
    evaluation = trials.problem.evaluation(trial.simulated) if trial.simulated else None
    return tool_result(trial, evaluation, left - 1)


def _client(settings: LlmSettings) -> OpenAI:
    from openai import OpenAI

    return OpenAI(
        api_key=settings.api_key.get_secret_value(),
        base_url=settings.base_url or None,
        timeout=settings.timeout_s,
        max_retries=settings.max_retries,
    )


def _within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """The call's result, or ``NoAnswer`` when it is not there in time.

    Request timeouts bound each read, so a server that drips bytes could hold a call for ever. The thread left behind
    is a daemon and ends with its connection.
    """
    outcome: list[Answer | BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="opendt-llm", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise NoAnswer(f"timeout: the conversation took longer than {seconds:g} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def redacted(text: str, settings: LlmSettings) -> str:
    """The text without the API key and without anything that looks like one."""
    key = settings.api_key.get_secret_value()
    return _KEY.sub("***", text.replace(key, "***") if key else text)


def _redacted_tree(value: Any, settings: LlmSettings) -> Any:
    if isinstance(value, str):
        return redacted(value, settings)
    if isinstance(value, list):
        return [_redacted_tree(item, settings) for item in value]
    if isinstance(value, dict):
        return {key: _redacted_tree(item, settings) for key, item in value.items()}
    return value


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    return {"role": message["role"], "content": None if content is None else str(content)[:LOGGED_CHARACTERS]}


def _server(settings: LlmSettings) -> str:
    """Scheme, host and path of the address; never user name, password or query."""
    if not settings.base_url:
        return "default"
    parts = urlsplit(settings.base_url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
