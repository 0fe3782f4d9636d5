"""A batch: a list too long for one piece of work, made in parts, each of which is written down before it counts.

Called by runner.py. Memory holds the parts that are being worked on and nothing of those that are done: they are in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final

import orjson

from agents import quality
from agents.counting import bounded, items_of, part_schema
from agents.quality.constraints import of_parts
from agents.records import AgentError, BudgetExceeded, Draft, Incomplete, Json, Place
from agents.shaping import array_path
from agents.strategies.runner import joined_issues
from agents.verdicts import Verdict
from runtime.jobs.plan import Again, Stop, gaps, share_tokens, share_usd, split, tells
from runtime.jobs.records import Job, Part, Range
from runtime.jobs.tools import Attempt, Patience, Tools, attempt
from runtime.jobs.views import MAX_ISSUES
from runtime.records import Answer, Request

_MAX_ISSUE_CHARS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one attempt may spend: reserved before it, given back after it."""

    usd: float | None
    tokens: int | None


class Batch:
    """One run over what is missing of a batch. Build it anew after a restart."""

    def __init__(self, tools: Tools, job: Job, request: Request) -> None:
        assert request.schema is not None
        assert job.total is not None
        self._tools = tools
        self._job = job
        self._total = job.total
        self._whole = request
        self._request = replace(
            request,
            schema=part_schema(request.schema, job.total),
            constraints=of_parts(request.constraints),
            accept_partial=False,
        )
        self._done = 0
        self._unstarted = 0
        self._usd = job.cost_usd
        self._tokens = job.prompt_tokens + job.completion_tokens
        self._stopped = ""
        self._tight = False
        self._alone = asyncio.Lock()
        self._over = False
        self._error: AgentError | None = None
        self._last: Answer | None = None

    async def run(self, over: AgentError | None = None) -> None:
        """Work on it to its outcome; with ``over`` nothing more is asked and what is there is its outcome."""
        tools, size = self._tools, self._tools.settings().items_per_part
        missing = gaps(self._total, await tools.ledger.ranges(self._job.request_id))
        self._unstarted = sum(gap.count for gap in missing)
        self._done = self._total - self._unstarted
        if over is not None:
            self._error, self._stopped = over, over.code
        await bounded(self._todo(split(missing, size)), tools.settings().max_parallel_parts, self._one)
        if not self._over:
            await self._finish()

    def _todo(self, ranges: list[Range]) -> Iterator[Range]:
        for piece in ranges:
            if self._stopped or self._over:
                return
            yield piece

    async def _one(self, piece: Range) -> None:
        """One part, tried again while it makes sense; what came of it is kept at once."""
        tools, job = self._tools, self._job
        patience = Patience(tools=tools, deadline_at=job.deadline_at)
        left: Range | None = piece
        while left is not None and not self._stopped and not self._over:
            tight = self._tight
            async with self._alone if tight else nullcontext():
                share = None if self._stopped or self._over else self._reserve(left, all_of_it=tight)
                if share is None:
                    return
                try:
                    got = await attempt(tools, self._part_request(left, share, patience.left_s()))
                finally:
                    self._give_back(left, share)
                kept = await self._keep(left, got)
            if kept:
                patience.renewed()
            left = Range(first=left.first + kept, count=left.count - kept) if kept < left.count else None
            if left is None or self._over:
                return
            error = got.error or Incomplete(f"{left.count} items of a part did not come", param="count")
            if isinstance(error, BudgetExceeded):
                if not tight:
                    # Its share was too small; the whole may not be. From now on one part at a time, with all that is left.
                    self._tight = True
                    continue
                error = self._spent_out(error) if error.retry_after_s is None else error
            self._error = error
            what = patience.after(error)
            if isinstance(what, Stop):
                self._stopped = what.reason
            if not isinstance(what, Again):
                return
            told = {"first": left.first, "count": left.count, "error": error.code, "pause_s": what.pause_s}
            tools.ledger.tell(job.request_id, "retry", told, at=tools.wall())
            await tools.sleep(what.pause_s)

    def _part_request(self, piece: Range, share: _Share, left_s: float) -> Request:
        return replace(
            self._request,
            count=piece.count,
            place=Place(first=piece.first, total=self._total),
            deadline_s=max(0.001, left_s),
            budget_usd=share.usd,
            budget_tokens=share.tokens,
        )

    async def _keep(self, piece: Range, got: Attempt) -> int:
        """Write what came. How many items that were, from the beginning of ``piece``."""
        self._usd += got.cost_usd
        self._tokens += got.tokens
        draft = got.answer.draft if got.answer is not None else None
        data = draft.data if draft is not None else got.error.partial if isinstance(got.error, Incomplete) else None
        assert self._request.schema is not None
        items, frame = items_of(self._request.schema, data)
        items = items[: piece.count]
        self._unstarted -= len(items)  # before anything is awaited: other parts take their shares meanwhile
        if not items:
            self._tools.ledger.spend(self._job.request_id, got.spent.calls, got.spent.events)
            return 0
        part = Part(
            range=Range(first=piece.first, count=len(items)),
            items=orjson.dumps(items).decode(),
            frame=orjson.dumps(frame).decode() if frame else None,
            issues=tuple(issue[:_MAX_ISSUE_CHARS] for issue in draft.issues[:MAX_ISSUES]) if draft else (),
            complete=draft.complete if draft else True,
        )
        tell = tells(self._total, self._done, self._done + len(items))
        is_open = await self._tools.ledger.add_part(
            self._job.request_id, part, got.spent.calls, got.spent.events, at=self._tools.wall(), tell=tell
        )
        self._over = self._over or not is_open
        self._done += len(items)
        self._last = got.answer or self._last
        return len(items)

    # ── money ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _reserve(self, piece: Range, *, all_of_it: bool) -> _Share | None:
        """A share of what is left, by items, so that parts at work at once cannot spend more than there is. None: nothing is."""
        usd, tokens = self._request.budget_usd, self._request.budget_tokens
        items = piece.count if all_of_it else self._unstarted
        share = _Share(
            usd=share_usd(None if usd is None else usd - self._usd, piece.count, items),
            tokens=share_tokens(None if tokens is None else tokens - self._tokens, piece.count, items),
        )
        spent_out = usd is not None and self._usd > 0 and not share.usd
        if spent_out or share.tokens == 0:
            self._error = BudgetExceeded("the budget is spent", param="budget_usd" if spent_out else "budget_tokens")
            self._stopped = self._error.code
            return None
        self._unstarted -= piece.count
        self._usd += share.usd or 0.0
        self._tokens += share.tokens or 0
        return share

    def _give_back(self, piece: Range, share: _Share) -> None:
        self._unstarted += piece.count
        self._usd -= share.usd or 0.0
        self._tokens -= share.tokens or 0

    def _spent_out(self, error: BudgetExceeded) -> BudgetExceeded:
        """What a part's error means for the whole, whose budget is the one that the client knows."""
        if error.param == "budget_usd" and self._request.budget_usd is not None:
            words = f"{self._usd:.6g} of {self._request.budget_usd:g} USD are spent"
        elif error.param == "budget_tokens" and self._request.budget_tokens is not None:
            words = f"{self._tokens} of {self._request.budget_tokens} tokens are used"
        else:
            return error
        return BudgetExceeded(f"{words}, and what is left is too little for the next call", param=error.param)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _finish(self) -> None:
        tools, job = self._tools, self._job
        if self._done == 0:
            error = self._error or Incomplete("no item came", param="count")
            await tools.finish(job, self._request, error=error)
            return
        missing = self._total - self._done
        frame, issues, flawless, verdict = await self._gathered()
        if missing:
            why = f" ({self._error.code}: {self._error.message})" if self._error is not None else ""
            issues = (f"{missing} of {self._total} items are missing{why}", *issues)[:MAX_ISSUES]
        broken = quality.issues(verdict, only_constraints=True)
        draft = Draft(text="", issues=joined_issues(issues, broken), complete=not missing and flawless and not broken)
        last = self._last
        answer = Answer(
            request_id=self._request.request_id,
            draft=draft,
            calls=last.calls if last else (),
            node=last.node if last else None,
            strategy=last.strategy if last else "single",
            attempts=job.attempts + 1,
            latency_s=max(0.0, tools.wall() - job.at),
            verdict=verdict,
        )
        await tools.finish(job, self._request, answer=answer, frame=frame)

    async def _gathered(self) -> tuple[Json, tuple[str, ...], bool, Verdict]:
        """What stands around the list, the issues of all parts (bounded), whether every part kept to the schema, and how good the
        whole is: checked part by part, since the whole is never in memory."""
        frame: Json = None
        issues: dict[str, None] = {}
        flawless = True
        asked = self._whole
        tally = quality.Tally(schema=asked.schema, count=self._total, constraints=asked.constraints)
        async for part in self._tools.ledger.all_parts(self._job.request_id):
            await asyncio.to_thread(tally.add, self._shaped(part))
            if frame is None and part.frame is not None:
                frame = orjson.loads(part.frame)
            flawless = flawless and part.complete
            for issue in part.issues:
                if len(issues) < MAX_ISSUES:
                    issues[issue] = None
        return frame, tuple(issues), flawless, tally.verdict()

    def _shaped(self, part: Part) -> Json:
        """A part as a shorter answer of the same shape."""
        items = orjson.loads(part.items)
        path = array_path(self._request.schema or {})
        return {**(orjson.loads(part.frame) if part.frame else {}), path[0]: items} if path else items
