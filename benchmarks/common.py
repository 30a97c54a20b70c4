"""What every benchmark shares: A B A B timing, peak memory, the machine, and the printed table.

A benchmark is a module with a ``main`` that is run as ``python -m benchmarks.<name> [--quick] [--json FILE]``:

    def main() -> None:
        options = parse_options("Greedy k-center against keeping all distances.")
        result = compare("k = 5,000", ours, plain, rounds=5, check=same)
        report("k_center", [result], options.json)
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from nasbench.core.errors import NasbenchError
from nasbench.core.files import write_json

_SHORT = 0.1  # seconds; one call of some milliseconds says more of the caches that it finds cold
T = TypeVar("T")
RESULTS = Path(__file__).resolve().parent / "results"
Figure = float | int | str
_KIB = 1024  # ru_maxrss is in KiB on Linux


class BenchmarkError(NasbenchError):
    """A benchmark's two sides disagree, or one of them failed."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall seconds of the rounds of one side.

    Attributes:
        seconds: One a round, in the order of measuring.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        """The fastest round."""
        return min(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of a benchmark.

    Attributes:
        name: What was done, with its size.
        ours: The product's way.
        plain: The plain way, or None where there is nothing to compare with (a projection, say).
        figures: Further figures by name with their unit in the name, for example ``peak_mb``.
    """

    name: str
    ours: Timing
    plain: Timing | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Median of the plain way over median of ours: how many times faster ours is."""
        return None if self.plain is None else self.plain.median / self.ours.median

    def with_figures(self, **figures: Figure) -> Result:
        """Return the same result with further figures."""
        return Result(name=self.name, ours=self.ours, plain=self.plain, figures={**self.figures, **figures})

    def as_json(self) -> dict[str, Any]:
        """Return plain values: medians, minima, every round, ratio, figures."""
        sides = {"ours": self.ours, "plain": self.plain}
        timings = {
            side: {"median_s": timing.median, "minimum_s": timing.minimum, "rounds_s": list(timing.seconds)}
            for side, timing in sides.items()
            if timing is not None
        }
        return {"name": self.name, **timings, "ratio": self.ratio, "figures": dict(self.figures)}


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Return what a call returns, and its wall seconds; of a call under 0.1 s the mean of as many as fill that time."""
    start = time.perf_counter()
    value = call()
    seconds = time.perf_counter() - start
    if seconds >= _SHORT:
        return value, seconds
    number = math.ceil(_SHORT / max(seconds, 1e-6))
    start = time.perf_counter()
    for _ in range(number):
        call()
    return value, (time.perf_counter() - start) / number


def compare(
    name: str,
    ours: Callable[[], T],
    plain: Callable[[], T],
    *,
    rounds: int,
    check: Callable[[T, T], bool] | None = None,
    warm_up: bool = False,
) -> Result:
    """Time two ways of doing the same in turns: ours, plain, ours, plain, ...

    Args:
        name: Of the line.
        ours: The product's way.
        plain: The plain way.
        rounds: How often each is timed; at least 5, or 3 where a round takes more than ten seconds.
        check: Whether the two values agree; looked at in the first round, outside the timing.
        warm_up: Run both once before the first timed round (lazy initialisation, caches).

    Raises:
        BenchmarkError: ``check`` says no, or ``rounds`` is below 1.
    """
    if rounds < 1:
        raise BenchmarkError(f"{name}: {rounds} rounds cannot be timed. Take at least 1.")
    if warm_up:
        ours(), plain()
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        gc.collect()
        our_value, our_seconds = timed(ours)
        plain_value, plain_seconds = timed(plain)
        seconds[0].append(our_seconds)
        seconds[1].append(plain_seconds)
        if number == 0 and check is not None and not check(our_value, plain_value):
            raise BenchmarkError(f"{name}: ours and the plain way do not give the same. A ratio would mean nothing.")
        del our_value, plain_value
    return Result(name=name, ours=Timing(seconds=tuple(seconds[0])), plain=Timing(seconds=tuple(seconds[1])))


def measure(name: str, call: Callable[[], object], *, rounds: int) -> Result:
    """Time one way alone."""
    return Result(name=name, ours=Timing(seconds=tuple(timed(call)[1] for _ in range(rounds))))


def peak_memory_of(call: Callable[[], object]) -> int:
    """Return by how many bytes a call makes the resident memory grow at its peak.

    It runs in a forked child, so that one run's peak does not hide the next one's. What the call needs as input
    should exist already: then it is not counted. Pages of mapped files that the call touches do count.

    Where PyTorch is imported the child works with one thread, as its pool of threads does not survive a fork.

    Raises:
        BenchmarkError: The call raised, or its process died (out of memory, for example).
    """
    gc.collect()
    _give_back_free_memory()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure_child, args=(call, sender))
    child.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = "its process died without a word; it may have run out of memory"
    finally:
        child.join()
        receiver.close()
    if not isinstance(answer, int):
        raise BenchmarkError(f"the memory of a call could not be measured: {answer}.")
    return answer


def _give_back_free_memory() -> None:
    """Return freed memory to the system, lest the child takes it again and seems to need none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def _measure_child(call: Callable[[], object], sender: Connection) -> None:
    answer: int | str
    try:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        value = call()
        answer = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * _KIB
        del value
    except Exception as error:  # whatever it was, the parent must be told
        answer = f"{type(error).__name__}: {error}"
    sender.send(answer)
    sender.close()


def machine() -> dict[str, Figure]:
    """Return what the figures depend on: processor, cores, threads asked for, versions."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "python": platform.python_version(),
        **{package: _version(package) for package in ("numpy", "torch")},
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every benchmark takes on its command line.

    Attributes:
        quick: A small size that only shows that the benchmark works.
        json: File for the results, or None.
    """

    quick: bool
    json: Path | None


def parse_options(description: str, arguments: Sequence[str] | None = None) -> Options:
    """Read ``--quick`` and ``--json [FILE]`` from the command line.

    ``--json`` without a file means benchmarks/results/<name>.json.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small size that only shows that it works")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=Path(), metavar="FILE",
        help="write the results; without FILE to benchmarks/results/<name>.json",
    )  # fmt: skip
    found = parser.parse_args(arguments)
    return Options(quick=found.quick, json=found.json)


def report(name: str, results: Sequence[Result], json_path: Path | None = None) -> None:
    """Print a table of the results and the machine; write JSON if asked.

    Args:
        name: Of the benchmark, for the title and the default file.
        results: Its lines.
        json_path: Where to write; ``Path()`` for benchmarks/results/<name>.json, None for nowhere.
    """
    print(f"{name}\n{table(results)}\n{json.dumps(machine())}")
    if json_path is None:
        return
    target = RESULTS / f"{name}.json" if json_path == Path() else json_path
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, {"benchmark": name, "machine": machine(), "results": [line.as_json() for line in results]})


def table(results: Sequence[Result]) -> str:
    """Return the results as text: medians and minima in seconds, ratio of medians, further figures."""
    head = ("", "ours median / min s", "plain median / min s", "ratio", "further")
    rows = [head, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "  ".join("-" * width for width in (*widths[:-1], len(head[-1])))  # the last column may be very wide
    return "\n".join([lines[0], rule, *lines[1:]])


def _row(result: Result) -> tuple[str, ...]:
    plain = "" if result.plain is None else _seconds(result.plain)
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
    further = ", ".join(f"{key} {_figure(value)}" for key, value in result.figures.items())
    return (result.name, _seconds(result.ours), plain, ratio, further)


def _seconds(timing: Timing) -> str:
    return f"{timing.median:.4g} / {timing.minimum:.4g}"


def _figure(value: Figure) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
