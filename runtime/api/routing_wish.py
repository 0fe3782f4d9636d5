"""A request's own routing weights, as both surfaces take them. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.records import Json
from runtime.api.body import first_wrong

_Weight = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class RoutingWish(BaseModel):
    """What of ``[routing]`` this request weighs otherwise."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    objective: Literal["difference", "ratio"] | None = None
    """difference: quality - cost_weight x USD - latency_weight x seconds; ratio: quality^w / (cost^c x latency^l)."""
    quality_weight: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    """The power of quality in the ratio."""
    cost_weight: _Weight | None = None
    """What a US dollar is worth, in points of quality."""
    latency_weight: _Weight | None = None
    """What a second is worth, in points of quality."""

    def given(self) -> dict[str, Json]:
        """What was set."""
        return self.model_dump(exclude_none=True)


def read_wish(value: Json, *, param: str) -> dict[str, Json]:
    """The wishes of a JSON object. Raises ApiError 400 naming the field."""
    try:
        return RoutingWish.model_validate(value).given()
    except ValidationError as error:
        raise first_wrong(error, within=param) from None
