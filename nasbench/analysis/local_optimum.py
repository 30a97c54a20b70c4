"""Searches that ended in a local optimum: cells without parameters, or mostly of skip connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nasbench.analysis.search_trajectory import SearchTrajectory
from nasbench.core.errors import ComparisonError

SKIP_SHARE = 0.5
"""Share of skip connections above which a search is said to slide into them; this project's, not a paper's."""

State = Literal["none", "skips", "parameter-free"]
"""How bad an epoch's cell is, worst last."""


@dataclass(frozen=True, kw_only=True)
class LocalOptimum:
    """What became of one search.

    Attributes:
        title: Of the search.
        states: One an epoch.
        alarm: The last epoch's.
        since: First epoch, counted from 1, from which on every epoch had an alarm; None without an alarm.
        skip_share: Of the last epoch's cells, 0 to 1.
        parameter_free_share: Likewise.
    """

    title: str
    states: tuple[State, ...]
    alarm: State
    since: int | None
    skip_share: float
    parameter_free_share: float

    @property
    def text(self) -> str:
        """Say it in one line."""
        free = f"{100 * self.parameter_free_share:.0f} % without parameters"
        shares = f"{100 * self.skip_share:.0f} % skip connections, {free}"
        if self.since is None:
            return f"{self.title}: no alarm ({shares})."
        what = "only operations without parameters" if self.alarm == "parameter-free" else "mostly skip connections"
        return f"{self.title}: {what} at the end, an alarm since epoch {self.since} of {len(self.states)} ({shares})."


def local_optima(trajectories: Sequence[SearchTrajectory], skip_share: float = SKIP_SHARE) -> tuple[LocalOptimum, ...]:
    """Judge the derived cells of every epoch of every search.

    ``parameter-free``: no operation has a parameter, which includes the "local optimum cell" of Moser et al., Less is
    More: Proxy Datasets in NAS Approaches, CVPR Workshops 2022, section 4.4.2 and figure 4 (skip connections only);
    ``skips``: more than ``skip_share`` of them are skip connections. The cell of the last epoch is judged, also where
    the search went back to an earlier one.

    Args:
        trajectories: Those without an epoch, or without the two shares, are left out.
        skip_share: Threshold, 0 to 1.

    Raises:
        ComparisonError: The threshold is out of range.
    """
    if not 0 <= skip_share <= 1:
        raise ComparisonError(f"skip_share {skip_share} must lie in 0 to 1.")
    return tuple(
        _judge(trajectory, skip_share)
        for trajectory in trajectories
        if trajectory.records and all(_has_shares(record) for record in trajectory.records)
    )


def _has_shares(record: Mapping[str, Any]) -> bool:
    return {"skip_share", "parameter_free_share"} <= record.keys()


def _judge(trajectory: SearchTrajectory, skip_share: float) -> LocalOptimum:
    states: list[State] = [
        "parameter-free"
        if record["parameter_free_share"] >= 1
        else "skips"
        if record["skip_share"] > skip_share
        else "none"
        for record in trajectory.records
    ]
    good = [epoch for epoch, state in enumerate(states, 1) if state == "none"]
    last = trajectory.records[-1]
    return LocalOptimum(
        title=trajectory.title,
        states=tuple(states),
        alarm=states[-1],
        since=None if states[-1] == "none" else 1 + max(good, default=0),
        skip_share=last["skip_share"],
        parameter_free_share=last["parameter_free_share"],
    )
