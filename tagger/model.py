"""Bundle: config, vocabularies and network, put together here and nowhere else."""

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
from tagger.config.schema import Model
from tagger.data import document_context, schemes, vectors
from tagger.data.sentence import Sentence
from tagger.data.vocab import CASINGS, SPECIAL, Vocab, forms
from tagger.errors import ConfigError
from tagger.nn.crf.heads import Allowed, CRFHead, SoftmaxHead
from tagger.nn.dropout import Dropout
from tagger.nn.embeddings import (
    CharacterCNN,
    CharacterLSTM,
    DocumentContext,
    TokenEmbedding,
    WordEmbedding,
    scatter_evenly,
)
from tagger.nn.encoder import Encoder
from tagger.nn.model import Network

log = logging.getLogger(__name__)

MAX_WEIGHT_BYTES = 700 << 20
"""Of a model's weights and ENTRY_BYTES for each entry of its vocabularies."""
ENTRY_BYTES = 200
MAX_TAGS, MAX_CHAINED_TAGS = 10_000, 2_000
"""Of plain tags with a softmax; of tags whose transitions count, as a CRF's and those of spans do."""
_MANY_TAGS = 500  # a CRF's time and memory grow with the square of the tags


@dataclass(frozen=True)
class TaggerModel:
    """A tagger's parts.

    Attributes:
        config: the recipe, with no path or name of data in it.
        tags: the tags in the order of their ids.
        words: the words whose vectors training may change, after those for padding and the unknown word.
        frozen_words: further words, whose vectors stay as their tables gave them; their ids follow.
        characters: the characters, after those for padding and the unknown one.
        network: the network.
    """

    config: Config
    tags: Vocab
    words: Vocab
    frozen_words: Vocab
    characters: Vocab
    network: Network

    @property
    def scheme(self) -> Scheme | None:
        """The scheme of the tags, None if they are plain."""
        return scheme_of(self.tags, self.config)

    @cached_property
    def known_words(self) -> Vocab:
        """All words with a vector, in the order of their ids."""
        return Vocab(self.words.items + self.frozen_words.items)


def scheme_of(tags: Vocab, config: Config) -> Scheme | None:
    """Returns the scheme in which tags are spelt, None if they are plain."""
    return config.data.scheme if schemes.detect([tags.items]).scheme else None


def build_model(config: Config, sentences: Sequence[Sentence], tables: Sequence[vectors.Table] = ()) -> TaggerModel:
    """Returns an untrained model for training sentences, drawing its weights from torch's generator.

    Args:
        config: the recipe.
        sentences: what it will be trained on; its words, characters and tags are theirs.
        tables: pretrained word vectors, joined side by side.

    Raises:
        ConfigError: the model would be one that cannot be loaded: too large, or with too many tags.
    """
    counts = _counts(sentences)
    trained, kept = _split_words(config, counts, tables)
    words = Vocab((*SPECIAL, *trained))
    width = sum(table.width for table in tables) or config.model.words.embedding_dim
    characters = Vocab((*SPECIAL, *sorted({character for word in counts for character in word})))
    tags = Vocab(_tag_list(config, sentences))
    model = config.model.model_copy(update={"words": config.model.words.model_copy(update={"embedding_dim": width})})
    config = config.model_copy(update={"model": model}).without_paths()
    parse(dump(config), "the recipe as the model stores it")
    build_meta_network(config, tags, characters, words=len(words), frozen_words=len(kept))
    if config.model.head.kind == "crf" and len(tags) > _MANY_TAGS:
        log.warning("%d tags make a CRF slow and large; is data.tag the right column?", len(tags))
    if tables:
        # The unknown word begins like the words that no table has: they are what it stands for.
        weight = torch.cat([torch.zeros(len(SPECIAL), width), torch.from_numpy(vectors.join(tables, trained))])
    else:
        weight = scatter_evenly(len(words), width)
        weight[0] = 0.0
    fixed = torch.from_numpy(vectors.join(tables, kept)) if kept else torch.zeros(0, width)
    return TaggerModel(config, tags, words, Vocab(kept), characters, network(config, tags, characters, weight, fixed))


