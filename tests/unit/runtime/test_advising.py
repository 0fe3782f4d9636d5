"""What is learned from use: stars by measured reuse, breakthroughs told and distilled, standards that the programs keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.code_review import PRINCIPLES_SCHEMA
from registry.inspect import inspect
from registry.records import Version
from registry.standards import rules_of
from registry.upkeep import fold, learn
from runtime.config.registry import RegistrySettings
from runtime.programs.advising import Advising, slug, standard_text
from runtime.programs.asks import Said
from runtime.programs.offers import Offers
from tests.fakes.registry import World, cases, new

DOCUMENTED = 'def run(inputs):\n    """One."""\n    return {}\n'
PLAIN = "def run(inputs):\n    return {}\n"


class Asks:
    def __init__(self, *, able: bool = True) -> None:
        self._able = able
        self.asked: list[str] = []
        self.data: Any = None
        self.why = ""

    def able(self, need: str) -> str | None:
        return "cheap" if self._able else None

    async def awake(self, name: str, role: str, speciality: str, prompt: str) -> bool:
        return True

    async def ask(self, text: str, *, node: str | None, need: str, schema: Any = None) -> Said | None:
        assert node == "advisor"
        self.asked.append(text)
        if self.data is not None:
            return Said(text="", data=self.data, node="advisor", simulated=True)
        if schema is PRINCIPLES_SCHEMA:
            return Said(text="", data={"principles": ["Draw all at once."]}, node="advisor", simulated=True)
        rules = [{"check": "docstring"}, {"check": "annotated"}, {"check": "unheard_of"}]
        return Said(text="", data={"practices": ["Seed it."], "rules": rules}, node="advisor", simulated=True)


class Node:
    def __init__(self, name: str) -> None:
        self.spec = self
        self.name = name


class Cluster:
    def nodes(self) -> list[Node]:
        return [Node("n1"), Node("n2"), Node("n3")]


async def made(asks: Asks, **settings: Any) -> tuple[Advising, World, list[tuple[str, Mapping[str, Any]]]]:
    world, told = World(), []

    class Opened:
        pass

    desk: Any = Opened()
    desk.registry = await world.open()

    async def announce(topic: str, body: Mapping[str, Any]) -> None:
        told.append((topic, body))

    port, cluster = asks, Cluster()
    more: Any = {"settings": RegistrySettings(**settings), "announce": announce}
    return Advising(desk, port, cluster, **more), world, told  # type: ignore[arg-type]


async def program(world: World, name: str, code: str = DOCUMENTED, **more: Any) -> Version:
    fields = {"kind": "generator", "content": code + f"# {name}\n", "problem": "ages", "author": "n1", **more}
    return await world.registry.publish(new(name, **fields), cases("a"))


async def test_stars_come_from_nodes_that_ran_it_well() -> None:
    advising, world, _ = await made(Asks())
    version = await program(world, "ages")
    await world.run(version.version_id, "n1", good=20)
    await world.run(version.version_id, "n2", good=6)
    await world.run(version.version_id, "n3", good=3, bad=3)
    await fold(world.registry)
    await advising.round()
    stars = world.registry.catalog.stars[version.version_id]
    assert [(star.by, star.runs) for star in stars] == [("n2", 6)], "neither its author nor who had failures"
    await world.run(version.version_id, "n3", good=40)
    await fold(world.registry)
    await advising.round()
    assert {star.by for star in world.registry.catalog.stars[version.version_id]} == {"n2", "n3"}


async def test_a_breakthrough_is_told_once_and_distilled() -> None:
    asks = Asks()
    advising, world, told = await made(asks, standard_after=100)
    parent = await program(world, "old", PLAIN)
    child = await program(world, "young", relation="fork", parents=(parent.version_id,))
    await world.run(parent.version_id, "n2", good=60, latency_s=0.5)
    await world.run(child.version_id, "n2", good=60, latency_s=0.05)
    await world.search()
    await learn(world.registry, await fold(world.registry))
    await advising.round()
    await advising.round()
    assert [(topic, body["version"]) for topic, body in told] == [("breakthrough", child.version_id)]
    assert "times as fast" in told[0][1]["gains"]
    assert "Before:\n```python\n" + PLAIN in asks.asked[0]
    found = world.registry.find("principles-young")
    content = await world.registry.content(found.version_id)
    assert "- Draw all at once." in content.content
    standing = world.registry.catalog.standings[found.version_id]
    assert (standing.state, standing.tags) == ("draft", ("simulated",)), "it is reviewed before anybody reads it"
    assert len(asks.asked) == 1
    desk: Any = advising._desk
    desk.search = await world.search()
    offers = Offers(desk, holdout=0.0)
    assert "Draw all at once." not in (await offers.offer("ages", "newcomer", "root", "r-1/1")).guidance
    await world.registry.release(found.version_id, (), by="review")
    offered = await offers.offer("ages", "newcomer", "root", "r-2/1")
    assert "- Draw all at once." in offered.guidance, "a node that never saw the old program reads what made the new one work"
    assert [each.version for each in offered.candidates if each.breakthrough] == [child.version_id]


async def test_a_standard_takes_up_only_what_successful_programs_keep() -> None:
    asks = Asks()
    advising, world, _ = await made(asks, standard_after=2)
    await program(world, "a")
    await advising.round()
    assert not asks.asked, "one program is no experience"
    await program(world, "b")
    await advising.round()
    await advising.round()
    assert len(asks.asked) == 1, "a draft that waits is not written again"
    version = await world.registry.content(world.registry.find("coding-standard").version_id)
    assert [rule.check for rule in rules_of(version.content)] == ["docstring"]
    assert "- Seed it." in version.content
    assert world.registry.catalog.standings[version.version_id].state == "draft"


async def test_a_locale_gets_practices_of_its_own_and_a_standard_is_renewed() -> None:
    asks = Asks()
    advising, world, _ = await made(asks, standard_after=2)
    for n in range(2):
        await program(world, f"p{n}", locale="People & Co")
    await advising.round()
    assert set(world.registry.catalog.artifacts) >= {"coding-standard", "practices-people-co"}
    assert world.registry.catalog.artifacts["practices-people-co"].locale == "People & Co"
    assert slug("***") == "locale"
    first = world.registry.find("coding-standard")
    await world.registry.move(first.version_id, "archived", by="review", reason="rejected")
    world.now += 10
    await advising.round()
    assert len(asks.asked) == 2, "nothing was learned since"
    asks.data = {"practices": ["Clip late."]}
    for n in range(2, 4):
        await program(world, f"p{n}")
    await advising.round()
    second = world.registry.find("coding-standard")
    assert (second.relation, second.parents) == ("modify", (first.version_id,))


async def test_without_a_model_a_standard_is_what_is_measured() -> None:
    advising, world, _ = await made(Asks(able=False), standard_after=2)
    await program(world, "a", PLAIN)
    await program(world, "b", PLAIN)
    await advising.round()
    version = await world.registry.content(world.registry.find("coding-standard").version_id)
    checks = {rule.check for rule in rules_of(version.content)}
    assert "snake_case" in checks
    assert not {"docstring", "annotated"} & checks
    assert standard_text(None, [], "") is None


async def test_answers_that_cannot_be_used_leave_nothing() -> None:
    asks = Asks()
    advising, world, _ = await made(asks, standard_after=1)
    await program(world, "a")
    for data in ({"practices": []}, {"practices": ["x" * 999]}, [], {"practices": ["a"], "rules": [{"check": 4}]}):
        asks.data = data
        await advising.round()
        assert "coding-standard" not in world.registry.catalog.artifacts


async def test_the_effect_of_a_standard_is_in_the_report() -> None:
    _, world, _ = await made(Asks())
    assert (await inspect(world.registry))["standards"]["effect"] is None
    world.evidence.wrote("", guided=False, ok=True)
    assert (await inspect(world.registry))["standards"]["effect"] is None, "nothing to compare with yet"
    for n in range(60):
        world.evidence.wrote("coding-standard@1.0.0", guided=True, ok=n % 10 > 0)
        world.evidence.wrote("coding-standard@1.0.0", guided=False, ok=n % 2 > 0)
    effect = (await inspect(world.registry))["standards"]["effect"]
    told = {arm: (effect[arm]["tries"], effect[arm]["passed"]) for arm in ("guided", "unguided", "before")}
    assert told == {"guided": (60, 54), "unguided": (60, 30), "before": (1, 1)}
    low, high = effect["unguided"]["interval"]
    assert 0.35 < low < 0.5 < high < 0.65
    assert abs(effect["difference"] - 0.4) < 1e-9
    assert effect["p_value"] < 0.01
