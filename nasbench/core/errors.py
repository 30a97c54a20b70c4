"""Named errors. Each message says what was wrong, with the value seen, what is allowed, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NasbenchError(Exception):
    """Base of every error that a user of this project can cause and cure."""


class ConfigError(NasbenchError):
    """A parameter is unknown, of the wrong type, out of range, or impossible with the others."""


class UnknownNameError(ConfigError):
    """A name is not registered in its family."""


class DatasetError(NasbenchError):
    """A dataset is absent, broken, or not what it was when it was indexed."""


class ScoreError(NasbenchError):
    """A score table holds NaN or infinite values, or belongs to other data."""


class SelectionError(NasbenchError):
    """A selector was asked for more examples than there are, or lacks a column it needs."""


class ProxyMismatchError(NasbenchError):
    """A proxy file was made from another dataset than the one it is used with."""


class GenotypeError(NasbenchError):
    """A genotype is of another space, or holds a gene, operation or edge that cannot be."""


class CheckpointError(NasbenchError):
    """A checkpoint or state dict is truncated, foreign, or does not fit."""


class TrainingError(NasbenchError):
    """Training or search cannot go on, for example because the loss is not finite."""


class TrackingError(NasbenchError):
    """The tracking store cannot be reached, written or understood, or another process holds it."""


class ComparisonError(NasbenchError):
    """Figures cannot be compared, summarised or drawn: none, not finite, or out of range."""


class RegistryError(NasbenchError):
    """The cell registry cannot do what was asked."""


class FileWriteError(NasbenchError):
    """A file could not be written; nothing half-written is left behind."""


class FileReadError(NasbenchError):
    """A file is absent, unreadable, or not of the expected form."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest of the known words, or an empty string.

    Args:
        word: What was typed.
        known: The words that would have been right.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