def read_tables(config: Config, sentences: Sequence[Sentence]) -> list[vectors.Table]:
    """Returns the tables of word vectors that a recipe names, as far as they are wanted; logs what they cover.

    Raises:
        DataError: a table cannot be read.
    """
    counts = _counts(sentences)
    wanted = {form for word in counts for form in forms(word)}
    found = []
    for path in map(Path, config.model.words.vectors):
        found.append(vectors.read(path, wanted=wanted, keep=config.model.words.max_frozen_words))
        covered = vectors.coverage(found[-1:], counts)
        log.info("vectors %s, width %d: %s", path.name, found[-1].width, covered)
        if not covered.covered_tokens:
            log.warning("%s has a vector for no word of the training data", path)
    if len(found) > 1:
        log.info("vectors together: %s", vectors.coverage(found, counts))
    return found


def _counts(sentences: Sequence[Sentence]) -> Counter[str]:
    return Counter(token for sentence in sentences for token in sentence.tokens)


def _split_words(config: Config, counts: Counter[str], tables: Sequence[vectors.Table]) -> tuple[list[str], list[str]]:
    """Returns the words to train, most frequent first, and those to keep as the tables have them."""
    trained = sorted(counts.keys() - set(SPECIAL), key=lambda word: (-counts[word], word))
    kept = vectors.most_frequent(tables, config.model.words.max_frozen_words, {*counts, *SPECIAL})
    if tables and not config.model.words.trainable:
        known = [word for word in trained if any(table.lookup(word) >= 0 for table in tables)]
        found = set(known)
        return [word for word in trained if word not in found], known + kept
    return trained, kept


def _tag_list(config: Config, sentences: Sequence[Sentence]) -> list[str]:
    counts = Counter(tag for sentence in sentences for tag in sentence.tags)
    if schemes.detect([list(counts)]).scheme:
        types = {schemes.split(tag)[1] for tag in counts} - {""}
        return schemes.tag_set(sorted(types), config.data.scheme)
    return sorted(counts, key=lambda tag: (-counts[tag], tag))


def build_meta_network(config: Config, tags: Vocab, characters: Vocab, *, words: int, frozen_words: int) -> Network:
    """Returns a network of a config's shape whose weights are on the device meta and take no memory.

    What follows from the tags alone, such as the allowed transitions, is real.

    Args:
        config: the recipe.
        tags: the tags.
        characters: the characters.
        words: the number of words with a trained vector.
        frozen_words: the number of words with a fixed vector.

    Raises:
        ConfigError: the tags are too many for the head, or the model takes more memory than a model may.
    """
    _refuse_many_tags(config, tags)
    with torch.device("meta"):
        width = config.model.words.embedding_dim
        made = network(
            config, tags, characters, torch.empty(words, width), torch.empty(frozen_words, width, dtype=torch.half)
        )
    weights = sum(tensor.nbytes for tensor in made.state_dict().values())
    entries = words + frozen_words + len(characters) + len(tags)
    if weights + ENTRY_BYTES * entries > MAX_WEIGHT_BYTES:
        raise ConfigError(
            f"the model is too large: {weights >> 20} MiB of weights and {entries} words, characters and tags at"
            f" {ENTRY_BYTES} bytes each; at most {MAX_WEIGHT_BYTES >> 20} MiB are loaded. Lower"
            " model.words.max_frozen_words or the sizes in model"
        )
    return made


def _refuse_many_tags(config: Config, tags: Vocab) -> None:
    head, count = config.model.head.kind, len(tags)
    plain = head == "softmax" and (count > MAX_TAGS or scheme_of(tags, config) is None)
    most = MAX_TAGS if plain else MAX_CHAINED_TAGS
    if count <= most:
        return
    advice = f"; is data.tag the right column? model.head.kind=softmax takes {MAX_TAGS} plain tags"
    raise ConfigError(f"{count} tags are too many for the head {head}, which takes {most}{advice * (not plain)}")


