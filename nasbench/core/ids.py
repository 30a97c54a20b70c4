"""Names of rows that stay in Arrow's memory, so that 14 million of them need not be Python strings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 65_536  # rows turned into Python strings at a time


class ArrowStrings(Sequence[str]):
    """A sequence of strings over an Arrow column; it equals a tuple of the same strings.

    Args:
        column: Arrow strings without empty (null) entries.

    Raises:
        ValueError: An entry is empty, or the column holds something else.

    Example:
        >>> import pyarrow as pa
        >>> names = ArrowStrings(pa.chunked_array([["ant", "bee"], ["cat"]]))
        >>> names[-1], names[:2] == ("ant", "bee"), len(names)
        ('cat', True, 3)
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        from pyarrow import types

        if not (types.is_string(column.type) or types.is_large_string(column.type)):
            raise ValueError(f"the names are of type {column.type}; strings are needed")
        if column.null_count:
            raise ValueError(f"{column.null_count} of {len(column)} names are missing")
        self._column = column

    @property
    def column(self) -> pa.ChunkedArray:
        """The Arrow column itself."""
        return self._column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return ArrowStrings(self._column.slice(start, max(stop - start, 0)))
            return tuple(self[row] for row in range(start, stop, step))
        row = index if index >= 0 else index + len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)} names")
        return str(self._column[row].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self._column.slice(start, _BLOCK).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ArrowStrings) and self._column.type == other._column.type:
            return bool(self._column.equals(other._column))
        if isinstance(other, ArrowStrings | tuple):
            return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))  # as that of the tuple which it equals

    def __repr__(self) -> str:
        some = ", ".join(repr(name) for name in self[:3])
        return f"ArrowStrings({len(self)}: {some}{', ...' if len(self) > 3 else ''})"


def to_arrow(ids: Sequence[str], num_rows: int) -> Any:
    """Return names as an Arrow column, without a detour over Python strings where they came from one.

    Args:
        ids: Names of the rows; where there are none, their numbers are their names.
        num_rows: How many rows.
    """
    import numpy as np
    import pyarrow as pa

    if isinstance(ids, ArrowStrings):
        return ids.column
    if not ids:
        return pa.array(np.arange(num_rows), pa.int64()).cast(pa.string())
    return pa.array(ids, pa.string())
