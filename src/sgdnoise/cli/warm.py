"""A cell without the start-up: a server that has imported torch forks a child for every cell that it is handed.

`python -m sgdnoise.cli.warm train ...` sends its arguments, folder, environment and standard files to the server of its user,
starts one if there is none, forwards signals to the child, and ends with the child's exit code. The child does what
`python -m sgdnoise train ...` would do. If the command is killed, so is the child; if the server is killed, its children go
on. Without a usable server the command trains in its own process. Linux and `--device cpu` only: CUDA does not survive a
fork. This module imports little: what it takes to start is spent on every cell.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import runpy
import signal
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

START_SECONDS = 60  # to wait for a server that is importing torch
# What a forked child has from the server and not from the command: variables that libraries read when they are loaded, ...
VARIABLES = r"(PYTHON|LD|LC|LANG|GLIBC|MALLOC|OMP|GOMP|KMP|GOTO|OPENBLAS|MKL|DNNL|ONEDNN|ATEN|TORCH|PYTORCH|HDF5).*"
STATUS = r"^(?:Uid|Gid|Groups|Umask|SigIgn|Cap|NoNewPrivs|Seccomp|Cpus_allowed|Mems_allowed).*"  # ... rights, allowed cores


def run(arguments: Sequence[str]) -> int | None:
    """Let a child of the server run `arguments` and return its exit code; None if there is none, and nothing was run.

    A ValueError if the child was killed. If that was by a signal that was forwarded, this process ends by it, too.
    """
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ), "path": sys.path}
    try:
        connection = connect()
        connection.settimeout(START_SECONDS)
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        stream = connection.makefile("rwb")
        stream.write(json.dumps(request).encode() + b"\n")
        stream.flush()
        child = int(stream.readline())
    except (OSError, ValueError):
        return None
    forwarded: list[int] = []

    def forward(signum: int, frame: object) -> None:
        forwarded.append(signum)
        os.kill(child, signum)

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, forward)
    connection.settimeout(None)
    if code := stream.readline():
        return int(code)
    if forwarded:
        signal.signal(forwarded[-1], signal.SIG_DFL)
        os.kill(os.getpid(), forwarded[-1])
    raise ValueError("the process of this cell was killed (for want of memory?); the same command goes on from its checkpoint")


def address() -> Path:
    """Return where the server listens that may stand in for this process: one with the same sources, limits and container.

    An OSError if the folder is not this user's own.
    """
    folder = Path(tempfile.gettempdir()) / f"sgdnoise-warm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o77077 != 0o40000:
        raise PermissionError(f"{folder} is not a private folder")
    sources = [*sorted(Path(__file__).parents[1].rglob("*.py")), Path(sysconfig.get_path("purelib"))]
    process = Path("/proc/self")
    same = [
        [sys.executable, sys.version],
        [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in sources],
        sorted(item for item in os.environ.items() if re.fullmatch(VARIABLES, item[0])),
        re.findall(STATUS, (process / "status").read_text(encoding="utf-8", errors="surrogateescape"), re.MULTILINE),
        [(process / name).read_text(encoding="utf-8", errors="surrogateescape") for name in ("limits", "cgroup")],
        [os.readlink(path) for path in sorted((process / "ns").iterdir())],
        [os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)],
    ]
    return folder / hashlib.sha256(repr(same).encode()).hexdigest()[:16]


def connect() -> socket.socket:
    """Connect to the server, or start one: its socket listens before it runs, so nobody has to ask twice."""
    path, connection = address(), socket.socket(socket.AF_UNIX)
    with open(path.parent / "lock", "wb") as lock:
        take(lock)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)  # of a server that was killed
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen()
                import subprocess  # only the first command needs it

                command = [sys.executable, "-m", "sgdnoise.cli.warm_server", str(listener.fileno())]
                nul = subprocess.DEVNULL
                subprocess.Popen(command, 0, None, nul, nul, nul, pass_fds=[listener.fileno()], start_new_session=True)
            connection.connect(str(path))
    return connection


def take(lock: IO) -> None:
    """Take a lock; an OSError if the file system has none, or if it is not free for long, as one of a stopped process."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


if __name__ == "__main__":
    try:
        code = run(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"sgdnoise: error: {error}")
    if code is None:
        runpy.run_module("sgdnoise", run_name="__main__")
    sys.exit(code)
