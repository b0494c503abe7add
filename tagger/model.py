"""A tagger's model: config, vocabularies and network, assembled here and nowhere else."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from tagger.choices import Scheme, listed
from tagger.config import Config, dump, parse
from tagger.config.schema import Model, Transformer, Words
from tagger.data import document_context, schemes, vector_files, vectors
from tagger.data.batching import EncodedCorpus, TransformerProvider
from tagger.data.calibration import Calibration
from tagger.data.document_context import number_passages
from tagger.data.partial import GoldEncoder
from tagger.data.sentence import Sentence
from tagger.data.stored_context import open_occurrences
from tagger.data.stored_sentences import StoredSentences, count_pairs, count_words
from tagger.data.vocab import CASINGS, SPECIAL, Vocab, forms
from tagger.data.word_arrays import WordEncoder
from tagger.errors import ConfigError
from tagger.nn.crf.heads import MAX_CHAINED_TAGS, Constraints, CRFHead, SoftmaxHead
from tagger.nn.dropout import Dropout
from tagger.nn.embeddings import (
    CharacterCNN,
    CharacterLSTM,
    DocumentContext,
    TokenEmbedding,
    WordEmbedding,
    draw_uniform,
)
from tagger.nn.encoder import Encoder
from tagger.nn.model import Ensemble, Network
from tagger.nn.transformer import HiddenStateReader, TransformerFeatures, pooled_dim
from tagger.transformer import library
from tagger.transformer.hidden_states import HiddenStateComputer
from tagger.transformer.library import Pretrained
from tagger.transformer.providers import FrozenTransformer
from tagger.transformer.windows import Layout

log = logging.getLogger(__name__)

MAX_WEIGHT_BYTES = 700 << 20
"""Maximum size of a model: its weights, and _ENTRY_BYTES for each entry of its vocabularies."""
_ENTRY_BYTES = 200
TRANSFORMER_WEIGHTS = "embedding.transformer.reader.encoder."
"""How the names of a trainable transformer's weights start; they do not count towards MAX_WEIGHT_BYTES."""
MAX_TAGS = 10_000
"""Maximum number of tags."""
_MANY_TAGS = 500  # a CRF's time and memory grow with the square of the tags


@dataclass(frozen=True)
class TaggerModel:
    """Config, vocabularies and network of a tagger.

    Attributes:
        config: the recipe, without paths and names of data.
        tags: the tags.
        words: words with trainable vectors, after the entries for padding and unknown words; only these entries if the
            network has no word vectors.
        frozen_words: words with frozen vectors, whose ids follow those of `words`.
        characters: the characters, after the entries for padding and unknown characters.
        network: the network, or several whose scores are averaged.
        calibration: how the network's scores become probabilities.
        transformer: the transformer whose features the network reads, if any; a trainable one is part of the network.
    """

    config: Config
    tags: Vocab
    words: Vocab
    frozen_words: Vocab
    characters: Vocab
    network: Network | Ensemble
    calibration: Calibration = Calibration()  # noqa: RUF009  # frozen
    transformer: Pretrained | None = None

    @property
    def single_network(self) -> Network:
        """The network of a model that is trained or exported.

        Raises:
            ConfigError: the model is an ensemble.
        """
        if isinstance(self.network, Ensemble):
            raise ConfigError("the model is an ensemble, which can only tag; use one of the models it was built from")
        return self.network

    @property
    def scheme(self) -> Scheme | None:
        """The scheme of the tags, None for plain tags."""
        return find_scheme(self.tags, self.config)

    @cached_property
    def known_words(self) -> Vocab:
        """All words with a vector, in the order of their ids."""
        return Vocab(self.words.items + self.frozen_words.items)

    @cached_property
    def hidden_state_reader(self) -> HiddenStateReader | None:
        """Computes the hidden states of tokens, None without a transformer; a trainable one is part of the network."""
        features = self.network.embedding.transformer
        if features is None or self.transformer is None:
            return None
        return features.reader or build_hidden_state_reader(self.config.model.transformer, self.transformer)

    def layout(self, transformer: Pretrained) -> Layout:
        """Returns how the windows of the model's transformer are formed."""
        settings = self.config.model.transformer
        return Layout(
            transformer.max_subwords,
            settings.context,
            is_shared=not settings.trainable,
            prefix=transformer.subwords.prefix,
            suffix=transformer.subwords.suffix,
        )

    def sentence_computer(
        self, transformer: Pretrained, reader: HiddenStateReader, device: torch.device
    ) -> FrozenTransformer:
        """Returns an object that computes the hidden states of sentences with the current weights of a reader.

        Its digest identifies the weights of a frozen transformer only.
        """
        averages = self.config.model.transformer.mix == "mean"
        computer = HiddenStateComputer(reader, transformer.padding_id, device, averages_layers=averages)
        parts = (transformer.origin.digest.encode(), transformer.config, transformer.tokenizer)
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
        return FrozenTransformer(computer, transformer.subwords.encode, self.layout(transformer), digest)

    def encode(
        self,
        sentences: Sequence[Sentence],
        gold: GoldEncoder | None = None,
        *,
        weights: Sequence[float] | None = None,
        transformer: TransformerProvider | None = None,
    ) -> EncodedCorpus:
        """Returns sentences as batches that the network reads; the arguments are those of `EncodedCorpus`.

        `transformer` is needed if the network has transformer features.
        """
        passages = occurrences = None
        if self.config.model.document_context.output_dim:
            if isinstance(sentences, StoredSentences):
                occurrences = open_occurrences(sentences)
            else:
                passages = number_passages(sentences)
        return EncodedCorpus(
            sentences,
            WordEncoder(self.known_words, self.characters),
            gold,
            passages,
            occurrences=occurrences,
            weights=weights,
            transformer=transformer,
        )


