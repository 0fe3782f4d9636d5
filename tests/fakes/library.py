"""A library of solutions in memory, without embeddings, as the surfaces see one."""

from __future__ import annotations

from agents.records import Json
from registry.solutions import Library
from runtime.library.looked import Looked
from runtime.records import Request


class FakeLibrary:
    """``told`` is what was said of answers, ``asked`` what was asked in dry runs."""

    def __init__(self) -> None:
        self.library = Library(None)
        self.told: list[tuple[str, float]] = []
        self.asked: list[Request] = []

    def status(self) -> str:
        return "ok"

    def feedback(self, request_id: str, score: float, trace: Json = None) -> str:
        self.told.append((request_id, score))
        return "nothing"

    async def dry_run(self, request: Request) -> tuple[Looked | None, str]:
        self.asked.append(request)
        return Looked(result="miss", reason="nothing near"), "nothing near"
