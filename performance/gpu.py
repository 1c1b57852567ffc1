"""Measure the engine "graph" on a GPU, against what else one could do: python performance/gpu.py (make bench-gpu).

All in one run: for every row ours and the peers take turns, window by window of about half a second, data, augmentation and
update included, on random data that stays on the device. The table has medians of WINDOWS windows and their range; all samples
are written to --out with the device and the versions. `must` and `stretch` are what we aim at on an H200, in examples (words) per
second or as a multiple of a peer ("others": the best of P2 to P5). `of roofline` is the time that arithmetic or memory traffic
alone needs, at the rates of a large matrix product and a large copy on this device, as a share of the time taken.

Peers, in this file: P0, torch's defaults; P1, the same tuned: channels last, the row's precision, fused SGD; P2, P1 with
torch.compile(mode="max-autotune"); P3, several processes with P1 on the one device; P4, torch.func's vmap over the seeds; P5, the same
in JAX, where it can be imported. P0 to P3 train one seed each, with torch's own batch norm instead of ghost batches. The last
three are the engine in another way: P6, ghost batches one after another; P7, with torch's batch norm; P8, every seed a branch.

From the rows of the Wide-ResNet follows what its sweeps in workflow/config/paper.yaml would cost, images by the rate at their
batch size (interpolated between those of the rows, on logarithmic scales; beyond them, the nearest).

With --dry-run every row runs, tiny, on a CPU: that shows that the script works, and measures nothing.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from sgdnoise import benchmarks
from sgdnoise.machine import provenance
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.study import grid
from sgdnoise.study.config import load_config
from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.tasks import reconstruction
from sgdnoise.training import graph
from sgdnoise.training.cell import use_device
from sgdnoise.training.loop import Plan
from sgdnoise.training.together import start_all

DEVICE = torch.device("cpu")  # these are set by `start`
WINDOWS, SECONDS = 5, 0.5
COMPILE: dict[str, Any] = {"mode": "max-autotune"}
PROCESSES = 4  # of P3
LR = 0.001  # effective; at which nothing diverges on random data
MOMENTUM = 0.9
NUM_IMAGES, NUM_TOKENS = 16384, 400_000
EPOCHS = 200  # of a run of the Wide-ResNet
PAPER = Path(__file__).parent.parent / "workflow/config/paper.yaml"
SHAPES = {
    "wrn_cifar10": (3, 32, 32),
    "wrn_skipinit_cifar10": (3, 32, 32),
    "autoencoder_mnist": (784,),
    "resnet50_imagenet": (3, 224, 224),
}
SHAPES |= {"wrn_digits": (1, 8, 8), "wrn_skipinit_digits": (1, 8, 8), "autoencoder_digits": (64,)}
TEXTS = {"lstm_ptb": 10_000, "lstm_synthetic": 50}  # words in the vocabulary
SMALL = {
    "wrn_cifar10": "wrn_digits",
    "wrn_skipinit_cifar10": "wrn_skipinit_digits",
    "autoencoder_mnist": "autoencoder_digits",
    "lstm_ptb": "lstm_synthetic",
}


@dataclass(frozen=True)
class Row:
    """Seeds of a benchmark at a batch size."""

    title: str
    benchmark: str
    batch_size: int
    seeds: int = 1
    precision: str = "bfloat16"
    micro_batch: int = 0
    peers: tuple[str, ...] = ("P0", "P1")
    side: int = 224  # of ResNet-50's images


ROWS = [
    Row("WRN-16-4", "wrn_cifar10", 16, 12, peers=("P0", "P1", "P3")),
    Row("WRN-16-4", "wrn_cifar10", 64, 12, peers=("P0", "P1", "P2", "P3")),
    Row("WRN-16-4", "wrn_cifar10", 256, 3, peers=("P0", "P1", "P3")),
    Row("WRN-16-4", "wrn_cifar10", 1024, peers=("P0", "P1", "P2")),
    Row("WRN-16-4", "wrn_cifar10", 8192, micro_batch=1024, peers=("P0", "P1", "P6", "P7")),
    Row("SkipInit", "wrn_skipinit_cifar10", 1024),
    Row("WRN-16-4", "wrn_cifar10", 1024, precision="tf32"),
    Row("autoencoder", "autoencoder_mnist", 64, 64, "tf32", peers=("P0", "P1", "P3", "P4", "P5", "P8")),
    Row("LSTM 650", "lstm_ptb", 20, 8, peers=("P0", "P1", "P3")),
    Row("LSTM 650", "lstm_ptb", 256),
    Row("ResNet-50", "resnet50_imagenet", 256, peers=("P0", "P1", "P2")),
]
# Of every row: the rates that it must and should reach, and how many times those of peers.
AIMS: list[tuple[float, float, dict[str, float]]] = [
    (60e3, 100e3, {"P1": 10, "others": 1.2}),
    (90e3, 120e3, {"P1": 4, "others": 1.15}),
    (105e3, 130e3, {"P1": 1.4, "others": 1.05}),
    (115e3, 150e3, {"P1": 1.2, "P2": 1}),
    (115e3, 150e3, {"P6": 1.5, "P7": 1 / 1.05}),
    (125e3, 165e3, {}),
    (55e3, 75e3, {}),
    (1.83e6, 2.56e6, {"P1": 15, "P5": 1.2}),
    (0, 0, {"P1": 3}),
    (0, 0, {"P1": 1}),
    (3e3, 4.5e3, {"P2": 1}),
]
# Of the sweeps: the images per second of all cells together, how many times those of P1, and of the best peer of every cell.
SWEEP_AIMS = {"constant_epoch": (87.5e3, 3.5, 1.15), "constant_step": (111e3, 1.3, 1)}
FLAT = 0.5  # the rate at the smallest batch size must be so much of that at 1024
START = 0.02  # starting and capturing must take so much of a run at most
# The least memory traffic of an example besides that of the weights, in bfloat16, in MB. Counted: what convolutions and norms read
# and write, with norm, ReLU and sum fused; next to nothing where there are none.
MEGABYTES = {"wrn_cifar10": 15.5, "wrn_skipinit_cifar10": 12.6, "resnet50_imagenet": 331}


def shrunk(row: Row) -> Row:
    """Return a row that a CPU trains in a moment."""
    sizes = {"batch_size": min(row.batch_size, 64), "seeds": min(row.seeds, 2), "micro_batch": min(row.micro_batch, 32)}
    if row.benchmark == "resnet50_imagenet":
        sizes |= {"batch_size": 2, "side": 32}
    precision = "float32" if row.precision == "tf32" else row.precision
    return replace(row, benchmark=SMALL.get(row.benchmark, row.benchmark), precision=precision, **sizes)


def record(row: Row) -> benchmarks.Benchmark:
    """Return a benchmark that looks its examples up among the random ones; ResNet-50 without its files."""
    shipped = benchmarks.load(row.benchmark)
    if row.benchmark == "resnet50_imagenet":
        return replace(shipped, batches=lambda *where: resident(row))
    if isinstance(shipped.batches, partial) and "num_train" in shipped.batches.keywords:
        return replace(shipped, batches=partial(shipped.batches, num_train=NUM_IMAGES))
    return shipped


@cache
def data_of(name: str) -> dict[str, Tensor]:
    """Make random data on the device."""
    random = torch.Generator().manual_seed(0)
    if name in TEXTS:
        return {"train_tokens": torch.randint(TEXTS[name], (NUM_TOKENS,), generator=random).to(DEVICE)}
    pixels = torch.randint(256, (NUM_IMAGES, *SHAPES[name]), generator=random, dtype=torch.uint8).to(DEVICE)
    if len(SHAPES[name]) == 1:
        return {"train_pixels": pixels}
    return {"train_images": pixels, "train_labels": torch.randint(10, (NUM_IMAGES,), generator=random).to(DEVICE)}


def resident(row: Row) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches as a tuned script makes them: shuffled, augmented and normalized on the device."""
    if row.benchmark == "resnet50_imagenet":
        images = torch.randn(row.batch_size, 3, row.side, row.side, device=DEVICE).contiguous(memory_format=torch.channels_last)
        yield from repeat((images, torch.randint(1000, (row.batch_size,), device=DEVICE)))
    data, batches = data_of(row.benchmark), benchmarks.load(row.benchmark).batches
    if row.benchmark in TEXTS:
        yield from batches(data, row.batch_size, torch.Generator(), 0, slice(None))
    while True:
        for index in torch.randperm(NUM_IMAGES, device=DEVICE).split(row.batch_size):
            if len(index) == row.batch_size and "train_pixels" in data:
                yield (data["train_pixels"][index].float() / 255,)
            elif len(index) == row.batch_size:
                augmented = batches.keywords["augment"](data["train_images"][index])
                yield batches.keywords["normalize"](augmented), data["train_labels"][index]