def find_scheme(tags: Vocab, config: Config) -> Scheme | None:
    """Returns the scheme that tags are encoded in, None for plain tags."""
    return config.data.scheme if schemes.detect([tags.items]).scheme else None


def build_model(
    config: Config,
    sentences: Sequence[Sentence],
    tables: Sequence[vectors.Table] = (),
    *,
    extended: TaggerModel | None = None,
    transformer: Pretrained | None = None,
) -> TaggerModel:
    """Returns an untrained model, with weights drawn from torch's global generator.

    Args:
        config: the recipe.
        sentences: the training sentences, from which the vocabularies are built.
        tables: pretrained word vectors, which are concatenated.
        extended: a model whose characters the new one has too, and whose tags if they are of the same kind.
        transformer: the transformer that `model.transformer` names; its module becomes part of a model that trains it.

    Raises:
        ConfigError: the model is larger than a model may be, or has too many tags.
    """
    counts = count_words(sentences)
    trainable, frozen = _split_words(config, counts, tables)
    words = Vocab((*SPECIAL, *trainable))
    dim = sum(table.dim for table in tables) or config.model.words.embedding_dim
    known = set(extended.characters.items[len(SPECIAL) :]) if extended else set()
    characters = Vocab((*SPECIAL, *sorted({character for word in counts for character in word} | known)))
    tags = Vocab(_tag_list(config, sentences, extended))
    settings = config.model.model_copy(update={"words": config.model.words.model_copy(update={"embedding_dim": dim})})
    config = config.model_copy(update={"model": settings}).without_paths()
    parse(dump(config), "the recipe as the model stores it")
    build_meta_network(config, tags, characters, words=len(words), frozen_words=len(frozen), transformer=transformer)
    if config.model.head.kind == "crf" and len(tags) > _MANY_TAGS:
        log.warning("%d tags make a CRF slow and large; is data.tag the right column?", len(tags))
    embedding = _build_word_embedding(settings.words, tables, trainable, frozen) if dim else None
    network = _build_network(config, tags, characters, embedding, transformer)
    return TaggerModel(config, tags, words, Vocab(frozen), characters, network, transformer=transformer)


