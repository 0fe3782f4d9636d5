"""What every table of the configuration has in common.

Imported by runtime/config/settings.py and its parts; imports nothing of the house.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table: unknown settings are errors, values do not change, and secrets are not shown in messages."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)