def plain_network(row: Row) -> nn.Module:
    """Build the network as others have it: with torch's batch norm."""
    if row.benchmark == "resnet50_imagenet":
        from torchvision.models import resnet50

        return resnet50()
    build = benchmarks.load(row.benchmark).build
    return build(norm=batch_norm) if "norm" in build.keywords else build()


def batch_norm(num_channels: int) -> nn.Module:
    """Make torch's batch norm and the ReLU that follows."""
    return nn.Sequential(nn.BatchNorm2d(num_channels), nn.ReLU())


# Contenders: each makes a function that trains for at least so many updates of a seed, and returns for how many it did.
Contender = Callable[[int], int]


def ours(row: Row, norm: str = "ghosts at once", products: bool | None = None) -> Contender:
    """Train all seeds by the engine, with all that belongs to it: batches, noise, losses read back."""
    settings = benchmarks.default_settings(row.benchmark) | {"precision": row.precision, "micro_batch": row.micro_batch}
    plan = Plan(OPTIMIZERS["momentum"], row.batch_size, LR, 10**9, 0, 1, settings)
    data = None if row.benchmark == "resnet50_imagenet" else data_of(row.benchmark)
    benchmark = record(row)
    if norm == "torch":
        benchmark = replace(benchmark, build=partial(plain_network, row))
    states = start_all(benchmark, plan, range(row.seeds), DEVICE, None)
    pack = graph.Pack(benchmark, data, plan, range(row.seeds), states, products)
    for branch in pack.branches if norm == "ghosts in turn" else []:
        for module in branch.states[0].model.modules():
            if isinstance(module, GhostBatchNorm):
                module.at_once = None
    windows = pack.windows()

    def train(updates: int) -> int:
        done = 0
        while done < updates:
            done += row.seeds * len(next(windows))
        return done

    return train


