"""What the parts of the controller share: the ledger, the memory of it, the hands, the settings, and how a proposal moves on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agents.records import Json
from runtime.config.topology import TopologySettings
from runtime.controlling.book import Added, Book, Case, Done, Entry, Held, Moved, Revised
from runtime.controlling.hands import Hands
from runtime.controlling.state import State
from runtime.topology.records import MAX_REASON_CHARS, Caps, NotNow, Status
from runtime.topology.shape import ProposalId

CONTROLLER: Final = "controller"
POLICY: Final = "policy"


@dataclass(slots=True, kw_only=True)
class Tools:
    """``state`` is read anew where ``sure`` is false: a write may have been lost. Whoever changes the shape holds ``shape``.
    ``trouble`` is the last error of a step and ``falls`` how often one failed; ``moved`` counts moves by (kind, status) and
    ``dropped`` drafts that were not taken up, by why; ``told`` hears of all that was written."""

    book: Book
    hands: Hands
    state: State
    settings: TopologySettings
    live_cap: int
    wall: Callable[[], float]
    trouble: dict[ProposalId, str] = field(default_factory=dict)
    falls: Counter[ProposalId] = field(default_factory=Counter)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    shape: asyncio.Lock = field(default_factory=asyncio.Lock)
    sure: bool = False
    told: Callable[[Entry], None] = lambda entry: None

    @property
    def caps(self) -> Caps:
        return self.settings.caps(live_nodes=self.live_cap)

    async def write(self, *entries: Entry) -> None:
        """Durable, and then in memory. Raises NotNow where another move came first, LedgerError."""
        if not entries:
            return
        try:
            if not await self.book.write(*entries):
                raise NotNow("somebody else decided on this proposal just now; look at it again")
        except BaseException:
            self.sure = False  # nobody knows whether it was written
            raise
        for entry in entries:
            self._remember(entry)
            self.told(entry)

    def _remember(self, entry: Entry) -> None:
        match entry:
            case Added(case=case):
                self.state.put(case)
                self.moved[case.proposal.kind, case.proposal.status] += 1
            case Moved(was=was, case=case):
                self.state.put(case)
                self.moved[case.proposal.kind, case.proposal.status] += 1
                if was.status is not case.proposal.status:
                    self.trouble.pop(was.proposal_id, None)
                    self.falls.pop(was.proposal_id, None)
            case Done():
                self.state.finished(entry)
            case Revised():
                self.state.lay(entry)
            case Held(hold=hold):
                self.state.holds[hold.key] = hold

    def move(self, case: Case, status: Status, why: str, *, who: str = CONTROLLER, measured: Json = None, **fields: Any) -> Moved:
        """The entry with which ``case`` becomes ``status``; ``fields`` are further ones of the proposal."""
        was = case.proposal
        now = replace(was, status=status, note=why[:MAX_REASON_CHARS], updated_at=self.wall(), **fields)
        return Moved(was=was, case=replace(case, proposal=now, measured=measured or case.measured), who=who, why=why)

    def current(self, case: Case) -> Case:
        """The case as it stands now."""
        return self.state.cases.get(case.proposal.proposal_id, case)
