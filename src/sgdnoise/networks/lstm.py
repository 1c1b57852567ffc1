"""The LSTM language model of Zaremba et al. 2014: dropout on the non-recurrent connections only."""

from torch import Tensor, nn

State = tuple[Tensor, ...]


class LSTMLanguageModel(nn.Module):
    """Map tokens (B, T) and a state to logits (B, T, V) and the next state.

    A state is h and c, (B, H) each, of the first layer, then of the next. All parameters start uniform in [-scale, scale].
    """

    def __init__(self, num_tokens: int, width: int, num_layers: int, dropout: float, init_scale: float):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, width)
        self.dropout = nn.Dropout(dropout)  # on the embedding and on every layer's output
        # A module per layer: the dropout of nn.LSTM draws from a hidden state of cuDNN, which no seed and no checkpoint reaches.
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(num_layers))
        self.readout = nn.Linear(width, num_tokens)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init_scale, init_scale)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        outputs = self.dropout(self.embedding(tokens))
        states: State = ()
        for index, layer in enumerate(self.layers):
            before = None if state is None else (state[2 * index][None], state[2 * index + 1][None])
            outputs, (hidden, cell) = layer(outputs, before)
            outputs, states = self.dropout(outputs), (*states, hidden[0], cell[0])
        return self.readout(outputs), states
