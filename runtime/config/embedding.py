"""The section ``[embedding]``. Called by settings.py."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from runtime.config.section import Section


class EmbeddingSettings(Section):
    enabled: bool = True
    """Serve /v1/embeddings from the built-in sentence-transformers model."""
    model: str = "all-MiniLM-L6-v2"
    """The model's name; its weights come from an installed package or a folder."""
    path: Path | None = None
    """Folder of the weights, where they are not in a package."""
    max_batch: int = Field(default=64, ge=1, le=1024)
    """Texts embedded in one go."""