def _build_word_embedding(
    settings: Words, tables: Sequence[vectors.Table], trainable: Sequence[str], frozen: Sequence[str]
) -> WordEmbedding:
    """Returns the initial word vectors, from the tables or, without tables, drawn."""
    dim = settings.embedding_dim
    if tables:
        # The unknown word starts with the same vector as the words that no table contains.
        weight = torch.cat([torch.zeros(len(SPECIAL), dim), torch.from_numpy(vectors.join(tables, trainable))])
    else:
        weight = draw_uniform(len(SPECIAL) + len(trainable), dim)
        weight[0] = 0.0
    frozen_vectors = torch.from_numpy(vectors.join(tables, frozen)) if frozen else torch.zeros(0, dim)
    return WordEmbedding(weight, frozen_vectors, frozen_dtype=settings.frozen_dtype)


def read_tables(config: Config, sentences: Sequence[Sentence]) -> list[vectors.Table]:
    """Returns the recipe's tables of word vectors, restricted to the rows that are needed, and logs their coverage.

    Raises:
        DataError: a table cannot be read.
    """
    counts = count_words(sentences)
    wanted = {variant for word in counts for variant in forms(word)}
    tables = []
    for path in map(Path, config.model.words.vectors):
        tables.append(vector_files.read(path, wanted=wanted, max_frozen_words=config.model.words.max_frozen_words))
        covered = vectors.coverage(tables[-1:], counts)
        log.info("vectors %s, dimension %d: %s", path.name, tables[-1].dim, covered)
        if not covered.covered_tokens:
            log.warning("%s has a vector for no word of the training data", path)
    if len(tables) > 1:
        log.info("vectors together: %s", vectors.coverage(tables, counts))
    limit = config.model.words.max_dim
    if limit is not None and sum(table.dim for table in tables) > limit:
        return [vectors.reduce(tables, limit)]
    return tables


def _split_words(config: Config, counts: Counter[str], tables: Sequence[vectors.Table]) -> tuple[list[str], list[str]]:
    """Returns the words with trainable vectors, most frequent first, and those with frozen vectors."""
    if not config.model.words.embedding_dim:
        return [], []
    words = sorted(counts.keys() - set(SPECIAL), key=lambda word: (-counts[word], word))
    frozen = vectors.most_frequent(tables, config.model.words.max_frozen_words, {*counts, *SPECIAL})
    if tables and not config.model.words.trainable:
        covered = [word for word in words if any(table.lookup(word) >= 0 for table in tables)]
        is_covered = set(covered)
        return [word for word in words if word not in is_covered], covered + frozen
    return words, frozen


def _tag_list(config: Config, sentences: Sequence[Sentence], extended: TaggerModel | None) -> list[str]:
    counts = schemes.count_labels(count_pairs(sentences), has_spans=False)
    if schemes.detect([list(counts)]).scheme:
        if extended and extended.scheme:
            counts.update(extended.tags.items)
        types = {schemes.split(tag)[1] for tag in counts} - {""}
        return schemes.tag_set(sorted(types), config.data.scheme)
    known = extended.tags.items if extended and extended.scheme is None else ()
    return list(dict.fromkeys((*sorted(counts, key=lambda tag: (-counts[tag], tag)), *known)))


def build_meta_network(
    config: Config,
    tags: Vocab,
    characters: Vocab,
    *,
    words: int,
    frozen_words: int,
    transformer: Pretrained | None = None,
) -> Network:
    """Returns a network on the device `meta`, whose weights take no memory.

    Tensors that follow from the tags alone, such as the allowed transitions, are on the CPU. The weights of a trainable
    transformer are those of the argument.

    Args:
        config: the recipe.
        tags: the tags.
        characters: the characters.
        words: number of words with trainable vectors.
        frozen_words: number of words with frozen vectors.
        transformer: the transformer, if the recipe names one.

    Raises:
        ConfigError: there are too many tags for the head, or the model is larger than a model may be.
    """
    _refuse_many_tags(config, tags)
    with torch.device("meta"):
        settings = config.model.words
        dim = settings.embedding_dim
        embedding = None
        if dim:
            trainable, frozen = torch.empty(words, dim), torch.empty(frozen_words, dim)
            embedding = WordEmbedding(trainable, frozen, frozen_dtype=settings.frozen_dtype)
        network = _build_network(config, tags, characters, embedding, transformer)
    tensors = network.state_dict().items()
    weights = sum(tensor.nbytes for name, tensor in tensors if not name.startswith(TRANSFORMER_WEIGHTS))
    entries = words + frozen_words + len(characters) + len(tags)
    if weights + _ENTRY_BYTES * entries > MAX_WEIGHT_BYTES:
        raise ConfigError(
            f"the model is too large: {weights >> 20} MiB of weights and {entries} words, characters and tags at"
            f" {_ENTRY_BYTES} bytes each; at most {MAX_WEIGHT_BYTES >> 20} MiB are loaded. Lower"
            " model.words.max_frozen_words or the sizes in model"
        )
    return network


