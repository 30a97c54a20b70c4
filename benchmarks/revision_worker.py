"""Times the product's side of a benchmark's lines, one at a time, as `benchmarks.compare_revisions` asks.

Run by ``python -m benchmarks.compare_revisions`` as ``python -m benchmarks.revision_worker NAME [--quick]``, with a
``PYTHONPATH`` on which ``nasbench`` is that of one revision and ``benchmarks`` that of the present one. It reads one
JSON request a line and answers with one line: ``{"do": "names"}`` with the names of the lines, ``{"do": "time",
"line": ...}`` with the seconds of one call (of a line that it has not built yet after a first call that is not timed).
What goes wrong is answered, too.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import timed

Call = Callable[[], object]


class Worker:
    """Keeps the line that was asked for last.

    Args:
        builders: Name of a line -> builds its call.
    """

    def __init__(self, builders: Mapping[str, Callable[[], Call]]) -> None:
        self._builders = builders
        self._line = ""
        self._call: Call = lambda: None

    def answer(self, request: Mapping[str, str]) -> dict[str, Any]:
        """Do what is asked."""
        if request["do"] == "names":
            return {"names": list(self._builders), "package": str(_package())}
        if request["line"] != self._line:
            self._call = lambda: None  # the former line's memory is given back first
            gc.collect()
            self._call, self._line = self._builders[request["line"]](), request["line"]
            self._call()
        gc.collect()
        return {"seconds": timed(self._call)[1]}


def _package() -> Path:
    return Path(str(importlib.import_module("nasbench").__file__)).resolve().parent


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description="Times the product's side of a benchmark's lines.")
    parser.add_argument("name")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            if worker is None:
                worker = Worker(importlib.import_module(f"benchmarks.{options.name}").ours(options.quick))
            answer = worker.answer(json.loads(line))
        except Exception as error:  # whatever it was, the one who asks must be told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
