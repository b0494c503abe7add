"""Hidden states of tokens equal those of the transformers library, sentence by sentence; the mixes are right."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tagger.choices import Pooling
from tagger.data.batching import SubwordTensors
from tagger.nn.transformer import HiddenStateReader, TransformerFeatures, pooled_dim
from tagger.transformer import library
from tagger.transformer.library import Pretrained
from tagger.transformer.windows import Layout, Windows, lay_out
from tests.transformer import tiny

FAMILIES = ["bert", "roberta", "deberta-v2", "modernbert", "xlm-roberta"]
POOLINGS: list[Pooling] = ["first", "last", "first_last", "mean"]
SENTENCES = [
    ["Ada", "Lovelace", "didn't", "see", "the", "unbelievable", "façades", "of", "Zürich", "."],
    ["Where", "?"],
    ["Algorithms"],
    ["(", "1,000", "euros", "for", "Edsger", "Dijkstra's", "machine", ")"],
    ["Nobody", "believed", "Grace", "Hopper", "!"],
]
PASSAGES = [0, 0, 0, 1, 1]


@pytest.fixture(scope="module", params=FAMILIES)
def pretrained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return library.load(str(tiny.write_transformer(tmp_path_factory.mktemp(request.param), request.param)))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return library.load(str(tiny.write_transformer(tmp_path_factory.mktemp("bert"))))


def windows_of(pretrained: Pretrained, *, context: int = 0, is_shared: bool = False) -> Windows:
    subwords = pretrained.subwords.encode([token for sentence in SENTENCES for token in sentence])
    special = pretrained.subwords.prefix, pretrained.subwords.suffix
    layout = Layout(pretrained.max_subwords, context, is_shared, *special)
    return lay_out(subwords, [len(sentence) for sentence in SENTENCES], PASSAGES, layout)


def tensors_of(pretrained: Pretrained, windows: Windows, sentences: list[int] | None = None) -> SubwordTensors:
    """The windows of all sentences, or of some of them in this order."""
    if sentences is not None:
        ends = np.cumsum([len(sentence) for sentence in SENTENCES])
        tokens = [np.arange(ends[number] - len(SENTENCES[number]), ends[number]) for number in sentences]
        windows = windows.select(np.concatenate(tokens))
    return windows.to_tensors(pretrained.padding_id)


@cache
def reference_hidden_states(folder: Path, kind: str) -> list[tuple[list[Tensor], list[list[int]]]]:
    """For each sentence by itself, the hidden states (S, H) of each layer and the subwords of each token."""
    from tokenizers import Tokenizer, pre_tokenizers
    from transformers import AutoModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    network: Any = AutoModel.from_pretrained(folder).eval()
    results = []
    for sentence in SENTENCES:
        encoding = wrapped(sentence, is_split_into_words=True)
        with torch.no_grad():
            hidden_states = network(torch.tensor([encoding["input_ids"]]), output_hidden_states=True).hidden_states
        words = encoding.word_ids()
        positions = [[index for index, word in enumerate(words) if word == token] for token in range(len(sentence))]
        results.append(([layer[0] for layer in hidden_states], positions))
    return results


def pool(hidden_states: Tensor, positions: list[int], pooling: Pooling) -> Tensor:
    rows = [hidden_states[position] for position in positions]
    if pooling == "first_last":
        return torch.cat([rows[0], rows[-1]])
    return {"first": rows[0], "last": rows[-1], "mean": sum(rows, torch.zeros_like(rows[0])) / len(rows)}[pooling]


@pytest.mark.parametrize("layers", [(0, 1, 2), (2,), (2, 0)])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_states_equal_those_of_the_library_for_each_sentence_by_itself(
    pretrained: Pretrained, pooling: Pooling, layers: tuple[int, ...]
) -> None:
    kind = tiny.FAMILIES[pretrained.encoder.config.model_type][0]
    expected = torch.stack(
        [
            torch.stack([pool(hidden_states[layer], positions, pooling) for layer in layers])
            for hidden_states, tokens in reference_hidden_states(Path(pretrained.origin.name), kind)
            for positions in tokens
        ]
    )
    reader = HiddenStateReader(pretrained.encoder, layers, pooling).eval()
    hidden_states = reader(tensors_of(pretrained, windows_of(pretrained)))
    assert hidden_states.shape == (26, len(layers), pooled_dim(pretrained.hidden_size, pooling))
    torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("context", "is_shared"), [(0, False), (7, False), (7, True)])
def test_states_do_not_depend_on_the_other_sentences_of_a_batch(
    pretrained: Pretrained, context: int, is_shared: bool
) -> None:
    reader = HiddenStateReader(pretrained.encoder, (0, 1, 2), "mean").eval()
    windows = windows_of(pretrained, context=context, is_shared=is_shared)
    alone = [reader(tensors_of(pretrained, windows, [number])) for number in range(len(SENTENCES))]
    for batch in ([0, 1, 2, 3, 4], [4, 2], [1, 0, 3], [3, 3, 1]):
        if len(set(batch)) == len(batch):
            hidden_states = reader(tensors_of(pretrained, windows, batch))
            expected = torch.cat([alone[number] for number in batch])
            torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=0)


def test_context_changes_states_within_a_document_only(bert: Pretrained) -> None:
    reader = HiddenStateReader(bert.encoder, (2,), "mean").eval()
    alone = reader(tensors_of(bert, windows_of(bert)))
    tensors = tensors_of(bert, windows_of(bert, context=20))
    in_context = reader(tensors)
    assert (alone - in_context).abs().amax((1, 2)).min() > 1e-4
    other = tensors._replace(ids=tensors.ids.clone())
    other.ids[3:, 1:5] = 60  # of the second document
    changed = reader(other)
    torch.testing.assert_close(changed[:13], in_context[:13], atol=1e-6, rtol=0)


def without_context(tensors: SubwordTensors, special: tuple[int, int]) -> SubwordTensors:
    """The windows with other context subwords."""
    ids = tensors.ids.clone()
    for row, length, (start, stop) in zip(ids, tensors.lengths.tolist(), tensors.cores.tolist(), strict=True):
        row[special[0] : start] = 50
        row[stop : length - special[1]] = 50
    return tensors._replace(ids=ids)


@pytest.mark.parametrize("special", [(1, 1), (0, 0), (0, 2)])
def test_in_training_dropped_context_is_not_attended_to(bert: Pretrained, special: tuple[int, int]) -> None:
    subwords = bert.subwords.encode([token for sentence in SENTENCES for token in sentence])
    layout = Layout(bert.max_subwords, 10, False, (2,) * special[0], (3,) * special[1])
    windows = lay_out(subwords, [len(sentence) for sentence in SENTENCES], PASSAGES, layout)
    tensors = windows.to_tensors(bert.padding_id)
    other = without_context(tensors, special)
    assert not torch.equal(tensors.ids, other.ids)

    def states_of(inputs: SubwordTensors, dropout: float, *, training: bool) -> Tensor:
        reader = HiddenStateReader(bert.encoder, (0, 2), "mean", context_dropout=dropout, special_counts=special).train(
            training
        )
        reader.encoder.eval()  # without its own dropout
        torch.manual_seed(0)
        return reader(inputs)

    assert torch.equal(states_of(tensors, 1.0, training=True), states_of(other, 1.0, training=True))
    assert not torch.equal(states_of(tensors, 1e-9, training=True), states_of(other, 1e-9, training=True))
    assert not torch.equal(states_of(tensors, 1.0, training=False), states_of(other, 1.0, training=False))
    if special != (1, 1):
        return
    # The special tokens are still read.
    marked = tensors._replace(ids=tensors.ids.masked_fill(tensors.ids == 3, 4))
    assert not torch.equal(states_of(tensors, 1.0, training=True), states_of(marked, 1.0, training=True))


def features_of(hidden_states: Tensor, **options: Any) -> tuple[TransformerFeatures, Tensor]:
    settings = {"mix": "scalar", "output_dim": 0, "dropout": 0.0} | options
    torch.manual_seed(0)
    network = TransformerFeatures(hidden_states.shape[1], hidden_states.shape[2], **settings).eval()
    inputs: Any = SimpleNamespace(hidden_states=hidden_states, subwords=None, features=None)
    return network, network(inputs)


STATES = 3 * torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1)) + 1


def test_the_scalar_mix_is_a_scaled_softmax_sum_of_normalized_layers() -> None:
    network, _ = features_of(STATES)
    assert network.weights is not None
    assert network.scale is not None
    with torch.no_grad():
        network.weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
        network.scale.fill_(1.7)
    mixed = network.combine(STATES)
    weights = [np.exp(weight) / sum(np.exp([0.5, -1.0, 2.0])) for weight in (0.5, -1.0, 2.0)]
    for token, layers in enumerate(STATES.double().numpy()):
        normed = [(layer - layer.mean()) / np.sqrt(layer.var() + 1e-5) for layer in layers]
        expected = 1.7 * sum(weight * layer for weight, layer in zip(weights, normed, strict=True))
        np.testing.assert_allclose(mixed[token].detach().numpy(), expected, atol=1e-5)


def test_a_new_scalar_mix_is_the_mean_of_normalized_layers() -> None:
    _, features = features_of(STATES)
    normed = (STATES - STATES.mean(2, keepdim=True)) / (STATES.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(features, (normed[:, 0] + normed[:, 1] + normed[:, 2]) / 3)


def test_mean_and_concat_and_the_projection_of_layers() -> None:
    network, mean = features_of(STATES, mix="mean")
    torch.testing.assert_close(mean, (STATES[:, 0] + STATES[:, 1] + STATES[:, 2]) / 3)
    assert network.output_dim == 4
    network, concatenated = features_of(STATES, mix="concat")
    assert torch.equal(concatenated, torch.cat([STATES[:, 0], STATES[:, 1], STATES[:, 2]], 1))
    assert network.output_dim == 12
    network, projected = features_of(STATES, mix="concat", output_dim=2)
    assert network.projection is not None
    torch.testing.assert_close(projected, concatenated @ network.projection.weight.T)
    assert network.output_dim == 2


@pytest.mark.parametrize("mix", ["scalar", "mean", "concat"])
def test_half_precision_states_are_mixed_in_single_precision(mix: str) -> None:
    _, features = features_of(STATES.half(), mix=mix, output_dim=3)
    _, expected = features_of(STATES.half().float(), mix=mix, output_dim=3)
    assert features.dtype == torch.float32
    assert torch.equal(features, expected)


def test_a_network_with_a_reader_trains_the_transformer(bert: Pretrained) -> None:
    inputs: Any = SimpleNamespace(hidden_states=None, subwords=tensors_of(bert, windows_of(bert)), features=None)
    reader = HiddenStateReader(bert.encoder.requires_grad_(True), (0, 1, 2), "first")
    network = TransformerFeatures(3, bert.hidden_size, mix="scalar", output_dim=0, dropout=0.0, reader=reader).eval()
    features = network(inputs)
    torch.testing.assert_close(features, network.combine(reader(inputs.subwords)))
    features.square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    bert.encoder.requires_grad_(False)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_inputs_without_states_or_subwords_are_refused(bert: Pretrained) -> None:
    empty: Any = SimpleNamespace(hidden_states=None, subwords=None, features=None)
    options: Any = {"mix": "mean", "output_dim": 0, "dropout": 0.0}
    with pytest.raises(ValueError, match="hidden states, but the inputs have none"):
        TransformerFeatures(3, 4, **options)(empty)
    with pytest.raises(ValueError, match="hidden states, but the inputs have none"):
        TransformerFeatures(3, 4, **options, reader=HiddenStateReader(bert.encoder, (0,), "mean"))(empty)
