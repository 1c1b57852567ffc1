"""Who is measured: the engine, and what else one could do; each makes a contender of a row."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from clock import HERE, Contender, synchronize
from rows import Row, data_of, plain_network, record, resident
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from sgdnoise import benchmarks
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.tasks import reconstruction
from sgdnoise.training import graph
from sgdnoise.training.state import Plan
from sgdnoise.training.together import start_all

LR = 0.001  # effective; at which nothing diverges on random data
MOMENTUM = 0.9


def ours(row: Row, norm: str = "ghosts at once", products: bool | None = None) -> Contender:
    """Train all seeds by the engine, with all that belongs to it: batches, noise, losses read back."""
    settings = benchmarks.default_settings(row.benchmark) | {"precision": row.precision, "micro_batch": row.micro_batch}
    plan = Plan(OPTIMIZERS["momentum"], row.batch_size, LR, 10**9, 0, 1, settings)
    data = None if row.benchmark == "resnet50_imagenet" else data_of(row.benchmark)
    benchmark = record(row)
    if norm == "torch":
        benchmark = replace(benchmark, build=partial(plain_network, row))
    states = start_all(benchmark, plan, range(row.seeds), HERE.device, None)
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
    benchmark, network = benchmarks.load(row.benchmark), plain_network(row).to(HERE.device)
    network = network.to(memory_format=torch.channels_last) if tuned else network
    optimizer = torch.optim.SGD(
        network.parameters(), LR * (1 - MOMENTUM), MOMENTUM, weight_decay=benchmark.l2, fused=True if tuned else None
    )
    model = torch.compile(network, **HERE.compile) if compiled else network
    batches = resident(row)
    carry: Any = None

    def train(updates: int) -> int:
        nonlocal carry
        torch.backends.cuda.matmul.allow_tf32 = tuned and row.precision == "tf32"
        with torch.backends.cudnn.flags(enabled=True, benchmark=tuned, deterministic=False, allow_tf32=True):
            for _ in range(updates):
                optimizer.zero_grad()
                with torch.autocast(HERE.device.type, torch.bfloat16, enabled=tuned and row.precision == "bfloat16"):
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
        return sum(HERE.pool.map(work, [row] * HERE.processes, [-(-updates // HERE.processes)] * HERE.processes))

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
    models = [benchmark.build().to(HERE.device) for _ in range(row.seeds)]
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
        pixels = images[jax.random.randint(drawn, (row.seeds, row.batch_size), 0, HERE.num_images)] / 255
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
