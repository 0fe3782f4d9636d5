"""Carries out steps: a row in the ledger before each, the act, and a row after it together with the new revision of the shape.

Called by controller.py for what is approved or taken back, and again after a restart: steps that have their second row are
skipped, a step that has only its first is done again (acts are idempotent, hands.py). The last row of one step and the first of
the next are one write, as are the outer rows and the moves of the proposal itself: there is nothing between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.controlling.book import Begun, Case, Done, Entry, Phase
from runtime.controlling.state import revised
from runtime.controlling.tools import CONTROLLER, Tools
from runtime.topology.shape import Step
from runtime.topology.steps import is_done


async def carry(
    tools: Tools, case: Case, phase: Phase, steps: Sequence[Step], *, first: Sequence[Entry] = (), last: Callable[[], Entry]
) -> None:
    """Do what is not done yet of ``steps``; ``first`` and what ``last`` makes then are written with the first and the last row.
    The caller holds ``tools.shape``.

    Raises AgentError where an act failed, Stale where the shape is not what the step was made for, NotNow, LedgerError.
    """
    name, topology = case.proposal.proposal_id, tools.state.topology
    done = frozenset(tools.state.done.get((name, phase), ()))
    pending: list[Entry] = list(first)
    begun_any = False
    for ordinal, step in enumerate(steps):
        if ordinal in done:
            continue
        if is_done(topology, step):  # the undoing of what never came about
            pending.append(Done(proposal_id=name, phase=phase, ordinal=ordinal, at=tools.wall()))
            continue
        trouble = tools.trouble.get(name, "")
        await tools.write(*pending, Begun(proposal_id=name, phase=phase, ordinal=ordinal, at=tools.wall(), error=trouble))
        begun_any = True
        await tools.hands.do(step)
        now = tools.wall()
        why = f"{phase} {case.proposal.key}"
        topology, entry = revised(topology, (step,), at=now, who=CONTROLLER, reason=why, proposal_id=name)
        pending = [Done(proposal_id=name, phase=phase, ordinal=ordinal, at=now), entry]
    if not begun_any:
        await tools.write(*pending)
        pending = []
    await tools.write(*pending, last())
