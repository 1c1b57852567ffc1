"""K-FAC against the Fisher information computed whole, dense solves, and another implementation of its factors."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import tiny
import torch
from conftest import own_benchmark
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from sgdnoise import benchmarks
from sgdnoise.study.cell import make_cell
from sgdnoise.study.optimizers import OPTIMIZERS, optimizer
from sgdnoise.tasks import classification, language_model, ready, reconstruction
from sgdnoise.training import kfac, loop
from sgdnoise.training.cell import load_data, plan_of, train_cell
from sgdnoise.training.gradients import backward
from sgdnoise.training.rules import RULES, precondition
from sgdnoise.training.state import State

CPU = torch.device("cpu")


def factors_at(model, inputs, roots):
    """Return the factors of every layer where the gradients by the network's outputs are each of `roots(outputs)` in turn."""
    with kfac.watched(model) as layers:
        outputs = model(inputs)
        for root in roots(outputs.detach()):
            outputs.backward(root, retain_graph=True)
    kept = {}
    kfac.keep(kept, layers, len(inputs))
    return [one["factors"] for one in kept["layers"]]


def basis(outputs):
    """Return the columns of a root of the Hessian of half the squared error."""
    return [torch.eye(outputs.shape[1])[column].expand(outputs.shape) for column in range(outputs.shape[1])]


def softmax_roots(outputs):
    """Return the columns of a root of the Hessian of the cross-entropy: diag(p) - p p^T = R R^T, R = diag(s) - p s^T, s^2 = p."""
    p = outputs.softmax(dim=1)
    return [
        p.sqrt() * (F.one_hot(torch.tensor(column), p.shape[1]) - p[:, [column]].sqrt() * p.sqrt())
        for column in range(p.shape[1])
    ]


def jacobians(model, layer, inputs):
    """Return the derivative of each example's outputs by a layer's weight and bias as one matrix, (N, K, O I)."""
    rows = []
    for example in inputs:
        outputs = model(example[None])[0]
        found = [torch.autograd.grad(one, [*layer.parameters()], retain_graph=True) for one in outputs]
        rows.append(torch.stack([torch.cat([part.reshape(len(part), -1) for part in one], dim=1).flatten() for one in found]))
    return torch.stack(rows)


def linear_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False)), torch.randn(6, 4)


def test_of_a_linear_network_with_normal_targets_it_is_exact():
    """Each block of the Fisher information, from all directions of the targets."""
    model, inputs = linear_network()
    for layer, (a, g) in zip(model, factors_at(model, inputs, basis), strict=True):
        jacobian = jacobians(model, layer, inputs)
        exact = torch.einsum("nka,nkb->ab", jacobian, jacobian) / len(inputs)
        torch.testing.assert_close(torch.kron(g, a), exact)


def test_layers_are_those_of_their_own_weight():
    """Not one whose weight is made of other parameters, as by torch.nn.utils; and the weight comes first, whatever the order."""
    made = [nn.utils.spectral_norm(nn.Linear(3, 2)), parametrizations.weight_norm(nn.Linear(3, 2))]
    made += [prune.l1_unstructured(nn.Linear(3, 2), name, 1) for name in ("weight", "bias")]
    made.append(prune.l1_unstructured(nn.Conv2d(3, 2, 1), "weight", 1))
    assert kfac.layers_of(nn.Sequential(*made)) == []
    turned = nn.Linear(3, 2)
    weight = turned.weight
    del turned.weight
    turned.weight = weight
    model = nn.Sequential(turned, nn.Linear(2, 2, bias=False))
    assert [name for name, _ in model.named_parameters()] == ["0.bias", "0.weight", "1.weight"]
    assert [layer.parameters for layer in kfac.layers_of(model)] == [[1, 0], [2]]


def test_drawn_targets_have_that_in_the_mean():
    """Within six standard errors of 4,000 draws, entry by entry."""
    model, inputs = linear_network()
    sampled = partial(
        ready.sampled, lambda outputs, _: F.mse_loss(outputs, outputs.detach() + torch.randn_like(outputs), reduction="sum") / 2
    )
    drawn = []
    for _ in range(4000):
        with kfac.watched(model) as layers:
            sampled(model, (inputs, inputs), None)[0].backward()
        drawn.append(layers[0].outputs / layers[0].places)
    wanted = factors_at(model, inputs, basis)[0][1]
    stacked = torch.stack(drawn)
    assert ((stacked.mean(dim=0) - wanted).abs() < 6 * stacked.std(dim=0) / len(drawn) ** 0.5).all()


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 2, bias=False, dilation=2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ), torch.randn(5, 2, 8, 8)


