"""The run record: one score's whole story, as typed JSON with a published schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from tape_bench import text

SCHEMA_VERSION = 1

Status = Literal["started", "complete", "failed"]
DataStatus = Literal["official", "partial", "other", "simulated"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _in_letters(cls, value: Any) -> Any:
        """Spell out what is no letter: bytes of file names that are no UTF-8, terminal escapes."""
        if isinstance(value, list):
            return [cls._in_letters(item) for item in value]
        if isinstance(value, dict):
            return {cls._in_letters(name): cls._in_letters(item) for name, item in value.items()}
        if isinstance(value, int) and value.bit_length() > 63:
            raise ValueError("a number larger than any count is")
        return text.lines(value) if isinstance(value, str) else value


class SplitRecord(_Part):
    """What became of the records of one split."""

    digest: str
    """SHA-256 over the split's records (ids, sequences, targets)."""
    n_total: int
    """Records in the file."""
    n_scored: int
    """Records that were trained on or scored."""
    n_skipped: dict[str, int] = {}
    """Records left out, by reason."""
    n_shortened: dict[str, int] = {}
    """Records used in part or in windows, by reason."""


class DataRecord(_Part):
    """Which data the score is about."""

    source: str
    """Name of the data place: `sample`, or the name of the folder or tarball."""
    status: DataStatus
    """`official`: TAPE's own records, by digest; `partial`: no split larger than TAPE's and
    none under half of it; `other`: anything else; `simulated`: the built-in sample."""
    reason: str
    """What the status rests on."""
    digest: str
    """SHA-256 over the split digests."""
    splits: dict[str, SplitRecord]


class TaskRecord(_Part):
    """Which task was run."""

    id: str
    version: str
    kind: str
    card_digest: str
    headline: str
    """Test split that stands in tables."""
    primary: str
    """Metric id that stands in tables."""
    data: DataRecord


class EvidenceRecord(_Part):
    """What a user's model was seen to rest on; its record is reused only while that holds."""

    code: str
    """SHA-256 over the source files, functions and values that the model leads to, and over the
    files it reads."""
    packages: dict[str, str]
    """Versions of the installed packages among them, and of those that these require."""
    probes: list[float | None]
    """What it made of a few fixed proteins, as lengths and sums; null where it refused."""


class ModelRecord(_Part):
    """Which model was run."""

    spec: str
    name: str
    revision: str
    weights_digest: str | None
    parameters: int
    hidden_size: int
    longest_input: int | None
    dtype: str
    layer: int | None
    reading: dict[str, str]
    pretraining: list[str] | None
    """Pre-training data sets; an empty list is none, null is unknown."""
    control: bool
    rests_on: EvidenceRecord | None = None
    """For a user's own class, or a network changed in memory; any other model of tape-bench is
    told by its weights and the release."""


class ProtocolRecord(_Part):
    """How a head got from representations to predictions."""

    id: str
    version: str
    given: dict[str, Any]
    """What the user asked for."""
    resolved: dict[str, Any]
    """What was used, defaults filled in."""
    seeds: list[int]
    seed_matters: bool = True
    """Whether the scores depend on the seed; false where the head is solved, not trained."""
    selected: dict[str, Any] = {}
    """What was chosen on the validation split, by target and seed."""


class IntervalRecord(_Part):
    """Interval of one metric over the choice of proteins."""

    level: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    method: str
    draws: int
    """Bootstrap draws; 0 where the interval is computed without drawing."""
    n_clusters: int | None = None
    """Clusters of proteins it rests on, those of one sequence or, where the task's card names a
    field, of one cluster counting once; null in records that held every protein for its own."""


class MetricRecord(_Part):
    """One metric on one split."""

    id: str
    label: str
    split: str
    value: FiniteFloat | None
    """Mean over seeds; null where the metric is undefined."""
    undefined: str | None = None
    """Why there is no value."""
    per_seed: list[FiniteFloat | None]
    n: int
    """Proteins the value rests on."""
    n_left_out: dict[str, int] = {}
    """Proteins of the split the metric cannot score, by reason."""
    interval: IntervalRecord | None = None
    higher_is_better: bool
    primary: bool


class ResourcesRecord(_Part):
    """What the run took."""

    seconds: dict[str, float]
    """Wall time by phase."""
    residues: int
    """Residues represented."""
    residues_per_second: float | None
    recomputed_in_float32: int = 0
    """Sequences whose half-precision values were not finite and were computed again."""
    peak_memory_bytes: int
    """Largest resident size of the process so far."""


class ProvenanceRecord(_Part):
    """What ran, where."""

    package_version: str
    git_commit: str | None
    """Of the checkout that tape-bench itself runs from; null for an installed package. It says
    nothing of a user's model, which `model.rests_on` is about."""
    git_dirty: bool | None
    command: list[str]
    python: str
    packages: dict[str, str]
    devices: list[str]
    world: int
    """Number of processes."""
    started: str
    finished: str | None = None
    """UTC, ISO 8601."""


class PredictionsRecord(_Part):
    """Where the predictions are kept, by example id."""

    file: str
    """Path relative to the record."""
    digest: str
    """SHA-256 of the file."""


class RunRecord(_Part):
    """One task, one model, one protocol: the scores and everything needed to trust them."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    run_key: str
    """SHA-256 over everything that can change the scores."""
    status: Status
    error: str | None = None
    """What went wrong, for a failed run."""
    task: TaskRecord
    model: ModelRecord
    protocol: ProtocolRecord
    limit: int | None = None
    """Set when only the first so many records of each split were used: not a benchmark score."""
    metrics: list[MetricRecord] = []
    leakage: dict[str, int] = {}
    """By test split: sequences that also stand in the training split, letter for letter."""
    resources: ResourcesRecord | None = None
    provenance: ProvenanceRecord
    predictions: PredictionsRecord | None = None
    digest: str | None = None
    """SHA-256 over the record without this field; shows a later edit by hand."""

    def metric(self, id: str, split: str) -> MetricRecord | None:
        """Return the metric of this id on this split, if the record has it."""
        return next((m for m in self.metrics if m.id == id and m.split == split), None)

    @property
    def headline(self) -> MetricRecord | None:
        """The score that stands in tables."""
        return self.metric(self.task.primary, self.task.headline)
