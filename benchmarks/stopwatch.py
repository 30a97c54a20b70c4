"""Where the time of a running program goes, by functions that are wrapped from outside.

Used by ``python -m benchmarks.search_profile [--quick] [--json [FILE]]``; nothing runs here. Time counts for the
innermost category that is open: data that is made within a logged block counts as data. A category may keep what
is within it.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from benchmarks.common import BenchmarkError

REST = "rest"


class Stopwatch:
    """Seconds by category, all of which sum to the time it ran.

    Args:
        keeping: Categories within which nothing else is counted.

    Attributes:
        seconds: By category; what belongs to none is `REST`.
        calls: Times that a category was entered.
    """

    def __init__(self, keeping: frozenset[str] = frozenset()) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._keeping = keeping
        self._open: list[str] = [REST]
        self._since = time.perf_counter()

    @contextmanager
    def within(self, category: str) -> Iterator[None]:
        """Count the block for a category."""
        if self._open[-1] in self._keeping:
            yield
            return
        self.calls[category] += 1
        self._switch()
        self._open.append(category)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def _switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def start(self) -> None:
        """Forget the time since it was made."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Count what has passed since the last switch."""
        self._switch()

    def timed(self, function: Any, category: str) -> Any:
        """Return a function that counts its own time."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.within(category):
                return function(*args, **kwargs)

        return wrapped

    def timed_iterator(self, function: Any, category: str) -> Any:
        """Return a function whose iterator counts the making of each of its values."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Iterator[Any]:
            values = iter(function(*args, **kwargs))
            while True:
                with self.within(category):
                    value = next(values, REST)
                if value is REST:
                    return
                yield value

        return wrapped


@contextmanager
def watching(
    watch: Stopwatch,
    functions: Mapping[str, Sequence[tuple[Any, str]]],
    iterators: Mapping[str, Sequence[tuple[Any, str]]],
) -> Iterator[Stopwatch]:
    """Wrap functions for the time of the block, in which the clock runs.

    Args:
        watch: Takes the seconds.
        functions: Category -> (owner, name) of functions.
        iterators: The same of functions that return iterators.

    Raises:
        BenchmarkError: There is no such function; it may have got another name.
    """
    with ExitStack() as stack:
        for found, wrap in ((functions, watch.timed), (iterators, watch.timed_iterator)):
            for category, places in found.items():
                for owner, name in places:
                    if not hasattr(owner, name):
                        raise BenchmarkError(f"{owner} has no {name!r} to be timed as {category}. Name the new one.")
                    stack.enter_context(mock.patch.object(owner, name, wrap(getattr(owner, name), category)))
        watch.start()
        yield watch
        watch.stop()