def network(config: Config, tags: Vocab, characters: Vocab, weight: torch.Tensor, kept: torch.Tensor) -> Network:
    """Returns a network of a config's shape over word vectors `weight` (W, D) and `kept` (V, D)."""
    model = config.model
    embedding = TokenEmbedding(
        WordEmbedding(weight, kept),
        _characters(model, len(characters)),
        nn.Embedding(len(CASINGS), model.casing) if model.casing else None,
        DocumentContext(
            weight.shape[1],
            document_context.CASING_FEATURES,
            model.document_context.output_dim,
            dropout=model.document_context.dropout,
        )
        if model.document_context.output_dim
        else None,
        word_dropout=model.words.dropout,
    )
    encoder = Encoder(
        embedding.output_dim,
        model.encoder.hidden_size,
        cell=model.encoder.cell,
        num_layers=model.encoder.num_layers,
        direction=model.encoder.direction,
        merge=model.encoder.merge,
        forget_bias=model.encoder.forget_bias,
        attention_heads=model.encoder.attention_heads,
        dropout=Dropout(model.dropout.kind, model.dropout.layers),
    )
    scheme = scheme_of(tags, config)
    allowed, weights = _allowed(tags, scheme), _tag_weights(model.head.tag_weights, tags, scheme)
    head = (
        CRFHead(allowed, forbid_in_training=model.head.forbid_in_training, tag_weights=weights)
        if model.head.kind == "crf"
        else SoftmaxHead(allowed, tag_weights=weights)
    )
    return Network(
        embedding,
        encoder,
        len(tags),
        head,
        dropout_in=Dropout(model.dropout.kind, model.dropout.input),
        dropout_out=Dropout(model.dropout.kind, model.dropout.output),
    )


def _characters(model: Model, count: int) -> CharacterCNN | CharacterLSTM | None:
    settings = model.characters
    if settings.kind == "none":
        return None
    if settings.kind == "lstm":
        return CharacterLSTM(count, settings.embedding_dim, settings.output_dim, dropout=settings.dropout)
    return CharacterCNN(
        count, settings.embedding_dim, settings.output_dim, kernel_size=settings.kernel_size, dropout=settings.dropout
    )


def _tag_weights(weights: Mapping[str, float], tags: Vocab, scheme: Scheme | None) -> torch.Tensor | None:
    """Returns (K,) the weights of gold tags in the loss, None if all are 1.

    Raises:
        ConfigError: a weight is that of no tag and no type.
    """
    if not weights:
        return None
    types = {tag: schemes.split(tag)[1] if scheme else "" for tag in tags.items}
    names = [*tags.items, *dict.fromkeys(filter(None, types.values()))]
    unknown = [name for name in weights if name not in names]
    if unknown:
        known = listed(tuple(names))
        raise ConfigError(
            *(f"model.head.tag_weights: '{name}' is none of the tags and types {known}" for name in unknown)
        )
    return torch.tensor([weights.get(tag, weights.get(types[tag], 1.0)) for tag in tags.items], device="cpu")


def _allowed(tags: Vocab, scheme: Scheme | None) -> Allowed:
    """Returns what a scheme allows among tags, everything if it is None; always on the CPU."""
    count = len(tags)
    if scheme is None:
        edge = torch.ones(count, dtype=torch.bool, device="cpu")
        return Allowed(edge, edge.clone(), torch.ones(count, count, dtype=torch.bool, device="cpu"))
    prefixes, types = zip(*map(schemes.split, tags.items), strict=True)
    # (K, K) by two prefixes and whether the types are the same: all that a scheme looks at.
    names = sorted(set(prefixes))
    table = [
        [[schemes.is_valid_transition(_tag(left, "a"), _tag(right, kind), scheme) for kind in "ba"] for right in names]
        for left in names
    ]
    prefix = torch.tensor([names.index(name) for name in prefixes], device="cpu")
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(types))}
    kind = torch.tensor([numbers[name] for name in types], device="cpu")
    same = (kind[:, None] == kind).long()
    return Allowed(
        start=torch.tensor([schemes.is_valid_transition(None, tag, scheme) for tag in tags.items], device="cpu"),
        end=torch.tensor([schemes.is_valid_transition(tag, None, scheme) for tag in tags.items], device="cpu"),
        transitions=torch.tensor(table, device="cpu")[prefix[:, None], prefix, same],
    )


def _tag(prefix: str, kind: str) -> str:
    return prefix if prefix == schemes.OUTSIDE else f"{prefix}-{kind}"
