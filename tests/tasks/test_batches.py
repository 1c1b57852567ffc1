"""Streams of batches."""

from itertools import islice

import pytest
import torch
from conftest import OFFLINE
from torch.nn import functional as F

from sgdnoise.study import budgets
from sgdnoise.tasks import classification, language_model
from sgdnoise.tasks.batches import index_stream


@pytest.mark.parametrize(("padding", "flip"), [("reflect", False), ("constant", True)])
def test_augmented_images_are_crops_of_the_padded_image(padding, flip):
    """Each is one of the nine crops, or of their mirror images; all occur about equally often."""
    torch.manual_seed(0)
    images = torch.randint(1, 17, (900, 3, 8, 8), dtype=torch.uint8)
    padded = F.pad(images.float(), (1, 1, 1, 1), mode=padding)
    crops = [padded[:, :, top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    crops += [crop.flip(3) for crop in crops] * flip
    augmented = classification.augment(images, 1, padding, flip)
    matches = torch.stack([(augmented == crop).all(dim=(1, 2, 3)) for crop in crops])
    assert (matches.sum(dim=0) == 1).all()
    assert (matches.sum(dim=1) > 450 / len(crops)).all()


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("start", [3, 70])
def test_batches_can_start_anywhere(load, name, start):
    """Batch `start` of the stream has the same examples whether the ones before were made or skipped."""
    benchmark, data = load(name)
    whole = slice(0, 48)
    streams = (benchmark.batches(data, 48, torch.Generator().manual_seed(0), first, whole) for first in (0, start))
    torch.manual_seed(0)
    ran = list(islice(next(streams), start + 2))[start:]
    torch.manual_seed(0)
    jumped = list(islice(next(streams), 2))
    for one, other in zip(ran, jumped, strict=True):
        assert torch.equal(one[:2][-1], other[:2][-1])  # labels, targets or pixels: not augmented


def test_shards_make_up_the_batch(load):
    benchmark, data = load("wrn_digits")
    whole, *parts = (slice(0, 64), slice(0, 32), slice(32, 64))
    batches = []
    for shard in (whole, *parts):
        torch.manual_seed(0)
        batches.append(next(benchmark.batches(data, 64, torch.Generator().manual_seed(0), 0, shard)))
    for together, *apart in zip(*batches, strict=True):
        assert torch.equal(together, torch.cat(apart))


def test_index_stream_is_one_stream_of_epochs():
    batches = islice(index_stream(10, 4, torch.Generator().manual_seed(0)), 10)
    stream = torch.cat(list(batches)).view(4, 10)
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in stream)
    assert not torch.equal(stream[0], stream[1])


def test_order_of_examples_does_not_depend_on_batch_size():
    streams = [torch.cat(list(islice(index_stream(64, size, torch.Generator().manual_seed(0)), 128 // size))) for size in (8, 32)]
    assert torch.equal(*streams)


def test_text_streams():
    tokens = torch.arange(103, dtype=torch.int32)
    epoch = list(language_model.streams(tokens, batch_size=4, unroll=6))
    assert len(epoch) == budgets.epochs_to_steps(1, 4, {"num_train": 103, "unroll": 6}) == 4
    inputs, targets, _ = epoch[1]
    assert torch.equal(inputs[:, 0], torch.tensor([6, 31, 56, 81]))
    assert torch.equal(targets, inputs + 1)
    assert [batch[2].tolist() for batch in epoch[:2]] == [[0.0] * 4, [1.0] * 4]