def test_factors_of_convolutions_are_those_of_curvlinops():
    curvlinops = pytest.importorskip("curvlinops", reason="curvlinops-for-pytorch is not installed: pip install 'sgdnoise[test]'")
    model, inputs = convolutions()
    ours = factors_at(model, inputs, softmax_roots)
    theirs = curvlinops.KFACLinearOperator(
        model,
        nn.CrossEntropyLoss(),
        list(model.parameters()),
        [(inputs, torch.zeros(len(inputs), dtype=torch.long))],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,  # which would leave factors that add up with those of the next line
    )
    theirs.compute_kronecker_factors()
    kept = theirs.state_dict()
    for name, (a, g) in zip(("0", "2", "4"), ours, strict=True):
        wanted = torch.kron(kept["gradient_covariances"][name], kept["input_covariances"][name])
        torch.testing.assert_close(torch.kron(g, a), wanted, rtol=1e-4, atol=1e-6)


def test_inputs_of_a_convolution_are_the_patches_that_it_multiplies():
    """Also of other paddings."""
    torch.manual_seed(0)
    for mode, padding in (("zeros", "same"), ("reflect", 1), ("circular", (2, 1))):
        layer, images = nn.Conv2d(2, 3, 3, padding=padding, padding_mode=mode), torch.randn(4, 2, 6, 5)
        rows = kfac.input_rows(layer, images) @ layer.weight.flatten(1).T + layer.bias
        torch.testing.assert_close(rows, layer(images).permute(0, 2, 3, 1).reshape(rows.shape))


def test_the_preconditioned_gradient_solves_the_damped_system():
    """With factored damping: (G + sqrt(LAMBDA) / pi) (x) (A + pi sqrt(LAMBDA)), weight and bias in one."""
    model, inputs = convolutions()
    a, g = factors_at(model, inputs, softmax_roots)[0]
    weight, bias = torch.randn(3, 2, 3, 3).contiguous(memory_format=torch.channels_last), torch.randn(3)
    columns = torch.cat([weight.reshape(3, -1), bias[:, None]], dim=1).double()
    pi = math.sqrt(a.trace() / len(a) / (g.trace() / len(g)))
    damped = [
        factor.double() + damping * torch.eye(len(factor))
        for factor, damping in ((g, kfac.LAMBDA**0.5 / pi), (a, kfac.LAMBDA**0.5 * pi))
    ]
    wanted = torch.linalg.solve(torch.kron(*damped), columns.flatten()).view(columns.shape)
    precondition([weight, bias], *kfac.inverses(a, g))
    torch.testing.assert_close(torch.cat([weight.reshape(3, -1), bias[:, None]], dim=1).double(), wanted, rtol=1e-4, atol=1e-4)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_what_cannot_be_inverted_becomes_nan():
    assert kfac.inverse(torch.full((2, 2), torch.nan), 0.1).isnan().all()
    assert kfac.inverse(-torch.eye(2), 0.1).isnan().all()
    first, second = kfac.inverses(torch.eye(2), torch.zeros(3, 3))  # a layer that the loss does not see yet
    torch.testing.assert_close(first, torch.eye(2) / (1 + kfac.LAMBDA**0.5))
    torch.testing.assert_close(second, torch.eye(3) / kfac.LAMBDA**0.5)


def test_averages_and_when_they_are_inverted():
    """The mean of the first 20 updates, then what is kept is 0.95; inverses anew up to the 10th and at every 10th."""
    kept, seen, values = {}, [], torch.arange(1.0, 32.0)
    for value in values:
        kfac.keep(kept, [kfac.Layer(nn.Linear(1, 1), [0], value.view(1, 1), torch.ones(1, 1), 1)], 1)
        seen.append((float(kept["layers"][0]["factors"][0]), float(kept["layers"][0]["inverses"][0])))
    averages, inverses = zip(*seen, strict=True)
    assert averages[:20] == pytest.approx([float(values[:k].mean()) for k in range(1, 21)])
    assert averages[20] == pytest.approx(0.95 * averages[19] + 0.05 * 21)
    anew = [k for k in range(2, 32) if inverses[k - 1] != inverses[k - 2]]
    assert anew == [*range(2, 11), 20, 30]


