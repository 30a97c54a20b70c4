"""One process that has imported MLflow keeps the runs of many: they talk to it over a Unix socket.

Importing MLflow and its SQL store takes about five seconds of CPU in every process; a pipeline has dozens of
short ones. Whoever starts them opens a `Keeper` and passes its `environment` on. A process that does not find
the keeper, or one of another store, uses MLflow itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from nasbench.core.errors import ConfigError, NasbenchError, TrackingError
from nasbench.tracking.runs import MetricPoint, MlflowRuns, OpenedRun, RunRequest, Runs
from nasbench.tracking.store import tracking_uri

SOCKET = "NASBENCH_TRACKING_SOCKET"
"""Environment variable that tells started processes where the keeper listens."""

_TIMEOUT_SECONDS = 300.0


class Keeper:
    """Serves one store until the ``with`` block ends.

    MLflow is imported when the first run is opened, so that a pipeline with nothing to do does not pay for it.

    Args:
        root: The checkout's root.

    Attributes:
        environment: Variables for the processes to be started; empty where Unix sockets are not to be had, or the
            system's folder for temporary files has too long a path for one.

    Example:
        >>> with Keeper(Path(".")) as keeper:  # doctest: +SKIP
        ...     subprocess.run(command, env={**os.environ, **keeper.environment})
    """

    def __init__(self, root: Path) -> None:
        self.environment: dict[str, str] = {}
        self._root = root
        self._folder: Path | None = None
        self._server: socketserver.BaseServer | None = None

    def __enter__(self) -> Self:
        """Listen in a folder that nobody else can enter."""
        if hasattr(socketserver, "ThreadingUnixStreamServer"):
            self._folder = Path(tempfile.mkdtemp(prefix="nasbench-"))
            path = str(self._folder / "keeper")
            try:
                self._server = _Server(path, _Handler)
            except OSError:  # a long TMPDIR: the address of a Unix socket has room for about 107 bytes
                shutil.rmtree(self._folder, ignore_errors=True)
                return self
            self._server.keep(self._root)
            threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
            self.environment = {SOCKET: path}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def keep(self, root: Path) -> None:
        self._root = root
        self._runs: MlflowRuns | None = None
        self._lock = threading.Lock()

    def answer(self, question: Mapping[str, Any]) -> Any:
        """Do what a client asks; one at a time, since SQLite has one writer anyway."""
        uri = tracking_uri(self._root)
        if question["store"] != uri:
            return {"kind": "other"}
        with self._lock:
            if question["do"] == "hello":
                return {"value": None}
            if self._runs is None:
                self._runs = MlflowRuns(self._root)
            return {"value": _act(self._runs, str(question["do"]), question["with"])}


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            try:
                answer = cast("_Server", self.server).answer(json.loads(line))
            except NasbenchError as error:
                answer = {"kind": type(error).__name__, "message": str(error)}
            self.wfile.write(json.dumps(answer).encode("utf-8") + b"\n")


def _act(runs: Runs, what: str, value: Mapping[str, Any]) -> Any:
    if what == "open":
        return dataclasses.asdict(runs.open(RunRequest(**value)))
    run_id = str(value["run_id"])
    if what == "log":
        runs.log(run_id, [MetricPoint(*point) for point in value["metrics"]], value["tags"])
    elif what == "artifact":
        runs.log_artifact(run_id, Path(value["path"]), value["folder"])
    elif what == "close":
        runs.close(run_id, value["status"])
    return None


class KeptRuns:
    """Runs at a keeper; one connection, so that answers come in the order of the questions.

    Args:
        path: The keeper's socket.
        uri: The store that is meant.

    Raises:
        TrackingError: Nobody listens, or the keeper serves another store.
    """

    def __init__(self, path: str, uri: str) -> None:
        self._uri = uri
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_TIMEOUT_SECONDS)
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise TrackingError(f"no keeper listens at {path} ({error}).") from error
        self._stream = self._socket.makefile("rwb")
        try:
            self._ask("hello", {})
        except TrackingError:
            self.disconnect()
            raise

    def open(self, request: RunRequest) -> OpenedRun:
        """See `Runs.open`; ends the connection where that fails."""
        try:
            return OpenedRun(**self._ask("open", dataclasses.asdict(request)))
        except BaseException:
            self.disconnect()
            raise

    def log(self, run_id: str, metrics: Sequence[MetricPoint], tags: Mapping[str, str]) -> None:
        """See `Runs.log`."""
        self._ask("log", {"run_id": run_id, "metrics": [tuple(point) for point in metrics], "tags": dict(tags)})

    def log_artifact(self, run_id: str, path: Path, folder: str) -> None:
        """See `Runs.log_artifact`."""
        self._ask("artifact", {"run_id": run_id, "path": str(path), "folder": folder})

    def close(self, run_id: str, status: str) -> None:
        """See `Runs.close`; ends the connection too."""
        try:
            self._ask("close", {"run_id": run_id, "status": status})
        finally:
            self.disconnect()

    def disconnect(self) -> None:
        """End the connection."""
        self._stream.close()
        self._socket.close()

    def _ask(self, what: str, value: Mapping[str, Any]) -> Any:
        question = json.dumps({"store": self._uri, "do": what, "with": value}, default=str)
        try:
            self._stream.write(question.encode("utf-8") + b"\n")
            self._stream.flush()
            line = self._stream.readline()
        except (OSError, ValueError) as error:
            raise TrackingError(f"the keeper of the tracking store has gone ({error}).") from error
        if not line:
            raise TrackingError("the keeper of the tracking store has gone.")
        answer = json.loads(line)
        if "kind" in answer:
            kind = ConfigError if answer["kind"] == ConfigError.__name__ else TrackingError
            raise kind(answer.get("message", f"the keeper serves another store than {self._uri}."))
        return answer["value"]


def kept_runs(root: Path) -> KeptRuns | None:
    """Return the runs of the keeper that the environment names, or None where there is none for this store."""
    path = os.environ.get(SOCKET)
    if not path or not hasattr(socket, "AF_UNIX"):
        return None
    try:
        return KeptRuns(path, tracking_uri(root))
    except TrackingError:
        return None
