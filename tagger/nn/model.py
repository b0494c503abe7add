"""The network: embeddings, encoder, projection and head.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from torch import Tensor, nn

from tagger.nn.crf.heads import CRFHead, SoftmaxHead
from tagger.nn.dropout import Dropout
from tagger.nn.embeddings import TokenEmbedding
from tagger.nn.encoder import Encoder
from tagger.nn.inputs import Inputs


class Network(nn.Module):
    """Computes a score for each tag of each token.

    Args:
        embedding: turns tokens into vectors.
        encoder: turns the vectors of a sentence into states.
        tag_count: K.
        head: the loss and the decoder over tag scores.
        dropout_in: dropout on the embeddings.
        dropout_out: dropout on the encoder's states.
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
        encoder: Encoder,
        tag_count: int,
        head: CRFHead | SoftmaxHead,
        *,
        dropout_in: Dropout,
        dropout_out: Dropout,
    ) -> None:
        super().__init__()
        self.embedding, self.encoder, self.head = embedding, encoder, head
        self.projection = nn.Linear(encoder.output_size, tag_count)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.dropout_in, self.dropout_out = dropout_in, dropout_out

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns the emissions (B, T, K) in float32; padding holds arbitrary values."""
        embedded = self.dropout_in(self.embedding(inputs))
        states = self.dropout_out(self.encoder(embedded, inputs.lengths))
        emissions: Tensor = self.projection(states)
        return emissions.float()

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor, weights: Tensor | None = None) -> Tensor:
        """Returns the mean negative log-likelihood per sentence, in nats, of gold tags (B, T) or tag sets (B, T, K).

        `weights` (B,) multiply the values of the sentences; their mean is over B, whatever the sum of the weights is.
        """
        if weights is None:
            return self.head.loss(emissions, gold, lengths)
        return (self.head.loss(emissions, gold, lengths, reduction="none") * weights).mean()

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Returns the best path (B, T) of each sentence, 0 in padding."""
        return self.head.chain(emissions, lengths).best_path()[0]
