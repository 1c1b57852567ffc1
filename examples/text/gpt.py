"""A character GPT, with AdamW (see study.yaml)."""

from pathlib import Path

from torch import nn

from sgdnoise.tasks import ready

CONTEXT, WIDTH = 32, 32
PROTOCOL = {"task": "language_model", "context": CONTEXT, "num_train": 1024, "num_test": 256, "reads": ["manual.txt"]}


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        block = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 256)

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT, device=tokens.device)
        inputs = self.tokens(tokens) + self.places.weight
        return self.head(self.blocks(inputs, mask=mask, is_causal=True))


def data():
    return ready.text(Path(__file__).parent / "manual.txt")


def benchmark(settings):
    return ready.language_model(GPT, data, PROTOCOL, clip_norm=1.0)
