"""Bodies of the registry's routes, with their bounds. Called by registry.py and registry_routes.py of this room."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from registry.records import OPERATOR, Alias, Kind, Opinion, Relation, ReviewRole
from registry.versions import MAX_IMPROVEMENTS, MAX_TEXT_BYTES

Short = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Text = Annotated[str, StringConstraints(max_length=4_000)]
Content = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_BYTES)]
Lines = Annotated[list[Line], Field(max_length=MAX_IMPROVEMENTS)]
Cases = Annotated[list["TrialCase"], Field(max_length=100)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class TrialCase(_Body):
    """Inputs that the code is tried with, and what must come of them where that is known."""

    inputs: Any = None
    expected: Any = None
    name: Annotated[str, StringConstraints(max_length=128)] = ""


class NewArtifact(_Body):
    """The body of POST /v1/registry/artifacts."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    kind: Kind
    content: Content
    problem: Annotated[str, StringConstraints(min_length=1, max_length=4_000)]
    author: Short = OPERATOR
    description: Text = ""
    locale: Annotated[str, StringConstraints(max_length=128)] = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    relation: Relation = "new"
    parents: Annotated[list[Short], Field(max_length=16)] = Field(default_factory=list)
    improvements: Lines = Field(default_factory=list)
    number: Annotated[str, StringConstraints(max_length=24)] | None = None
    bump: Literal["major", "minor", "patch"] = "minor"
    base: Short | None = None
    cases: Cases = Field(default_factory=list)
    draft: bool = False
    """Keep it without publishing it; with cases it is checked, and reviews alone can publish it."""


class NewFork(_Body):
    """The body of POST …/fork. Without ``content`` the fork begins as its parent is."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    author: Short = OPERATOR
    content: Content | None = None
    problem: Annotated[str, StringConstraints(min_length=1, max_length=4_000)] | None = None
    locale: Annotated[str, StringConstraints(max_length=128)] | None = None
    improvements: Lines = Field(default_factory=list)
    cases: Cases = Field(default_factory=list)
    draft: bool = False


class NewReview(_Body):
    """The body of POST …/reviews."""

    reviewer: Short = OPERATOR
    role: ReviewRole
    opinion: Opinion
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    secure: bool | None = None
    concerns: Lines = Field(default_factory=list)
    strengths: Lines = Field(default_factory=list)
    required_changes: Lines = Field(default_factory=list)


class NewStar(_Body):
    """The body of POST …/stars."""

    by: Short = OPERATOR


class NewState(_Body):
    """The body of POST …/state."""

    to: Literal["deprecated", "archived", "restored"]
    reason: Annotated[str, StringConstraints(max_length=500)] = ""
    successor: Short | None = None


class NewAlias(_Body):
    """The body of POST …/alias. ``version`` is a number like 1.2.3; null takes the alias away."""

    alias: Alias
    version: Annotated[str, StringConstraints(max_length=24)] | None


class NewSnapshot(_Body):
    """The body of POST /v1/registry/snapshots."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
