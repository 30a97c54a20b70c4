"""Repair of a store whose checkout has moved: MLflow writes artifact paths down as absolute ones."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nasbench.core.errors import TrackingError
from nasbench.tracking.store import database_file, exclusive

_LOCATION = re.compile(r"(?:file://)?(?P<store>/.*)/artifacts/[^/]+/?")
_BACKUP = "before-relocate"


def relocate(root: Path) -> dict[str, int]:
    """Make artifact paths point to where the store lies now.

    The former places are read from the experiments. In every text column of every table a path below one of
    them is put below the present place; other text is left alone. The database is copied to
    ``mlflow.db.before-relocate`` (``-2``, ``-3``, ...) first, and changed in one transaction.

    Args:
        root: The checkout's root, where it is now.

    Returns:
        ``table.column`` -> rows changed; empty where everything is in its place.

    Raises:
        TrackingError: There is no SQLite store, it is not MLflow's, its artifacts were never beside it, or
            another process holds it.
    """
    database = database_file(root)
    if database is None:
        raise TrackingError("MLFLOW_TRACKING_URI names a server, which keeps its own paths. Unset it to relocate.")
    if not database.is_file():
        raise TrackingError(f"there is no {database}. Run from the checkout that was moved together with mlruns/.")
    _refuse_if_open(database)
    with exclusive(database.parent / "locks" / "relocate.lock", seconds=0.0), _write_access(database) as connection:
        former = _former_places(connection, database)
        if not former:
            return {}
        _back_up(database)
        return _rewrite(connection, former, str(database.parent))


@contextmanager
def _write_access(database: Path) -> Iterator[sqlite3.Connection]:
    """Hold the database alone in one transaction; commit it, or nothing."""
    try:
        with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise TrackingError(f"{database} cannot be changed: {error}. End what uses it, then run again.") from error
    except sqlite3.DatabaseError as error:
        raise TrackingError(f"{database} is not a tracking store: {error}. Nothing was changed.") from error


def _refuse_if_open(database: Path) -> None:
    """Refuse while another process has the file open: an idle MLflow server holds no lock, but old paths."""
    import psutil

    for process in psutil.process_iter():
        try:
            files = [] if process.pid == psutil.Process().pid else process.open_files()
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
        if any(Path(file.path) == database for file in files):
            raise TrackingError(
                f"process {process.pid} ({process.name()}) has {database} open. End it (a running stage, or "
                f"'make ui'), then run again."
            )


def _former_places(connection: sqlite3.Connection, database: Path) -> list[str]:
    """Return the folders, other than the present one, in which the store's experiments have their artifacts."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"alembic_version", "experiments", "runs"} <= tables:
        raise TrackingError(f"{database} is not MLflow's: it lacks the tables of runs. Nothing was changed.")
    # The experiment 0 is made by MLflow itself, with the current folder of that moment; nothing is kept there.
    rows = connection.execute("SELECT name, artifact_location FROM experiments WHERE experiment_id <> 0")
    places = set()
    for name, location in rows:
        found = _LOCATION.fullmatch(location or "")
        if found is None:
            raise TrackingError(
                f"experiment {name!r} keeps its artifacts in {location}, which this project never does "
                f"(FOLDER/artifacts/EXPERIMENT). Nothing was changed."
            )
        places.add(found["store"])
    return sorted(places - {str(database.parent)})


def _back_up(database: Path) -> None:
    numbers = ["", *(f"-{number}" for number in range(2, 1000))]
    copies = (database.with_name(f"{database.name}.{_BACKUP}{number}") for number in numbers)
    copy = next(path for path in copies if not path.exists())
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _rewrite(connection: sqlite3.Connection, former: list[str], present: str) -> dict[str, int]:
    # A path begins the text or follows file:// or a quotation mark or blank (JSON), and ends at a slash or quote.
    places = "|".join(re.escape(place) for place in sorted(former, key=len, reverse=True))
    pattern = re.compile(rf"(^|file://|[\"'\s=])(?:{places})(?=/artifacts(?:[/\"'\s]|$)|/mlflow\.db)")

    def moved(text: str) -> str:
        return pattern.sub(lambda found: found[1] + present, text)

    connection.create_function("moved", 1, moved, deterministic=True)
    changed = {}
    for table, column in list(_text_columns(connection)):
        where = f"typeof({column}) = 'text' AND instr({column}, '/artifacts') AND moved({column}) <> {column}"
        count = connection.execute(f"UPDATE {table} SET {column} = moved({column}) WHERE {where}").rowcount  # noqa: S608 - names are the schema's own, quoted
        if count:
            changed[f"{table}.{column}".replace('"', "")] = count
    return changed


def _text_columns(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Yield each text column with its table, quoted for SQL."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (table,) in tables.fetchall():
        for _, column, kind, *_rest in connection.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall():
            if any(word in kind.upper() for word in ("CHAR", "TEXT", "CLOB", "JSON")):
                yield f'"{table}"', f'"{column}"'
