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
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

from pipelines.orphan import die_with_parent

SOCKET = "NASBENCH_WARM_SOCKET"
"""Environment variable that tells stages where the warm process listens."""

PACKAGES = (
    "dvc.repo", "dvc.commands.repro", "dvc.repo.plots", "dvc.repo.fetch", "scmrepo.git", "tqdm", "pandas",
    "pyarrow.parquet", "torch", "torch._dynamo", "matplotlib.figure", "matplotlib.backends.backend_svg",
    "sklearn.datasets", "scipy.stats", "jinja2", "mlflow.tracking",
)  # fmt: skip
"""What the warm process imports, in the order of need; none starts a Python thread or touches a GPU when imported."""

_LONGEST_ADDRESS = 100  # bytes; the address of a Unix socket has room for about 107


class WarmStart:
    """Keeps a warm process until the ``with`` block ends; Linux only, elsewhere it does nothing.

    It imports in the background, and serves in between: what is not imported yet, a stage imports itself.

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
    environment = {name: value for name, value in os.environ.items() if name != SOCKET}  # it shall work itself
    return _ask(address, specification.name, sys.argv, environment)


def run_module(module: str, *arguments: str) -> int:
    """Run ``python -m MODULE ARGUMENTS``, forked from the warm process where there is one; return its exit code."""
    address = os.environ.get(SOCKET)
    code = _ask(address, module, [module, *arguments], dict(os.environ)) if address else None
    return subprocess.call([sys.executable, "-m", module, *arguments]) if code is None else code


def _ask(address: str, module: str, arguments: list[str], environment: dict[str, str]) -> int | None:
    request = {
        "module": module, "arguments": arguments, "path": sys.path, "folder": str(Path.cwd()),
        "environment": environment,
    }  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(address)
        except OSError:  # not ready yet, or gone
            return None
        socket.send_fds(connection, [b"\0"], [1, 2])  # standard output and error
        connection.sendall(json.dumps(request).encode("utf-8") + b"\n")
        code = connection.recv(1)
    if not code:
        sys.stderr.write("The process of this item was killed; if memory ran out, run fewer side by side (JOBS=1).\n")
        return 1
    return code[0]


def serve(address: str) -> None:
    """Fork a process for every connection until a signal ends this one; import the packages while nobody asks."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    wanted = list(PACKAGES)
    context = multiprocessing.get_context("fork")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        Path(f"{address}.new").rename(address)  # nobody sees it before it listens
        while True:
            if wanted and not select.select([listener], [], [], 0)[0]:
                importlib.import_module(wanted.pop(0))
                continue
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
    os.environ.update(request["environment"])
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
    except BaseException:  # what the interpreter does with an error that nobody caught
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([code & 0xFF]))  # last: the one that asked ends with it


def _end_with(connection: socket.socket) -> None:
    """End this process when the one that asked has gone, so that no orphan goes on writing."""
    if not connection.recv(1):
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve(sys.argv[1])
