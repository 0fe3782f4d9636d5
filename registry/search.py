"""Finding what others wrote: by words and by meaning at once, the two rankings fused, bad evidence held back.

Called by the operator routes and, through the daemon's hub, by nodes. Keeps the table ``cards``, which is derived from the
catalogue, the contents and the embedding model, and is made anew when one of them no longer fits. Imports nothing of the
project but this package.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from registry.artifacts import Registry
from registry.embedding import Embedder, Vectors
from registry.evidence import Usage, is_bad, success_floor
from registry.records import (
    CODE_KINDS,
    EmbeddingBusy,
    EmbeddingUnavailable,
    InvalidArtifact,
    Kind,
    RegistryDamaged,
    State,
    Version,
    VersionId,
)
from registry.table_specs import Column, TableSpec, Vector, all_of, any_of, quoted
from registry.tables import Row

log = logging.getLogger(__name__)

By = Literal["text", "code", "problem"]
RRF_K = 60
"""Reciprocal-rank fusion (Cormack, Clarke and Büttcher 2009): a hit counts 1 / (60 + its rank) in each ranking."""
CANDIDATES = 100
MAX_LIMIT = 50
MAX_QUERY_CHARS = 8_000
_WORDS_CHARS = 2_000
"""Of a query; what is longer says no more in words, and costs a look-up each."""
_CARD_CHARS = 20_000
_INLINE = 8
"""So many new cards are embedded while a search waits; the rest have words at once and vectors by and by."""
_BATCH = 64
_DIMENSION = 384


def cards(dimension: int = _DIMENSION) -> TableSpec:
    """The table of cards: a version each."""
    columns: dict[str, Column] = {}
    columns |= dict.fromkeys(("version_id", "name", "kind", "author", "locale", "state", "words", "model"), "text")
    columns |= dict.fromkeys(("problem_vector", "code_vector"), Vector(dimension))
    return TableSpec(name="cards", key="version_id", columns=columns, words="words", retention_s=3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """``text`` is words, a problem, or a piece of code, as ``by`` says. Filters that are None let everything pass;
    ``min_quality`` leaves out versions that were never run."""

    text: str
    by: By = "text"
    kind: Kind | None = None
    state: State | None = "published"
    author: str | None = None
    locale: str | None = None
    min_quality: float | None = None
    every_version: bool = False
    limit: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One version, without its content. ``score`` is the fused one; ``similarity`` the cosine where a vector found it; ``bad``:
    its executions speak against it (it is never the first)."""

    version: Version
    state: State
    score: float
    similarity: float | None
    usage: Usage | None
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``mode`` is words where there was no embedding to search with."""

    hits: tuple[Hit, ...]
    mode: Literal["hybrid", "words"]


def fuse(rankings: Iterable[Sequence[VersionId]]) -> dict[VersionId, float]:
    """Reciprocal-rank fusion of rankings, each the best first and without repeats."""
    scores: dict[VersionId, float] = {}
    for ranking in rankings:
        for rank, version_id in enumerate(ranking, 1):
            scores[version_id] = scores.get(version_id, 0.0) + 1.0 / (RRF_K + rank)
    return scores


def arrange(scores: Mapping[VersionId, float], usage: Mapping[VersionId, Usage]) -> list[VersionId]:
    """By score, ties by how surely a version succeeds. Those with bad evidence follow all others, and are left out where there
    are no others: one of them must never be the first."""

    def place(version_id: VersionId) -> tuple[bool, float, float, str]:
        known = usage.get(version_id)
        return is_bad(known), -scores[version_id], -(success_floor(known) if known else 0.0), version_id

    ordered = sorted(scores, key=place)
    return ordered if ordered and not is_bad(usage.get(ordered[0])) else []


def filter_of(query: Query) -> str:
    """The query's filters as the tables take them."""
    wanted = {"kind": query.kind, "state": query.state, "author": query.author, "locale": query.locale}
    return all_of(*(f"{column} = {quoted(value)}" for column, value in wanted.items() if value is not None))


