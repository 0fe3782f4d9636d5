"""What the network makes of its experience: stars after measured reuse, principles of breakthroughs, a coding standard.

Built and run by work.py beside reviewing.py, which reviews what is distilled here as it reviews code. An advisor node
writes; what machines can check of a standard is held against the programs first. Must not import dispatch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import orjson

from agents.code_review import (
    PRINCIPLES_SCHEMA,
    STANDARD_SCHEMA,
    Standard,
    Unusable,
    principles_of,
    principles_task,
    standard_of,
    standard_task,
)
from agents.llm.prompts import render
from agents.records import Json
from registry.artifacts import Registry
from registry.evidence import gains, is_bad
from registry.records import CODE_KINDS, NewVersion, NotAllowed, Version, VersionId
from registry.rules import STAR_RUNS
from registry.standards import CHECKS, Rule, broken
from registry.upkeep import BREAKTHROUGH
from registry.versions import readable
from runtime.cluster import Cluster
from runtime.config.registry import RegistrySettings
from runtime.programs.asks import Asks, Said
from runtime.programs.desk import SIMULATED
from runtime.programs.offers import PRINCIPLES, STANDARD
from runtime.programs.registry_desk import RegistryDesk

log = logging.getLogger(__name__)

ADVISOR: Final = "advisor"
ANNOUNCED: Final = "announced"
MAX_GOOD: Final = 12
"""Programs that the advisor is shown."""
MAX_STARS_A_ROUND: Final = 50
KEPT_BY: Final = 0.8
"""Share of the successful programs that must keep a rule before it is asked of others."""
KEPT_BY_ALONE: Final = 0.95
"""The same where no model chose the rule."""
_MACHINE_PART: Final = re.compile(
    r"(?:^- Keep the rule \w+[^\n]*\n)*\n?^```rules[ \t]*\n.*?^```[ \t]*\n?\Z", re.MULTILINE | re.DOTALL
)
Announce = Callable[[str, Mapping[str, Json]], Awaitable[None]]


class Advising:
    """``round`` is one look at what was learned. ``announce`` tells all nodes."""

    def __init__(
        self, desk: RegistryDesk, asks: Asks, cluster: Cluster, *, settings: RegistrySettings, announce: Announce
    ) -> None:
        self._desk, self._asks, self._cluster, self._settings, self._announce = desk, asks, cluster, settings, announce
        self._looked: dict[VersionId, int] = {}
        self._distilled: dict[str, float] = {}
        """Up to which program (by its time) a standard was asked for, whatever came of it."""

    async def round(self) -> None:
        """Raises RegistryUnavailable."""
        registry = self._desk.registry
        await self._star(registry)
        await self._tell(registry)
        for locale in locales(registry):
            await self._standardise(registry, locale)

    async def _star(self, registry: Registry) -> None:
        """Nodes star what served them: decided by their own runs of it, never by asking them."""
        names = [node.spec.name for node in self._cluster.nodes()]
        for version_id, usage in list(registry.catalog.usage.items())[:10_000]:
            if usage.runs < STAR_RUNS or self._looked.get(version_id) == usage.runs:
                continue
            if len(self._looked) >= 50_000:
                self._looked.clear()
            self._looked[version_id] = usage.runs
            given = {star.by for star in registry.catalog.stars.get(version_id, ())}
            for name in [name for name in names if name not in given][:MAX_STARS_A_ROUND]:
                try:
                    await registry.star(version_id, by=name)
                except NotAllowed:
                    continue

    # ── breakthroughs ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _tell(self, registry: Registry) -> None:
        for version_id, standing in list(registry.catalog.standings.items()):
            if BREAKTHROUGH not in standing.tags or standing.state != "published":
                continue
            version = registry.catalog.versions[version_id]
            why = gains_of(registry, version)
            if ANNOUNCED not in standing.tags:
                await self._announce(BREAKTHROUGH, {"version": version_id, "author": version.author, "gains": why})
                await registry.tag(version_id, ANNOUNCED)
            if version.parents and f"{PRINCIPLES}{version.name}"[:80] not in registry.catalog.artifacts:
                await self._principles(registry, version, why)

    async def _principles(self, registry: Registry, version: Version, why: str) -> None:
        contents = await registry.contents.many([version.version_id, *version.parents])
        before = next((contents[each].content for each in version.parents if each in contents), None)
        if before is None or version.version_id not in contents:
            return
        task = principles_task(before=before, after=contents[version.version_id].content, gains=why)
        said = await self._asked(task, PRINCIPLES_SCHEMA)
        if said is None:
            return
        try:
            lines = principles_of(said.data).principles
        except Unusable as error:
            log.info("the advisor's principles cannot be used: %s", error)
            return
        content = f"# What made {version.name} work ({why})\n\n" + "".join(f"- {line}\n" for line in lines)
        await self._drafted(registry, said, f"{PRINCIPLES}{version.name}"[:80], "prompt", content, version.locale)

    # ── standards ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _standardise(self, registry: Registry, locale: str) -> None:
        """Distil a standard when enough has been learned since the last one."""
        name = STANDARD if not locale else f"practices-{slug(locale)}"
        good = successful(registry, locale)
        known = registry.catalog.artifacts.get(name)
        made_at = registry.catalog.versions[known.latest].created_at if known is not None else 0.0
        since = max(made_at, self._distilled.get(name, 0.0))
        fresh = [each for each in good if each.created_at > since]
        pending = known is not None and registry.catalog.standings[known.latest].state == "draft"
        if len(fresh) < self._settings.standard_after or pending:
            return
        codes = [each.content for each in (await registry.contents.many([each.version_id for each in good[:MAX_GOOD]])).values()]
        said = await self._asked(standard_task(good=codes, failures=objections(registry), checks=bounds()), STANDARD_SCHEMA)
        if said is None and self._asks.able("critique") is not None:
            return  # another time: the bounds are reached
        self._distilled[name] = max(each.created_at for each in fresh)
        try:
            wanted = standard_of(said.data) if said is not None else None
        except Unusable as error:
            log.info("the advisor's standard cannot be used: %s", error)
            return
        content = standard_text(wanted, codes, locale)
        if content is not None:
            await self._drafted(registry, said, name, "standard", content, locale)

    async def _asked(self, task: str, schema: Mapping[str, Json]) -> Said | None:
        if self._asks.able("critique") is None or not await self._asks.awake(ADVISOR, "advisor", "code", render("advisor")):
            return None
        return await self._asks.ask(task, node=ADVISOR, need="critique", schema=schema)

    async def _drafted(self, registry: Registry, said: Said | None, name: str, kind: Json, content: str, locale: str) -> None:
        known = registry.catalog.artifacts.get(name)
        new = NewVersion(
            name=name,
            kind=kind,
            content=readable(content, 16_000) + "\n",
            problem=f"what to keep to when writing code{f' for {locale}' if locale else ''}",
            author=ADVISOR,
            locale=locale,
            relation="modify" if known is not None else "new",
            parents=(known.latest,) if known is not None else (),
        )
        made = await registry.draft(new, tags=(SIMULATED,) if said is not None and said.simulated else ())
        log.info("the advisor wrote %s", made.version_id)


# ── pure ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def slug(locale: str) -> str:
    """A locale's name as a part of an artifact's."""
    return re.sub(r"[^a-z0-9]+", "-", locale.lower()).strip("-")[:60] or "locale"


def bounds() -> dict[str, int]:
    """The machine checks that a rule may name, each with its bound."""
    return {name: most for name, (_, most) in CHECKS.items()}


def locales(registry: Registry) -> list[str]:
    """ "" for all, then each locale that has published code of its own."""
    catalog = registry.catalog
    own = {catalog.versions[each].locale for each, standing in catalog.standings.items() if standing.state == "published"}
    return ["", *sorted(own - {"", "root"})[:50]]


def successful(registry: Registry, locale: str) -> list[Version]:
    """Published programs of a locale ("": of all) that passed their checks in use, the most used first."""
    catalog = registry.catalog
    found = []
    for version_id, standing in catalog.standings.items():
        version, usage = catalog.versions[version_id], catalog.usage.get(version_id)
        used = usage is None or (not is_bad(usage) and usage.successes > 0)
        if standing.state == "published" and version.kind in CODE_KINDS and used and locale in ("", version.locale):
            found.append((-(usage.successes if usage is not None else 0), version.version_id, version))
    return [version for *_, version in sorted(found)]


def objections(registry: Registry) -> list[str]:
    """What reviewers objected to last, each once."""
    reviews = sorted((each for group in registry.catalog.reviews.values() for each in group), key=lambda each: -each.at)
    return list(dict.fromkeys(concern for review in reviews[:100] for concern in review.concerns))[:20]


def gains_of(registry: Registry, version: Version) -> str:
    """What a breakthrough gained over what it was made of, in words."""
    usage = registry.catalog.usage
    mine = usage.get(version.version_id)
    found = [str(gain) for each in version.parents if mine is not None and each in usage for gain in gains(mine, usage[each])]
    return "; ".join(dict.fromkeys(found)) or "measured"


def machine_part(text: str) -> str:
    """What ``standard_text`` says for machines, at the end of a standard: nobody revises that in prose; "" without it."""
    found = _MACHINE_PART.search(text)
    return found[0] if found is not None else ""


def standard_text(wanted: Standard | None, codes: Sequence[str], locale: str) -> str | None:
    """The standard as readers and machines read it. Only rules that the successful programs themselves keep are taken up; without
    a model these rules are all there is. None where nothing is left to say."""
    asked = [(rule.check, rule.most) for rule in wanted.rules] if wanted is not None else [(name, None) for name in CHECKS]
    least = KEPT_BY if wanted is not None else KEPT_BY_ALONE
    rules = [Rule(check=name, most=CHECKS[name][1] if most is None else most) for name, most in asked if name in CHECKS]
    kept = [
        rule for rule in dict.fromkeys(rules) if codes and sum(not broken(code, [rule]) for code in codes) >= least * len(codes)
    ]
    practices = list(wanted.practices) if wanted is not None else []
    if not practices and not kept:
        return None
    title = f"# Practices of {locale}" if locale else "# Coding standard"
    listed = "".join(f"- {line}\n" for line in practices)
    listed += "".join(f"- Keep the rule {rule.check}{f' (at most {rule.most})' if rule.most else ''}.\n" for rule in kept)
    block = orjson.dumps([{"check": rule.check, "most": rule.most} for rule in kept]).decode()
    return f"{title}\n\n{listed}" + (f"\n```rules\n{block}\n```\n" if kept else "")
