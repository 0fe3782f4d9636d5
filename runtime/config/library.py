"""The section ``[library]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from registry.alignment import Tiers
from registry.solution_records import LibrarySettings as Chosen
from registry.trust import TrustSettings
from runtime.config.section import Section

_Similarity = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
_Age = Annotated[float, Field(ge=0, le=3650 * 86_400.0, allow_inf_nan=False)]
_MONTH_S = 30 * 86_400.0


class TierSettings(Section):
    parameter_tuning: _Similarity = 0.95
    """From this similarity on only values differ; code runs again."""
    field_substitution: _Similarity = 0.85
    """A field or an entity is another; a model changes that alone."""
    logic_adaptation: _Similarity = 0.70
    """The logic differs; a model adapts the program."""
    combination: _Similarity = 0.60
    """Two programs are combined; below it everything is written anew."""
    paths: tuple[_Similarity, _Similarity, _Similarity] = (0.9, 0.7, 0.5)
    """From which similarities on the path has 3, 4 and 5 steps; it has 6 below."""


class FreshSettings(Section):
    text: _Age = _MONTH_S
    """Answers in words."""
    data: _Age = _MONTH_S
    """Answers in a form."""


class LibrarySettings(Section):
    enabled: bool = True
    """Give again what was answered and verified before, where the error bound allows it."""
    error_bound: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.01
    """Share of answers given to a request in other words that may be wrong."""
    confidence: Annotated[float, Field(ge=0.5, le=0.9999, allow_inf_nan=False)] = 0.95
    """How sure it must be, by counted outcomes, that the bound holds."""
    audit_share: Annotated[float, Field(ge=0.001, le=1, allow_inf_nan=False)] = 0.05
    """Share of what could be given again that is solved all the same, to see whether it should have been."""
    max_solutions: int = Field(default=100_000, ge=1, le=1_000_000)
    """Solutions that are kept; the oldest go."""
    flush_every_s: Annotated[float, Field(ge=0.05, le=86_400, allow_inf_nan=False)] = 30.0
    """How often what was learned goes from the ledger's journal to the tables."""
    max_run_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 5.0
    """Longest run of stored code; what takes longer is solved anew."""
    tiers: TierSettings = TierSettings()
    """Similarities that say how much has to change. Whether an answer is given is never theirs to say."""
    fresh_s: FreshSettings = FreshSettings()
    """How long an answer may be given again, in seconds, by what kind it is of. Code does not age."""

    @model_validator(mode="after")
    def _tiers_fall(self) -> Self:
        self.chosen()
        return self

    def chosen(self) -> Chosen:
        """What the library works with. Raises ValueError where tiers do not fall."""
        return Chosen(
            trust=TrustSettings(error_bound=self.error_bound, confidence=self.confidence, audit_share=self.audit_share),
            tiers=Tiers(**self.tiers.model_dump()),
            fresh_s=self.fresh_s.model_dump(),
            max_solutions=self.max_solutions,
        )
