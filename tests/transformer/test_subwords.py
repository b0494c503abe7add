"""Subwords of tokens equal those of the transformers library; no token becomes a special token or vanishes."""

import copy
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.errors import ModelError
from tagger.transformer import subwords
from tagger.transformer.subwords import MAX_CHARACTERS, MAX_TOKEN_SUBWORDS, SubwordEncoder

from . import tiny

KINDS = ["wordpiece", "bytes", "unigram"]
SENTENCE = [
    "Ada",
    "didn't",
    "visit",
    "Zürich's",
    "façades",
    "(",
    "1,000",
    "euros",
    ")",
    "日本",
    "😀",
    "NEW-York",
    "a\u00a0b",
]
SPECIAL_TEXTS = ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "<s>", "</s>", "<mask>", "<pad>", "a[SEP]b", "</s></s>", " </s>"]


@cache
def encoder(kind: str) -> SubwordEncoder:
    return SubwordEncoder(tiny.train_tokenizer(kind).to_str().encode())


@cache
def reference(kind: str) -> Any:
    """The library's own tokenizer of words."""
    from tokenizers import Tokenizer, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_str(tiny.train_tokenizer(kind).to_str())
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def expected_rows(kind: str, words: list[str]) -> list[list[int]]:
    """The subwords of each word in one call for the whole sentence, at most 64 of each."""
    encoding = reference(kind)(words, is_split_into_words=True)
    rows: list[list[int]] = [[] for _ in words]
    for word, subword in zip(encoding.word_ids(), encoding["input_ids"], strict=True):
        if word is not None:
            rows[word].append(subword)
    return [row[:MAX_TOKEN_SUBWORDS] for row in rows]


def encoded_rows(kind: str, words: list[str]) -> list[list[int]]:
    ids, counts = encoder(kind).encode(words)
    tokens = [token for token, count in enumerate(counts.tolist()) for _ in range(count)]
    return [
        [subword for _, subword in row] for _, row in groupby(zip(tokens, ids.tolist(), strict=True), lambda x: x[0])
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_subwords_equal_those_of_the_library_for_whole_sentences(kind: str) -> None:
    assert encoded_rows(kind, SENTENCE) == expected_rows(kind, SENTENCE)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), min_size=1, max_size=8)
)
def test_subwords_of_any_text_equal_those_of_the_library(kind: str, words: list[str]) -> None:
    special = {*range(5)} - {encoder(kind)._fallback}
    for row, expected in zip(encoded_rows(kind, words), expected_rows(kind, words), strict=True):
        assert not special & set(row)
        if expected and not special & set(expected):
            assert row == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", SPECIAL_TEXTS)
def test_text_never_becomes_a_special_token(kind: str, text: str) -> None:
    tokenizer = tiny.train_tokenizer(kind)
    special = {tokenizer.token_to_id(token) for token in tiny.SPECIAL[kind]} - {
        tokenizer.token_to_id("[UNK]"),
        tokenizer.token_to_id("<unk>"),
    }
    ids, counts = encoder(kind).encode(["a", text, "b"])
    assert not special & set(ids.tolist())
    assert counts.min() >= 1


@pytest.mark.parametrize(("kind", "fallback"), [("wordpiece", "[UNK]"), ("unigram", "<unk>"), ("bytes", "Ġ")])
def test_a_token_without_subwords_becomes_the_unknown_token_or_a_space(kind: str, fallback: str) -> None:
    empty = "\u200b" if kind == "wordpiece" else ""
    ids, counts = encoder(kind).encode([empty, "in"])
    assert counts[0] == 1
    assert ids[0] == tiny.train_tokenizer(kind).token_to_id(fallback)


