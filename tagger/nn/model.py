"""The network: embeddings, encoder, projection and head; and ensembles of networks.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
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

    @property
    def members(self) -> list["Network"]:
        """The network itself, as the only one of an ensemble of one."""
        return [self]

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


class Ensemble(nn.Module):
    """The mean of the scores of several networks, for tagging only.

    The mean of the scores of linear-chain CRFs is a linear-chain CRF. Its distribution is the normalized geometric mean
    of theirs, so that tags and probabilities are as exact as those of one network.

    Args:
        networks: networks with equal settings, vocabularies, tags and frozen word vectors, which do not train a
            transformer. They become part of the ensemble and share the frozen vectors.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        for number, network in enumerate(networks):
            if network.embedding.transformer is not None:
                network.embedding.transformer.member_index = number
        self.head = deepcopy(networks[0].head)
        with torch.no_grad():
            for mean, *values in zip(
                self.head.parameters(), *(network.head.parameters() for network in networks), strict=True
            ):
                mean.copy_(torch.stack(values).mean(0))
        self._tie_frozen_vectors()

    def _tie_frozen_vectors(self) -> None:
        first, *further = (network.embedding.words for network in self.members)
        for words in further:
            if first is not None and words is not None:
                words.frozen, words.frozen_steps = first.frozen, first.frozen_steps
                words.frozen_centroids = first.frozen_centroids

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> "Ensemble":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._tie_frozen_vectors()  # a move to another device copies them for each network
        return self

    @property
    def members(self) -> list[Network]:
        """The networks."""
        return [network for network in self.networks if isinstance(network, Network)]

    @property
    def embedding(self) -> TokenEmbedding:
        """The embeddings of the first network; those of the others have the same shapes."""
        return self.members[0].embedding

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns the mean emissions (B, T, K) in float32; padding holds arbitrary values."""
        return torch.stack([network(inputs) for network in self.networks]).mean(0)
