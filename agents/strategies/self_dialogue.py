"""An answer talks to itself: its model asks what is open, answers that, and refines; a critic and a style checker speak up.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from agents.llm.prompts import render
from agents.records import (
    AgentError,
    BudgetExceeded,
    Choice,
    DeadlineExceeded,
    Draft,
    InvalidRequest,
    Json,
    StructuredFailed,
    Work,
)
from agents.strategies.gates import drafted
from agents.strategies.judging import CRITIC, STYLE, Voice, defects, listen, schema_of, unheard, voiced
from agents.strategies.runner import RunChild, joined_issues, quoted, with_user
from agents.strategy_specs import SelfDialogue, Single
from agents.toolbox import Toolbox

MAX_CHARS: Final = 2_000
"""Of one question and of one answer."""


def _texts(most: int) -> dict[str, Json]:
    return {"type": "array", "items": {"type": "string"}, "maxItems": most}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the voices said of a draft. ``by_rule`` needs no model; questions carry their answers."""

    by_rule: tuple[str, ...] = ()
    critic: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    dialogue: tuple[tuple[str, str], ...] = ()
    unheard: tuple[str, ...] = ()

    @property
    def defects(self) -> tuple[str, ...]:
        return joined_issues(self.by_rule, self.critic, self.style)

    @property
    def damage(self) -> tuple[int, int]:
        return len(self.by_rule), len(self.critic) + len(self.style)


async def run(work: Work, spec: SelfDialogue, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """At most ``rounds`` refinements; it ends as soon as neither critic nor style checker finds anything in a refined answer.

    The draft that the voices object to least is returned, with what they still object to. Never streamed. Raises what the
    generator raises; time or money that ends later ends the dialogue, not the request.
    """
    toolbox.note("stage", name="answer", round=0)
    draft = await drafted(work, spec.generate, toolbox, choice, run_child, visible=False)
    heard = await _heard(work, spec, draft, toolbox, choice, round_=0)
    best = (draft, heard)
    for round_ in range(1, spec.rounds + 1):
        if not heard.defects and round_ > 1:
            break
        try:
            heard = replace(heard, dialogue=await _asked_itself(work, spec, draft, toolbox, choice, round_=round_))
            if not heard.defects and not heard.dialogue:
                break
            draft = await _refined(work, spec, draft, heard, toolbox, choice, run_child, round_=round_)
        except InvalidRequest:
            raise
        except AgentError as error:
            toolbox.note("stage", name="refine", round=round_, state="failed", error=error.code)
            if isinstance(error, DeadlineExceeded | BudgetExceeded):
                break
            continue
        heard = await _heard(work, spec, draft, toolbox, choice, round_=round_)
        if heard.damage <= best[1].damage:
            best = (draft, heard)
        else:
            toolbox.note("stage", name="refine", round=round_, state="undone", issues=list(heard.defects))
            draft, heard = best
    return _ended(*best)


async def _heard(work: Work, spec: SelfDialogue, draft: Draft, toolbox: Toolbox, choice: Choice, *, round_: int) -> Heard:
    """What the rules, the critic and the style checker find, the two asked at once."""
    critic, style = await asyncio.gather(
        voiced(CRITIC, work, draft, toolbox, choice, spec=spec.critic),
        voiced(STYLE, work, draft, toolbox, choice, spec=spec.style),
    )
    missing = unheard(CRITIC, toolbox, choice) if critic is None else ()
    heard = Heard(by_rule=defects(work, draft), critic=critic or (), style=style or (), unheard=missing)
    silent = [name for name, found in (("critic", critic), ("style checker", style)) if found is None]
    toolbox.note("stage", name="voices", round=round_, issues=list(heard.defects), style=len(heard.style), missing=silent)
    return heard


async def _asked_itself(
    work: Work, spec: SelfDialogue, draft: Draft, toolbox: Toolbox, choice: Choice, *, round_: int
) -> tuple[tuple[str, str], ...]:
    """Questions to itself with their answers; none when nothing is open or the questioner could not be heard."""
    own = spec.questioner or (spec.generate if isinstance(spec.generate, Single) else Single())
    asking = Voice(
        prompt="self_questions", schema=schema_of(questions=_texts(spec.questions)), name="self_questions", able=False, own=True
    )
    heard = await listen(asking, work, draft, toolbox, choice, spec=own, count=str(spec.questions))
    questions = [text.strip()[:MAX_CHARS] for text in (heard or {}).get("questions", ()) if text.strip()][: spec.questions]
    toolbox.note("stage", name="questions", round=round_, questions=questions)
    if not questions:
        return ()
    pair = schema_of(question={"type": "string"}, answer={"type": "string"})
    form = schema_of(answers={"type": "array", "items": pair, "maxItems": len(questions)})
    answering = Voice(prompt="self_answers", schema=form, name="self_answers", able=False, own=True)
    listed = "\n".join(f"- {question}" for question in questions)
    said = await listen(answering, work, draft, toolbox, choice, spec=own, questions=listed)
    # An answer is told by its place where the model changed the words of the question.
    answers = [str(one["answer"]).strip()[:MAX_CHARS] for one in (said or {}).get("answers", ())]
    dialogue = tuple((question, answer) for question, answer in zip(questions, answers, strict=False) if answer)
    toolbox.note("stage", name="answers", round=round_, answers=[answer for _, answer in dialogue])
    return dialogue


async def _refined(
    work: Work,
    spec: SelfDialogue,
    draft: Draft,
    heard: Heard,
    toolbox: Toolbox,
    choice: Choice,
    run_child: RunChild,
    *,
    round_: int,
) -> Draft:
    toolbox.note("stage", name="refine", round=round_, issues=list(heard.defects), questions=len(heard.dialogue))
    dialogue = "".join(f"\nQuestion: {question}\nAnswer: {answer}" for question, answer in heard.dialogue)
    defects = "".join(f"\n- {issue}" for issue in joined_issues(heard.by_rule, heard.critic))
    style = "".join(f"\n- {issue}" for issue in heard.style)
    text = render(
        "refine",
        answer=quoted(draft) or "(nothing came)",
        dialogue=f"\nWhat you asked yourself:{dialogue}\n" if dialogue else "",
        issues=(f"\nIts defects:{defects}\n" if defects else "") + (f"\nIssues of its style:{style}\n" if style else ""),
    )
    return await run_child(with_user(work, text), spec.refine or spec.generate, toolbox, choice, visible=False)


def _ended(draft: Draft, heard: Heard) -> Draft:
    if not draft.text and draft.message is None:
        raise StructuredFailed(f"no valid answer: {'; '.join(heard.defects)[:500]}", partial=draft.data)
    issues = joined_issues(heard.defects, draft.issues, heard.unheard)
    return replace(draft, issues=issues, complete=draft.complete and not heard.by_rule)
