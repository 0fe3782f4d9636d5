"""The section ``[registry]``. Called by settings.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from runtime.config.section import Section


class RegistrySettings(Section):
    enabled: bool = True
    """Keep and search the code and prompts that nodes write."""
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None
    """Folder of its tables, or an object store (s3://, gs://, az://); none: registry/ in the data folder."""
    storage_options: dict[Annotated[str, StringConstraints(max_length=100)], SecretStr] = Field(default_factory=dict)
    """Options of the object store, such as region or keys; values best as ${NAME}."""
    retention_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 7.0
    """How long old versions of the tables are kept for a look back; the ledger knows further back."""
    optimize_every_s: Annotated[float, Field(ge=1, le=604_800, allow_inf_nan=False)] = 3600.0
    """How often tables are compacted and old versions of them removed."""
    fold_every_s: Annotated[float, Field(ge=0.05, le=86_400, allow_inf_nan=False)] = 60.0
    """How often executions are added up, and acted on."""
    review: bool = True
    """Have reviewers look at the code that nodes wrote, and an advisor distil what it has in common."""
    review_every_s: Annotated[float, Field(ge=0.05, le=86_400, allow_inf_nan=False)] = 30.0
    """How often what waits for a review is looked at."""
    reviews_per_hour: Annotated[int, Field(ge=0, le=10_000)] = 60
    """Most questions an hour that reviewers and the advisor ask models; 0: checks and executions alone decide."""
    review_usd_per_day: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = 0.5
    """Most that these questions may cost in a day (UTC), in USD."""
    standard_after: Annotated[int, Field(ge=1, le=10_000)] = 10
    """So many further programs that worked make the advisor distil the coding standard anew."""
    guidance_holdout: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.1
    """Share of the programs that are written without the coding standard, so that its effect can be measured."""
