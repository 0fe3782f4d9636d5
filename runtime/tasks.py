"""What a node is handed: the task of a request, with a permit for its first call and the money that is held for it.

Called by dispatch.py. Decides nothing that choosing.py does not; takes what the desk and the purse have free, and never waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from agents.calls import Permit
from agents.llm.chat import ChatRequest
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.records import Budget, BudgetExceeded, Choice, Json, Task, TaskId, Work
from agents.strategies.compose import strategy_name
from agents.strategies.runner import with_system
from runtime.accounts import Amount
from runtime.admission import Cashier
from runtime.choosing import choice_of, choose_strategy, learned, opening_choice, preferring
from runtime.cluster import NodeStatus
from runtime.committees.rules import committee_of, wants_committee
from runtime.config.settings import Settings
from runtime.open_request import OpenRequest
from runtime.records import Request

OPENING_CHARS = 2400
"""What a strategy may write around the client's words in its first call: so much is held for it ahead."""


class Tasks:
    """Makes tasks."""

    def __init__(self, *, settings: Settings, pool: Pool, desk: Desk, cashier: Cashier) -> None:
        self._settings = settings
        self._pool = pool
        self._desk = desk
        self._cashier = cashier

    def renew(self, settings: Settings) -> None:
        """Tasks that are made from now on go by ``settings``."""
        self._settings = settings

    def make(self, run: OpenRequest, node: NodeStatus, *, left_s: float) -> Task:
        """The task of ``run`` for ``node``; notes in ``run`` who works on it and how."""
        request = run.request
        strategies: Mapping[str, Json] = self._settings.strategies
        committee = self._settings.committee
        strategy = choose_strategy(request, backends=self._pool.specs, strategies=strategies, committee=committee)
        choice = preferring(choice_of(request, may_replace_named=bool(self._settings.requests.fallback)), node)
        work = _work(run)
        if run.taken is not None and run.taken.node == node.spec.name:
            work = with_system(work, run.taken.prompt)
            if run.taken.backend and choice.backend is None:
                others = tuple(name for name in choice.preferred if name != run.taken.backend)
                choice = replace(choice, preferred=(run.taken.backend, *others))
        if run.route is not None:
            strategy, choice = run.route.strategy or strategy, learned(choice, run.route)
        elif strategy is None and wants_committee(request, committee, self._pool.specs):
            strategy = committee_of(committee)
        used = strategy or node.spec.strategy
        run.node, run.locale, run.strategy = node.spec.name, node.spec.locale, strategy_name(used)
        task_id = TaskId(f"{run.work_id}/{run.attempts}")
        health = self._desk.health()
        assumed_tokens = self._cashier.assumed_tokens(run.work_id)
        budget_usd, budget_tokens = self._cashier.own_left(run.work_id)
        words = None if assumed_tokens is None else _opening(request, node)
        opening = opening_choice(used, choice)
        permit = self._lease(opening, task_id, words) if opening is not None else None
        if permit is not None and choice.backend is None:
            choice = replace(choice, preferred=(permit.backend, *(b for b in node.spec.backends if b != permit.backend)))
        return Task(
            task_id=task_id,
            request_id=request.request_id,
            work=work,
            strategy=strategy,
            choice=choice,
            budget=Budget(deadline_s=max(0.0, left_s), usd=budget_usd, tokens=budget_tokens, assumed_tokens=assumed_tokens),
            stream=request.stream,
            permits=(permit,) if permit else (),
            health=health,
            attempt=run.attempts,
        )

    def foreseen(self, work_id: str, request: Request) -> dict[str, Amount]:
        """While a budget is in force: what the first call may take, for the ledger to charge should the daemon be killed then."""
        if self._cashier.assumed_tokens(work_id) is None:
            return {}
        ask = ChatRequest(messages=request.messages, params=request.params, schema=request.schema)
        named = request.target.name if request.target.kind == "backend" else request.backend
        specs = [spec for spec in self._pool.specs if named in (None, spec.name)] or self._pool.specs
        at_once = self._settings.jobs.max_parallel_parts if request.place is not None else 1
        return {"foreseen": self._cashier.foreseen(work_id, specs, ask, at_once=at_once)}

    def _lease(self, choice: Choice, holder: str, opening: ChatRequest | None) -> Permit | None:
        """A permit for the first call, so that it needs no second hop. None: the node asks for one itself, and waits for it."""
        for spec in self._pool.candidates(choice, self._desk.health()):
            cost = self._cashier.worst_case(spec, opening) if opening else None
            with suppress(BudgetExceeded):
                if (permit := self._cashier.try_lease(spec.name, holder=holder, cost=cost)) is not None:
                    return permit
            if choice.backend is not None:
                return None
        return None


def _opening(request: Request, node: NodeStatus) -> ChatRequest:
    """About what the first call of a task will ask, rather too much: its own prompt is the strategy's to write."""
    words = {"role": "system", "content": node.spec.prompt + " " * OPENING_CHARS}
    return ChatRequest(messages=(words, *request.messages), params=request.params, schema=request.schema)


def _work(run: OpenRequest) -> Work:
    request = run.request
    return Work(
        messages=request.messages,
        params=request.params,
        schema=request.schema,
        count=request.count,
        place=request.place,
        rules=request.rules,
        constraints=request.constraints,
        quality=request.quality,
        importance=request.importance,
        known=run.known,
    )
