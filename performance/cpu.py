"""Measure the training engines on this CPU, against what else one could do: python performance/cpu.py (make bench-cpu).

All in one run: for every row the engines take turns, window by window, so that whatever else the machine does hits all of them.
A window trains for about 0.3 seconds, data and update included, and counts the CPU time of its process, which is the time on
an idle core. The table has medians and the range of the windows; the samples are written to results/bench_cpu.json with what
they were measured on.

Peers, in this file or in the package: `eager`, a loop as one writes it with torch.optim.SGD, seed after seed; `plain`, the loop of
loop.py; `processes`, two of these at once; `vmap`, torch.func's ensemble of all seeds. All use one thread per process.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from problems import Images, Pictures, Text
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from sgdnoise.machine import provenance
from sgdnoise.results import run
from sgdnoise.study.cell import make_cell
from sgdnoise.tasks import reconstruction
from sgdnoise.training import packed as packing
from sgdnoise.training.cell import train_cell, use_device
from sgdnoise.training.loop import batches_of, train

ROOT = Path(__file__).parent.parent
WINDOWS, SECONDS = 5, 0.3
SMALL = [196, 128, 64, 16]
DIGITS, MNIST = ([64, 100, 50, 25, 8], [784, 1000, 500, 250, 30])
STARTS = {"cold": "sgdnoise", "warm": "sgdnoise.cli.warm"}  # the modules that train a cell


def plain(problem: Images | Pictures | Text, num_steps: int) -> float:
    """Return updates per second, of one seed after another."""
    curves = train(problem.record(), problem.data(), problem.plan(num_steps), 0, CPU)
    return num_steps / curves.train_cpu_seconds


def eager(problem: Images, num_steps: int) -> float:
    """Return updates per second of the usual loop, of one seed after another: zero_grad, backward, step."""
    benchmark, plan = problem.record(), problem.plan(num_steps)
    model, stream = benchmark.build(), batches_of(benchmark, problem.data(), plan, 0, 0)
    optimizer = torch.optim.SGD(model.parameters(), plan.lr, plan.optimizer.momentum, weight_decay=benchmark.l2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: plan.lr_at(step) / plan.lr)
    started = time.process_time()
    for _ in range(num_steps):
        (pixels,) = next(stream)
        optimizer.zero_grad()
        loss = reconstruction.loss_sum(model(pixels), pixels, "cross_entropy") / problem.batch_size
        loss.backward()
        optimizer.step()
        schedule.step()
        loss.item()
    return num_steps / (time.process_time() - started)


def packed(problem: Images | Pictures | Text, num_steps: int) -> float:
    """Return updates per second, of all seeds together."""
    benchmark, seconds = problem.record(), 0.0
    for group in packing.groups(benchmark, range(problem.seeds), problem.batch_size):
        trained = packing.train(benchmark, problem.data(), problem.plan(num_steps), group, CPU)
        seconds += sum(curves.train_cpu_seconds for curves in trained)
    return problem.seeds * num_steps / seconds


def processes(problem: Images, num_steps: int) -> float:
    """Return updates per second, of two processes with a plain loop each."""
    return sum(POOL.map(plain, [problem] * 2, [num_steps] * 2))


def ensemble(problem: Images, num_steps: int) -> float:
    """Return updates per second of torch.func's ensemble: stacked parameters, vmap of the gradient, foreach update."""
    benchmark, data, plan = problem.record(), problem.data(), problem.plan(num_steps)
    models = [benchmark.build() for _ in range(problem.seeds)]
    parameters, _ = stack_module_state(models)
    parameters = {name: parameter.detach() for name, parameter in parameters.items()}
    weights, velocities = list(parameters.values()), [torch.zeros_like(one) for one in parameters.values()]
    streams = [batches_of(benchmark, data, plan, seed, 0) for seed in range(problem.seeds)]

    def loss(one: dict[str, Tensor], pixels: Tensor) -> Tensor:
        return reconstruction.loss_sum(functional_call(models[0], one, (pixels,)), pixels, "cross_entropy") / problem.batch_size

    gradient_of_all = vmap(grad_and_value(loss))
    started = time.process_time()
    for step in range(num_steps):
        gradients, losses = gradient_of_all(parameters, torch.stack([next(stream)[0] for stream in streams]))
        losses.tolist()
        torch._foreach_mul_(velocities, plan.optimizer.momentum)
        torch._foreach_add_(velocities, list(gradients.values()))
        torch._foreach_add_(velocities, weights, alpha=benchmark.l2)
        torch._foreach_add_(weights, velocities, alpha=-plan.lr_at(step) * (1 - plan.optimizer.momentum))
    return problem.seeds * num_steps / (time.process_time() - started)


