"""Measure the engine "graph" on a GPU, against what else one could do: python performance/gpu (make bench-gpu).

All in one run: for every row ours and the peers take turns, window by window of about half a second, data, augmentation and
update included, on random data that stays on the device. The table has medians of five windows and their range; all samples
are written to --out with the device and the versions. `must` and `stretch` are what we aim at on an H200, in examples (words) per
second or as a multiple of a peer ("others": the best of P2 to P5). `of roofline` is the time that arithmetic or memory traffic
alone needs, at the rates of a large matrix product and a large copy on this device, as a share of the time taken.

Peers, in peers.py: P0, torch's defaults; P1, the same tuned: channels last, the row's precision, fused SGD; P2, P1 with
torch.compile(mode="max-autotune"); P3, several processes with P1 on the one device; P4, torch.func's vmap over the seeds; P5, the same
in JAX, where it can be imported. P0 to P3 train one seed each, with torch's own batch norm instead of ghost batches. The last
three are the engine in another way: P6, ghost batches one after another; P7, with torch's batch norm; P8, every seed a branch.

From the rows of the Wide-ResNet follows what its sweeps in workflow/config/paper.yaml would cost, images by the rate at their
batch size (interpolated between those of the rows, on logarithmic scales; beyond them, the nearest).

With --rows only some rows are measured, and --out keeps what it has of the others. With --dry-run every row runs, tiny, on a CPU: that shows that the script works, and measures nothing.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from clock import HERE, bandwidth, peak, start, timed
from peers import PEERS, ours
from rows import ROWS, Row, examples, shrunk
from table import AIMS, line, roofline, summary

from sgdnoise.machine import provenance


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
                updates[name] = max(1, int(HERE.seconds * timed(contenders[name], updates.get(name, 2))))
                starts.setdefault(name, time.perf_counter() - started)
        except Exception as error:  # what has no memory, no library or does not compile is missing from the table
            contenders.pop(name, None)
            missing[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(HERE.windows):
        for name, contender in contenders.items():
            rates[name].append(examples(row) * timed(contender, updates[name]))
    return rates, missing, starts


def main(options: argparse.Namespace) -> int:
    """Measure, print the table as it grows, and write the samples; return 1 if ours is missing from a row."""
    rows = [shrunk(row) for row in ROWS] if options.dry_run else ROWS
    peaks = {precision: peak(precision, 256 if options.dry_run else 8192) for precision in {row.precision for row in rows}}
    memory = bandwidth(10**4 if options.dry_run else 2**28)
    earlier = json.loads(options.out.read_text()) if options.rows and options.out.exists() else {}
    kept = earlier["samples"] if earlier.get("dry_run") == options.dry_run else []
    chosen = options.rows or range(len(rows))
    samples: list[dict[str, Any]] = [one for one in kept if one["number"] not in chosen]
    if options.dry_run:
        print("A dry run: these numbers mean nothing.\n")
    print(
        "| network | batch size | seeds | precision | ours, examples/s |",
        *(f"x {name} |" for name in PEERS),
        "must | stretch | of roofline |",
    )
    print("|---" * (8 + len(PEERS)) + "|")
    for number in chosen:
        row, aims = rows[number], AIMS[number]
        rates, missing, starts = measure(row)
        limit = roofline(row, peaks[row.precision], memory)
        sample = {"number": number, "row": asdict(row), "examples_per_second": rates, "missing": missing, "starts": starts}
        samples.append(sample | {"roofline": limit})
        if "ours" in rates:
            print(line(row, rates, limit, aims), flush=True)
        for name, reason in missing.items():
            print(f"{row.title} at batch size {row.batch_size}: no {name} ({reason})", file=sys.stderr)
        if HERE.device.type == "cuda":
            torch.cuda.empty_cache()
    samples.sort(key=lambda one: one["number"])
    print(f"\n{summary(samples)}")
    made_by = provenance.collect(HERE.device, {}) | {"precision": "see the rows", "cuda": torch.version.cuda}
    content = {"made_by": made_by, "dry_run": options.dry_run, "flops": peaks, "bytes_per_second": memory, "samples": samples}
    print(f"\n{HERE.windows} windows each; {made_by['device']}, torch {made_by['torch']}, CUDA {made_by['cuda']}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1))
    return int(any("ours" in one["missing"] for one in samples if one["number"] in chosen))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="tiny, on a CPU, to see that it runs")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[2] / "results/bench_gpu.json", help="default: %(default)s"
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", choices=range(len(ROWS)), metavar="ROW", help=f"only these, 0 to {len(ROWS) - 1}"
    )
    chosen = parser.parse_args()
    try:
        start(chosen.dry_run)
    except ValueError as error:
        sys.exit(f"performance/gpu: {error}; or try the script with --dry-run")
    with ProcessPoolExecutor(HERE.processes, get_context("spawn"), start, (chosen.dry_run,)) as HERE.pool:
        sys.exit(main(chosen))
