"""What a node is offered: what fits, what it may see, evidence above likeness, and guidance for all but a measured share."""

from __future__ import annotations

from typing import Any

from agents.strategies.candidates import MAX_GUIDANCE_CHARS
from registry.artifacts import Registry
from registry.records import RegistryUnavailable, Version
from registry.upkeep import fold
from runtime.programs.offers import Offers, is_guided
from tests.fakes.registry import World, cases, new

AGES = "ages of users around a mean with a spread"


class Opened:
    """A RegistryDesk over a World."""

    def __init__(self, world: World, search: Any) -> None:
        self.world, self.search = world, search
        self.registry: Any = world.registry


async def made(holdout: float = 0.0) -> tuple[Offers, World]:
    world = World()
    await world.open()
    desk: Any = Opened(world, await world.search())
    return Offers(desk, holdout=holdout), world


async def published(registry: Registry, name: str, problem: str = AGES, **more: Any) -> Version:
    code = f"def run(inputs):\n    return {{'result': '{name}', 'checks': {{'a': True}}}}\n"
    fields = {"kind": "generator", "content": code, "problem": problem, "author": "n1", **more}
    return await registry.publish(new(name, **fields), cases("a"))


async def names(offers: Offers, node: str = "n2", problem: str = AGES) -> list[str]:
    found = await offers.offer(problem, node, "root", "r-1/1")
    return [each.version.partition("@")[0] for each in found.candidates]


async def test_the_surest_of_those_that_fit_comes_first() -> None:
    offers, world = await made()
    registry = world.registry
    near = await published(registry, "near")
    sure = await published(registry, "sure", problem=AGES + " given")
    bad = await published(registry, "bad")
    await published(registry, "other", problem="translate poems into dutch")
    await world.run(near.version_id, "n3", good=3, bad=2)
    await world.run(sure.version_id, "n3", good=40)
    await world.run(bad.version_id, "n3", good=2, bad=4)
    await fold(registry)
    assert await names(offers) == ["sure", "near"], "neither what fails nor what is about something else"
    found = await offers.offer(AGES, "n2", "root", "r-1/1")
    assert (found.candidates[0].runs, found.candidates[0].successes) == (40, 40)
    assert "'sure'" in found.candidates[0].code


async def test_drafts_are_their_authors_and_successors_stand_in() -> None:
    offers, world = await made()
    registry = world.registry
    await registry.draft(new("mine", kind="generator", problem=AGES, author="n1"), cases("a"))
    assert await names(offers, "n1") == ["mine"]
    assert await names(offers, "n2") == []
    old = await published(registry, "old")
    young = await published(registry, "young", relation="fork", parents=(old.version_id,))
    await registry.move(old.version_id, "deprecated", by="upkeep", reason="better", successor=young.version_id)
    assert await names(offers) == ["young"]
    await registry.move(young.version_id, "archived", by="review", reason="unsafe")
    assert await names(offers) == []


async def test_guidance_is_the_standard_the_locales_practices_and_principles() -> None:
    offers, world = await made()
    registry = world.registry
    assert await offers.offer(AGES, "n", "root", "r-1/1") == (await offers.offer(AGES, "n", "root", "r-1/1"))
    text = 'Seed every generator.\n\n```rules\n[{"check": "docstring"}]\n```\n'
    standard = await registry.publish(new("coding-standard", kind="standard", content=text, author="advisor"))
    await registry.publish(new("practices-people", kind="standard", content="Ages are whole.", locale="people"))
    await registry.publish(new("principles-fast", kind="prompt", content="Draw at once." + "x" * 9_000))
    await registry.publish(new("unrelated", kind="prompt", content="Be brief."))
    found = await offers.offer(AGES, "n", "people", "r-1/1")
    assert found.standard == standard.version_id
    assert found.guidance.startswith("Seed every generator.\n\nAges are whole.\n\nDraw at once.")
    assert "rules" not in found.guidance, "what machines check is not for readers"
    assert "Be brief" not in found.guidance
    assert len(found.guidance) == MAX_GUIDANCE_CHARS
    assert "Ages are whole" not in (await offers.offer(AGES, "n", "trade", "r-1/1")).guidance
    await registry.move(standard.version_id, "deprecated", by="operator", reason="old")
    assert (await offers.offer(AGES, "n", "people", "r-1/1")).guidance.startswith("Ages are whole.")


async def test_a_share_of_the_requests_is_held_out_and_stays_so() -> None:
    offers, world = await made(holdout=0.25)
    await world.registry.publish(new("coding-standard", kind="standard", content="Seed every generator."))
    found = [await offers.offer(AGES, "n", "root", f"r-{n}/7.1/1") for n in range(40)]
    assert all(each.standard for each in found), "the held out ones name the standard too: they are counted beside it"
    assert {bool(each.guidance) for each in found} == {True, False}
    share = sum(not is_guided(f"r-{n}", 0.25) for n in range(2_000)) / 2_000
    assert 0.2 < share < 0.3
    assert all(is_guided(f"r-{n}/a", 0.25) == is_guided(f"r-{n}/b.2/1", 0.25) for n in range(100))


async def test_without_a_registry_there_is_nothing() -> None:
    class Closed:
        @property
        def registry(self) -> Any:
            raise RegistryUnavailable("opening")

    desk: Any = Closed()
    found = await Offers(desk, holdout=0.0).offer(AGES, "n", "root", "r-1")
    assert (found.candidates, found.guidance, found.standard) == ((), "", "")
    offers, _ = await made()
    assert (await offers.offer(" \x00 ", "n", "root", "r-1")).candidates == ()
