"""A learner as bytes, and back: what survives a restart.

Called by the shell that keeps it in the ledger. Pure. Imports numpy, registry/arrays.py and this room alone.

The format is that of registry/arrays.py. Its size is bounded by the learner's settings (arms, memory, groups); decisions that
still wait for a verdict are kept up to KEPT_WAITING. What follows from the evidence (inverses, weights) is worked out again. A
fall that is doubted (doubts.py) is taken for one.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.arrays import packed, unpacked
from runtime.routing.bandit import Learner, Waiting
from runtime.routing.levels import Groups
from runtime.routing.linear import HierarchicalRidge
from runtime.routing.pacing import Pacer
from runtime.routing.records import Arm, Context, RoutingError
from runtime.routing.settings import LearnerSettings

VERSION = 1
KEPT_WAITING = 1000
MOST_BYTES = 256 * 1024 * 1024

Array = npt.NDArray[Any]


def dump(learner: Learner) -> bytes:
    """The learner's state. What it was configured with is not part of it."""
    return pack(gather(learner))


def pack(arrays: Mapping[str, Array]) -> bytes:
    """What ``gather`` took, as bytes: most of the work, and free of the learner, so that a thread may do it."""
    return packed(arrays)


def gather(learner: Learner) -> dict[str, Array]:
    """Copies of all that is kept, as it stands now; some milliseconds."""
    quality, ring = learner.quality, learner.quality.neighbours
    n, used = ring.filled, len(learner.arms)
    waiting = list(learner.waiting.items())[-KEPT_WAITING:]
    meta = {
        "version": VERSION,
        "arms": [[slot, asdict(arm)] for slot, arm in learner.arms.values()],
        "seen": quality.seen,
        "trusts": [[trust.both, trust.own] for trust in quality.trusts],
        "groups": {name: list(getattr(quality, name).table) for name in ("locales", "patterns")},
        "ring_at": ring.at,
        "learned": [learner.cost.learned, learner.latency.learned],
        "pacer": None if learner.pacer is None else [learner.pacer.target, learner.pacer.per_usd, learner.pacer.owed],
        "purse": [learner.purse.explored_usd, learner.purse.spent_usd, learner.purse.decisions],
        "aged_at": learner.aged_at,
        "waiting": [_told(decision_id, each) for decision_id, each in waiting],
    }
    arrays: dict[str, Array] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        "centres": quality.centres,
        "ring_points": ring.points[:n].astype(np.float16),
        "ring_slots": ring.slots[:n],
        "ring_values": np.stack((ring.scores[:n], ring.left[:n], ring.weights[:n])),
        "drift_sums": quality.drift.sums[:used],
        "drift_lengths": quality.drift.lengths[:used],
        "drift_alarms": quality.drift.alarms[:used],
        "scatter2": np.stack((learner.cost.scatter2[:used], learner.latency.scatter2[:used])),
        "waiting_points": np.array([each.context.point for _, each in waiting], dtype=np.float16),
        **{f"{name}_rows": _rows(getattr(quality, name), used) for name in ("locales", "patterns")},
    }
    for name, ridge in _ridges(learner).items():
        arrays |= {f"{name}_gram": ridge.gram[:used].astype(np.float32), f"{name}_moment": ridge.moment[:used]}
        arrays[f"{name}_counts"] = ridge.counts[:used]
    return {name: np.array(array) for name, array in arrays.items()}


def load(data: bytes, settings: LearnerSettings, *, rng: np.random.Generator) -> Learner:
    """The learner that ``dump`` saw. Raises RoutingError(field="state") for anything else: begin anew then, or look for an
    older one."""
    if len(data) > MOST_BYTES:
        raise RoutingError("the stored state is too large", field="state")
    learner = Learner(settings, rng=rng)
    try:
        arrays = unpacked(data)
        _fill(learner, json.loads(arrays.pop("meta").tobytes()), arrays)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, np.linalg.LinAlgError) as error:
        raise RoutingError(f"the stored state cannot be read ({type(error).__name__}: {error})", field="state") from error
    return learner


