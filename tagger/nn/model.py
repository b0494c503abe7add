"""The network: embeddings, encoder, projection and head.

Shapes in this module: U distinct words, C characters, B sentences, T tokens in the longest one, K tags.
"""

from torch import Tensor, nn

from tagger.nn.crf.heads import CRFHead, SoftmaxHead
from tagger.nn.dropout import Dropout
from tagger.nn.embeddings import TokenEmbedding
from tagger.nn.encoder import Encoder


class Network(nn.Module):
    """Scores tags for tokens; its parts are named embedding, encoder, projection and head.

    Args:
        embedding: gives each token its vector.
        encoder: reads those of a sentence.
        tags: K.
        head: learns from and decodes the scores.
        dropout_in: over the embeddings.
        dropout_out: over the encoder's states.
    """

    def __init__(
        self,
        embedding: TokenEmbedding,
        encoder: Encoder,
        tags: int,
        head: CRFHead | SoftmaxHead,
        *,
        dropout_in: Dropout,
        dropout_out: Dropout,
    ) -> None:
        super().__init__()
        self.embedding, self.encoder, self.head = embedding, encoder, head
        self.projection = nn.Linear(encoder.output_size, tags)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.dropout_in, self.dropout_out = dropout_in, dropout_out

    def forward(
        self,
        words: Tensor,
        characters: Tensor,
        character_lengths: Tensor,
        casing: Tensor,
        index: Tensor,
        lengths: Tensor,
        *document_context: Tensor,
    ) -> Tensor:
        """Returns the emissions (B, T, K) in float32; arguments as TokenEmbedding's, and lengths (B,)."""
        embedded = self.embedding(words, characters, character_lengths, casing, index, document_context)
        embedded = self.dropout_in(embedded)
        states = self.dropout_out(self.encoder(embedded, lengths))
        emissions: Tensor = self.projection(states)
        return emissions.float()

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
        """Returns the mean negative log-likelihood per sentence of gold tags (B, T), in nats."""
        return self.head.loss(emissions, gold, lengths)

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Returns the best path (B, T) of each sentence, 0 in padding."""
        return self.head.chain(emissions, lengths).best_path()[0]