def test_the_gradient_and_the_state_of_the_run_are_as_without_it():
    """The pass of drawn targets leaves nothing but factors: not of the norms, the carries, random numbers, gradients."""
    for name, benchmark, data in (("tiny", tiny.BENCHMARK, tiny.data()), ("lstm", *lstm())):
        states = []
        for one in ("momentum", "kfac"):
            plan = replace(tiny.plan(one), evaluations=1)
            state = loop.start(benchmark, plan, 0, CPU, None)
            gradient, batches = loop.source(benchmark, data, plan, state, 0), loop.batches_of(benchmark, data, plan, 0, 0)
            losses = [float(gradient(next(batches))) for _ in range(2)]
            own = [parameter.grad.clone() for parameter in state.model.parameters()]
            carry = state.carries[0] or ()
            states.append([*own, *state.model.buffers(), torch.get_rng_state(), *carry, torch.tensor(losses)])
            if one == "kfac":
                assert state.optimizer["layers"][0]["factors"][1].count_nonzero()
                assert len(state.optimizer["layers"]) == {"tiny": 3, "lstm": 1}[name]  # of the LSTM, what reads it out
        assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def lstm():
    benchmark = benchmarks.load("lstm_synthetic")
    tokens = torch.randint(50, (400,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    return benchmark, {"train_tokens": tokens, "test_tokens": tokens}


def test_micro_batches_add_up():
    """But for the targets drawn: with one that is certain, the factors are the same."""
    certain = replace(tiny.BENCHMARK, loss=classification.loss)
    batch, factors = (torch.randn(8, 1, 8, 8), torch.arange(8) % tiny.CLASSES), []
    for micro_batch in (8, 4):
        torch.manual_seed(0)
        model, kept = tiny.network(), {}
        with kfac.watched(model) as layers:
            backward(certain, State(model, CPU), batch, micro_batch, 1)
        kfac.keep(kept, layers, 8)
        factors.append([factor for one in kept["layers"] for factor in one["factors"]])
    for one, other in zip(*factors, strict=True):
        torch.testing.assert_close(one, other)


def test_layers_whose_gradient_is_not_theirs_alone_have_none():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.readout, self.frozen = nn.Embedding(5, 3), nn.Linear(3, 5), nn.Linear(3, 3)
            self.readout.weight = self.embedding.weight
            self.frozen.weight.requires_grad_(False)
            self.grouped, self.norm, self.plain = nn.Conv2d(2, 2, 1, groups=2), nn.LayerNorm(3), nn.Linear(3, 3)

    model = Tied()
    assert [layer.module for layer in kfac.layers_of(model)] == [model.plain]


def test_a_benchmark_without_sampled_loss_is_refused_before_training(tmp_path):
    cell = make_cell("own", "kfac", "steps2", 16, 0.01, "0-0", "{}", 1, str(own_benchmark(tmp_path)))
    with pytest.raises(ValueError, match="^K-FAC: this benchmark has no sampled_loss; give its record one"):
        train_cell(cell, tmp_path / "data", CPU, lambda step: pytest.fail("it trained"))
    norms = replace(tiny.BENCHMARK, build=lambda: nn.LayerNorm(8))
    with pytest.raises(ValueError, match="^K-FAC: the network has no linear layer or convolution"):
        loop.train(norms, tiny.data(), tiny.plan("kfac"), 0, CPU)


def test_divergence_is_data():
    """However large the learning rate: no factor that cannot be inverted ends a run by an error."""
    curves = loop.train(tiny.BENCHMARK, tiny.data(), tiny.plan("kfac", lr=1e25, num_steps=12), 0, CPU)
    assert curves.diverged


def test_with_a_regulariser_on_micro_batches(load):
    """Their carries are the run's, so the drawn targets come in the same micro-batches."""
    one = optimizer("mine@0.01", json.dumps({"optimizer": "kfac", "regulariser": "sam", "micro_batch": 4}))
    assert one.evaluations == 4
    benchmark, data = lstm()
    assert not loop.train(benchmark, data, tiny.plan(one), 0, CPU).diverged
    assert (one.rule, one.source, one.momentum) == ("kfac", "kfac", OPTIMIZERS["kfac"].momentum)
    assert one.rule in RULES


# The Fisher information of a loss is the mean over drawn targets of the outer products of its gradients by the logits, and the Hessian
# of the expected loss: of those below, the Hessian of the loss itself.
def words(scale):
    return partial(language_model.loss, scale=scale), partial(language_model.sampled_loss, scale=scale)


def case(name):
    """Return the loss and the sampled loss of a model whose only parameter are its logits, the logits, and a batch."""
    torch.manual_seed(0)
    if name.startswith("reconstruction"):
        kind = name.partition(" ")[2]
        losses = (partial(reconstruction.loss, kind=kind), partial(reconstruction.sampled_loss, kind=kind))
        return *losses, torch.randn(1, 3), (torch.rand(1, 3),)
    if name.startswith("words"):
        return *words(1 / 2), torch.randn(1, 2, 3), (torch.zeros(1, 2).long(), torch.tensor([[1, 2]]), torch.ones(1))
    if name.startswith("ready"):
        made = getattr(ready, name.partition(" ")[2])(lambda: None, lambda: None, {"context": 2, "num_train": 1, "num_test": 1})
        shapes = {
            "classification": ((1, 3), torch.tensor([1])),
            "regression": ((1, 1), torch.tensor([0.5])),
            "language_model": ((1, 2, 3), torch.tensor([[1, 2]])),
        }
        shape, targets = shapes[name.partition(" ")[2]]
        return made.loss, made.sampled_loss, torch.randn(shape), (torch.zeros(1), targets)
    return classification.loss, classification.sampled_loss, torch.randn(1, 3), (torch.zeros(1), torch.tensor([1]))


@pytest.mark.parametrize(
    "name",
    [
        "classification",
        "reconstruction cross_entropy",
        "words",
        "ready classification",
        "ready regression",
        "ready language_model",
    ],
)
def test_drawn_targets_have_the_fisher_information_of_the_loss(name):
    """Which is the Hessian by the logits; within six standard errors of 3,000 draws, and the gradient's mean is 0."""
    loss, sampled, logits, batch = case(name)
    logits.requires_grad_()

    def model(*_):
        return (logits, ()) if name == "words" else logits

    def own(values):
        return loss(lambda *_: (values, ()) if name == "words" else values, batch, None)[0]

    hessian = torch.autograd.functional.hessian(own, logits.detach()).reshape(logits.numel(), -1)
    drawn = torch.stack([torch.autograd.grad(sampled(model, batch, None)[0], logits)[0].flatten() for _ in range(3000)]).double()
    products = drawn[:, :, None] * drawn[:, None]
    for found, wanted in ((drawn, torch.zeros(())), (products, hessian)):
        error = found.std(dim=0) / len(found) ** 0.5
        assert ((found.mean(dim=0) - wanted).abs() <= 6 * error + 1e-6).all()


def test_drawn_pixels_of_the_squared_error():
    """Gauss-Newton's matrix of half the squared error of sigmoids, diagonal: the slopes of the sigmoid, squared."""
    _, sampled, logits, batch = case("reconstruction squared_error")
    logits.requires_grad_()
    drawn = torch.stack([torch.autograd.grad(sampled(lambda *_: logits, batch, None)[0], logits)[0] for _ in range(3000)])
    slopes = logits.detach().sigmoid() * (1 - logits.detach().sigmoid())
    squares = drawn.square()
    assert ((squares.mean(dim=0) - slopes**2).abs() < 6 * squares.std(dim=0) / len(drawn) ** 0.5).all()


def test_users_of_ready_tasks_have_it_with_their_loss_or_not():
    """A loss of one's own has no known distribution."""
    mine = partial(ready.regression, lambda: None, lambda: None, {})
    assert mine(loss=F.l1_loss).sampled_loss is None
    assert mine(loss=F.l1_loss, sampled_loss=classification.sampled_loss).sampled_loss is classification.sampled_loss


def test_a_compiled_network_has_its_factors_too():
    """Computed as it was before: what is compiled calls no hooks that came after."""
    found = []
    for compiled in (False, True):
        build = (lambda: torch.compile(tiny.network(), backend="eager")) if compiled else tiny.network
        loop.train(
            replace(tiny.BENCHMARK, build=build),
            tiny.data(),
            tiny.plan("kfac", num_steps=3),
            0,
            CPU,
            lambda state: found.append(state.optimizer["layers"][0]["factors"][1]),
        )
    for one, other in zip(found[:3], found[3:], strict=True):
        torch.testing.assert_close(one, other)


def test_in_bfloat16_the_factors_are_float32(data_folder):
    """Of the logits' layer, too, which autocast leaves alone."""
    cell = make_cell("autoencoder_digits", "kfac", "steps3", 32, 0.01, "0-0", '{"precision": "bfloat16"}', 1, None)
    benchmark, data = load_data(cell, data_folder, CPU)
    states = []
    assert not loop.train(benchmark, data, plan_of(cell), 0, CPU, states.append).diverged
    layers = states[0].optimizer["layers"]
    assert len(layers) == 8
    assert {factor.dtype for layer in layers for factor in (*layer["factors"], *layer["inverses"])} == {torch.float32}


@pytest.mark.parametrize("name", ["autoencoder_digits", "lstm_synthetic", "wrn_digits"])
def test_it_trains_what_is_shipped(name, data_folder):
    cell = make_cell(name, "kfac", "steps6", 32, 0.01, "0-0", "{}", 2, None)
    benchmark, data = load_data(cell, data_folder, CPU)
    curves = loop.train(benchmark, data, plan_of(cell), 0, CPU)
    assert curves.rows[1]["train_loss"] < curves.rows[0]["train_loss"] < 100
