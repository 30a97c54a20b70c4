"""What a report shows: frozen plain values that mirror the stages' JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from nasbench.analysis.search_trajectory import SearchTrajectory
from nasbench.analysis.tables import ComparisonRow
from nasbench.config.component import component
from nasbench.core.errors import ConfigError

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(ge=0)]


def _check_bins(edges: tuple[float, ...], before: tuple[int, ...], after: tuple[int, ...]) -> None:
    bins = len(edges) - 1
    if len(before) != bins or len(after) != bins:
        raise ConfigError(
            f"a histogram with {len(edges)} edges needs {bins} counts before and after; "
            f"there are {len(before)} and {len(after)}."
        )


@component
class EntropyHistogram:
    """A histogram of log10(entropy in nats) with a proxy's share.

    The fields after ``selector`` are those of ``selectors.selection.describe(table, proxy)["entropy"]``.

    Attributes:
        proxy: Name of the proxy.
        selector: Registered name.
        bin_width: In decades.
        edges: [B+1].
        before: Examples of the dataset a bin, [B].
        after: Examples of the proxy a bin, [B].
        zeros_before: Examples of the dataset whose entropy is exactly 0.
        zeros_after: Of the proxy.
    """

    proxy: str
    selector: str
    bin_width: Positive
    edges: tuple[float, ...]
    before: tuple[Count, ...]
    after: tuple[Count, ...]
    zeros_before: Count = 0
    zeros_after: Count = 0

    def __post_init__(self) -> None:
        _check_bins(self.edges, self.before, self.after)


@component
class ScoreHistogram:
    """A histogram of any score with a proxy's share.

    Attributes:
        proxy: Name of the proxy.
        selector: Registered name.
        score: What stands below the axis, with its unit, for example ``reconstruction_loss``.
        edges: [B+1], ascending.
        before: Examples of the dataset a bin, [B].
        after: Examples of the proxy a bin, [B].
    """

    proxy: str
    selector: str
    score: str
    edges: tuple[float, ...]
    before: tuple[Count, ...]
    after: tuple[Count, ...]

    def __post_init__(self) -> None:
        _check_bins(self.edges, self.before, self.after)


@component
class TrainingCurve:
    """One training from scratch.

    Attributes:
        group: Trainings of one group share a colour, for example ``p1/darts`` or ``random-sampling``.
        dataset: Name of the dataset trained on.
        records: ``TrainResult.history``: one mapping an epoch; its key ``test_top1`` is shown.
    """

    group: str
    dataset: str
    records: tuple[Mapping[str, float], ...]


@component
class DrawnGenotype:
    """A genotype to draw.

    Attributes:
        title: For example ``p1/darts seed 0``.
        fingerprint: Of the genotype.
        cells: ``cells`` of its JSON file: kind -> ``nodes`` and ``concat``.
        parameters: Trainable numbers of its trained network, without the auxiliary head; None if unknown.
        macs: Multiply-adds for one image, likewise.
    """

    title: str
    fingerprint: str
    cells: Mapping[str, Mapping[str, Any]]
    parameters: Count | None = None
    macs: Count | None = None


@component
class CostRow:
    """What one item of a stage cost.

    Attributes:
        stage: For example ``search_cell``.
        item: For example ``p1-darts-0``; empty for a stage of one item.
        seconds: Wall time.
        peak_memory_bytes: Largest memory in use; None if not measured.
        parameters: Of the network, None where there is none.
        macs: Of the network for one image, likewise.
    """

    stage: str
    item: str = ""
    seconds: Positive
    peak_memory_bytes: Count | None = None
    parameters: Count | None = None
    macs: Count | None = None


@component
class LineageRow:
    """From data to registry; an empty field is shown as a dash.

    Attributes:
        item: For example ``p1-darts-0``.
        dataset: Fingerprint of the data.
        proxy: Fingerprint of the proxy set.
        genotype: Fingerprint of the genotype.
        run: MLflow's run id.
        version: Version in the registry.
    """

    item: str
    dataset: str = ""
    proxy: str = ""
    genotype: str = ""
    run: str = ""
    version: str = ""


@component
class GateOutcome:
    """What the gate asked for and decided.

    Attributes:
        decision: Whether the alias ``champion`` moved.
        candidate: Label of the row that stood before the gate.
        conditions: Name -> value, as in params.yaml (least RI, confidence, number of seeds, margin).
        reasons: Why; must not be empty where it refused.
        model: Registered model.
        version: Its version, empty if none.
        champion: Fingerprint of the present champion's genotype, empty if there is none.
    """

    decision: Literal["promoted", "refused"]
    candidate: str
    conditions: Mapping[str, float | int | str] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    model: str = ""
    version: str = ""
    champion: str = ""

    def __post_init__(self) -> None:
        if self.decision == "refused" and not self.reasons:
            raise ConfigError("a gate that refused must give reasons; 'reasons' is empty.")


@component
class ReportData:
    """Everything that the report shows.

    Build it from JSON with ``parse(ReportData, mapping)`` of `nasbench.config.component`; lists become tuples.

    Attributes:
        study: Name of the study.
        source: Name of the source dataset.
        target: Name of the target dataset; empty without a transfer.
        rows: Comparison on the source, random sampling among them.
        target_rows: Comparison on the target.
        gate: What the gate decided; None if it was not asked.
        cells: Genotypes to draw.
        histograms: One a proxy.
        trajectories: One a search.
        curves: One a training.
        costs: One an item of a stage.
        lineage: One a genotype.
        warnings: For example a collapse to parameter-free operations.
        parameters: Text of params.yaml.
        environment: Name -> value, for example versions and hardware.
    """

    study: str
    source: str
    target: str = ""
    rows: tuple[ComparisonRow, ...]
    target_rows: tuple[ComparisonRow, ...] = ()
    gate: GateOutcome | None = None
    cells: tuple[DrawnGenotype, ...] = ()
    histograms: tuple[EntropyHistogram, ...] = ()
    trajectories: tuple[SearchTrajectory, ...] = ()
    curves: tuple[TrainingCurve, ...] = ()
    costs: tuple[CostRow, ...] = ()
    lineage: tuple[LineageRow, ...] = ()
    warnings: tuple[str, ...] = ()
    parameters: str = ""
    environment: Mapping[str, str] = Field(default_factory=dict)
