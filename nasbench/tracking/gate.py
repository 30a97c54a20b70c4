"""The gate: may a searched cell become the champion of its space?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from nasbench.config.component import component
from nasbench.core.errors import RegistryError
from nasbench.core.files import fingerprint

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a searched cell when it asks for promotion.

    Attributes:
        space: Name of its search space.
        genotype: Fingerprint of its genotype.
        selector: Name of what chose the proxy.
        searcher: Name of what searched.
        source: Name of the dataset that it was searched and measured on.
        protocol: Fingerprint of all that Top-1 depends on besides the cell (data, recipe, network shape);
            Top-1 of two cells is compared only under one protocol.
        seeds: Seeds behind the figures.
        num_random_cells: Cells of the random-sampling baseline.
        top1: Mean test accuracy of the trained cell, in [0, 1].
        relative_improvement: RI over random sampling, percent.
        relative_improvement_low: Lower end of its interval, percent.
        relative_improvement_high: Upper end, percent.
        confidence: Of the interval, in (0, 1).
        dvc_md5: DVC's md5 of the genotype's folder.
        commit: Git commit; not part of the fingerprint, since the same figures are the same evidence.
    """

    space: str
    genotype: str
    selector: str
    searcher: str
    source: str
    protocol: str
    seeds: tuple[int, ...]
    num_random_cells: int
    top1: float
    relative_improvement: float
    relative_improvement_low: float
    relative_improvement_high: float
    confidence: float
    dvc_md5: str = ""
    commit: str = ""

    def __post_init__(self) -> None:
        figures = (self.relative_improvement_low, self.relative_improvement, self.relative_improvement_high)
        if not 0.0 <= self.top1 <= 1.0:
            raise RegistryError(f"top1 {self.top1} must lie in 0 to 1. Give a share, not percent.")
        if not all(map(math.isfinite, figures)) or figures[0] > figures[2]:
            raise RegistryError(
                f"relative improvement {figures[1]} with the interval {figures[0]} to {figures[2]} is not "
                f"a finite number within ordered bounds. Compare the cells again."
            )
        if not 0.0 < self.confidence < 1.0:
            raise RegistryError(f"confidence {self.confidence} must lie between 0 and 1, for example 0.95.")

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits, equal for equal evidence, whatever the commit."""
        return fingerprint({name: value for name, value in self.to_plain().items() if name != "commit"})

    def to_plain(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**dataclasses.asdict(self), "seeds": list(self.seeds)}

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Evidence:
        """Build evidence from JSON values, the inverse of `to_plain`.

        Raises:
            RegistryError: A field is missing, unknown or of another type.
        """
        try:
            return cls(**{**value, "seeds": tuple(value["seeds"])})
        except (KeyError, TypeError) as error:
            raise RegistryError(f"not the evidence for a cell: {error}. Promote the cell again.") from error


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate says.

    Attributes:
        passed: Whether the cell may become champion.
        reasons: Why not, one sentence for each rule that failed; empty when passed.
        checks: One sentence for every rule, failed or not, with the numbers.
    """

    passed: bool
    reasons: tuple[str, ...]
    checks: tuple[str, ...]


@component
class Gate:
    """Decides on promotion; its fields are the section ``gate`` of params.yaml.

    Attributes:
        least_relative_improvement: Least RI over random sampling, percent.
        bound: What is held against it: ``low``, the lower end of RI's interval (the improvement is shown, not
            just seen), or ``estimate``.
        confidence: Of the interval, between 0 and 1; evidence with a less certain interval is refused.
        least_seeds: Least number of different seeds.
        least_cells: Least number of random cells in the baseline.
        margin: Points of Top-1 (0.5 is half a percent of the test images) by which a cell must beat the present
            champion of the same source and protocol. With 0 a tie is enough.

    Example:
        >>> Gate(least_relative_improvement=1.0).bound
        'low'
    """

    least_relative_improvement: Annotated[float, Field(ge=-100)] = 0.0
    bound: Literal["low", "estimate"] = "low"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    least_seeds: Annotated[int, Field(ge=1)] = 2
    least_cells: Annotated[int, Field(ge=1)] = 5
    margin: Annotated[float, Field(ge=0, le=100)] = 0.0

    def decide(self, candidate: Evidence, champion: Evidence | None = None) -> Decision:
        """Judge a candidate; the same arguments give the same decision.

        Args:
            candidate: Who asks.
            champion: The present champion of the same space and source, or None where there is none yet.
        """
        checks = [
            self._improves(candidate),
            self._is_certain(candidate),
            _at_least(len(set(candidate.seeds)), self.least_seeds, "seed"),
            _at_least(candidate.num_random_cells, self.least_cells, "random cell"),
            self._beats(candidate, champion),
        ]
        reasons = tuple(sentence for holds, sentence in checks if not holds)
        return Decision(passed=not reasons, reasons=reasons, checks=tuple(sentence for _, sentence in checks))

    def _improves(self, candidate: Evidence) -> tuple[bool, str]:
        low = self.bound == "low"
        value = candidate.relative_improvement_low if low else candidate.relative_improvement
        what = f"The lower end of the {candidate.confidence:.0%} interval of" if low else "The estimate of"
        holds = value >= self.least_relative_improvement
        verdict = "reaches" if holds else "is below"
        return holds, (
            f"{what} relative improvement, {value:+g} %, {verdict} the least asked for, "
            f"{self.least_relative_improvement:+g} %."
        )

    def _is_certain(self, candidate: Evidence) -> tuple[bool, str]:
        holds = candidate.confidence >= self.confidence - _ROUNDING
        verdict = "reaches" if holds else "is below"
        return holds, f"The interval's confidence, {candidate.confidence:g}, {verdict} {self.confidence:g}."

    def _beats(self, candidate: Evidence, champion: Evidence | None) -> tuple[bool, str]:
        if champion is None:
            return True, f"There is no champion on {candidate.source} yet to compare with."
        if champion.protocol != candidate.protocol:
            return True, (
                f"The champion's Top-1 was measured on {champion.source} under another protocol and is not compared."
            )
        points = 100.0 * (candidate.top1 - champion.top1)
        holds = points >= self.margin - _ROUNDING
        verdict = "reaches" if holds else "is below"
        return holds, (
            f"Top-1 {100 * candidate.top1:.3f} % is {points:+.3f} points from the champion's "
            f"{100 * champion.top1:.3f} %, which {verdict} the margin of {self.margin:g} points."
        )


def _at_least(number: int, least: int, what: str) -> tuple[bool, str]:
    holds = number >= least
    verdict = "reaches" if holds else "is below"
    return holds, f"The number of {what}s, {number}, {verdict} the least asked for, {least}."
