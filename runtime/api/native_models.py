"""What a native request may hold. Unknown fields are refused by name; what strategies, shapes and constraints mean is checked by
the rooms that own them.

Called by native.py. Pure: must not import a service.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agents.records import Importance, Json
from runtime.api.errors import bad_request
from runtime.api.routing_wish import RoutingWish

_COMMON_PARAMS = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
)
_TAKEN = frozenset({"model", "messages", "stream", "stream_options", "response_format", "morphogen", "n"})

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class NativeRequest(BaseModel):
    """The body of POST /v1/requests."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    prompt: Annotated[str, StringConstraints(min_length=1)] | None = None
    """What is asked, as text."""
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)] | None = None
    """What is asked, as OpenAI chat messages. Give this or prompt."""
    system: Annotated[str, StringConstraints(min_length=1)] | None = None
    """A system message before the prompt."""
    mode: Literal["sync", "async", "stream"] = "sync"
    """sync waits for the answer; async answers 202 with an id that survives any end of the daemon; stream sends events."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] = "auto"
    """auto, a backend, node/NAME or strategy/NAME."""
    backend: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """A backend to prefer, whatever node and strategy do the work."""
    strategy: Any = None
    """A strategy's name, or a strategy as JSON."""
    shape: Any = None
    """An example of the answer."""
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    """A JSON Schema of the answer. Give this or shape."""
    count: Annotated[int, Field(ge=1)] | None = None
    """How many items of the shape's list."""
    rules: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=2000)]], Field(max_length=100)] = []
    """Sentences that the answer must keep to; a model is told them."""
    constraints: list[Any] | None = None
    """Conditions on the answer's data that are checked by rule."""
    quality: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """The score that is wanted."""
    cache: bool | None = None
    """true: a stored answer will do, also of another backend than the named one; false: it is neither looked up nor kept."""
    importance: Importance = "normal"
    """How much depends on it."""
    budget_usd: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """Most that it may cost, in USD; 0 leaves only models that cost nothing."""
    budget_tokens: Annotated[int, Field(gt=0, le=10**12)] | None = None
    """Most tokens that it may take."""
    routing: RoutingWish | None = None
    """What quality may cost this request, where it differs from [routing]."""
    deadline_s: _Positive | None = None
    """Seconds from now until it must be answered."""
    params: Annotated[dict[str, Any], Field(max_length=64)] = {}
    """Further parameters for the backend, as they are."""
    temperature: Any = None
    top_p: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    seed: Any = None
    stop: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None

    def backend_params(self) -> dict[str, Json]:
        """The parameters for the backend, unchecked. Raises ApiError 400 for one that belongs elsewhere."""
        for name in self.params:
            if name in _TAKEN:
                raise bad_request(f"'params.{name}' cannot be set here", param=f"params.{name}")
        own = {name: getattr(self, name) for name in _COMMON_PARAMS}
        return {**self.params, **{name: value for name, value in own.items() if value is not None}}


class NewFeedback(BaseModel):
    """The body of POST /v1/requests/{id}/feedback."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    """How good the answer was: 0 useless, 1 perfect."""
    comment: Annotated[str, StringConstraints(max_length=2000)] = ""
    """Why."""