def test_a_tokenizer_without_space_and_unknown_token_has_a_first_subword() -> None:
    raw = {"model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2}, "merges": []}, "added_tokens": []}
    raw["added_tokens"] = [
        {
            "id": 0,
            "content": "<s>",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ]
    assert SubwordEncoder(json.dumps(raw).encode()).encode(["é", "b"]).ids.tolist() == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_token_is_limited(kind: str) -> None:
    text = "0123456789" * 100
    ids, counts = encoder(kind).encode([text])
    assert 1 <= counts[0] <= MAX_TOKEN_SUBWORDS
    assert ids.tolist() == encoder(kind).encode([text[:MAX_CHARACTERS] + "other"]).ids.tolist()


def test_a_lone_surrogate_is_read() -> None:
    assert all(encoder(kind).encode(["a\udcffb"]).counts[0] >= 1 for kind in KINDS)


def test_each_distinct_token_is_split_once_and_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []

    class Spy:
        def encode(self, text: str, **options: Any) -> Any:
            texts.append(text)
            return tiny.train_tokenizer("wordpiece").encode(text, **options)

    own = copy.deepcopy(encoder("wordpiece"))
    monkeypatch.setattr(own, "_tokenizer", Spy())
    expected = own.encode(["Ada", "in", "Ada", "in"]).ids.tolist()
    assert own.encode(["Ada", "in", "Ada", "in"]).ids.tolist() == expected
    assert texts == ["Ada", "in"]
    monkeypatch.setattr(subwords, "_MAX_CACHED", 3)
    own.encode(["one", "two", "three", "four"])
    assert own.encode(["Ada", "in", "Ada", "in"]).ids.tolist() == expected
    assert len(own._cache) <= 3


def test_a_copy_and_threads_split_alike() -> None:
    own = copy.deepcopy(encoder("bytes"))
    words = [f"{word}{number}" for number in range(200) for word in SENTENCE]
    expected = own.encode(words).ids.tolist()
    other = copy.deepcopy(own)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: other.encode(words).ids.tolist(), range(4)))
    assert results == [expected] * 4


def test_a_forked_process_goes_on_without_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    expected = encoder("bytes").encode(SENTENCE).ids.tolist()
    child = os.fork()
    if child == 0:
        os._exit(encoder("bytes").encode([*SENTENCE, "new"]).ids.tolist()[: len(expected)] != expected)
    assert os.waitpid(child, 0)[1] == 0
    assert capfd.readouterr().err == ""


def _content(kind: str, change: Callable[[Any], Any]) -> bytes:
    raw = json.loads(tiny.train_tokenizer(kind).to_str())
    change(raw)
    return json.dumps(raw).encode()


BOMB = [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 30}] * 4
DAMAGED = {
    "not JSON": b"{",
    "not an object": b"[]",
    "no model": b'{"model": 3}',
    "empty model": b'{"model": {}}',
    "deep": b"[" * 100_000,
    "normal forms": _content(
        "unigram", lambda raw: raw.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA/////w=="})
    ),
    "text bomb": _content("wordpiece", lambda raw: raw.update(normalizer={"type": "Sequence", "normalizers": BOMB})),
    "unknown id": _content("unigram", lambda raw: raw["model"].update(unk_id=10**6)),
    "unknown token": _content("wordpiece", lambda raw: raw["model"].update(unk_token="nothing")),
    "huge id": _content("wordpiece", lambda raw: raw["model"]["vocab"].update(zz=2**40)),
    "merge": _content("bytes", lambda raw: raw["model"].update(merges=[["zz", "yy"]])),
    "part": _content("wordpiece", lambda raw: raw.update(pre_tokenizer={"type": "FixedLength", "length": 0})),
    "added": _content("wordpiece", lambda raw: raw.update(added_tokens=[{"id": -1, "special": True}])),
    "prefix": _content("bytes", lambda raw: raw["model"].update(continuing_subword_prefix="é" * 1000)),
    "template": _content(
        "wordpiece", lambda raw: raw["post_processor"].update(single=raw["post_processor"]["single"][:1] * 50)
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_tokenizer_is_an_error_of_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        SubwordEncoder(DAMAGED[name])


def test_a_tokenizer_that_fails_for_a_token_is_a_model_error() -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False}
    failing = SubwordEncoder(_content("wordpiece", lambda raw: raw.update(pre_tokenizer=split)))
    assert failing.encode(["in"]).counts.tolist() == [1]
    with pytest.raises(ModelError, match=r"\Athe transformer's tokenizer cannot read 'a+': [^\n]+\Z"):
        failing.encode(["a" * 60])


def test_random_splits_of_words_are_turned_off() -> None:
    random = SubwordEncoder(_content("bytes", lambda raw: raw["model"].update(dropout=0.9)))
    assert random.encode(SENTENCE).ids.tolist() == encoder("bytes").encode(SENTENCE).ids.tolist()