def _refuse_many_tags(config: Config, tags: Vocab) -> None:
    head, count = config.model.head.kind, len(tags)
    is_plain = head == "softmax" and (count > MAX_TAGS or find_scheme(tags, config) is None)
    limit = MAX_TAGS if is_plain else MAX_CHAINED_TAGS
    if count <= limit:
        return
    advice = f"; is data.tag the right column? model.head.kind=softmax takes {MAX_TAGS} plain tags"
    raise ConfigError(f"{count} tags are too many for the head {head}, which takes {limit}{advice * (not is_plain)}")


def _build_network(
    config: Config, tags: Vocab, characters: Vocab, words: WordEmbedding | None, transformer: Pretrained | None
) -> Network:
    dropout = config.model.dropout
    embedding = _build_embedding(config.model, len(characters), words, transformer)
    encoder = _build_encoder(config.model, embedding.output_dim)
    return Network(
        embedding,
        encoder,
        len(tags),
        _build_head(config, tags),
        dropout_in=Dropout(dropout.kind, dropout.input),
        dropout_out=Dropout(dropout.kind, dropout.output),
    )


def _build_embedding(
    settings: Model, character_count: int, words: WordEmbedding | None, transformer: Pretrained | None
) -> TokenEmbedding:
    characters = _build_character_features(settings, character_count)
    casing = _build_casing(settings.casing) if settings.casing else None
    context = None
    if settings.document_context.output_dim and words is not None:
        context = DocumentContext(
            words.output_dim,
            document_context.CASING_FEATURES,
            settings.document_context.output_dim,
            dropout=settings.document_context.dropout,
        )
    features = _build_transformer_features(settings.transformer, transformer) if transformer else None
    return TokenEmbedding(words, characters, casing, context, features, word_dropout=settings.words.dropout)


def _build_casing(dim: int) -> nn.Embedding:
    """Returns vectors of casings, drawn as torch draws them; on the device meta, that would import its compiler."""
    weight = torch.empty(len(CASINGS), dim)
    return nn.Embedding(len(CASINGS), dim, _weight=weight if weight.is_meta else weight.normal_())


def _build_transformer_features(settings: Transformer, transformer: Pretrained) -> TransformerFeatures:
    reader = build_hidden_state_reader(settings, transformer)
    return TransformerFeatures(
        1 if settings.mix == "mean" else len(reader.layers),
        pooled_dim(transformer.hidden_size, settings.pooling),
        mix=settings.mix,
        output_dim=settings.output_dim,
        dropout=settings.dropout,
        reader=reader if settings.trainable else None,
    )


def without_unread_layers(settings: Transformer, transformer: Pretrained) -> Pretrained:
    """Returns a transformer without the layers above the highest one that the settings name, where that is possible.

    Raises:
        ConfigError: the transformer has no such layer.
    """
    return library.without_layers_above(transformer, max(_select_layers(settings, transformer)))


def _select_layers(settings: Transformer, transformer: Pretrained) -> tuple[int, ...]:
    """Returns the layers that the settings name, from 0 for the embedding layer."""
    count = transformer.layer_count
    if settings.layers == "all":
        return tuple(range(count))
    if settings.layers == "last":
        return (count - 1,)
    if wrong := [layer for layer in settings.layers if not -count <= layer < count]:
        raise ConfigError(
            f"model.transformer.layers: the transformer has no layer {wrong[0]}; its layers are 0 to {count - 1}"
        )
    return tuple(layer % count for layer in settings.layers)