def eager(row: Row, tuned: bool, compiled: bool = False) -> Contender:
    """Train one seed in a loop of one's own."""
    benchmark, network = benchmarks.load(row.benchmark), plain_network(row).to(DEVICE)
    network = network.to(memory_format=torch.channels_last) if tuned else network
    optimizer = torch.optim.SGD(
        network.parameters(), LR * (1 - MOMENTUM), MOMENTUM, weight_decay=benchmark.l2, fused=True if tuned else None
    )
    model = torch.compile(network, **COMPILE) if compiled else network
    batches = resident(row)
    carry: Any = None

    def train(updates: int) -> int:
        nonlocal carry
        torch.backends.cuda.matmul.allow_tf32 = tuned and row.precision == "tf32"
        with torch.backends.cudnn.flags(enabled=True, benchmark=tuned, deterministic=False, allow_tf32=True):
            for _ in range(updates):
                optimizer.zero_grad()
                with torch.autocast(DEVICE.type, torch.bfloat16, enabled=tuned and row.precision == "bfloat16"):
                    loss, carry = benchmark.loss(model, next(batches), carry)
                (loss / row.batch_size).backward()
                if benchmark.clip_norm:
                    nn.utils.clip_grad_norm_(network.parameters(), benchmark.clip_norm)
                optimizer.step()
        torch.backends.cuda.matmul.allow_tf32 = False
        return updates

    return train


