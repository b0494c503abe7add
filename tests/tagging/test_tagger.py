"""Sentences in, the same sentences out with tags, however they are batched."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tagger
from tagger.data.calibration import Calibration
from tagger.data.sentence import Sentence, Span
from tagger.tagging import Tagger
from tests.tagging import models

TEXTS = ["Ada lives in New York .", "", "Alan", "Grace lives in Paris . Donald lives in Oslo ."] * 30


def test_strings_and_token_lists_come_back_tagged(model_path: Path) -> None:
    tagged = tagger.load(model_path, device="cpu").tag(
        ["Ada lives in New York .", ["Alan", "lives", "in", "Lima", "."]]
    )
    assert tagged[0].tokens == ("Ada", "lives", "in", "New", "York", ".")
    assert tagged[0].spans == (Span("PER", 0, 1), Span("LOC", 3, 5))
    assert tagged[1].tags == ("S-PER", "O", "O", "S-LOC", "O")


@pytest.mark.parametrize("batch_tokens", [1, 16, 64, 100_000])
def test_tags_are_the_same_for_every_size_of_batch(model_path: Path, batch_tokens: int) -> None:
    model = tagger.load(model_path, device="cpu").model
    expected = [Tagger(model, torch.device("cpu")).tag([text])[0] for text in TEXTS[:4]]
    actual = Tagger(model, torch.device("cpu"), batch_tokens=batch_tokens).tag(TEXTS)
    assert [replace(one, document=0) for one in actual] == expected * 30
    assert [one.document for one in actual] == list(range(len(TEXTS)))  # each is a document by itself


def test_order_and_other_fields_of_sentences_are_unchanged(model_path: Path) -> None:
    inputs = [Sentence(("Oslo",) * (1 + number % 7), document=number, line=number, raw=("x",)) for number in range(100)]
    actual = tagger.load(model_path, device="cpu").tag(inputs)
    assert [(s.tokens, s.document, s.line, s.raw) for s in actual] == [
        (s.tokens, s.document, s.line, s.raw) for s in inputs
    ]


def test_the_first_sentences_are_yielded_before_the_whole_input_is_read(model_path: Path) -> None:
    read = []

    def source() -> object:
        for number in range(10_000):
            read.append(number)
            yield Sentence(("Ada",))

    next(tagger.load(model_path, device="cpu").stream(source()))
    assert len(read) == 32  # what is too little for threads waits for nothing


def test_an_empty_token_is_rejected(model_path: Path) -> None:
    with pytest.raises(ValueError, match="a token of"):
        tagger.load(model_path, device="cpu").tag([["Ada", ""]])
    with pytest.raises(ValueError, match="a token of"):
        tagger.load(model_path, device="cpu").tag([Sentence(("",))])


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ([b"Ada"], "a sentence is a string or a list of tokens, got b'Ada'"),
        ([{"Ada"}], r"a sentence is a string or a list of tokens, got \{'Ada'\}"),
        ([{"Ada": 1}], r"a sentence is a string or a list of tokens, got \{'Ada': 1\}"),
        ([None], "a sentence is a string or a list of tokens, got None"),
        ([["Ada", None]], "a token is a string, got None"),
        ([[b"Ada"]], "a token is a string, got b'Ada'"),
        (["Ada", 5], "a sentence is a string or a list of tokens, got 5"),
        (b"Ada", "a sentence is a string or a list of tokens, got 65"),
    ],
)
def test_values_that_are_no_sentence_are_rejected(model_path: Path, inputs: object, fault: str) -> None:
    with pytest.raises(TypeError, match=fault):
        tagger.load(model_path, device="cpu").tag(inputs)


def test_tagging_does_not_change_the_training_mode_of_the_network(model_path: Path) -> None:
    tagging = tagger.load(model_path, device="cpu")
    tagging.model.network.train()
    tagging.tag(["Ada"])
    assert tagging.model.network.training


def test_a_very_long_sentence_with_a_very_long_word_is_tagged(model_path: Path) -> None:
    tokens = ("Ada", "x" * 5000, *("Oslo",) * 5000)
    assert len(tagger.load(model_path, device="cpu").tag([tokens])[0].tags) == len(tokens)


def test_unknown_characters_and_words_in_any_script_are_tagged(model_path: Path) -> None:
    tokens = ("שלום", "😀", "e\u0301", "\u200b", "a\u00a0b", "\u2028")
    assert tagger.load(model_path, device="cpu").tag([tokens])[0].tokens == tokens


def test_a_single_string_is_rejected_as_a_list_of_sentences(model_path: Path) -> None:
    with pytest.raises(TypeError, match="put a single one in a list"):
        tagger.load(model_path, device="cpu").tag("Ada lives in Oslo .")


def test_loading_does_not_change_the_random_state(model_path: Path) -> None:
    before = torch.get_rng_state()
    tagger.load(model_path, device="cpu").tag(["Ada"])
    assert torch.equal(torch.get_rng_state(), before)


def test_on_batch_is_called_after_each_batch(model_path: Path) -> None:
    model = Tagger(tagger.load(model_path, device="cpu").model, torch.device("cpu"), batch_tokens=4)
    calls = []
    list(model.stream([Sentence(("Ada", "ran"))] * 10, on_batch=lambda: calls.append(1)))
    assert len(calls) == 5


@pytest.mark.parametrize("limit", ["batch_tokens", "max_tokens", "workers"])
def test_a_limit_below_1_is_rejected(model_path: Path, limit: str) -> None:
    with pytest.raises(ValueError, match=f"{limit} must be at least 1, got 0"):
        tagger.load(model_path, device="cpu", **{limit: 0})


def test_types_without_a_threshold_are_logged_once_for_each_precision(caplog: pytest.LogCaptureFixture) -> None:
    by_type = {"PER": ((0.05, 400, 300), (0.3, 300, 290), (0.6, 200, 199)), "LOC": ((0.1, 500, 450),)}
    model = models.tagger(models.make_model()).with_calibration(Calibration(thresholds=by_type))
    for precision in (0.95, 0.95, 0.999, 0.95):
        model.tag(["ba0 Ce1"], precision=precision)
        model.with_workers(1).tag(["ba0 Ce1"], precision=precision)
    notice = "no spans of these types: at no threshold is their precision"
    assert caplog.messages == [
        f"{notice} 0.95 with 95 % confidence: LOC",
        f"{notice} 0.999 with 95 % confidence: LOC, PER",
    ]
