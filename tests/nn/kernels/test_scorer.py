"""The forward pass for tagging: torch's numbers, and each sentence's the same bit for bit in every batch.

Shapes in this module: N rows, D depth, W width, U words, B sentences, T tokens, K tags.
"""

import math
import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tagger.choices import Cell, Direction, Merge, options
from tagger.data.batching import Batch
from tagger.errors import ModelError
from tagger.nn.crf.heads import Constraints, SoftmaxHead
from tagger.nn.dropout import Dropout
from tagger.nn.embeddings import CharacterCNN, CharacterLSTM, TokenEmbedding, WordEmbedding
from tagger.nn.encoder import LSTM1997, Encoder
from tagger.nn.kernels.matmul import multiply, pack
from tagger.nn.kernels.scorer import TableScorer
from tagger.nn.model import Network

Floats, Ids = NDArray[np.float32], NDArray[np.int64]
WORDS, FROZEN, CHARACTERS, CASINGS, TAGS = 20, 10, 12, 6, 5
each_characters = pytest.mark.parametrize("characters", ["cnn-1", "cnn-3", "cnn-5", "lstm", "none"])


def draw(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("rows", [*range(1, 14), 95, 96, 97, 98, 200])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (1, 16), (2, 17), (7, 15), (30, 33), (100, 48)])
def test_multiplication_equals_that_of_numpy(rows: int, depth: int, width: int) -> None:
    inputs, weight = draw(rows, depth), draw(depth, width, seed=1)
    actual = multiply(inputs, pack(weight))
    assert actual.shape == (rows, math.ceil(width / 16) * 16)
    np.testing.assert_allclose(actual[:, :width], inputs.astype(float) @ weight.astype(float), atol=depth * 3e-6)
    assert not actual[:, width:].any()


def test_a_result_row_does_not_depend_on_the_other_rows() -> None:
    inputs, panels = draw(200, 50), pack(draw(50, 40, seed=1))
    whole = multiply(inputs, panels)
    for count in [*range(1, 14), 95, 96, 97, 98]:
        np.testing.assert_array_equal(multiply(inputs[:count], panels), whole[:count])
    for first in range(20):
        np.testing.assert_array_equal(multiply(inputs[first : first + 7], panels), whole[first : first + 7])
    for row in range(200):
        np.testing.assert_array_equal(multiply(inputs[row : row + 1], panels)[0], whole[row])


def test_inputs_need_not_be_contiguous() -> None:
    inputs, panels = draw(9, 50), pack(draw(50, 20, seed=1))
    np.testing.assert_array_equal(
        multiply(np.asfortranarray(inputs), panels), multiply(np.ascontiguousarray(inputs), panels)
    )
    np.testing.assert_array_equal(multiply(inputs[::2], panels), multiply(inputs, panels)[::2])


def test_nan_and_infinity_propagate_through_a_multiplication() -> None:
    inputs, weight = draw(8, 4), draw(4, 20, seed=1)
    inputs[2, 3], weight[1, 17] = math.nan, math.inf
    actual = multiply(inputs, pack(weight))[:, :20]
    assert np.isnan(actual[2]).all()
    assert np.isfinite(actual[[0, 1, *range(3, 8)], :17]).all()
    assert np.isinf(np.delete(actual[:, 17], 2)).all()


def make_network(
    characters: str = "cnn-3",
    casing: int = 0,
    *,
    cell: Cell = "lstm",
    layers: int = 1,
    direction: Direction = "both",
    merge: Merge = "concat",
    seed: int = 0,
) -> Network:
    """Returns a network in evaluation whose every weight, those of biases too, is drawn at random."""
    torch.manual_seed(seed)
    features: CharacterCNN | CharacterLSTM | None = None
    if characters == "lstm":
        features = CharacterLSTM(CHARACTERS, 7, 10, dropout=0.5)
    elif characters != "none":
        features = CharacterCNN(CHARACTERS, 7, 9, kernel_size=int(characters[-1]), dropout=0.5)
    embedding = TokenEmbedding(
        WordEmbedding(torch.randn(WORDS, 11), torch.randn(FROZEN, 11)),
        features,
        torch.nn.Embedding(CASINGS, casing) if casing else None,
        word_dropout=0.5,
    )
    encoder = Encoder(embedding.output_dim, 19, cell=cell, num_layers=layers, direction=direction, merge=merge)
    anything = Constraints(*(torch.ones(shape, dtype=torch.bool) for shape in ((TAGS,), (TAGS,), (TAGS, TAGS))))
    dropout = Dropout("element", 0.5)
    network = Network(embedding, encoder, TAGS, SoftmaxHead(anything), dropout_in=dropout, dropout_out=dropout)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.4)
        for module in network.modules():
            if isinstance(module, LSTM1997):
                module.open_forget_gate()
    return network.eval()


