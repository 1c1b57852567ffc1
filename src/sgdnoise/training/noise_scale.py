"""Gradient noise scales, and the curvature that limits the learning rate, at one point of the weights.

An objective on a batch is given as `terms`, functions whose scalars add up to it: one per micro-batch, one for L2. With the
gradients g_1 ... g_K of K independent batches of B examples, G their expectation and Sigma the covariance of one example,

    <g_i . g_j> over i != j  estimates  |G|^2,       B (<g_i . g_i> - <g_i . g_j>)    estimates  tr Sigma,
    <g_j . H_i g_i>          estimates  G^T H G,     B (<g_i . H_i g_i> - <g_j . H_i g_i>)       tr(H Sigma),

all without bias, if the Hessian H_i is that of one more independent batch. The first line is McCandlish et al. 2018, eq. A.2
and A.3 (arXiv 1812.06162) with B_small = B and B_big = K B. Their ratios are the simple and the Hessian-weighted noise scale,
eq. 2.9 and 2.8.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

Terms = Sequence[Callable[[], Tensor]]

CONFIDENCE = 0.95
TOLERANCE = 0.02  # our choice: of power iteration; the eigenvalue's error is of second order in it, far below that of sampling
MAX_ITERATIONS = 300  # our choice: of power iteration; an eigenvalue that needs more says so by its residual


class Estimate(NamedTuple):
    """A value and the ends of its interval of CONFIDENCE."""

    value: float
    low: float
    high: float


class Eigenvalue(NamedTuple):
    """A Rayleigh quotient, its unit vector (P,) and residual |H v - value v|: an eigenvalue lies no further away."""

    value: float
    vector: Tensor
    residual: float


def gradient(terms: Terms, parameters: Sequence[Tensor]) -> Tensor:
    """Return the gradient of the summed terms, (P,)."""
    gradients = (flat(torch.autograd.grad(term(), parameters, materialize_grads=True)) for term in terms)
    return functools.reduce(torch.add, gradients)


def hessian_product(terms: Terms, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Return the Hessian of the summed terms times `vector`, (P,), by differentiating twice."""
    pieces = vector.split([parameter.numel() for parameter in parameters])
    pieces = [piece.view(parameter.shape) for piece, parameter in zip(pieces, parameters, strict=True)]
    total = torch.zeros_like(vector)
    for term in terms:
        gradients = torch.autograd.grad(term(), parameters, create_graph=True, materialize_grads=True)
        if pairs := [
            (one, piece) for one, piece in zip(gradients, pieces, strict=True) if one.requires_grad
        ]:  # else it is linear
            curved, along = zip(*pairs, strict=True)
            total += flat(torch.autograd.grad(curved, parameters, along, materialize_grads=True))
    return total


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Join tensors into one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def equal_and_different(products: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of a matrix (K, K) on and off its diagonal, (1 + K,): of all batches, then without each in turn.

    >>> [mean.tolist() for mean in equal_and_different(torch.tensor([[4.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 9.0]]))]
    [[6.0, 7.0, 6.5, 4.5], [1.0, 1.0, 1.0, 1.0]]
    """
    products = products.double()
    diagonal = products.diagonal()
    left_out = torch.cat([diagonal.new_zeros(1), products.sum(dim=0) + products.sum(dim=1) - diagonal])
    trace = diagonal.sum() - torch.cat([diagonal.new_zeros(1), diagonal])
    count = torch.full_like(trace, len(products) - 1)
    count[0] += 1
    return trace / count, (products.sum() - left_out - trace) / (count * (count - 1))


def jackknife(replicates: Tensor) -> Estimate:
    """Return a statistic with Student's interval, from its values (1 + K,) with all batches and without each in turn."""
    value, without = replicates[0], replicates[1:]
    num_batches = len(without)
    error = ((num_batches - 1) * without.var(correction=0)).sqrt()
    return spread(float(value), float(error), num_batches)


def mean(values: Tensor) -> Estimate:
    """Return the mean of independent values (K,) with Student's interval."""
    return spread(float(values.mean()), float(values.std()) / len(values) ** 0.5, len(values))


def spread(value: float, error: float, count: int) -> Estimate:
    """Return the interval of a value that has a standard error from `count` independent batches."""
    margin = error * float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return Estimate(value, value - margin, value + margin)


def noise_scale(products: Tensor, scale: float) -> Estimate:
    """Estimate a noise scale, in examples, from the products (K, K) of K gradients.

    products[i, j] is g_i . g_j for the simple scale, g_j . H_i g_i for the Hessian-weighted. `scale` is the batch size,
    corrected for finite data (see `noise_run.py`). Of signal / noise the interval is the jackknife's, since only the
    signal can be close to 0; the noise scale is the inverse. Where the signal cannot be told from 0 it is not identifiable:
    the value is NaN and the upper end infinite. All is NaN where not even its sign can be told: for a Hessian that is
    indefinite along the gradients.
    """
    equal, different = equal_and_different(products)
    noise = scale * (equal - different)
    inverse = jackknife(different / noise)
    if jackknife(noise).low <= 0 or inverse.high <= 0:
        return Estimate(torch.nan, torch.nan, torch.nan)
    if inverse.low <= 0:
        return Estimate(torch.nan, 1 / inverse.high, torch.inf)
    return Estimate(1 / inverse.value, 1 / inverse.high, 1 / inverse.low)


def top_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, tolerance: float = TOLERANCE, max_iterations: int = MAX_ITERATIONS
) -> Eigenvalue:
    """Find the largest (not the largest absolute) eigenvalue of a symmetric matrix, given its product with a vector.

    Power iteration from `start` (P,) until the residual is below `tolerance` times the spectral radius, or to
    `max_iterations`. If that finds none or a negative one, once more with the spectrum shifted to be positive.
    """
    shift = 0.0
    for _ in range(2):
        vector = start / start.norm()
        for _ in range(max_iterations):
            image = product(vector)
            value = float(vector @ image)
            residual = float((image - value * vector).norm())
            if converged := not residual > tolerance * (abs(value) + shift):  # or NaN, which would go on for ever
                break
            vector = image + shift * vector
            vector = vector / vector.norm()
        if converged and value > 0:
            break
        shift = float(image.norm())
    return Eigenvalue(value, vector, residual)


def eigenvalue_estimate(found: Eigenvalue, own: Tensor, fresh: Tensor) -> Estimate:
    """Enclose the top eigenvalue of the expected Hessian, given v^T H v on every batch (K,).

    `own` are the batches whose mean Hessian has the eigenvalue `found`: it is too large in expectation, because v is chosen to
    maximise it. On `fresh` batches v^T H v is too small in expectation, whatever v is. So the interval goes from the lower end
    of the latter to the upper end of the former.
    """
    return Estimate(found.value, min(mean(fresh).low, found.value), mean(own).high + found.residual)


def stable_lr(eigenvalue: float, momentum: float) -> float:
    """Return the effective learning rate above which a quadratic of top curvature `eigenvalue` diverges.

    eps < 2 / lambda, and 2 (1 + m) / lambda with momentum m (ICLR v5 sec. 2; Goh 2017); divided by 1 - m. Infinite without
    positive curvature.

    >>> stable_lr(4.0, 0.0), round(stable_lr(4.0, 0.9), 9)
    (0.5, 9.5)
    """
    return 2 * (1 + momentum) / ((1 - momentum) * eigenvalue) if eigenvalue > 0 else torch.inf
