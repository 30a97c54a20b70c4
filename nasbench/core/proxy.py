"""A proxy set: which training examples the search may see, and who chose them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench.core.errors import FileReadError, ProxyMismatchError
from nasbench.core.files import fingerprint, read_json, write_json
from nasbench.core.seeding import generator


@dataclass(frozen=True, kw_only=True, eq=False)
class ProxySet:
    """Row numbers of one dataset.

    Attributes:
        indices: int64 [k], sorted and unique.
        num_examples: Rows n of the dataset that was selected from.
        dataset: Fingerprint of that dataset (``""`` where a published list did not say).
        selector: Name and fields of the selector.
        seed: The seed of the selection.
        table: Fingerprint of the score table that was selected from (`ExampleTable.fingerprint`), or ``""`` where
            it is unknown: no table was needed, or the file is older than this entry.
    """

    indices: npt.NDArray[np.int64]
    num_examples: int
    dataset: str
    selector: Mapping[str, Any]
    seed: int
    table: str = ""

    def __post_init__(self) -> None:
        values = self.indices
        if values.ndim != 1 or len(values) == 0:
            raise ProxyMismatchError(f"a proxy's indices have shape {values.shape}; a list of them is needed.")
        falls = np.flatnonzero(np.diff(values) <= 0)
        if len(falls):
            row = int(falls[0])
            seen = f"{int(values[row + 1])} follows {int(values[row])}"
        elif int(values[0]) < 0 or int(values[-1]) >= self.num_examples:
            seen = f"they go from {int(values[0])} to {int(values[-1])}"
        else:
            return
        raise ProxyMismatchError(
            f"a proxy's indices must be sorted, unique and within 0 to {self.num_examples - 1}; {seen}. Select again."
        )

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over dataset and indices."""
        return fingerprint({"dataset": self.dataset, "indices": self.indices.tolist()})

    def halves(self, weight_fraction: float = 0.5) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Split into the part that trains the weights and the part that trains the alphas.

        The indices are shuffled first (with the proxy's own seed), as a selection may be ordered.

        Args:
            weight_fraction: Share of the weight part; the rest is the alpha part.

        Returns:
            Two disjoint int64 arrays.
        """
        order = generator(self.seed, "proxy-halves").permutation(self.indices)
        cut = int(weight_fraction * len(order))
        return order[:cut], order[cut:]

    def check_dataset(self, dataset: str, num_examples: int) -> None:
        """Refuse another dataset than the one that was selected from.

        Raises:
            ProxyMismatchError: Fingerprint or size differ.
        """
        if num_examples != self.num_examples or (self.dataset and dataset != self.dataset):
            raise ProxyMismatchError(
                f"this proxy is of dataset {self.dataset or 'unknown'} with {self.num_examples} examples, "
                f"not of {dataset} with {num_examples}. Make a proxy of this dataset."
            )


def save_proxy(path: Path | str, proxy: ProxySet, details: Mapping[str, Any] | None = None) -> None:
    """Write a proxy as JSON.

    Args:
        path: Where to.
        proxy: Its indices, both halves (``weight_indices`` and ``alpha_indices``), selector with fields, seed, and
            the fingerprints of dataset, table and proxy are written.
        details: Further plain values, for example of `nasbench.selectors.selection.describe`.

    Raises:
        FileWriteError: The file cannot be written.
    """
    weights, alphas = proxy.halves()
    write_json(
        path,
        {
            **(details or {}),
            "indices": proxy.indices.tolist(),
            "weight_indices": sorted(weights.tolist()),
            "alpha_indices": sorted(alphas.tolist()),
            "num_examples": proxy.num_examples,
            "dataset": proxy.dataset,
            "table": proxy.table,
            "selector": dict(proxy.selector),
            "seed": proxy.seed,
            "fingerprint": proxy.fingerprint,
        },
    )


def load_proxy(path: Path | str) -> ProxySet:
    """Read a proxy file; one that does not yet name its table is read with an unknown one.

    Raises:
        FileReadError: Absent, not JSON, or not a proxy file.
        ProxyMismatchError: Its indices do not agree with its fingerprint, or its seed not with its halves.
    """
    value = read_json(path)
    try:
        indices = np.asarray(value["indices"])
        if len(indices) and indices.dtype != np.int64:
            raise ValueError("'indices' must be whole numbers")
        proxy = ProxySet(
            indices=indices.astype(np.int64),
            num_examples=int(value["num_examples"]),
            dataset=str(value["dataset"]),
            selector=dict(value["selector"]),
            seed=int(value["seed"]),
            table=str(value.get("table", "")),
        )
        stamp, halves = value["fingerprint"], [value["weight_indices"], value["alpha_indices"]]
    except (KeyError, TypeError, ValueError) as error:
        raise FileReadError(
            f"{path} is not a proxy file ({type(error).__name__}: {error}). Make it with a selection."
        ) from error
    if proxy.fingerprint != stamp:
        raise ProxyMismatchError(
            f"{path} was altered after it was written: its indices have fingerprint {proxy.fingerprint}, the file "
            f"says {stamp}. Select again."
        )
    if [sorted(half.tolist()) for half in proxy.halves()] != halves:
        raise ProxyMismatchError(
            f"{path} was altered after it was written: seed {proxy.seed} does not give its weight_indices and "
            f"alpha_indices. Select again."
        )
    return proxy
