"""What a search went through, as its trajectory.json has it and its pictures show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import ComparisonError

Count = Annotated[int, Field(ge=0)]
_GROUPS = {"normal": "the normal cell", "reduce": "the reduce cell", "cell": "the cell"}


def group_name(group: str) -> str:
    """Return what a group of alphas is called in the title of a picture."""
    return _GROUPS.get(group, group)


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
            example ``node1`` or ``layer0``.
        arm: For example ``p1/darts``; the genotypes of an arm are counted together.
        chosen: Group -> for each row the number of the operation in the genotype, None where the row is not kept.
            Groups whose rows choose inputs are not there.
    """

    title: str
    operations: Mapping[str, tuple[str, ...] | tuple[tuple[str, ...], ...]]
    records: tuple[Mapping[str, Any], ...]
    drawn: Mapping[str, str] = field(default_factory=dict)
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arm: str = ""
    chosen: Mapping[str, tuple[Count | None, ...]] = field(default_factory=dict)

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


def trajectory_fields(title: str, stored: Mapping[str, Any], where: str = "the trajectory") -> dict[str, Any]:
    """Return the fields of a `SearchTrajectory` out of a search's trajectory.json.

    Args:
        title: Of the search.
        stored: The file's object. ``edges`` and ``chosen`` may be missing: files of earlier versions have none.
        where: The file, for the message.

    Raises:
        ComparisonError: It is no such file.
    """
    if not {"operations", "epochs"} <= stored.keys():
        raise ComparisonError(
            f"{where} is no trajectory of a search: it has {', '.join(sorted(stored)) or 'no keys'}, not "
            f"'operations' and 'epochs'. Give its trajectory.json."
        )
    return {
        "title": title, "operations": stored["operations"], "records": stored["epochs"],
        "edges": stored.get("edges", {}), "chosen": stored.get("chosen", {}),
    }  # fmt: skip
