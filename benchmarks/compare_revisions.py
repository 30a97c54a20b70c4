"""How much faster or slower one revision is than another, on one machine, in turns.

Run it as ``python -m benchmarks.compare_revisions REVISION [REVISION] [--benchmark NAME] [--lines TEXT] [--quick]
[--json [FILE]]``. Without a second revision the first is compared with the files as they are now. The product
(``nasbench``) is that of each revision, checked out into a temporary folder with ``git worktree``; the benchmark is the
present one, so that both are asked the same. Each revision runs in a process of its own; their calls alternate. The
ratio is median of the first over median of the second: above 1 the second is faster. Benchmarks that have an ``ours``
function can be run: supernet_step, discrete_network, optimizer_step.

``python -m benchmarks.compare_revisions --results OLD.json NEW.json`` compares stored results instead, line by line:
seconds of ours, and the ratios to the plain way, which also hold where the two files are of different machines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.common import BenchmarkError, Result, Timing, report
from nasbench.core.files import read_json

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = Path(__file__).resolve().parent
ROUNDS = 7
HERE = "the present files"


class Process:
    """A revision's worker.

    Args:
        label: Of the revision, for messages.
        package: Its ``nasbench`` folder.
        folder: An empty folder for what the worker imports.
        benchmark: Name.
        quick: Small sizes.
    """

    def __init__(self, label: str, package: Path, folder: Path, benchmark: str, quick: bool) -> None:
        self.label = label
        for name, target in (("nasbench", package), ("benchmarks", BENCHMARKS)):
            (folder / name).symlink_to(target, target_is_directory=True)
        command = [sys.executable, "-m", "benchmarks.revision_worker", benchmark, *(["--quick"] if quick else [])]
        self._process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self.names: list[str] = []
        self._package = package.resolve()

    def __enter__(self) -> Self:
        """Wait until it has imported its revision."""
        try:
            answer = self.ask({"do": "names"})
            if Path(answer["package"]) != self._package:
                raise BenchmarkError(f"{self.label}: the worker imported {answer['package']}, not {self._package}.")
        except BaseException:
            self.close()
            raise
        self.names = answer["names"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End the worker; it ends with its input."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def ask(self, request: dict[str, str]) -> Any:
        """Send a request and return the answer.

        Raises:
            BenchmarkError: The revision cannot do that.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise BenchmarkError(f"{self.label}: the worker has no pipes.")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        text = self._process.stdout.readline()
        answer = json.loads(text) if text else {"error": "the process died without a word"}
        if "error" in answer:
            raise BenchmarkError(f"{self.label} cannot run this benchmark: {answer['error']}.")
        return answer


@contextmanager
def checked_out(revision: str, folder: Path, root: Path = ROOT) -> Iterator[Path]:
    """Check a revision out into a folder that does not exist yet, and take it away again.

    Raises:
        BenchmarkError: There is no such revision, or no Git.
    """
    _git(root, "worktree", "add", "--detach", "--quiet", str(folder), revision)
    try:
        yield folder
    finally:
        _git(root, "worktree", "remove", "--force", str(folder))


def _git(root: Path, *arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"git {' '.join(arguments[:2])} failed: {done.stderr.strip() or done.returncode}.")


def compare_revisions(
    revisions: tuple[str, str | None],
    benchmark: str,
    *,
    quick: bool,
    rounds: int = ROUNDS,
    lines: str = "",
    root: Path = ROOT,
) -> list[Result]:
    """Time the lines that both revisions have.

    Args:
        revisions: The earlier one, and the later one or None for the present files.
        benchmark: Name of a module of `benchmarks` with a function ``ours``.
        quick: Small sizes.
        rounds: Calls of each.
        lines: Only lines whose name contains this.
        root: Of the checkout.

    Returns:
        ``plain`` is the earlier revision, ``ours`` the later one.

    Raises:
        BenchmarkError: A revision does not exist or cannot run the benchmark, or no line is left.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = []
        for number, revision in enumerate(revisions):
            place = root
            if revision is not None:
                place = stack.enter_context(checked_out(revision, folder / f"tree{number}", root))
            (folder / f"path{number}").mkdir()
            process = Process(revision or HERE, place / "nasbench", folder / f"path{number}", benchmark, quick)
            sides.append(stack.enter_context(process))
        names = [name for name in sides[1].names if name in sides[0].names and lines in name]
        if not names:
            raise BenchmarkError(f"{benchmark} has no line with {lines!r} that both revisions can run.")
        return [_in_turns(name, sides, rounds) for name in names]


def _in_turns(name: str, sides: Sequence[Process], rounds: int) -> Result:
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds):
        for side, found in zip(sides, seconds, strict=True):
            found.append(side.ask({"do": "time", "line": name})["seconds"])
    return Result(name=name, plain=Timing(seconds=tuple(seconds[0])), ours=Timing(seconds=tuple(seconds[1])))


def compare_results(old: Path, new: Path) -> list[Result]:
    """Compare two files of results.

    Returns:
        The lines that both have: ``plain`` are the old file's seconds of ours, ``ours`` the new file's; figures are
        both files' ratios to the plain way.

    Raises:
        BenchmarkError: The files are of different benchmarks, or share no line.
    """
    stored = [read_json(path) for path in (old, new)]
    if stored[0]["benchmark"] != stored[1]["benchmark"]:
        raise BenchmarkError(f"{old} is of {stored[0]['benchmark']}, {new} of {stored[1]['benchmark']}.")
    lines = [{line["name"]: line for line in file["results"]} for file in stored]
    results = []
    for name in (name for name in lines[1] if name in lines[0]):
        sides = [Timing(seconds=tuple(file[name]["ours"]["rounds_s"])) for file in lines]
        ratios = {f"{age}_ratio": file[name]["ratio"] for age, file in zip(("old", "new"), lines, strict=True)}
        line = Result(name=name, plain=sides[0], ours=sides[1])
        results.append(line.with_figures(**{key: value for key, value in ratios.items() if value is not None}))
    if not results:
        raise BenchmarkError(f"{old} and {new} share no line; they are of other sizes.")
    for key, value in stored[0]["machine"].items():
        if stored[1]["machine"].get(key) != value:
            print(f"{key} differs: {value} in the old file, {stored[1]['machine'].get(key)} in the new one")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="Compare two revisions, or two files of results.")
    parser.add_argument("revisions", nargs="*", metavar="REVISION", help="the earlier one, and the later one")
    parser.add_argument("--results", nargs=2, type=Path, metavar=("OLD", "NEW"), help="files of results instead")
    parser.add_argument("--benchmark", default="supernet_step")
    parser.add_argument("--lines", default="", metavar="TEXT", help="only lines whose name contains it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="a small size that only shows that it works")
    parser.add_argument("--json", type=Path, nargs="?", const=Path(), metavar="FILE", help="write the comparison")
    options = parser.parse_args(arguments)
    if (options.results is None) == (not options.revisions) or len(options.revisions) > 2:
        parser.error("give one or two revisions, or --results OLD NEW")
    if options.results is not None:
        results = compare_results(*options.results)
    else:
        earlier, *later = options.revisions
        results = compare_revisions(
            (earlier, later[0] if later else None), options.benchmark, quick=options.quick,
            rounds=2 if options.quick else options.rounds, lines=options.lines,
        )  # fmt: skip
    print("'plain' is the earlier revision or file, 'ours' the later one")
    report("compare_revisions", results, options.json)


if __name__ == "__main__":
    main()
