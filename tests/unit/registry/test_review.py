"""Evidence above opinion, security above both."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.evidence import Usage
from registry.records import REVIEW_ROLES, NotAllowed, Opinion, Review, ReviewRole, Version, VersionId
from registry.review import MAX_REVISIONS, asked_changes, decide, may_review

V = VersionId("a@1.0.0")
VERSION = Version(
    version_id=V,
    name="a",
    number="1.0.0",
    kind="validator",
    content="x",
    content_hash="h",
    problem="p",
    author="author",
    contributors=("author", "grandparent"),
    created_at=0.0,
)


def review(role: ReviewRole, opinion: Opinion = "accept", reviewer: str | None = None, **more: Any) -> Review:
    fields = {"score": 0.9 if opinion == "accept" else 0.4, "at": 1.0, **more}
    return Review(version_id=V, reviewer=reviewer or f"r-{role}", role=role, opinion=opinion, **fields)


def three(*opinions: str, **more: Any) -> list[Review]:
    return [review(role, opinion, **more) for role, opinion in zip(REVIEW_ROLES, opinions, strict=True)]


PROVEN = Usage(version_id=V, runs=200, successes=198)
FAILING = Usage(version_id=V, runs=20, successes=5)


@pytest.mark.parametrize(
    ("opinions", "usage", "revisions", "verdict"),
    [
        (("accept", "accept", "accept"), None, 0, "accept"),
        (("accept", "accept", "revise"), None, 0, "revise"),
        (("accept", "revise", "revise"), None, 1, "revise"),
        (("accept", "revise", "revise"), None, 2, "reject"),
        (("reject", "reject", "accept"), None, 0, "reject"),
        (("reject", "accept", "accept"), None, 0, "revise"),
        (("reject", "reject", "reject"), PROVEN, 0, "accept"),
        (("accept", "accept", "accept"), FAILING, 0, "reject"),
    ],
)
def test_opinions_and_evidence(opinions: tuple[str, ...], usage: Usage | None, revisions: int, verdict: str) -> None:
    assert decide(VERSION, three(*opinions), usage, checked=True, revisions=revisions).verdict == verdict


def test_proven_code_with_named_changes_is_revised_not_rejected() -> None:
    reviews = three("reject", "reject", "reject", required_changes=("bound the input",))
    decision = decide(VERSION, reviews, PROVEN, checked=True, revisions=0)
    assert (decision.verdict, decision.required_changes) == ("revise", ("bound the input",))


opinions_st = st.lists(
    st.builds(
        review,
        st.sampled_from(REVIEW_ROLES),
        st.sampled_from(["accept", "revise", "reject"]),
        st.sampled_from(["r1", "r2", "r3", "author", "grandparent"]),
        score=st.floats(0, 1),
        secure=st.sampled_from([None, True, False]),
        at=st.floats(0, 10),
    ),
    max_size=8,
)


@given(opinions_st, st.sampled_from([None, PROVEN, FAILING]), st.booleans(), st.integers(0, 4))
def test_what_must_never_happen(reviews: list[Review], usage: Usage | None, checked: bool, revisions: int) -> None:
    decision = decide(VERSION, reviews, usage, checked=checked, revisions=revisions)
    newest = {(each.reviewer, each.role): each for each in sorted(reviews, key=lambda each: each.at)}
    heard = [each for each in newest.values() if each.reviewer not in VERSION.contributors]
    if any(each.secure is False for each in heard):
        assert decision.verdict == "reject"
    if decision.verdict == "accept":
        assert checked
        assert usage is not FAILING
        assert {each.role for each in heard} == set(REVIEW_ROLES)
    if decision.verdict == "revise":
        assert revisions < MAX_REVISIONS
    own = [each for each in reviews if each.reviewer in VERSION.contributors]
    others = [each for each in reviews if each not in own]
    assert decide(VERSION, others, usage, checked=checked, revisions=revisions) == decision


def test_nobody_judges_their_own_line() -> None:
    for name in ("author", "grandparent"):
        with pytest.raises(NotAllowed, match="lineage"):
            may_review(VERSION, name)
    may_review(VERSION, "stranger")


def test_missing_roles_are_waited_for() -> None:
    for missing in REVIEW_ROLES:
        reviews = [review(role) for role in REVIEW_ROLES if role != missing]
        assert decide(VERSION, reviews, None, checked=True, revisions=0).reason == f"no review yet for {missing}"


def test_only_the_newest_word_of_a_reviewer_counts() -> None:
    for first, second in itertools.permutations(["accept", "reject"], 2):
        reviews = [review("quality", first, at=1.0), review("quality", second, at=2.0), review("security"), review("performance")]
        verdict = decide(VERSION, reviews, None, checked=True, revisions=0).verdict
        assert verdict == ("accept" if second == "accept" else "revise")


def test_what_is_asked_of_an_author_is_what_the_last_round_objects_to() -> None:
    first = [review("security", "revise", round=0, required_changes=("no network",))]
    last = [
        review("code_quality", "revise", round=1, required_changes=("say what n is", "no loop")),
        review("performance", "reject", round=1, required_changes=("no loop",)),
        review("security", round=1, required_changes=("a wish of one who accepts",)),
    ]
    assert asked_changes([*first, *last]) == ("say what n is", "no loop")
    assert asked_changes([]) == ()
