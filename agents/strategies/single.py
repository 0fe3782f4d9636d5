"""One model answers: the leaf of every other strategy.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from agents.llm.chat import ChatRequest
from agents.records import Choice, Draft, StructuredFailed, Work
from agents.shaping import compile_schema, conform
from agents.strategies.runner import RunChild, choice_for, to_text, with_rules, with_system
from agents.strategy_specs import Single
from agents.toolbox import Toolbox


async def run(work: Work, spec: Single, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """Ask once: for data of ``work.schema``, or for free text, which is streamed when ``visible``.

    A free answer keeps the backend's message, choices and finish reason, so that tool calls and ``n`` reach the client whole.
    A shaped answer that only a harmless correction (``shaping.conform``) keeps from being valid is corrected. Raises AgentError.
    """
    work = with_rules(with_system(work, spec.prompt))
    chosen = choice_for(spec, choice)
    if work.schema is not None:
        return await _shaped(work, toolbox, chosen)
    reply = await toolbox.ask(ChatRequest(messages=work.messages, params=work.params), chosen, visible=visible)
    cut = reply.finish_reason == "length"
    return Draft(
        text=reply.text,
        finish_reason=reply.finish_reason,
        issues=("the answer was cut short at its length limit",) if cut else (),
        complete=not cut,
        message=reply.message or None,
        choices=reply.choices or None,
        backend=reply.backend,
    )


async def _shaped(work: Work, toolbox: Toolbox, choice: Choice) -> Draft:
    assert work.schema is not None
    request = ChatRequest(messages=work.messages, params=work.params, schema=work.schema)
    try:
        answer = await toolbox.ask_structured(request, choice)
        data, backend = answer.data, answer.reply.backend
    except StructuredFailed as error:
        backend = error.backend or ""
        data = conform(error.partial, work.schema)
        if error.partial is None or not compile_schema(work.schema).is_valid(data):
            raise
    data = conform(data, work.schema)
    return Draft(text=to_text(data), data=data, backend=backend)