class Words:
    """Words at random, as both sides take them: of one character, shorter and longer than any kernel."""

    def __init__(self, count: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        lengths = np.concatenate([[1, 2, 3, 4, 5, 30], random.integers(1, 12, max(0, count - 6))])[:count]
        self.words, self.casing = random.integers(1, WORDS + FROZEN, count), random.integers(0, CASINGS, count)
        self.characters = [random.integers(1, CHARACTERS, length) for length in lengths]

    def encoded(self, chosen: Sequence[int] | None = None) -> tuple[Ids, Ids, Ids, Ids]:
        rows = list(range(len(self.words))) if chosen is None else list(chosen)
        characters = [self.characters[row] for row in rows]
        lengths = np.array(list(map(len, characters)))
        return self.words[rows], np.concatenate(characters), lengths, self.casing[rows]

    def emissions(self, network: Network, sentences: Sequence[Sequence[int]]) -> list[Floats]:
        """Returns what the network itself says of each sentence, given as numbers of words."""
        lengths = list(map(len, self.characters))
        characters = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
        for row, ids in enumerate(self.characters):
            characters[row, : len(ids)] = torch.from_numpy(ids)
        with torch.inference_mode():
            return [
                network(
                    Batch(
                        torch.from_numpy(self.words),
                        characters,
                        torch.tensor(lengths),
                        torch.from_numpy(self.casing),
                        torch.tensor([list(sentence)]),
                        torch.tensor([len(sentence)]),
                    )
                )[0].numpy()
                for sentence in sentences
            ]


def fill(network: Network, words: Words) -> TableScorer:
    """Returns a scorer whose row of each word is the word's number."""
    scorer = TableScorer(network)
    scorer.reserve(len(words.words))
    scorer.add(np.arange(len(words.words)), *words.encoded())
    return scorer


def score(scorer: TableScorer, sentences: Sequence[Sequence[int]]) -> list[Floats]:
    """Returns the emissions of each sentence, all having been computed together."""
    order = sorted(range(len(sentences)), key=lambda number: -len(sentences[number]))
    lengths = np.array([len(sentences[number]) for number in order])
    rows = np.array(list(chain.from_iterable(sentences[number] for number in order)))
    actual = scorer.emissions(rows, lengths)
    for row, length in zip(actual, lengths, strict=True):
        assert not row[length:].any()
    by_number = dict(zip(order, actual, strict=True))
    return [by_number[number][: len(sentence)] for number, sentence in enumerate(sentences)]


def sentences_of(words: int, lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, words, length).tolist() for length in lengths]


def assert_as_the_network(network: Network, words: Words, lengths: Sequence[int] = (5, 1, 3, 9, 9, 2, 14)) -> None:
    sentences = sentences_of(len(words.words), lengths)
    for actual, expected in zip(
        score(fill(network, words), sentences), words.emissions(network, sentences), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("cell", options(Cell))
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "shape",
    [
        {"direction": "forward"},
        {"direction": "backward"},
        {"merge": "concat"},
        {"merge": "sum"},
        {"merge": "mean"},
    ],
)
def test_emissions_equal_those_of_the_network_with_every_encoder(
    cell: Cell, layers: int, shape: dict[str, Any]
) -> None:
    assert_as_the_network(make_network(cell=cell, layers=layers, **shape), Words(30))


@each_characters
@pytest.mark.parametrize("casing", [0, 3])
def test_emissions_equal_those_of_the_network_with_all_word_features(characters: str, casing: int) -> None:
    assert_as_the_network(make_network(characters, casing), Words(30))


@each_characters
@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_any_number_of_words_can_be_added_at_once(characters: str, count: int) -> None:
    assert_as_the_network(make_network(characters, 3), Words(count))


@each_characters
def test_the_projection_of_a_word_does_not_depend_on_the_words_added_with_it(characters: str) -> None:
    network, words = make_network(characters, 3), Words(140)
    together, alone = fill(network, words), TableScorer(network)
    alone.reserve(140)
    for row in range(140):
        alone.add(np.array([row]), *words.encoded([row]))
    everything = [list(range(140))]
    np.testing.assert_array_equal(score(together, everything)[0], score(alone, everything)[0])


