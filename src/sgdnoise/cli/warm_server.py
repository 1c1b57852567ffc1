"""The server that warm.py hands cells to: it imports torch once and forks a child for each; it ends when idle."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

IDLE_SECONDS = 30


def serve(listener: socket.socket) -> None:
    """Fork a child for every connection, until there was none and no child is left for a while."""
    gc.disable()  # as in `train`
    import numpy.random  # noqa: F401
    import torch.optim.sgd  # noqa: F401
    import tqdm  # noqa: F401

    from sgdnoise import benchmarks
    from sgdnoise.cli.main import parser
    from sgdnoise.training import cell  # noqa: F401

    parser()
    for name in benchmarks.names():
        benchmarks.module(name)
    gc.freeze()  # what is not collected is not copied
    gc.enable()
    os.chdir("/")
    listener.settimeout(IDLE_SECONDS)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            if not children():
                break
            continue
        children()
        if os.fork() == 0:
            listener.close()
            try:
                stand_in(connection)
            finally:
                os._exit(1)
        connection.close()
    Path(listener.getsockname()).unlink(missing_ok=True)


def children() -> bool:
    """Forget the children that have ended, and say whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def stand_in(connection: socket.socket) -> None:
    """Run what comes over a connection as the process at its other end would, and send the exit code."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    stream = connection.makefile("rwb")
    request = json.loads(stream.readline())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:], sys.argv[1:] = request["path"], request["arguments"]

    def end_with_it() -> None:  # a killed command has nobody to wait for its result
        try:
            connection.recv(1)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end_with_it, daemon=True).start()
    from sgdnoise.cli.main import main

    stream.write(b"%d\n" % os.getpid())
    stream.flush()
    try:
        code = main(request["arguments"])
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    stream.write(b"%d\n" % code)
    stream.flush()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