def _fill(learner: Learner, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    if meta["version"] != VERSION:
        raise ValueError(f"version {meta['version']} is not {VERSION}")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("a number is not finite")
    used = len(meta["arms"])
    if sorted(slot for slot, _ in meta["arms"]) != list(range(used)) or used > learner.settings.most_arms:
        raise ValueError("the arms do not fit")
    arms = [(int(slot), Arm(**told)) for slot, told in meta["arms"]]
    learner.arms = OrderedDict((arm.key, (slot, arm)) for slot, arm in arms)
    quality = learner.quality
    quality.seen = int(meta["seen"])
    quality.centres = arrays["centres"].reshape(-1, quality.centres.shape[1]).astype(np.float32)
    for trust, (both, own) in zip(quality.trusts, meta["trusts"], strict=True):
        trust.both, trust.own = float(both), float(own)
    for name in ("locales", "patterns"):
        _fill_groups(getattr(quality, name), meta["groups"][name], arrays[f"{name}_rows"], used)
    _fill_ring(learner, int(meta["ring_at"]), arrays)
    for name in ("sums", "lengths", "alarms"):
        getattr(quality.drift, name)[:used] = arrays[f"drift_{name}"]
    learner.cost.scatter2[:used], learner.latency.scatter2[:used] = arrays["scatter2"]
    learner.cost.learned, learner.latency.learned = (int(count) for count in meta["learned"])
    for name, ridge in _ridges(learner).items():
        ridge.gram[:used], ridge.moment[:used] = arrays[f"{name}_gram"], arrays[f"{name}_moment"]
        ridge.counts[:used] = arrays[f"{name}_counts"]
        ridge.used = used
        ridge.rebuild()
    if meta["pacer"] is not None:
        target, per_usd, owed = (float(value) for value in meta["pacer"])
        if not (target > 0 and per_usd > 0):
            raise ValueError("a budget is not positive")
        learner.pacer = Pacer(target)
        learner.pacer.per_usd, learner.pacer.owed = per_usd, owed
    purse = learner.purse
    purse.explored_usd, purse.spent_usd, purse.decisions = float(meta["purse"][0]), float(meta["purse"][1]), int(meta["purse"][2])
    learner.aged_at = None if meta["aged_at"] is None else float(meta["aged_at"])
    points = arrays["waiting_points"].astype(np.float32)
    for told, point in zip(meta["waiting"], points, strict=True):
        learner.waiting[str(told["id"])] = _heard(told, point)


def _told(decision_id: str, each: Waiting) -> dict[str, Any]:
    groups = {"locale": each.context.locale, "pattern": each.context.pattern}
    return {"id": decision_id, "arm": asdict(each.arm), **groups, "at": each.at, "weight": each.weight, "spent": each.spent}


def _heard(told: Mapping[str, Any], point: npt.NDArray[np.float32]) -> Waiting:
    return Waiting(
        arm=Arm(**told["arm"]),
        context=Context(point=point, locale=told["locale"], pattern=told["pattern"]),
        at=float(told["at"]),
        weight=float(told["weight"]),
        spent=bool(told["spent"]),
    )


def _rows(groups: Groups, used: int) -> Array:
    return np.array([row[:, :used] for row in groups.table.values()], dtype=np.float32)


def _fill_groups(groups: Groups, keys: list[str], rows: Array, used: int) -> None:
    for key, row in zip(keys, rows, strict=True):
        # An empty row of the right size, for later arms, too.
        fresh = groups.fresh()
        fresh[:, :used] = row
        groups.table[str(key)] = fresh


def _fill_ring(learner: Learner, at: int, arrays: Mapping[str, Array]) -> None:
    ring = learner.quality.neighbours
    n, size = len(arrays["ring_slots"]), len(ring.slots)
    # Oldest first, and as many of the newest as this memory holds: it may be smaller now.
    order = (np.r_[at:n, 0:at] if n and at < n else np.arange(n))[-size:]
    kept = len(order)
    ring.points[:kept] = arrays["ring_points"][order].astype(np.float32)
    ring.lengths2[:kept] = (ring.points[:kept] ** 2).sum(axis=1)
    ring.slots[:kept] = arrays["ring_slots"][order]
    ring.scores[:kept], ring.left[:kept], ring.weights[:kept] = arrays["ring_values"][:, order]
    if kept and not (ring.slots[:kept].min() >= 0 and ring.slots[:kept].max() < learner.settings.most_arms):
        raise ValueError("an outcome belongs to no arm")
    ring.filled, ring.at = kept, kept % size


def _ridges(learner: Learner) -> dict[str, HierarchicalRidge]:
    return {"quality": learner.quality.ridge, "cost": learner.cost.ridge, "latency": learner.latency.ridge}