def build_hidden_state_reader(settings: Transformer, transformer: Pretrained) -> HiddenStateReader:
    """Returns the module that reads the hidden states of tokens from the layers that the settings name.

    Raises:
        ConfigError: the transformer has no such layer.
    """
    special = transformer.subwords.prefix, transformer.subwords.suffix
    return HiddenStateReader(
        transformer.encoder,
        _select_layers(settings, transformer),
        settings.pooling,
        context_dropout=settings.context_dropout,
        special_counts=(len(special[0]), len(special[1])),
    )


def _build_encoder(settings: Model, input_size: int) -> Encoder:
    encoder = settings.encoder
    return Encoder(
        input_size,
        encoder.hidden_size,
        cell=encoder.cell,
        num_layers=encoder.num_layers,
        direction=encoder.direction,
        merge=encoder.merge,
        forget_bias=encoder.forget_bias,
        attention_heads=encoder.attention_heads,
        dropout=Dropout(settings.dropout.kind, settings.dropout.layers),
    )


def _build_head(config: Config, tags: Vocab) -> CRFHead | SoftmaxHead:
    head, scheme = config.model.head, find_scheme(tags, config)
    allowed, weights = _allowed_transitions(tags, scheme), _tag_weights(head.tag_weights, tags, scheme)
    if head.kind == "crf":
        return CRFHead(allowed, forbid_in_training=head.forbid_in_training, tag_weights=weights)
    return SoftmaxHead(allowed, tag_weights=weights)


def _build_character_features(model: Model, count: int) -> CharacterCNN | CharacterLSTM | None:
    settings = model.characters
    if settings.kind == "none":
        return None
    if settings.kind == "lstm":
        return CharacterLSTM(count, settings.embedding_dim, settings.output_dim, dropout=settings.dropout)
    return CharacterCNN(
        count, settings.embedding_dim, settings.output_dim, kernel_size=settings.kernel_size, dropout=settings.dropout
    )


def _tag_weights(weights: Mapping[str, float], tags: Vocab, scheme: Scheme | None) -> torch.Tensor | None:
    """Returns the weights (K,) of gold tags in the loss, None if all are 1.

    Raises:
        ConfigError: a weight is for neither a tag nor a type.
    """
    if not weights:
        return None
    types = {tag: schemes.split(tag)[1] if scheme else "" for tag in tags.items}
    names = [*tags.items, *dict.fromkeys(filter(None, types.values()))]
    unknown = [name for name in weights if name not in names]
    if unknown:
        known = listed(tuple(names), 10)
        raise ConfigError(
            *(f"model.head.tag_weights: '{name}' is none of the tags and types {known}" for name in unknown)
        )
    return torch.tensor([weights.get(tag, weights.get(types[tag], 1.0)) for tag in tags.items], device="cpu")


def _allowed_transitions(tags: Vocab, scheme: Scheme | None) -> Constraints:
    """Returns the transitions that a scheme allows, or all for None; always on the CPU."""
    count = len(tags)
    if scheme is None:
        edge = torch.ones(count, dtype=torch.bool, device="cpu")
        return Constraints(edge, edge.clone(), torch.ones(count, count, dtype=torch.bool, device="cpu"))
    prefixes, types = zip(*map(schemes.split, tags.items), strict=True)
    # A scheme depends on the two prefixes and on whether the types are equal.
    names = sorted(set(prefixes))
    table = [
        [[schemes.is_valid_transition(_tag(left, "a"), _tag(right, kind), scheme) for kind in "ba"] for right in names]
        for left in names
    ]
    prefix = torch.tensor([names.index(name) for name in prefixes], device="cpu")
    type_ids = {name: number for number, name in enumerate(dict.fromkeys(types))}
    type_id = torch.tensor([type_ids[name] for name in types], device="cpu")
    is_same_type = (type_id[:, None] == type_id).long()
    return Constraints(
        start=torch.tensor([schemes.is_valid_transition(None, tag, scheme) for tag in tags.items], device="cpu"),
        end=torch.tensor([schemes.is_valid_transition(tag, None, scheme) for tag in tags.items], device="cpu"),
        transitions=torch.tensor(table, device="cpu")[prefix[:, None], prefix, is_same_type],
    )


def _tag(prefix: str, kind: str) -> str:
    return prefix if prefix == schemes.OUTSIDE else f"{prefix}-{kind}"
