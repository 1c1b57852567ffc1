"""What `sgdnoise new` writes: a file for a network of one's own by task, and a study of it. Every one of them trains as it is."""

BEGINNING = '''"""My network. `sgdnoise run study.yaml` trains it; what is yours to change says so."""

from pathlib import Path

import numpy as np
from torch import nn

from sgdnoise.tasks import ready

HERE = Path(__file__).parent  # of this file
'''

CLASSIFICATION = (
    BEGINNING
    + """
# Read without running this file. So many examples train, so many test; the rest is left out. What `data` reads beside this file is
# named here, too, "reads": ["pictures"], so that the network is trained again when it changes.
PROTOCOL = {"task": "classification", "num_train": 800, "num_test": 200}


def network():
    # YOUR NETWORK: any nn.Module that makes logits (batch, classes) of inputs (batch, ...). For example
    #   torchvision.models.resnet18(num_classes=10)
    #   timm.create_model("resnet18", num_classes=10, in_chans=1)
    #   transformers.AutoModelForImageClassification.from_pretrained(HERE / "checkpoint"), with "reads": ["checkpoint"]
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def data():
    # YOUR DATA: inputs and targets (arrays, tensors, tables), which are split at random into train and test; or
    # inputs, targets, test inputs, test targets. For example
    #   return ready.images(HERE / "pictures", size=32)    # pictures/<class>/<name>.png
    #   return torchvision.datasets.ImageFolder(HERE / "pictures", transform)    # any torch.utils.data.Dataset; or two: train, test
    #   table = pandas.read_csv(HERE / "table.csv"); return table.drop(columns="kind"), table["kind"]
    #   return datasets.load_from_disk(HERE / "rows").select_columns(["image", "label"])    # of Hugging Face
    random = np.random.default_rng(0)  # made up: four clouds of points
    targets = random.integers(4, size=1000)
    return random.normal(size=(1000, 16)) + np.eye(16)[targets] * 2, targets


def benchmark(settings):
    # The loss is the cross-entropy. YOURS: loss=function(outputs, targets), summed over the examples; metrics={"top5": function},
    # with a value for each example, and in PROTOCOL "metrics": {"test_top5": "max"}; augment=function(inputs); clip_norm=1.0.
    return ready.classification(network, data, PROTOCOL)
"""
)

REGRESSION = (
    BEGINNING
    + """
# Read without running this file. So many examples train, so many test; the rest is left out. What `data` reads beside this file is
# named here, too, "reads": ["table.csv"], so that the network is trained again when it changes.
PROTOCOL = {"task": "regression", "num_train": 800, "num_test": 200}


def network():
    # YOUR NETWORK: any nn.Module that makes numbers (batch, targets) of inputs (batch, ...).
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))


def data():
    # YOUR DATA: inputs and targets (arrays, tensors, tables of numbers), which are split at random into train and test; or
    # inputs, targets, test inputs, test targets; or a torch.utils.data.Dataset, or two: train, test. For example
    #   table = pandas.read_csv(HERE / "table.csv"); return table.drop(columns="price"), table["price"]
    random = np.random.default_rng(0)  # made up: a curved surface with noise
    inputs = random.normal(size=(1000, 8))
    return inputs, np.sin(inputs[:, 0]) + inputs[:, 1] * inputs[:, 2] + 0.1 * random.normal(size=1000)


def benchmark(settings):
    # Inputs and targets are scaled to one s.d.; the loss is the squared error, the metric rmse, in the targets' unit. YOURS:
    # loss=function(outputs, targets), summed over the examples; metrics={"error": function}, with a value for each example, and in
    # PROTOCOL "metrics": {"test_error": "min"}; standardize=False; clip_norm=1.0.
    return ready.regression(network, data, PROTOCOL)
"""
)

