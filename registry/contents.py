"""Contents of versions, verified by their hash: from the tables, or from the journal where a table's is damaged or missing.

Called by artifacts.py, search.py and inspect.py through ``Registry.contents``. Imports nothing of the project but this package.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from registry.catalog import from_row
from registry.journal import Journal
from registry.records import RegistryDamaged, RegistryUnavailable, UnknownArtifact, Version, VersionId
from registry.tables import Row, Tables
from registry.versions import verified
from registry.writer import Writer

log = logging.getLogger(__name__)


class Contents:
    """What is found to be damaged is repaired by the writer's next ``catch_up``."""

    def __init__(self, tables: Tables, journal: Journal, writer: Writer) -> None:
        self._tables, self._journal, self._writer = tables, journal, writer

    async def one(self, version_id: VersionId) -> Version:
        """Raises UnknownArtifact, HashMismatch, RegistryUnavailable."""
        self._writer.catalog.version(version_id)
        found = (await self._from_tables([version_id])).get(version_id)
        return found if found is not None else await self._from_journal(version_id)

    async def many(self, version_ids: Sequence[VersionId]) -> dict[VersionId, Version]:
        """All of them at once; those that are lost are left out, and logged. Raises RegistryUnavailable."""
        known = [each for each in version_ids if each in self._writer.catalog.standings]
        found = await self._from_tables(known)
        for version_id in known:
            if version_id not in found:
                try:
                    found[version_id] = await self._from_journal(version_id)
                except (RegistryDamaged, UnknownArtifact) as error:
                    log.error("%s is left out: %s", version_id, error)
        return found

    async def _from_tables(self, version_ids: Sequence[VersionId]) -> dict[VersionId, Version]:
        try:
            rows = await self._tables.get("versions", version_ids)
        except (RegistryDamaged, RegistryUnavailable) as error:
            log.error("contents are read from the ledger: %s", error)
            return {}
        sound = [self._sound(row) for row in rows]
        return {each.version_id: each for each in sound if each is not None}

    def _sound(self, row: Row) -> Version | None:
        try:
            found: Version = verified(from_row("versions", row))
        except RegistryDamaged as error:
            log.error("a content is read from the ledger: %s", error)
            return None
        known = self._writer.catalog.versions.get(found.version_id)
        return found if known is not None and known.content_hash == found.content_hash else None

    async def _from_journal(self, version_id: VersionId) -> Version:
        puts = await self._journal.newest("versions", [version_id])
        if not puts:
            raise UnknownArtifact(f"the content of {version_id} is lost")
        copy: Version = verified(from_row("versions", puts[0].row))
        self._writer.behind.add(("versions", version_id))
        return copy
