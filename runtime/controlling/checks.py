"""Is a draft worth a proposal? Bounds and sense of what a rule, a model or an operator hands in. Pure.

Called by decisions.py before anything is kept of it.
"""

from __future__ import annotations

import math
from typing import Final

from runtime.config.routing import RoutingSettings
from runtime.controlling.hands import Hands
from runtime.learner.tuning import laid_over
from runtime.routing.records import RoutingError
from runtime.topology.payloads import AdoptRouter, Merge, Payload, Pool, Recover, Rewire, Spawn, Split, Tune
from runtime.topology.records import MAX_EVIDENCE, MAX_PREDICTIONS, MAX_REASON_CHARS, BadProposal, Draft, Evidence, Prediction
from runtime.topology.shape import WARM_NODES

MAX_TEXT_CHARS: Final = 100_000
MAX_NAMES: Final = 256


def check_draft(draft: Draft, hands: Hands) -> None:
    """Raises BadProposal, which names the field. ``hands`` say what can be carried out here."""
    if not 0 < len(draft.reason.strip()) <= MAX_REASON_CHARS:
        raise BadProposal(f"a proposal gives a reason of 1 to {MAX_REASON_CHARS} characters", param="reason")
    if len(draft.evidence) > MAX_EVIDENCE:
        raise BadProposal(f"at most {MAX_EVIDENCE} pieces of evidence", param="evidence")
    if len(draft.predictions) > MAX_PREDICTIONS:
        raise BadProposal(f"at most {MAX_PREDICTIONS} predictions", param="predictions")
    if draft.origin != "operator" and not (draft.evidence and draft.predictions):
        raise BadProposal("what is not an operator's wish gives evidence and a prediction", param="evidence")
    for name, value, most in (("share", draft.share, 1.0), ("cost_usd", draft.cost_usd, 1e6)):
        if not 0 <= value <= most:
            raise BadProposal(f"{name} must be 0 to {most:g}", param=name)
    for number, evidence in enumerate(draft.evidence):
        _check_evidence(evidence, f"evidence[{number}]")
    for number, prediction in enumerate(draft.predictions):
        _check_prediction(prediction, f"predictions[{number}]")
    _check_texts(draft.payload)
    if isinstance(draft.payload, AdoptRouter) and hands.adopt is None:
        raise BadProposal("generated routers are not adopted here", param="payload.kind")
    if isinstance(draft.payload, Tune):
        _check_settings(draft.payload, hands)
    if isinstance(draft.payload, Pool) and draft.payload.name != WARM_NODES and hands.pool is None:
        raise BadProposal("there is no such pool here", param="payload.name")


def _check_settings(payload: Tune, hands: Hands) -> None:
    if hands.tune is None:
        raise BadProposal("settings of routing are not changed here", param="payload.kind")
    try:
        laid_over(RoutingSettings(), payload.settings)
    except RoutingError as error:
        raise BadProposal(f"{error.field}: {error.message}", param="payload.settings") from None


def _check_evidence(evidence: Evidence, at: str) -> None:
    if not all(map(math.isfinite, (evidence.value, evidence.since, evidence.until))):
        raise BadProposal(f"{at} has a number that is not finite", param=at)
    if evidence.count < 0 or evidence.since > evidence.until:
        raise BadProposal(f"{at} is of no window", param=at)
    words = (evidence.metric, evidence.units, evidence.source, evidence.note, *evidence.scope.names)
    if len(evidence.scope.names) > MAX_NAMES or sum(map(len, words)) > MAX_REASON_CHARS:
        raise BadProposal(f"{at} is too long", param=at)


def _check_prediction(prediction: Prediction, at: str) -> None:
    numbers = (prediction.baseline, prediction.expected, prediction.margin, prediction.bound)
    if not all(map(math.isfinite, numbers)):
        raise BadProposal(f"{at} has a number that is not finite", param=at)
    if prediction.bound <= 0 or prediction.margin < 0:
        raise BadProposal(f"{at}: bound must be above 0 and margin at least 0", param=f"{at}.bound")
    if prediction.metric in ("quality", "failure") and prediction.bound != 1.0:
        raise BadProposal(f"{at}: {prediction.metric} is bounded by 1", param=f"{at}.bound")
    if not 0 <= prediction.expected <= prediction.bound:
        raise BadProposal(f"{at}: what is expected must lie between 0 and the bound", param=f"{at}.expected")
    if len(prediction.scope.names) > MAX_NAMES or (prediction.scope.kind != "all" and not prediction.scope.names):
        raise BadProposal(f"{at}: name 1 to {MAX_NAMES} of what it is over", param=f"{at}.scope.names")


def _check_texts(payload: Payload) -> None:
    match payload:
        case Spawn(spec=spec) | Recover(spec=spec) | Rewire(spec=spec):
            specs = [spec]
        case Split(children=children):
            specs = [child.spec for child in children]
        case Merge(spec=spec) if spec is not None:
            specs = [spec]
        case _:
            specs = []
    for spec in specs:
        if not spec.node_id or not spec.name or len(spec.node_id) > 64 or len(spec.name) > 64:
            raise BadProposal("ids and names of nodes have 1 to 64 characters", param="payload.spec.name")
        if len(spec.prompt) + len(spec.speciality or "") + len(spec.locale) > MAX_TEXT_CHARS:
            raise BadProposal(f"the texts of a node have at most {MAX_TEXT_CHARS} characters", param="payload.spec.prompt")