LANGUAGE_MODEL = (
    BEGINNING.replace("import numpy as np\n", "import numpy as np\nimport torch\n")
    + """
# Read without running this file. An example is a sequence of `context` tokens: so many sequences of the text train, the next so many
# test. What `data` reads beside this file is named here, too, "reads": ["input.txt"].
PROTOCOL = {"task": "language_model", "context": 16, "num_train": 512, "num_test": 128}


class Network(nn.Module):
    # YOUR NETWORK: any nn.Module that makes logits (batch, context, vocabulary) of tokens (batch, context), or of the transformers
    # library AutoModelForCausalLM.from_pretrained(HERE / "checkpoint"), with "reads": ["checkpoint"].
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(256, 32), nn.Embedding(PROTOCOL["context"], 32)
        self.block = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(32, 256)

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        inputs = self.words(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        return self.head(self.block(inputs, src_mask=mask, is_causal=True))


def data():
    # YOUR DATA: a text as numbers, train and then test; or two, train and test. For example
    #   return ready.text(HERE / "input.txt")    # its bytes
    #   return np.array(tokenizer((HERE / "input.txt").read_text(encoding="utf-8"))["input_ids"])
    random = np.random.default_rng(0)  # made up: letters of which each is one of the three after the last
    return (97 + np.cumsum(random.integers(1, 4, size=11_000)) % 26).astype(np.uint8)


def benchmark(settings):
    # The loss is the cross-entropy in nats per token. YOURS: clip_norm=1.0.
    return ready.language_model(Network, data, PROTOCOL)
"""
)

OTHER = '''"""My network. `sgdnoise run study.yaml` trains it; what is yours to change says so."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sgdnoise.benchmarks import Benchmark
from sgdnoise.tasks.batches import index_stream

# Read without running this file: numbers of examples, metrics (the test metric first), whether more or less of each is better.
PROTOCOL = {"num_train": 800, "num_test": 200, "metrics": {"test_error": "min", "train_loss": "min"}}


def arrays(folder):
    # YOUR DATA, as arrays with any names, made once and kept in one file. Made up: noisy signals.
    random = np.random.default_rng(0)
    clean = np.sin(random.uniform(1, 4, size=(1000, 1)) * np.arange(16)).astype(np.float32)
    noisy = clean + random.normal(scale=0.3, size=clean.shape).astype(np.float32)
    return {"train_clean": clean[:800], "train_noisy": noisy[:800], "test_clean": clean[800:], "test_noisy": noisy[800:]}


def build():
    # YOUR NETWORK.
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))


def batches(data, batch_size, order, start, shard):
    # Endless, from update `start` on; `order` shuffles; of every batch the part `shard`. A batch is a tuple of tensors.
    for index in index_stream(len(data["train_noisy"]), batch_size, order, start):
        yield data["train_noisy"][index][shard], data["train_clean"][index][shard]


def loss(model, batch, carry):
    # YOUR LOSS: summed over the examples; and what the next batch is given back, None if nothing.
    noisy, clean = batch
    return F.mse_loss(model(noisy), clean, reduction="sum"), None


def evaluate(model, data, split):
    # YOUR METRICS of a split, "train" or "test": means over its examples, "loss" among them.
    outputs, clean = model(data[f"{split}_noisy"]), data[f"{split}_clean"]
    squares = (outputs - clean).square().sum(dim=1)
    return {"loss": squares.mean().item(), "error": torch.sqrt(squares).mean().item()}


def benchmark(settings):
    return Benchmark(arrays=arrays, build=build, batches=batches, loss=loss, evaluate=evaluate)
'''

TASKS = {"classification": CLASSIFICATION, "regression": REGRESSION, "language_model": LANGUAGE_MODEL, "other": OTHER}

STUDY = """\
# Which batch size, which learning rate? `sgdnoise run` trains this study, and says.
evaluations: 4 # of both splits in a run
extend_grid: true # a window of learning rates moves until it encloses the optimum
benchmarks:
  {name}:
    file: {file}
    seeds: {{num: 3, keep: 3}} # runs at each learning rate, and how many of the best count. Another num trains
      # all of them anew; more runs come to those that are there by overrides: [{{benchmark: {name}, add_seeds: 2}}]
    constant_epoch:
      epochs: 8 # of a run, whatever its batch size
      momentum: # SGD with momentum 0.9; or sgd, or one of your own, as below. Batch size: [lowest, highest] learning rate
        8: [0.125, 0.5]
        32: [0.125, 0.5]
        128: [0.125, 0.5]
# optimizers: # of torch, by name; constant_epoch has its windows under `adamw:`
#   adamw: {{class: AdamW, betas: [0.9, 0.95], weight_decay: 0.1, schedule: cosine, warmup_steps: 10}}
"""
