"""What a selection did: scores before and after, classes before and after, and which examples it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.analysis import plots
from nasbench.analysis.montage import montage
from nasbench.analysis.report_data import EntropyHistogram, ScoreHistogram
from nasbench.config.component import parse
from nasbench.core.proxy import ProxySet
from nasbench.core.table import FEATURES, ExampleTable

_BINS = 40
_WIDE = 1_000.0  # largest over smallest score, from which a logarithm shows more
_SHOWN = 14  # examples of a group
_BLOCK = 4_194_304  # numbers of the features looked at at a time: 32 MiB in float64


@dataclass(frozen=True, kw_only=True, eq=False)
class Score:
    """The one number an example that an explanation orders examples by.

    Attributes:
        name: Of the score, for example ``entropy``.
        values: float64 [n].
    """

    name: str
    values: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Examples that are shown together.

    Attributes:
        title: ``lowest``, ``middle``, ``highest`` or ``left out``.
        rows: int64 [m], row numbers in the order shown.
        examples: Id, label and score (None without scores) of each.
    """

    title: str
    rows: npt.NDArray[np.int64]
    examples: tuple[tuple[str, int, float | None], ...]

    @property
    def span(self) -> tuple[float, float] | None:
        """The least and the largest score of the group, or None without scores."""
        values = [score for _, _, score in self.examples if score is not None]
        return (min(values), max(values)) if values else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What is told of one proxy.

    Attributes:
        proxy: The proxy.
        classes_before: Examples of the dataset a class, [K].
        classes_after: Examples of the proxy a class, [K].
        score: Name of the score that orders the groups, or None.
        figures: Name -> SVG text: ``scores`` (only with scores) and ``classes``.
        groups: Up to three groups that were taken, and one that was left out (if any was).
        pictures: Title of a group -> PNG of its images; empty where no images were given.
        montage: PNG of all groups, a row each, or None.
    """

    proxy: ProxySet
    classes_before: tuple[int, ...]
    classes_after: tuple[int, ...]
    score: str | None
    figures: Mapping[str, str]
    groups: tuple[Group, ...]
    pictures: Mapping[str, bytes]
    montage: bytes | None


def explain(
    table: ExampleTable,
    proxy: ProxySet,
    details: Mapping[str, Any],
    *,
    needs: tuple[str, ...] = (),
    score: Score | None = None,
    pixels: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]] | None = None,
) -> Explanation:
    """Draw and list what a selection did.

    Args:
        table: What was selected from.
        proxy: What was selected from it.
        details: ``selectors.selection.describe(table, proxy)``.
        needs: Columns that the selector reads; the first of them orders the examples.
        score: What orders them instead.
        pixels: int64 [m] row numbers -> uint8 [m, H, W, C], to show pictures too.

    Raises:
        ProxyMismatchError: The proxy was selected from another dataset.
    """
    proxy.check_dataset(table.dataset, len(table))
    before, after = (tuple(int(count) for count in details["classes"][key]) for key in ("before", "after"))
    score = score or shown_score(table, needs)
    name = str(proxy.selector["name"])
    figures = {"scores": _draw_scores(name, proxy, score, details)} if score is not None else {}
    figures["classes"] = plots.class_counts(name, before, after)
    groups = groups_of(table, proxy, score)
    chosen = [pixels(group.rows) for group in groups] if pixels is not None else []
    return Explanation(
        proxy=proxy,
        classes_before=before,
        classes_after=after,
        score=None if score is None else score.name,
        figures=figures,
        groups=groups,
        pictures={group.title: montage([row]) for group, row in zip(groups, chosen, strict=bool(chosen))},
        montage=montage(chosen) if chosen else None,
    )


def shown_score(table: ExampleTable, needs: tuple[str, ...]) -> Score | None:
    """Return what orders the examples: what the selector reads, else the entropy, else the first column.

    Features, which are many numbers an example, are shown by their Euclidean distance from the mean of their class.

    Args:
        table: n rows.
        needs: Columns that the selector reads.
    """
    for column in needs:
        if column in table.columns:
            return Score(name=column, values=table.columns[column])
        if column == FEATURES and table.features is not None:
            return Score(name="distance of the features from the mean of their class", values=_distances(table))
    known = ("entropy", *sorted(table.columns))
    return next((Score(name=name, values=table.columns[name]) for name in known if name in table.columns), None)


def _distances(table: ExampleTable) -> npt.NDArray[np.float64]:
    """Return the distance of each row from its class's mean, float64 [n], without loading all of a mapped array."""
    features, labels = table.feature_rows(), table.labels
    step = max(1, _BLOCK // features.shape[1])
    blocks = [slice(start, start + step) for start in range(0, len(features), step)]
    counts = np.bincount(labels)
    means = np.zeros((len(counts), features.shape[1]))
    for block in blocks:
        np.add.at(means, labels[block], features[block])
    means /= np.maximum(counts, 1)[:, None]
    return np.concatenate([np.linalg.norm(features[block] - means[labels[block]], axis=1) for block in blocks])


def groups_of(table: ExampleTable, proxy: ProxySet, score: Score | None) -> tuple[Group, ...]:
    """Choose the examples to show: of those taken the lowest, middle and highest score, and some left out.

    Where nothing orders them, of those taken and of those left out a sample spread evenly over the rows.

    Args:
        table: n rows.
        proxy: k of them.
        score: What orders them, ties by row number; or None.
    """
    left = np.setdiff1d(np.arange(len(table), dtype=np.int64), proxy.indices, assume_unique=True)
    taken = proxy.indices
    if score is not None:
        taken = taken[np.argsort(score.values[taken], kind="stable")]
        left = left[np.argsort(score.values[left], kind="stable")]
    found = {"taken": _spread(taken)}
    if score is not None:
        middle = max(0, (len(taken) - _SHOWN) // 2)
        found = {"lowest": taken[:_SHOWN], "middle": taken[middle : middle + _SHOWN], "highest": taken[-_SHOWN:]}
    if len(left):
        found["left out"] = _spread(left)
    return tuple(
        Group(title=title, rows=rows, examples=tuple(_example(table, int(row), score) for row in rows))
        for title, rows in found.items()
    )


def _spread(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    count = min(_SHOWN, len(rows))
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def _example(table: ExampleTable, row: int, score: Score | None) -> tuple[str, int, float | None]:
    identity = table.ids[row] if len(table.ids) else str(row)
    return identity, int(table.labels[row]), None if score is None else float(score.values[row])


def _draw_scores(name: str, proxy: ProxySet, score: Score, details: Mapping[str, Any]) -> str:
    if score.name == "entropy" and "entropy" in details:
        fields = {"proxy": "proxy", "selector": name, **details["entropy"]}
        return plots.entropy_histogram(parse(EntropyHistogram, fields))
    return plots.score_histogram(_histogram(name, proxy, score))


def _histogram(name: str, proxy: ProxySet, score: Score) -> ScoreHistogram:
    """Count a score in equal bins: one a value for a few whole numbers, of the logarithm where it spans decades."""
    values, label = score.values, score.name
    low, high = float(values.min()), float(values.max())
    if bool(np.all(values == np.trunc(values))) and high - low <= 2 * _BINS:
        edges = np.arange(low, high + 2) - 0.5
    else:
        if low > 0 and high / low > _WIDE:
            values, label = np.log10(values), f"log10 of {score.name}"
        edges = np.histogram_bin_edges(values, bins=_BINS)
    before, after = (np.histogram(some, bins=edges)[0] for some in (values, values[proxy.indices]))
    return ScoreHistogram(
        proxy="proxy", selector=name, score=label, edges=tuple(edges.tolist()),
        before=tuple(before.tolist()), after=tuple(after.tolist()),
    )  # fmt: skip
