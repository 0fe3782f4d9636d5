"""From decisions to rules: readable, faithful, and honest about what is worth keeping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.learner.features import facts_of
from runtime.routing.distill import LEAST_ROWS, distill
from runtime.routing.features import SHAPE, extra_of, point
from runtime.routing.rules import grow, leaves, says

WORDS = "Which of the rivers in the north is the longest one? "
CODE = "def total(prices):\n    return sum(prices)\n# const rates = [];  function add(){ return 1; }\n"


def decisions(n: int, *, quality: dict[str, float], by_kind: bool = False, arms: int = 2, seed: int = 1) -> list[dict[str, Any]]:
    """Fair choices; the newest first. ``by_kind``: the second arm is the better one for code, the first for words."""
    rng, rows = np.random.default_rng(seed), []
    names = list(quality)[:arms]
    for number in range(n):
        code = bool(rng.random() < 0.5)
        facts = facts_of(point(CODE * 3 if code else WORDS, None, extra_of(schema=code)))
        mean = {name: (0.9 if (name == names[1]) == code else 0.3) if by_kind else quality[name] for name in names}
        chosen = str(rng.choice(names))
        candidates = [
            ["single", "n", name, mean[name], mean[name] - 0.1, mean[name] + 0.1, 0.001, 1.0, mean[name], 1 / arms, 30.0]
            for name in names
        ]
        rows.append(
            {
                "decision_id": f"d{number}",
                "strategy": "single",
                "node": "n",
                "backend": chosen,
                "served_by": chosen,
                "way": "drawn",
                "propensity": 1 / arms,
                "score": float(rng.random() < mean[chosen]),
                "weight": 1.0,
                "cost_usd": 0.001,
                "per_usd": 2.0,
                "candidates": candidates,
                "facts": list(facts),
            }
        )
    return rows


def test_a_policy_by_kind_of_request_becomes_two_readable_rules() -> None:
    found = distill(decisions(600, quality={"a": 0.5, "b": 0.5}, by_kind=True))
    assert found.fidelity is not None
    assert found.fidelity > 0.97
    assert len(found.rules) == 2
    assert {rule.arm for rule in found.rules} == {"single x n x a", "single x n x b"}
    assert all(rule.text.startswith("if it ") or rule.text.startswith("if ") for rule in found.rules)
    assert sum(rule.requests for rule in found.rules) == 600
    assert not any(finding.remove for finding in found.findings), "both are needed"


def test_one_arm_that_is_always_best_is_one_rule_and_the_worse_one_could_go() -> None:
    found = distill(decisions(2500, quality={"a": 0.9, "b": 0.2}))
    assert [rule.text for rule in found.rules] == ["always: single x n x a"]
    removed = {finding.part for finding in found.findings if finding.remove}
    assert removed == {"b"}
    assert found.paths_after < found.paths_before
    assert any("remove backend b" in each for each in found.proposals)


def test_what_the_log_cannot_tell_stays() -> None:
    found = distill(decisions(LEAST_ROWS + 5, quality={"a": 0.5, "b": 0.52}))
    assert not any(finding.remove for finding in found.findings)


@pytest.mark.parametrize("n", [0, 1, LEAST_ROWS - 1])
def test_too_little_says_nothing(n: int) -> None:
    found = distill(decisions(n, quality={"a": 0.9, "b": 0.1}))
    assert (found.rules, found.findings, found.proposals, found.fidelity) == ((), (), (), None)


def test_a_tree_says_what_it_was_shown_and_nothing_twice() -> None:
    rng = np.random.default_rng(2)
    facts = rng.standard_normal((400, SHAPE))
    tree = grow(facts, (facts[:, 0] > 0.3).astype(np.intp))
    assert np.mean([says(tree, row) == (row[0] > 0.3) for row in facts]) > 0.95
    assert len(leaves(grow(facts, np.zeros(400, dtype=np.intp)))) == 1


def test_rows_of_before_there_were_so_many_features_still_count() -> None:
    rows = decisions(600, quality={"a": 0.5, "b": 0.5}, by_kind=True)
    for row in rows[300:]:
        row["facts"] = row["facts"][:18]
    found = distill(rows)
    assert found.rows == 600
    assert found.fidelity is not None
    assert found.fidelity > 0.9


def test_what_is_a_little_better_and_much_dearer_is_not_worth_its_price() -> None:
    rows = decisions(1500, quality={"a": 0.8, "b": 0.83})
    assert not any(finding.part == "b" and finding.remove for finding in distill(rows).findings), "as cheap as the other it stays"
    for row in rows:
        for each in row["candidates"]:
            each[6] = 0.1 if each[2] == "b" else 0.001
        row["cost_usd"] = 0.1 if row["backend"] == "b" else 0.001
    (finding,) = [each for each in distill(rows).findings if each.part == "b"]
    assert finding.remove
    assert finding.usd_each == pytest.approx(0.1)
    assert "less its price" in finding.reason
