"""The LSTM language model of Zaremba et al. 2014: dropout on the non-recurrent connections only."""

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


class LSTMLanguageModel(nn.Module):
    """Map tokens (B, T) and a state to logits (B, T, V) and the next state.

    A state is one tensor (B, H) for h and one for c of every layer. All parameters start uniform in [-scale, scale].
    """

    def __init__(self, num_tokens: int, width: int, num_layers: int, dropout: float, init_scale: float):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, width)
        self.dropout = nn.Dropout(dropout)  # on the embedding and on the output of the last layer; nn.LSTM's own between
        self.lstm = nn.LSTM(width, width, num_layers, batch_first=True, dropout=dropout)
        self.readout = nn.Linear(width, num_tokens)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init_scale, init_scale)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        num_layers = self.lstm.num_layers
        packed = None if state is None else (torch.stack(state[:num_layers]), torch.stack(state[num_layers:]))
        outputs, (hidden, cell) = self.lstm(self.dropout(self.embedding(tokens)), packed)
        return self.readout(self.dropout(outputs)), (*hidden.unbind(), *cell.unbind())
