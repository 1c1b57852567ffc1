"""Cells that a warm server trains: what the command would do itself, without its start-up."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, curves

from sgdnoise.results.run import read_run
from sgdnoise.study.progress import checkpoint_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server is for Linux")

AUTOENCODER = ("--benchmark=autoencoder_digits", "--optimizer=momentum", "--budget=steps8", "--batch-size=32", "--lr=0.08")
LONG = ("--budget=steps50000", "--evaluations=1", "--checkpoint-seconds=0.05")


class Place:
    """A temporary folder, which tells the servers of one test from all others."""

    def __init__(self, folder, data_folder):
        self.folder, self.data_folder = folder, data_folder

    def start(self, out, *more, warm=True, **variables):
        words = ["train", *AUTOENCODER, f"--data={self.data_folder}", f"--out={out}", "--device=cpu", *more]
        return subprocess.Popen(
            [sys.executable, "-m", "sgdnoise.cli.warm" if warm else "sgdnoise", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(self.folder)} | variables,
            cwd=ROOT,
            # A test run in the background of a shell ignores SIGINT, and so would its children.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments, **options):
        return ended(self.start(*arguments, **options))

    def processes(self):
        """Return the servers and their children, those that have not ended."""
        parents = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
                ours = f"TMPDIR={self.folder}\0".encode() in (process / "environ").read_bytes()
                if ours and b"sgdnoise.cli.warm_server" in (process / "cmdline").read_bytes() and state != "Z":
                    parents[int(process.name)] = int(parent)
            except OSError:  # it has just ended
                continue
        servers = {pid for pid, parent in parents.items() if parent not in parents}
        return servers, parents.keys() - servers

    def end(self):
        for pids in self.processes():
            for pid in pids:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path_factory, data_folder):
    place = Place(tmp_path_factory.mktemp("t"), data_folder)
    yield place
    place.end()


def ended(process):
    """Return the exit code, stdout and stderr of a command."""
    with process:
        stdout, stderr = process.communicate(timeout=100)
    return process.returncode, stdout, stderr


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("lstm_synthetic", "wrn_digits", "wrn_skipinit_digits")]


@pytest.mark.parametrize("name", ["autoencoder_digits", *SLOW])
def test_the_same_bits_as_in_a_process_of_its_own(place, tmp_path, name):
    cell = (f"--benchmark={name}", "--seeds=0-1", "--lr=0.5")
    for warm in (False, True, True):
        code, stdout, stderr = place.run(tmp_path / f"{warm}.h5", *cell, warm=warm)
        assert (code, stderr) == (0, "")
        assert stdout.startswith(f"{tmp_path / f'{warm}.h5'}: 2 runs, 0 diverged, ")
        assert len(place.processes()[0]) == warm
    assert curves(tmp_path / "True.h5") == curves(tmp_path / "False.h5")


def test_the_command_itself_does_not_import_torch(place, tmp_path):
    code = "import sys, sgdnoise.cli.warm as w; w.run(sys.argv[1:]); print('torch' in sys.modules, flush=True)"
    words = ["train", *AUTOENCODER, f"--data={place.data_folder}", "--device=cpu", "--out=a.h5"]
    environment = os.environ | {"TMPDIR": str(place.folder)}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False")
    assert (tmp_path / "a.h5").exists()  # the folder is that of the command


def test_errors_are_one_line(place, tmp_path):
    (tmp_path / "digits.npz").write_bytes(b"PK damaged")
    code, stdout, stderr = place.run(tmp_path / "a.h5", f"--data={tmp_path}")
    assert (code, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert stderr.startswith("sgdnoise: error: ")
    assert "digits.npz is corrupt" in stderr


def test_two_commands_at_once_share_one_server(place, tmp_path):
    both = [place.start(tmp_path / f"{name}.h5") for name in "ab"]
    assert [ended(process)[0] for process in both] == [0, 0]
    assert curves(tmp_path / "a.h5") == curves(tmp_path / "b.h5")
    assert len(place.processes()[0]) == 1


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_signal_asks_for_a_checkpoint_from_which_any_command_goes_on(place, tmp_path, signum):
    out, cell = tmp_path / "a.h5", ("--budget=steps2500", "--seeds=0-1", "--checkpoint-seconds=0.05")
    process = place.start(out, *cell)
    wait_for(checkpoint_of(out).exists)
    process.send_signal(signum)
    code, stdout, stderr = ended(process)
    assert (code, stdout, len(stderr.splitlines())) == (130, "", 1)
    assert stderr.startswith("sgdnoise: interrupted after update")
    assert stderr.endswith("; the same command goes on from there\n")
    assert not out.exists()
    assert place.run(out, *cell, warm=False)[0] == 0
    assert place.run(tmp_path / "whole.h5", *cell)[0] == 0
    assert curves(out) == curves(tmp_path / "whole.h5")
    assert len(read_run(out).provenance["continued"]) == 1


@pytest.mark.parametrize("victim", ["command", pytest.param("server", marks=pytest.mark.slow), "child"])
def test_what_is_killed(place, tmp_path, victim):
    """The command takes its child with it; the child's end is the command's; without their server they go on."""
    out = tmp_path / "a.h5"
    process = place.start(out, *LONG, *["--budget=steps10000"] * (victim == "server"))
    wait_for(checkpoint_of(out).exists)
    (server,), (child,) = place.processes()
    os.kill({"command": process.pid, "server": server, "child": child}[victim], signal.SIGKILL)
    if victim == "server":
        assert ended(process) == (0, process_output(out), "")
        assert place.run(tmp_path / "b.h5")[0] == 0  # its socket is still there, but stale
        assert len(place.processes()[0]) == 1
        return
    code, _, stderr = ended(process)
    assert code == (-signal.SIGKILL if victim == "command" else 1)
    assert ("the same command goes on from its checkpoint" in stderr) == (victim == "child")
    wait_for(lambda: place.processes() == ({server}, set()))
    assert not out.exists()
    assert checkpoint_of(out).exists()


def process_output(out):
    """Return what `train` prints of a result."""
    made = read_run(out).provenance
    speed = f"{made['examples_per_second']:,.0f} examples/s on {made['device']}"
    return f"{out}: 1 runs, 0 diverged, {speed}, {sum(part['seconds'] for part in [*made['continued'], made]):.1f} s\n"


def test_a_signal_before_training_ends_the_command_by_it(place, tmp_path):
    """While the server starts: as a process that is importing torch."""
    process = place.start(tmp_path / "a.h5")
    wait_for(lambda: place.processes()[0])
    process.terminate()
    assert ended(process)[0] == -signal.SIGTERM
    time.sleep(0.1)
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.slow
def test_other_sources_or_variables_need_another_server(place, tmp_path):
    package = tmp_path / "src" / "sgdnoise"
    shutil.copytree(ROOT / "src" / "sgdnoise", package)
    sources = {"PYTHONPATH": str(package.parent)}
    assert place.run(tmp_path / "a.h5", **sources)[0] == 0
    assert place.run(tmp_path / "a.h5", **sources)[0] == 0
    assert len(place.processes()[0]) == 1
    module = package / "training/loop.py"
    module.write_text(module.read_text().replace('"""The plain training loop', '"""The changed training loop'))
    assert place.run(tmp_path / "a.h5", **sources)[0] == 0
    assert len(place.processes()[0]) == 2
    assert place.run(tmp_path / "a.h5", **sources, OMP_NUM_THREADS="2")[0] == 0
    assert len(place.processes()[0]) == 3


@pytest.mark.parametrize("obstacle", ["folder of others", "no folder", "no server", "no locks", "lock of a stopped process"])
def test_without_a_usable_server_the_command_trains_itself(place, tmp_path, obstacle):
    folder = place.folder / f"sgdnoise-warm-{os.getuid()}"
    variables = {}
    if obstacle == "folder of others":
        folder.mkdir(mode=0o755)
    elif obstacle == "no folder":
        folder.write_text("")
    elif "lock" in obstacle:
        kind = "OSError(37, 'No locks available')" if obstacle == "no locks" else "BlockingIOError(11, 'held')"
        (tmp_path / "sitecustomize.py").write_text(
            f"import fcntl, time\ndef flock(*_): raise {kind}\nfcntl.flock, time.sleep = flock, lambda _: None\n"
            "now = time.monotonic\ntime.monotonic = lambda: 100 * now()\n"
        )
        variables = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    else:  # it listens, but ends
        package = tmp_path / "src" / "sgdnoise"
        shutil.copytree(ROOT / "src" / "sgdnoise", package)
        module = package / "cli/warm_server.py"
        module.write_text(module.read_text().replace("def serve(", "def serve(listener): sys.exit(1)\n\n\ndef unused("))
        variables = {"PYTHONPATH": str(package.parent)}
    code, stdout, stderr = place.run(tmp_path / "a.h5", **variables)
    assert (code, stderr) == (0, "")
    assert "1 runs, 0 diverged" in stdout
    assert not place.processes()[0]


def test_an_idle_server_ends_and_takes_its_socket_with_it(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        code = f"import socket, sgdnoise.cli.warm_server as w; w.IDLE_SECONDS = 0.1; w.serve(socket.socket(fileno={listener.fileno()}))"
        subprocess.run([sys.executable, "-c", code], pass_fds=[listener.fileno()], timeout=100, check=True)
    assert not path.exists()
