"""What a user can ask of a run, checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from tape_bench import keywords, paths, protocols
from tape_bench.cache.precision import Stored
from tape_bench.cards import LengthPolicy
from tape_bench.data.opening import SAMPLE
from tape_bench.errors import UsageError, unknown_name

LARGEST_SEED = 2**32 - 1
"""Largest seed that every random generator in use takes."""

Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """What a user can ask of a run; the defaults are the benchmark's."""

    # Nothing is converted but what `keywords.plain` makes of lists, ranges and arrays.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    data: str | Path | None = None
    """A data root, a folder of tarballs, or `sample`; the fetched data if None."""
    protocol: str = "probe"
    options: Mapping[str, JsonValue] = Field(default_factory=dict)
    """The protocol's own, such as the probe's `head`, which `of` takes like any other setting."""
    splits: tuple[str, ...] = ()
    """Test splits to score; all of them if empty."""
    seeds: tuple[int, ...] | None = None
    """Seeds of training; the protocol's own if None: for the probe 0, 1 and 2 where a head is
    trained. One that is solved is the same for every seed and is solved once."""
    limit: Count | None = None
    """Use only the first so many records of each split: for trying out, not for scores."""
    length_policy: LengthPolicy | None = None
    longest: Count | None = None
    """Longest protein in residues; the model's own limit if None."""
    out: Path = Field(default_factory=paths.results)
    """Results root; `of` chooses another for a trial than for a run that counts."""
    cache_dtype: Stored | None = None
    """Precision that representations are kept in; float16 for a model in half precision, and
    float32 for any other, if None."""
    cache_limit: int | None = None
    """Bytes that kept representations may take on disk."""
    tokens_per_batch: Count | None = None
    """Tokens computed at once; what the model finds good if None."""
    devices: Count = 1
    """Processes, or groups of them, that share the sequences."""
    tensor_parallel: Count = 1
    """Processes that compute one network together."""

    @property
    def is_trial(self) -> bool:
        """True for a run on simulated data or on part of the records: no score to publish."""
        return str(self.data) == SAMPLE or self.limit is not None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Make settings from keywords, those of the protocol among them, None meaning the default.

        Raises:
            UsageError: an unknown setting, or a value that makes no sense.
        """
        asked = {name: value for name, value in given.items() if value is not None}
        protocol = asked.get("protocol", cls.model_fields["protocol"].default)
        if not isinstance(protocol, str):
            raise UsageError(f"protocol is given as {protocol!r}: it is a name")
        own = protocols.option_names(protocol)
        names = [*own, *(name for name in cls.model_fields if name != "options")]
        for name in asked:
            if name not in names:
                raise unknown_name("setting", name, names)
        of_protocol = {name: asked.pop(name) for name in own if name in asked}
        options = protocols.checked_options(protocol, of_protocol)
        try:
            settings = cls(**asked, options=options)
        except ValidationError as error:
            raise keywords.fault(error, asked) from None
        if "out" not in asked and settings.is_trial:
            return settings.model_copy(update={"out": paths.trials()})
        return settings

    @field_validator("splits", "seeds", "limit", "longest", "cache_limit", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return keywords.plain(value)

    @field_validator("out", mode="before")
    @classmethod
    def _path(cls, value: object) -> object:
        return Path(value) if isinstance(value, str) else value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is not None and (not seeds or len(set(seeds)) < len(seeds)):
            raise UsageError("seeds must be distinct, and at least one", fix="e.g. --seeds 0,1,2")
        for seed in seeds or ():
            if not 0 <= seed <= LARGEST_SEED:
                raise UsageError(f"a seed lies between 0 and {LARGEST_SEED}, not at {seed}")
        return seeds