def words_of(version: Version) -> str:
    """What a version is found by in words: names as they are and in their parts."""
    parts = (version.name, version.name.replace("_", " "), version.problem, version.description, *version.improvements)
    return " \n".join((*parts, version.content))[:_CARD_CHARS]


class Search:
    """Over one Registry. ``embedder`` None searches words only. Call ``open`` first."""

    def __init__(self, registry: Registry, embedder: Embedder | None) -> None:
        self._registry, self._embedder = registry, embedder
        self._tables = registry.tables
        self._states: dict[VersionId, State] = {}
        self._unembedded: set[VersionId] = set()
        self._refreshing = asyncio.Lock()

    async def open(self) -> None:
        """Open the cards and see what they lack. Raises RegistryUnavailable."""
        await self._tables.ensure(cards())
        rows = await self._tables.rows("cards", columns=["version_id", "state", "model"])
        self._states = {row["version_id"]: row["state"] for row in rows}
        model = self._embedder.model if self._embedder is not None else ""
        self._unembedded = {row["version_id"] for row in rows if row["model"] != model}

    async def find(self, query: Query) -> Found:
        """Raises InvalidArtifact (the query), RegistryUnavailable."""
        if not query.text.strip() or len(query.text) > MAX_QUERY_CHARS:
            raise InvalidArtifact("query", f"takes 1 to {MAX_QUERY_CHARS} characters")
        if not 1 <= query.limit <= MAX_LIMIT:
            raise InvalidArtifact("limit", f"must be from 1 to {MAX_LIMIT}")
        await self.refresh(embed=_INLINE)
        try:
            return await self._find(query)
        except RegistryDamaged as error:
            await self._begin_anew(error)
            return await self._find(query)

    async def _find(self, query: Query) -> Found:
        where = filter_of(query)
        matches = await self._tables.matching(
            "cards", query.text[:_WORDS_CHARS], where=where, columns=["version_id"], limit=CANDIDATES
        )
        rankings = [[VersionId(row["version_id"]) for row in matches]]
        similar: dict[VersionId, float] = {}
        vector = await self._embed([query.text])
        if vector is not None:
            column = "code_vector" if query.by == "code" else "problem_vector"
            near = await self._tables.nearest("cards", column, vector[0], where=where, columns=["version_id"], limit=CANDIDATES)
            similar = {VersionId(row["version_id"]): 1.0 - float(row["_distance"]) for row in near}
            rankings.append(list(similar))
        catalog = self._registry.catalog
        scores = {each: score for each, score in fuse(rankings).items() if self._passes(each, query)}
        hits: list[Hit] = []
        names: set[str] = set()
        for each in arrange(scores, catalog.usage):
            version = catalog.version(each)
            if len(hits) == query.limit or (version.name in names and not query.every_version):
                continue
            names.add(version.name)
            known = catalog.usage.get(each)
            state = catalog.standings[each].state
            hit = Hit(
                version=version, state=state, score=scores[each], similarity=similar.get(each), usage=known, bad=is_bad(known)
            )
            hits.append(hit)
        return Found(hits=tuple(hits), mode="words" if vector is None else "hybrid")

    def _passes(self, version_id: VersionId, query: Query) -> bool:
        """What the cards cannot say, or may say too late."""
        catalog = self._registry.catalog
        standing = catalog.standings.get(version_id)
        if standing is None or (query.state is not None and standing.state != query.state):
            return False
        if query.min_quality is None:
            return True
        known = catalog.usage.get(version_id)
        quality = known.quality if known is not None else None
        return quality is not None and quality >= query.min_quality

    # ── the cards ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def refresh(self, *, embed: int) -> int:
        """Bring the cards to what the catalogue says; at most ``embed`` of them get their vectors now. Returns how many still
        lack them.

        Raises RegistryUnavailable.
        """
        async with self._refreshing:
            catalog = self._registry.catalog
            new = [each for each in catalog.standings if each not in self._states]
            for start in range(0, len(new), _BATCH):
                await self._add(new[start : start + _BATCH], embed=len(new) <= embed)
            await self._move()
            if self._embedder is not None and self._embedder.ready:
                for _ in range(0, embed, _BATCH):
                    if not self._unembedded or not await self._embed_some(min(embed, _BATCH)):
                        break
            return len(self._unembedded) if self._embedder is not None else 0

    async def _add(self, version_ids: Sequence[VersionId], *, embed: bool) -> None:
        versions = list((await self._registry.contents.many(version_ids)).values())
        rows = [self._card(version) for version in versions]
        if embed and rows and await self._fill_vectors(versions, rows):
            unembedded: set[VersionId] = set()
        else:
            unembedded = {version.version_id for version in versions}
        await self._tables.merge("cards", rows)
        # What is lost has no card, and is not looked for again at every search.
        standings = self._registry.catalog.standings
        self._states.update({version_id: standings[version_id].state for version_id in version_ids})
        self._unembedded |= unembedded

    async def _move(self) -> None:
        standings = self._registry.catalog.standings
        moved: dict[State, list[VersionId]] = {}
        for version_id, state in self._states.items():
            standing = standings.get(version_id)
            if standing is not None and standing.state != state:
                moved.setdefault(standing.state, []).append(version_id)
        for state, version_ids in moved.items():
            for start in range(0, len(version_ids), _BATCH):
                part = version_ids[start : start + _BATCH]
                await self._tables.update("cards", {"state": state}, where=any_of("version_id", part))
                self._states.update(dict.fromkeys(part, state))

    async def _embed_some(self, count: int) -> bool:
        chosen = sorted(self._unembedded)[:count]
        versions = list((await self._registry.contents.many(chosen)).values())
        rows = [self._card(version) for version in versions]
        if rows and not await self._fill_vectors(versions, rows):
            return False
        await self._tables.merge("cards", rows)
        self._unembedded -= set(chosen)
        return True

    def _card(self, version: Version) -> Row:
        state = self._registry.catalog.standings[version.version_id].state
        return {
            "version_id": version.version_id,
            "name": version.name,
            "kind": version.kind,
            "author": version.author,
            "locale": version.locale,
            "state": state,
            "words": words_of(version),
            "model": "",
            "problem_vector": None,
            "code_vector": None,
        }

    async def _fill_vectors(self, versions: Sequence[Version], rows: Sequence[Row]) -> bool:
        texts = [f"{version.name.replace('_', ' ')}: {version.problem}" for version in versions]
        codes = [version.content for version in versions if version.kind in CODE_KINDS]
        vectors = await self._embed([*texts, *codes])
        if vectors is None or self._embedder is None:
            return False
        if vectors.shape[1] != self._dimension():
            await self._tables.recreate(cards(int(vectors.shape[1])))
            self._states.clear()
            self._unembedded.clear()
        rest = iter(vectors[len(texts) :])
        for version, row, vector in zip(versions, rows, vectors, strict=False):
            row["model"] = self._embedder.model
            row["problem_vector"] = vector.tolist()
            row["code_vector"] = next(rest).tolist() if version.kind in CODE_KINDS else None
        return True

    def _dimension(self) -> int:
        column = self._tables.spec("cards").columns["problem_vector"]
        return column.dimension if isinstance(column, Vector) else 0

    async def _embed(self, texts: Sequence[str]) -> Vectors | None:
        if self._embedder is None or not self._embedder.ready:
            return None
        try:
            return await self._embedder.embed(texts)
        except (EmbeddingUnavailable, EmbeddingBusy) as error:
            log.warning("searching by words alone: %s", error)
            return None

    async def _begin_anew(self, error: RegistryDamaged) -> None:
        log.error("the cards are made anew: %s", error)
        await self._tables.recreate(cards())
        self._states.clear()
        self._unembedded.clear()
        await self.refresh(embed=0)
