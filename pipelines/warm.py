"""A process that has imported the heavy packages, from which stages are forked in milliseconds.

Importing PyTorch, its compiler (which the first optimiser needs) and pandas takes five to ten seconds of CPU in every
process; a pipeline has dozens of short ones. ``make repro`` opens a `WarmStart`; a stage that finds it hands its
command line over, and a copy of the warm process runs it: DVC still sees one command an item, with its own exit code.
Only packages of others are imported beforehand; the project's own code is read anew by every item, so that DVC's
record of the code stays true.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from pipelines.orphan import die_with_parent

SOCKET = "NASBENCH_WARM_SOCKET"
"""Environment variable that tells stages where the warm process listens."""

PACKAGES = (
    "torch", "torch._dynamo", "pandas", "pyarrow.parquet", "matplotlib.figure", "matplotlib.backends.backend_svg",
    "scipy.stats", "sklearn.datasets", "tqdm", "jinja2",
)  # fmt: skip
"""What the warm process imports; none of these starts a thread or touches a GPU when imported."""

_LONGEST_ADDRESS = 100  # bytes; the address of a Unix socket has room for about 107


class WarmStart:
    """Keeps a warm process until the ``with`` block ends; Linux only, elsewhere it does nothing.

    It imports in the background: stages that begin before it is ready run by themselves.

    Attributes:
        environment: Variables for the processes to be started.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the process in a folder that nobody else can enter."""
        if sys.platform != "linux":
            return self
        self._folder = Path(tempfile.mkdtemp(prefix="nasbench-"))
        address = str(self._folder / "warm")
        if len(address.encode()) <= _LONGEST_ADDRESS:
            self._process = subprocess.Popen([sys.executable, "-m", "pipelines.warm", address])
            self.environment = {SOCKET: address}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def hand_over() -> int | None:
    """Let the warm process run this process's own command line, and wait for it.

    Returns:
        The exit code; None where there is no warm process, so that the caller has to do the work.
    """
    address, specification = os.environ.get(SOCKET), sys.modules["__main__"].__spec__
    if not address or specification is None:
        return None
    request = {
        "module": specification.name, "arguments": sys.argv, "path": sys.path, "folder": str(Path.cwd()),
        "environment": dict(os.environ),
    }  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(address)
        except OSError:  # not ready yet, or gone
            return None
        socket.send_fds(connection, [b"\0"], [sys.stdout.fileno(), sys.stderr.fileno()])
        connection.sendall(json.dumps(request).encode("utf-8") + b"\n")
        code = connection.recv(1)
    if not code:
        sys.stderr.write("The process of this item was killed; if memory ran out, run fewer side by side (JOBS=1).\n")
        return 1
    return code[0]


def serve(address: str) -> None:
    """Import the packages, then fork a process for every connection until a signal ends this one."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in PACKAGES:
        importlib.import_module(name)
    context = multiprocessing.get_context("fork")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        Path(f"{address}.new").rename(address)  # nobody sees it before it listens
        while True:
            connection, _ = listener.accept()
            context.Process(target=_work, args=(connection, listener)).start()
            connection.close()
            multiprocessing.active_children()  # takes note of those that have ended


def _work(connection: socket.socket, listener: socket.socket) -> None:
    """Become the process that asked: its output, environment, folder and command line."""
    listener.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 2)
    with connection.makefile("r", encoding="utf-8") as stream:
        request = json.loads(stream.readline())
    for number, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update({name: value for name, value in request["environment"].items() if name != SOCKET})
    os.chdir(request["folder"])
    sys.path[:], sys.argv[:] = request["path"], request["arguments"]
    for name in [name for name in sys.modules if name.partition(".")[0] in {"pipelines", "nasbench"}]:
        del sys.modules[name]
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    code = 1
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([code & 0xFF]))


def _end_with(connection: socket.socket) -> None:
    """End this process when the one that asked has gone, so that no orphan goes on writing."""
    if not connection.recv(1):
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(sys.argv[1])