def processes(row: Row) -> Contender:
    """Train a seed by P1 in each of PROCESSES."""

    def train(updates: int) -> int:
        return sum(POOL.map(work, [row] * PROCESSES, [-(-updates // PROCESSES)] * PROCESSES))

    return train


peer_of_process = cache(partial(eager, tuned=True))


def work(row: Row, updates: int) -> int:
    """Train in a process of POOL."""
    updates = peer_of_process(row)(updates)
    synchronize()
    return updates


def ensemble(row: Row) -> Contender:
    """Train all seeds of the autoencoder by torch.func: stacked parameters, vmap of the gradient, foreach update."""
    benchmark, batches = benchmarks.load(row.benchmark), resident(row)
    models = [benchmark.build().to(DEVICE) for _ in range(row.seeds)]
    parameters = {name: parameter.detach() for name, parameter in stack_module_state(models)[0].items()}
    weights, velocities = list(parameters.values()), [torch.zeros_like(one) for one in parameters.values()]

    def loss(one: dict[str, Tensor], pixels: Tensor) -> Tensor:
        return reconstruction.loss_sum(functional_call(models[0], one, (pixels,)), pixels, "cross_entropy") / row.batch_size

    gradient_of_all = vmap(grad_and_value(loss))

    def train(updates: int) -> int:
        torch.backends.cuda.matmul.allow_tf32 = row.precision == "tf32"
        done = 0
        while done < updates:
            gradients, _ = gradient_of_all(parameters, torch.stack([next(batches)[0] for _ in range(row.seeds)]))
            torch._foreach_mul_(velocities, MOMENTUM)
            torch._foreach_add_(velocities, list(gradients.values()))
            torch._foreach_add_(velocities, weights, alpha=benchmark.l2)
            torch._foreach_add_(weights, velocities, alpha=-LR * (1 - MOMENTUM))
            done += row.seeds
        torch.backends.cuda.matmul.allow_tf32 = False
        return done

    return train


def jax_ensemble(row: Row) -> Contender:
    """Train all seeds of the autoencoder in JAX: jit of vmap, in JAX's own default precision."""
    import jax
    import jax.numpy as jnp

    layers = [layer for layer in benchmarks.load(row.benchmark).build().modules() if isinstance(layer, nn.Linear)]
    linear, l2 = len(layers) // 2 - 1, benchmarks.load(row.benchmark).l2  # the layer of the code has no logistic units
    parameters = [jnp.stack([layer.weight.detach().T.numpy()] * row.seeds) for layer in layers]
    parameters = list(zip(parameters, [jnp.zeros((row.seeds, layer.out_features)) for layer in layers], strict=True))
    velocities = jax.tree.map(jnp.zeros_like, parameters)
    images = jnp.asarray(data_of(row.benchmark)["train_pixels"].cpu().numpy())

    def loss(one: Any, pixels: Any) -> Any:
        values = pixels
        for number, (weight, bias) in enumerate(one):
            values = values @ weight + bias
            if number not in (linear, len(layers) - 1):
                values = jax.nn.sigmoid(values)
        return (jax.nn.softplus(values) - values * pixels).sum() / row.batch_size

    @jax.jit
    def update(parameters: Any, velocities: Any, key: Any) -> Any:
        key, drawn = jax.random.split(key)
        pixels = images[jax.random.randint(drawn, (row.seeds, row.batch_size), 0, NUM_IMAGES)] / 255
        gradients = jax.vmap(jax.grad(loss))(parameters, pixels)
        velocities = jax.tree.map(lambda v, g, w: MOMENTUM * v + g + l2 * w, velocities, gradients, parameters)
        return jax.tree.map(lambda w, v: w - LR * (1 - MOMENTUM) * v, parameters, velocities), velocities, key

    state = (parameters, velocities, jax.random.key(0))

    def train(updates: int) -> int:
        nonlocal state
        done = 0
        while done < updates:
            state = update(*state)
            done += row.seeds
        jax.block_until_ready(state)
        return done

    return train


PEERS = {
    "P0": partial(eager, tuned=False),
    "P1": partial(eager, tuned=True),
    "P2": partial(eager, tuned=True, compiled=True),
    "P3": processes,
    "P4": ensemble,
    "P5": jax_ensemble,
    "P6": partial(ours, norm="ghosts in turn"),
    "P7": partial(ours, norm="torch"),
    "P8": partial(ours, products=False),
}


def synchronize() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def timed(contender: Contender, updates: int) -> float:
    """Return updates per second."""
    synchronize()
    started = time.perf_counter()
    done = contender(updates)
    synchronize()
    return done / (time.perf_counter() - started)


def measure(row: Row) -> tuple[dict[str, list[float]], dict[str, str], dict[str, float]]:
    """Let ours and the peers of a row take turns.

    Returns their examples per second, why a peer is missing, and the seconds until each has compiled, captured and made its
    first updates.
    """
    contenders, updates, missing, starts = {}, {}, {}, {}
    for name in ("ours", *row.peers):
        started = time.perf_counter()
        try:
            contenders[name] = (PEERS | {"ours": ours})[name](row)
            for _ in range(2):  # to compile, choose kernels and capture; then how many updates make a window
                updates[name] = max(1, int(SECONDS * timed(contenders[name], updates.get(name, 2))))
                starts.setdefault(name, time.perf_counter() - started)
        except Exception as error:  # what has no memory, no library or does not compile is missing from the table
            contenders.pop(name, None)
            missing[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(WINDOWS):
        for name, contender in contenders.items():
            rates[name].append(examples(row) * timed(contender, updates[name]))
    return rates, missing, starts


def examples(row: Row) -> int:
    """Count the images, or words, of an update."""
    return row.batch_size * benchmarks.protocol(row.benchmark).get("unroll", 1)


def peak(precision: str, size: int) -> float:
    """Return the FLOP/s of a large matrix product in a precision."""
    one, other = torch.randn(2, size, size, device=DEVICE, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    rates = [timed(lambda updates: [one @ other for _ in range(updates)] and updates, 10) for _ in range(WINDOWS + 1)]
    torch.backends.cuda.matmul.allow_tf32 = False
    return 2 * size**3 * statistics.median(rates[1:])


def bandwidth(size: int) -> float:
    """Return the bytes per second that a large copy moves."""
    one, other = torch.zeros(2, size, device=DEVICE)
    rates = [timed(lambda updates: [other.copy_(one) for _ in range(updates)] and updates, 10) for _ in range(WINDOWS + 1)]
    return 2 * one.nbytes * statistics.median(rates[1:])


def roofline(row: Row, flops: float, bytes_per_second: float) -> float:
    """Return the examples per second that arithmetic, or memory traffic, alone allows."""
    weights = sum(parameter.numel() for parameter in record(row).build().parameters())
    activations = 1e6 * MEGABYTES.get(row.benchmark, 0) * (1 if row.precision == "bfloat16" else 2)
    traffic = activations + 32 * weights / examples(row)  # eight passes of float32 over the weights in an update
    return 1 / max(benchmarks.protocol(row.benchmark)["train_flops"] / flops, traffic / bytes_per_second)


def verdict(must: float, ratios: dict[str, float], median: dict[str, float]) -> str:
    """Say whether what a row must reach was reached, as far as it was measured."""
    others = [rate for name, rate in median.items() if name in ("P2", "P3", "P4", "P5")]
    best = median | ({"others": max(others)} if others else {})
    aims = [(f"{must:,.0f}", must)] * bool(must)
    aims += [(f"{ratio:.3g} x {name}", ratio * best[name]) for name, ratio in ratios.items() if name in best]
    return "; ".join(f"{aim}: {'met' if median['ours'] >= least else 'missed'}" for aim, least in aims)


def line(row: Row, rates: dict[str, list[float]], limit: float, aims: tuple[float, float, dict[str, float]]) -> str:
    """Write a row of the table."""
    must, stretch, of_peers = aims
    median = {name: statistics.median(values) for name, values in rates.items()}
    ratios = [f"{median['ours'] / median[name]:.2f}" if name in median else "" for name in PEERS]
    rate = f"{median['ours']:,.0f} ({min(rates['ours']):,.0f} to {max(rates['ours']):,.0f})"
    cells = [row.title, row.batch_size, row.seeds, row.precision, rate, *ratios, verdict(must, of_peers, median)]
    return f"| {' | '.join(map(str, cells))} | {f'{stretch:,.0f}' if stretch else ''} | {median['ours'] / limit:.0%} |"


def summary(samples: list[dict[str, Any]]) -> str:
    """Write what follows from the rows of the Wide-ResNet in bfloat16: the cost of its sweeps, flatness, start."""
    rows = [one for one in samples if (one["row"]["title"], one["row"]["precision"]) == ("WRN-16-4", "bfloat16")]
    known: dict[str, dict[int, float]] = {}  # of every contender, by batch size
    for one in rows:
        for name, values in one["examples_per_second"].items():
            known.setdefault(name, {})[one["row"]["batch_size"]] = statistics.median(values)
    if "ours" not in known or "P1" not in known:
        return "no summary: ours or P1 is missing from all rows of WRN-16-4"

    def rate(name: str, batch_size: int) -> float:
        sizes = sorted(known[name])
        return float(np.exp(np.interp(np.log(batch_size), np.log(sizes), np.log([known[name][size] for size in sizes]))))

    cells = [one for one in grid.cells(load_config(str(PAPER))) if one.benchmark == "wrn_cifar10"]
    lines, peers = [], [name for name in known if name in ("P1", "P2", "P3")]
    for mode, (must, of_p1, of_best) in SWEEP_AIMS.items():
        seconds, images, runs = {"ours": 0.0, "P1": 0.0, "best": 0.0}, 0, 0
        for cell in cells:
            if mode in cell.modes:
                num = cell.num_steps * cell.batch_size * len(grid.seed_range(cell.seeds))
                rates = {name: rate(name, cell.batch_size) for name in ("ours", *peers)}
                rates["best"] = max(rates[name] for name in peers)
                for name in seconds:
                    seconds[name] += num / rates[name]
                images, runs = images + num, runs + len(grid.seed_range(cell.seeds))
        hours = {name: spent / 3600 for name, spent in seconds.items()}
        aims = [(f"{must:,.0f} images/s", images / seconds["ours"] / must)]
        aims += [
            (f"{of_p1} x P1", hours["P1"] / hours["ours"] / of_p1),
            (f"{of_best} x the best", hours["best"] / hours["ours"] / of_best),
        ]
        reached = "; ".join(f"{aim}: {'met' if share >= 1 else 'missed'}" for aim, share in aims)
        lines.append(
            f"{mode}, {runs:,} runs: {hours['ours']:.1f} GPU-hours; P1 {hours['P1']:.1f}; the best peer of every cell"
            f" {hours['best']:.1f} ({reached})"
        )
    flat = known["ours"][min(known["ours"])] / rate("ours", 1024)
    lines.append(f"rate at batch size {min(known['ours'])} / at 1024: {flat:.2f} ({FLAT}: {'met' if flat >= FLAT else 'missed'})")
    for one in rows:
        if (seconds_to_start := one["starts"].get("ours")) is None:
            continue
        size, seeds = one["row"]["batch_size"], one["row"]["seeds"]
        share = seconds_to_start / (seeds * EPOCHS * 50_000 / rate("ours", size))
        met = "met" if share <= START else "missed"
        lines.append(f"start at batch size {size}: {seconds_to_start:.1f} s, {share:.1%} of {seeds} run(s) ({START:.0%}: {met})")
    return "\n".join(lines)


def start(dry_run: bool) -> None:
    """Set up this process, or one of POOL."""
    values = {"DEVICE": use_device("cpu" if dry_run else "cuda", 1)}
    tiny = {"WINDOWS": 2, "SECONDS": 0.0, "COMPILE": {"backend": "eager"}, "NUM_IMAGES": 128, "NUM_TOKENS": 8192, "PROCESSES": 2}
    globals().update(values | (tiny if dry_run else {}))
    graph.WINDOW = 2 if dry_run else graph.WINDOW


def main(options: argparse.Namespace) -> int:
    """Measure, print the table as it grows, and write the samples; return 1 if ours is missing from a row."""
    rows = [shrunk(row) for row in ROWS] if options.dry_run else ROWS
    peaks = {precision: peak(precision, 256 if options.dry_run else 8192) for precision in {row.precision for row in rows}}
    memory = bandwidth(10**4 if options.dry_run else 2**28)
    samples: list[dict[str, Any]] = []
    if options.dry_run:
        print("A dry run: these numbers mean nothing.\n")
    print(
        "| network | batch size | seeds | precision | ours, examples/s |",
        *(f"x {name} |" for name in PEERS),
        "must | stretch | of roofline |",
    )
    print("|---" * (8 + len(PEERS)) + "|")
    for row, aims in zip(rows, AIMS, strict=True):
        rates, missing, starts = measure(row)
        limit = roofline(row, peaks[row.precision], memory)
        samples.append(
            {"row": asdict(row), "examples_per_second": rates, "missing": missing, "starts": starts, "roofline": limit}
        )
        if "ours" in rates:
            print(line(row, rates, limit, aims), flush=True)
        for name, reason in missing.items():
            print(f"{row.title} at batch size {row.batch_size}: no {name} ({reason})", file=sys.stderr)
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
    print(f"\n{summary(samples)}")
    made_by = provenance.collect(DEVICE, {}) | {"precision": "see the rows", "cuda": torch.version.cuda}
    content = {"made_by": made_by, "dry_run": options.dry_run, "flops": peaks, "bytes_per_second": memory, "samples": samples}
    print(f"\n{WINDOWS} windows each; {made_by['device']}, torch {made_by['torch']}, CUDA {made_by['cuda']}")
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1))
    return int(any("ours" in one["missing"] for one in samples))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="tiny, on a CPU, to see that it runs")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent.parent / "results/bench_gpu.json", help="default: %(default)s"
    )
    chosen = parser.parse_args()
    try:
        start(chosen.dry_run)
    except ValueError as error:
        sys.exit(f"performance/gpu.py: {error}; or try the script with --dry-run")
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), start, (chosen.dry_run,)) as POOL:
        sys.exit(main(chosen))