def test_any_words_can_be_added_to_any_rows() -> None:
    network, words = make_network(), Words(10)
    rows, scorer = np.array([40, 2, 33, 7, 21]), TableScorer(network)
    scorer.reserve(41)
    scorer.add(rows, *words.encoded([3, 1, 4, 0, 9]))
    expected = score(fill(network, words), [[3, 1, 4, 0, 9]])
    np.testing.assert_array_equal(score(scorer, [rows.tolist()])[0], expected[0])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 2])
def test_emissions_of_a_sentence_are_bit_equal_alone_and_in_any_batch(cell: str, layers: int) -> None:
    scorer = fill(make_network(cell=cell, layers=layers), Words(50))
    sentences = sentences_of(50, [1, 30, 2, 7, 7, *range(1, 14), 60, *[11] * 99])
    alone = [score(scorer, [sentence])[0] for sentence in sentences]
    for size in (2, 5, 6, 7, 13, len(sentences)):
        for first in range(0, len(sentences), size):
            part = slice(first, first + size)
            for actual, expected in zip(score(scorer, sentences[part]), alone[part], strict=True):
                np.testing.assert_array_equal(actual, expected)
    for actual, expected in zip(score(scorer, sentences[::-1]), alone[::-1], strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_reserving_rows_does_not_change_existing_ones() -> None:
    network, words = make_network(), Words(60)
    expected = score(fill(network, words), [list(range(60))])[0]
    scorer, known = TableScorer(network), 0
    for count in (1, 2, 4, 10, 30, 60):
        scorer.reserve(count)
        scorer.add(np.arange(known, count), *words.encoded(range(known, count)))
        known = count
    scorer.reserve(1000)
    scorer.reserve(3)
    np.testing.assert_array_equal(score(scorer, [list(range(60))])[0], expected)


def test_row_bytes_is_the_size_of_a_table_row() -> None:
    scorer = TableScorer(make_network(cell="gru"))
    assert scorer.row_bytes == 2 * 64 * 4  # two directions, 3 * 19 numbers in four panels of 16, of four bytes


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["embedding.words.weight", "embedding.characters.embedding.weight"])
def test_vectors_that_are_not_finite_are_rejected(bad: float, name: str) -> None:
    network, words = make_network(casing=3), Words(30)
    network.get_parameter(name).data[2] = bad
    words.words[4] = 2
    words.characters[4][0] = 2
    scorer = TableScorer(network)
    scorer.reserve(30)
    with pytest.raises(ModelError, match="not finite"):
        scorer.add(np.arange(30), *words.encoded())


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "projection"])
def test_weights_that_are_not_finite_give_emissions_that_are_not_finite(cell: str, bad: float, part: str) -> None:
    network, words = make_network(cell=cell), Words(30)
    name = "projection.weight" if part == "projection" else f"encoder.layers.0.forward_cell.{part}"
    network.get_parameter(name).data[-1] = bad
    (expected,) = words.emissions(network, [range(30)])
    (actual,) = score(fill(network, words), [range(30)])
    finite = np.isfinite(expected)
    if part == "weight_hh_l0":
        finite[0] = True  # no state stands before the first token, so that nothing is multiplied there
    np.testing.assert_array_equal(np.isfinite(actual), finite)
    np.testing.assert_allclose(actual[1:], expected[1:], atol=1e-5)  # an infinite gate is closed or open


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("size", [10.0, 1e4, 1e30])
def test_saturated_cells_equal_those_of_torch(cell: str, size: float) -> None:
    network, words = make_network(cell=cell, layers=2), Words(30)
    with torch.no_grad():
        for layer in network.encoder.layers:
            for name, weight in layer.named_parameters():
                if "bias_ih" in name:
                    weight.copy_(torch.sign(weight) * size)
        network.projection.weight.div_(network.projection.weight.abs().sum(1, keepdim=True))
    sentences = sentences_of(30, [20, 7])
    for actual, expected in zip(
        score(fill(network, words), sentences), words.emissions(network, sentences), strict=True
    ):
        assert np.isfinite(actual).all()
        np.testing.assert_allclose(actual, expected, atol=1e-6 if size > 10 else 3e-6)


def test_code_is_compiled_where_it_cannot_be_cached() -> None:
    script = """
        import numpy
        from numba.core import caching
        caching.CacheImpl._locator_classes = []
        for name in dir(caching):
            if isinstance(getattr(caching, name), type) and issubclass(getattr(caching, name), caching.CacheImpl):
                getattr(caching, name)._locator_classes = []
        from tagger.nn.crf.kernels import numba_sums
        from tagger.nn.kernels import matmul, recurrence
        print(matmul.multiply(numpy.ones((1, 3), "f4"), matmul.pack(numpy.ones((3, 2), "f4")))[0, :3])
    """
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "[3. 3. 0.]\n"
