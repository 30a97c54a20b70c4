"""Greedy k-center against three plain ways, and from a file.

The plain ways choose the farthest point and lower the distance of every point, k - 1 times:

- keeping all distances, by the defined arithmetic: differences in float64, squared and summed, kept as [k, n];
- keeping all distances, by matrix products: |x|^2 - 2 x c + |c|^2 in float64, one product a centre, kept as [k, n];
- a running minimum, by matrix products: the same, only the smallest distance kept.

The second part takes features from a file that is mapped, never read whole: the cost of a centre, how often the file
is read, the growth of memory, and what a tenth of ImageNet-1K would take (the cost of a centre grows with n and d).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.common import Result, Timing, compare, parse_options, peak_memory_of, report, timed
from nasbench.selectors.farthest_first import Traversal, farthest_first

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

_START = 7
_IMAGENET = (1_281_167, 2048, 128_116)  # rows, columns, a tenth of the rows


def made_up_features(num: int, dimensions: int) -> Features:
    """Return features as a trained network has them: classes that overlap, none below 0."""
    rng = np.random.default_rng(0)
    classes = rng.standard_normal((10, dimensions))
    features = classes[rng.integers(0, 10, num)] + rng.standard_normal((num, dimensions))
    return np.maximum(features, 0).astype(np.float32)


def plain(features: Features, k: int, *, products: bool, keep: bool) -> list[int]:
    """Return the centres in order, by one of the plain ways."""
    wide = features.astype(np.float64)
    norms = np.square(wide).sum(axis=1)
    kept = np.empty((k, len(wide))) if keep else np.empty((1, len(wide)))
    order, nearest = [_START], np.full(len(wide), np.inf)
    for number in range(k - 1):
        centre = order[-1]
        row = kept[number if keep else 0]
        if products:
            np.add(norms + norms[centre], -2.0 * (wide @ wide[centre]), out=row)
        else:
            row[:] = np.square(wide - wide[centre]).sum(axis=1)
        row[centre] = -np.inf
        np.minimum(nearest, row, out=nearest)
        order.append(int(nearest.argmax()))
    return order


def in_memory(num: int, dimensions: int, k: int, rounds: int) -> list[Result]:
    """Return one line for each plain way."""
    features = made_up_features(num, dimensions)

    def ours() -> list[int]:
        return [int(row) for row in farthest_first(features, k, _START).order]

    size = f"{num:,} x {dimensions}, k = {k:,}"
    peak = round(peak_memory_of(ours) / 1e6)
    cost = farthest_first(features, k, _START)
    lines = []
    for name, products, keep in (
        ("all distances kept, defined arithmetic", False, True),
        ("all distances kept, matrix products", True, True),
        ("running minimum, matrix products", True, False),
    ):

        def other(products: bool = products, keep: bool = keep) -> list[int]:
            return plain(features, k, products=products, keep=keep)

        line = compare(
            f"{size}: {name}", ours, other, rounds=rounds, check=lambda mine, theirs: set(mine) == set(theirs)
        )
        lines.append(
            line.with_figures(
                peak_mb=peak,
                plain_mb=round(num * k * 8 / 1e6 if keep else num * 8 / 1e6),
                distances_computed=f"{cost.num_distances / (num * k):.2f} n k",
            )
        )
    return lines


def write_features(path: Path, num: int, dimensions: int, block: int = 20_000) -> None:
    """Write made-up features block by block, so that making them needs no memory either."""
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(num, dimensions))
    rng = np.random.default_rng(0)
    classes = rng.standard_normal((1000, dimensions)).astype(np.float32)
    for start in range(0, num, block):
        rows = min(block, num - start)
        noise = rng.standard_normal((rows, dimensions), dtype=np.float32)
        stored[start : start + rows] = np.maximum(classes[rng.integers(0, 1000, rows)] + noise, 0)
    stored.flush()


def from_file(num: int, dimensions: int, sizes: tuple[int, ...]) -> list[Result]:
    """Return one line for each k: seconds, seconds a centre, readings of the file, memory, projection."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        write_features(path, num, dimensions)
        features = np.load(path, mmap_mode="r", allow_pickle=False)
        for k in sizes:

            def ours(k: int = k) -> Traversal:
                return farthest_first(features, k, _START)

            cost, seconds = timed(ours)
            name = f"from a file of {features.nbytes / 1e6:,.0f} MB, {num:,} x {dimensions}, k = {k:,}"
            lines.append(
                Result(name=name, ours=Timing(seconds=(seconds,))).with_figures(
                    ms_a_centre=1e3 * seconds / k,
                    times_read=round(cost.rows_read / num, 2),
                    distances_computed=f"{cost.num_distances / (num * k):.2f} n k",
                    peak_mb=round(peak_memory_of(ours) / 1e6),
                    imagenet_tenth_hours=projected_hours(seconds, cost),
                )
            )
    return lines


def projected_hours(seconds: float, cost: Traversal) -> float:
    """Return what a tenth of ImageNet-1K would take at the same seconds a distance, and the same share of n k.

    Distances have the same number of columns; the share falls as k grows, so this is too high rather than too low.
    """
    rows, _, k = _IMAGENET
    return round(seconds / len(cost.order) / cost.num_rows * rows * k / 3600, 2)


def main() -> None:
    """Run it; `--quick` takes small sizes."""
    options = parse_options("Greedy k-center against keeping all distances; and from a file.")
    if options.quick:
        lines = in_memory(4000, 64, 400, 2) + from_file(4000, 2048, (100, 400))
    else:
        lines = [*in_memory(50_000, 64, 1500, 3), *in_memory(50_000, 64, 5000, 2)]
        lines += from_file(150_000, 2048, (1500, 15_000))
    report("k_center", lines, options.json)


if __name__ == "__main__":
    main()
