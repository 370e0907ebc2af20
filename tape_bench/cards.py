"""Task cards and baseline tables: TOML files, read into frozen, validated values.

All faults of a file are reported at once, each with the place in the file it belongs to.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from tape_bench import text
from tape_bench.bounded import parse_toml, read_text
from tape_bench.errors import CardError

Kind = Literal["token_class", "sequence_class", "sequence_value", "residue_pair"]
"""What a task asks for: a class a residue, a class or a value a protein, contacts of pairs."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
"""What files and folders are named after: nothing in it leads elsewhere."""

Role = Literal["train", "valid", "test"]
LengthPolicy = Literal["error", "skip", "truncate", "window"]
"""What happens to a protein longer than the model can read."""


class _Declared(BaseModel):
    """A part of a card: immutable, and a key nobody knows is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="after")
    @classmethod
    def _steers_nothing(cls, value: Any) -> Any:
        """Refuse letters that would steer the terminal the card is shown in."""
        words = [value] if isinstance(value, str) else value if isinstance(value, tuple) else ()
        for word in words:
            if isinstance(word, str) and text.lines(word) != word:
                raise ValueError("holds control characters")
        return value


class Target(_Declared):
    """One thing the task predicts."""

    name: Name
    """First part of every metric id on it, e.g. `ss3` in `ss3.accuracy.pooled`."""
    field: str
    """Field of the record that holds it."""
    classes: int | None = Field(default=None, ge=2)
    """Number of classes, for class kinds."""
    labels: tuple[str, ...] = ()
    """One short name a class, in class order."""
    optional: bool = False
    """True where some data sets carry it and others do not."""
    unit: str = ""

    @model_validator(mode="after")
    def _labels_match(self) -> Self:
        if self.labels and len(self.labels) != self.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.classes} classes")
        return self


class SplitCard(_Declared):
    """One split: what it is for, and how many records TAPE's own file has."""

    role: Role
    records: int = Field(ge=1)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest of the official records (`tape-bench data status` prints it); None if unknown."""


class JoinedCard(_Declared):
    """Splits put together to one, as another benchmark has them."""

    of: tuple[str, ...] = Field(min_length=1)
    """Names of splits, train among them or not."""
    protocol: str
    """The one protocol it is scored under: it holds what others learn from, or have learnt from."""


class MetricCard(_Declared):
    """A metric the task reports, under the label readers know."""

    id: str = Field(pattern=r"^[^.\s]+\.\S+$")
    """`<target>.<definition>`: the id fixes what is computed, on what, and how it is pooled."""
    label: str

    @property
    def target(self) -> str:
        """Name of the target the metric is about."""
        return self.id.split(".", 1)[0]

    @property
    def definition(self) -> str:
        """The part of the id that `tape_bench.scoring` defines."""
        return self.id.split(".", 1)[1]


class LengthCard(_Declared):
    """What is done with proteins longer than the model, or `longest`, allows."""

    policy: LengthPolicy
    longest: int | None = Field(default=None, ge=1)


class ClusterCard(_Declared):
    """What tells which proteins belong together, and so are no independent evidence."""

    field: str
    """Field of the record whose value names the cluster; data without it have no clusters."""
    rule: str | None = None
    """Regular expression that the whole value matches; its one group is the cluster's name."""

    @model_validator(mode="after")
    def _rule_has_one_group(self) -> Self:
        try:
            groups = 1 if self.rule is None else re.compile(self.rule).groups
        except re.error as error:
            raise ValueError(f"rule {self.rule!r} is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"rule {self.rule!r} needs exactly one group, has {groups}")
        return self

    def name_of(self, value: str) -> str | None:
        """Return the name of the cluster, or None where the rule does not match the value."""
        if self.rule is None:
            return value
        matched = re.fullmatch(self.rule, value)
        return matched[1] if matched else None


class ParentCard(_Declared):
    """What the variants of a task are variants of: what scores without training compare with."""

    sequence: str | None = Field(default=None, pattern=r"^[A-Z]+$", max_length=10_000)
    """The one parent of all; None where each cluster has its own, the residues that most of its
    proteins have. Data of another parent have their own consensus."""


class SourceCard(_Declared):
    """Where the data comes from and how its files are named."""

    folder: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Folder, file prefix and tarball name: `<folder>/<folder>_<split>.lmdb`, `<folder>.tar.gz`."""
    urls: tuple[str, ...] = ()
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """Digest of the official tarball; None where it is not publicly known."""
    licence: str
    homepage: str = ""
    note: str = ""


class TaskCard(_Declared):
    """What a task measures, on which data, and how it is scored."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    version: str
    """Changes when the card changes in a way that can change a score."""
    title: str
    summary: str
    kind: Kind
    head: str
    """Default head."""
    pool: Literal["residues", "mean", "first"]
    """Default pooling of representations."""
    headline: str
    """The test split whose primary metric stands in tables."""
    primary: str
    """Metric id that stands in tables."""
    targets: tuple[Target, ...] = Field(min_length=1)
    splits: dict[Name, SplitCard]
    joined: dict[Name, JoinedCard] = {}
    """Splits put together to one; scored by name only: `--split NAME`."""
    metrics: tuple[MetricCard, ...] = Field(min_length=1)
    length: LengthCard
    cluster: ClusterCard | None = None
    """Which proteins belong together; None where only identical sequences do."""
    parent: ParentCard | None = None
    """What its proteins are variants of; None where they are not."""
    source: SourceCard
    citations: tuple[str, ...] = ()
    """Keys of `tasks/citations.bib`."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        faults = []
        roles = [split.role for split in self.splits.values()]
        # Which of them must be there is for the protocol to say: one may train nothing.
        for role in ("train", "valid"):
            if roles.count(role) > 1:
                faults.append(f"may have one split of role {role}, has {roles.count(role)}")
        tests = self.splits_of("test")
        if self.headline not in tests:
            faults.append(f"headline {self.headline!r} is not a test split (those are {tests})")
        faults += [
            f"joined split {name!r} is already a split"
            for name in self.joined
            if name in self.splits
        ]
        faults += [
            f"joined split {name!r} is made of {part!r}, which is no split"
            for name, joined in self.joined.items()
            for part in joined.of
            if part not in self.splits
        ]
        ids = [metric.id for metric in self.metrics]
        if len(set(ids)) < len(ids):
            faults.append("a metric id stands twice")
        if self.primary not in ids:
            faults.append(f"primary metric {self.primary!r} is not among the metrics")
        names = [target.name for target in self.targets]
        faults += [
            f"metric {metric.id!r} is about {metric.target!r}, which is no target ({names})"
            for metric in self.metrics
            if metric.target not in names
        ]
        needs_classes = self.kind in ("token_class", "sequence_class")
        faults += [
            f"target {target.name!r} {'needs' if needs_classes else 'cannot have'} classes"
            for target in self.targets
            if (target.classes is not None) != needs_classes
        ]
        if self.kind in ("token_class", "residue_pair") and self.pool != "residues":
            faults.append(f"kind {self.kind} needs pool 'residues', not {self.pool!r}")
        if self.kind in ("sequence_class", "sequence_value") and self.pool == "residues":
            faults.append(f"kind {self.kind} needs pool 'mean' or 'first': one vector a protein")
        if self.targets[0].optional:
            faults.append("the first target cannot be optional")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the card's content, independent of layout and comments."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def splits_of(self, role: Role) -> list[str]:
        """Return the names of the splits with this role."""
        return [name for name, split in self.splits.items() if split.role == role]

    def split_of(self, role: Role) -> str:
        """Return the name of the first split with this role.

        Raises:
            CardError: the card has none.
        """
        if names := self.splits_of(role):
            return names[0]
        raise CardError(
            f"the card of {self.name} has no split of role {role}",
            fix="declare one under [splits]",
        )

    def target(self, name: str) -> Target:
        """Return the target of this name."""
        return next(target for target in self.targets if target.name == name)


class Measurement(_Declared):
    """How a paper measured one task, and whether the score may stand beside ours."""

    metric: str
    """Our id of the metric the score is, or the published wording where none fits."""
    protocol: str
    """`finetune`, `frozen` (a head of their own on representations) or `zero_shot`."""
    moved: str = "all"
    """What training moved: `all`, `LoRA`, `head`, `nothing`."""
    split: str
    """A split of the task's card, or the published wording where it is none of them."""
    decimals: int = Field(default=2, ge=0, le=6)
    """Decimals it was published with."""
    task: str | None = None
    """The task, where the entry's key is not its name: a score beside the headline one."""
    lines: str = ""
    """Where in the source: lines, or the table and its row."""
    comparable: bool
    reason: str = ""
    """Why it is not comparable, or what to bear in mind."""

    @property
    def way(self) -> str:
        """Protocol and what moved, e.g. `finetune`, `finetune, LoRA` or `frozen, head`."""
        return self.protocol if self.moved == "all" else f"{self.protocol}, {self.moved}"

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if not self.comparable and not self.reason:
            raise ValueError("a score that is not comparable needs a reason")
        return self


class BaselineRow(_Declared):
    """One published model: its scores by task.

    A key that is no task's name is a score beside the headline one; its measurement has the task.
    """

    model: str
    scores: dict[str, FiniteFloat]
    note: str = ""
    lines: str = ""
    """Where in the source the row stands."""
    measured: dict[str, Measurement] = {}
    """By key, where this row was measured otherwise than the table's other rows."""
    ours: str | None = None
    """Name of our model that is the same, if there is one: measured again, it stands beside."""
    differs: dict[str, str] = {}
    """Key -> why our score of the same model differs."""


class BaselineTable(_Declared):
    """What one paper or repository published."""

    name: str
    title: str
    citation: str
    """Key of `tasks/citations.bib`."""
    source: str
    """Where exactly the scores stand."""
    beside: bool = True
    """Whether the rows stand in the leaderboard, too, or in the list of published scores only."""
    measured: dict[str, Measurement]
    rows: tuple[BaselineRow, ...]

    @model_validator(mode="after")
    def _every_figure_is_explained(self) -> Self:
        faults = [
            f"{row.model}: score for {task!r}, but [measured.{task}] is missing"
            for row in self.rows
            for task in row.scores
            if task not in self.measured and task not in row.measured
        ]
        faults += [
            f"{row.model}: [rows.measured.{task}] without a score for {task!r}"
            for row in self.rows
            for task in row.measured
            if task not in row.scores
        ]
        faults += [
            f"{row.model}: differs.{task} without a score for {task!r}"
            for row in self.rows
            for task in row.differs
            if task not in row.scores
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def measurement(self, row: BaselineRow, task: str) -> Measurement:
        """Return how a row's score was measured; the key is a task, or a score beside it."""
        return row.measured.get(task) or self.measured[task]


def read_task(path: Path) -> TaskCard:
    """Read one task card. Raises CardError listing all its faults."""
    return _read(path, TaskCard)


def read_baseline(path: Path) -> BaselineTable:
    """Read one baseline table. Raises CardError listing all its faults."""
    return _read(path, BaselineTable)


_Declaration = TypeVar("_Declaration", bound=_Declared)


def _read(path: Path, kind: type[_Declaration]) -> _Declaration:
    try:
        declared = parse_toml(read_text(path))
    except OSError as error:
        raise CardError(f"cannot read the card: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise CardError("the card is not UTF-8 text", where=str(path)) from error
    except ValueError as error:
        raise CardError(f"not valid TOML: {error}", where=str(path)) from error
    try:
        return kind.model_validate(declared)
    except ValidationError as error:
        faults = [
            f"  - {'.'.join(str(part) for part in fault['loc']) or 'card'}: "
            + fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        ]
        raise CardError(
            f"{len(faults)} fault{'s' * (len(faults) > 1)}:\n" + "\n".join(faults),
            where=str(path),
            fix="correct these entries; CONTRIBUTING.md shows a whole card",
        ) from error