def sgemm(num_products: int, size: int = 1024) -> float:
    """Return the GFLOP/s of large single-precision matrix products on one thread."""
    one, other = torch.rand(2, size, size)
    started = time.process_time()
    for _ in range(num_products):
        one @ other
    return num_products * 2 * size**3 / (time.process_time() - started) / 1e9


def start_worker() -> None:
    """Set up a process of POOL as this one is set up."""
    globals()["CPU"] = use_device("cpu", 1)


def windows(engines: dict[str, Callable[[int], float]], together: dict[str, int]) -> dict[str, list[float]]:
    """Let engines take turns, WINDOWS times; each maps a number of steps, of `together` seeds, to a rate. Return their rates."""
    steps = {name: max(5, int(SECONDS * engine(10) / together.get(name, 1))) for name, engine in engines.items()}
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(WINDOWS):
        for name, engine in engines.items():
            rates[name].append(engine(steps[name]))
    return rates


def commands(folder: Path) -> dict[str, list[float]]:
    """Time the command of a cell with one update from start to exit, cold and warm, in seconds."""
    cell = [
        "--benchmark=autoencoder_digits",
        "--optimizer=sgd",
        "--budget=steps1",
        "--batch-size=32",
        "--lr=0.08",
        "--device=cpu",
    ]
    words = ["train", *cell, "--evaluations=1", f"--data={folder}", f"--out={folder}/a.h5"]
    command = {name: [sys.executable, "-m", module, *words] for name, module in STARTS.items()}
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    subprocess.run(command["warm"], check=True, capture_output=True)  # prepares the data and starts the server
    for _ in range(WINDOWS):
        for name in STARTS:
            started = time.perf_counter()
            subprocess.run(command[name], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def overhead(folder: Path) -> list[float]:
    """Time all of a cell but its updates, per run, in milliseconds: data, networks, evaluation, gathering, writing."""
    cell = make_cell("autoencoder_digits", "momentum", "steps100", 32, 0.08, "0-31", "{}", 2, None)
    samples = []
    for _ in range(WINDOWS + 1):
        started = time.process_time()
        result = train_cell(cell, folder, CPU)
        run.write_run(folder / "b.h5", result)
        samples.append(1e3 * (time.process_time() - started - result.provenance["train_cpu_seconds"]) / len(result.seed))
    return samples[1:]


def spread(samples: list[float], digits: int = 0) -> str:
    """Write the median and the range of samples."""
    return f"{statistics.median(samples):,.{digits}f} ({min(samples):,.{digits}f} to {max(samples):,.{digits}f})"


def autoencoders() -> list[dict[str, Any]]:
    """Measure autoencoders, print their table and return the samples."""
    problems = [Images(tuple(SMALL), 32, batch_size) for batch_size in (16, 64, 512)]
    problems += [Images(tuple(widths), 3, batch_size) for widths in (DIGITS, MNIST) for batch_size in (4, 16, 64, 512)]
    peers = {"packed": packed, "eager": eager, "plain": plain, "processes": processes, "vmap": ensemble}
    samples: list[dict[str, Any]] = []
    print(
        "| network | seeds | batch size | packed, updates per CPU-second | x eager | x plain | x two processes | x vmap | of sgemm |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for problem in problems:
        names = peers if problem.widths == tuple(SMALL) else ["packed", "eager", "plain"]
        engines = {name: partial(peers[name], problem) for name in names} | {"sgemm": sgemm}
        rates = windows(engines, {"packed": problem.seeds, "vmap": problem.seeds, "processes": 2})
        samples.append({"problem": asdict(problem), "rates": rates})
        median = {name: statistics.median(values) for name, values in rates.items()}
        ratios = [f"{median['packed'] / median[name]:.1f}" if name in median else "" for name in peers if name != "packed"]
        row = ["-".join(map(str, problem.widths)), problem.seeds, problem.batch_size, spread(rates["packed"]), *ratios]
        print(f"| {' | '.join(map(str, row))} | {share(problem, median):.0%} |", flush=True)
    return samples


def shipped(problems: Sequence[Pictures | Text]) -> list[dict[str, Any]]:
    """Measure networks of shipped benchmarks, print their table and return the samples."""
    samples: list[dict[str, Any]] = []
    print("\n| network | seeds | batch size | packed, updates per CPU-second | plain | x plain | of sgemm |")
    print("|---|---|---|---|---|---|---|")
    for problem in problems:
        engines = {"packed": partial(packed, problem), "plain": partial(plain, problem), "sgemm": sgemm}
        rates = windows(engines, {"packed": problem.seeds})
        samples.append({"problem": asdict(problem), "rates": rates})
        median = {name: statistics.median(values) for name, values in rates.items()}
        row = [f"`{problem.name}`", problem.seeds, problem.batch_size, spread(rates["packed"]), spread(rates["plain"])]
        ratio = median["packed"] / median["plain"]
        print(f"| {' | '.join(map(str, row))} | {ratio:.1f} | {share(problem, median):.0%} |", flush=True)
    return samples


def share(problem: Images | Pictures | Text, rates: dict[str, float]) -> float:
    """Return what the matrix products of the packed engine amount to, as a share of those of a large one."""
    return rates["packed"] * problem.flops() / 1e9 / rates["sgemm"]


def main() -> None:
    """Measure what is asked for, by default everything, print the tables and write the samples."""
    lstms = [Text(name, 8, batch_size) for name in ("lstm_synthetic", "lstm_ptb_small") for batch_size in (4, 16, 64)]
    digits = [Pictures("wrn_digits", seeds, batch_size) for seeds in (3, 8, 12) for batch_size in (8, 16, 32, 64)]
    others = [("wrn_skipinit_digits", 8), ("wrn_skipinit_digits", 32), ("wrn_cifar10_small", 8), ("wrn_cifar10_small", 32)]
    networks = digits + [Pictures(name, 8, batch_size) for name, batch_size in others]
    parts = {"autoencoders": autoencoders, "lstms": partial(shipped, lstms), "wide_resnets": partial(shipped, networks)}
    samples = [sample for name in sys.argv[1:] or parts for sample in parts[name]()]
    with tempfile.TemporaryDirectory() as folder:
        starts, overheads = commands(Path(folder)), overhead(Path(folder))
    print(f"\ncommand of a cell with one update: cold {spread(starts['cold'], 2)} s, warm {spread(starts['warm'], 2)} s")
    print(f"all of a cell but its updates, per run: {spread(overheads, 1)} ms")
    made_by = provenance.collect(CPU, {}) | {"cores": os.cpu_count(), "load": os.getloadavg()}
    print(f"{WINDOWS} windows each; {made_by['device']}, torch {made_by['torch']}, load {made_by['load'][0]:.1f}")
    (ROOT / "results").mkdir(exist_ok=True)
    content = {"made_by": made_by, "samples": samples, "command_seconds": starts, "overhead_ms": overheads}
    (ROOT / "results/bench_cpu.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    CPU = use_device("cpu", 1)
    with ProcessPoolExecutor(2, get_context("spawn"), start_worker) as POOL:
        main()
