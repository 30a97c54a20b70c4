"""What a report shows: frozen plain values that mirror the stages' JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.analysis.tables import ComparisonRow
from nasbench.config.component import component
from nasbench.core.errors import ComparisonError, ConfigError

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
class SearchTrajectory:
    """What a search went through.

    Attributes:
        title: For example ``p1/darts seed 0``.
        operations: Group (``normal``, ``reduce``) -> names of the candidate operations, in alpha order; where they
            differ between edges, one list of names for each edge.
        records: ``SearchResult.trajectory``: one mapping an epoch; of its keys ``alphas`` (group -> [E][O], before
            softmax), ``alpha_entropy``, ``skip_share``, ``parameter_free_share`` and ``one_shot_top1`` are shown.
        drawn: Group -> SVG text of `plots.alpha_trajectory`, where it was drawn before; fourteen panels take a second.
        edges: Group -> name of each row of alphas, where they are not the edges of a cell in its usual order: for
            example ``node 1`` or ``layer 0``.
    """

    title: str
    operations: Mapping[str, tuple[str, ...] | tuple[tuple[str, ...], ...]]
    records: tuple[Mapping[str, Any], ...]
    drawn: Mapping[str, str] = field(default_factory=dict)
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def weights(self, group: str) -> npt.NDArray[np.float64]:
        """Return softmax(alpha) of a group, float64 [epochs, E, O].

        Raises:
            ComparisonError: There is no epoch, or alphas have another form than the operations.
        """
        try:
            alphas = np.asarray([record["alphas"][group] for record in self.records], dtype=np.float64)
            names = self.operations[group]
        except (KeyError, TypeError, ValueError) as error:
            raise ComparisonError(
                f"{self.title}: not every epoch has alphas [edges][operations] of group {group!r} ({error!r}). "
                f"Search again."
            ) from error
        rows = None if all(isinstance(name, str) for name in names) else len(names)
        counts = {len(names)} if rows is None else {len(row) for row in names}
        fits = alphas.ndim == 3 and {alphas.shape[2]} == counts and rows in {None, alphas.shape[1]}
        if not fits or not np.all(np.isfinite(alphas)):
            wanted = ", ".join(map(str, sorted(counts)))
            raise ComparisonError(
                f"{self.title}: alphas of group {group!r} have shape {alphas.shape}; finite numbers "
                f"[epochs, {rows or 'edges'}, {wanted}] are needed. Search again."
            )
        powers = np.exp(alphas - alphas.max(axis=2, keepdims=True))
        weights: npt.NDArray[np.float64] = powers / powers.sum(axis=2, keepdims=True)
        return weights

    def candidates(self, group: str) -> tuple[tuple[str, ...], ...]:
        """Return the names of the O candidate operations of each of the E edges.

        Raises:
            ComparisonError: As `weights`.
        """
        num_edges = self.weights(group).shape[1]
        rows = tuple(names for names in self.operations[group] if not isinstance(names, str))
        uniform = tuple(name for name in self.operations[group] if isinstance(name, str))
        return rows or (uniform,) * num_edges


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
