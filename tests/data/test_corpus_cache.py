"""Training data in a cache are those in memory: the same sentences, counts, and document context."""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tagger.config import Config, parse
from tagger.data import (
    corpus_cache,
    document_context,
    overlaps,
    reader,
    schemes,
    stored_context,
    stored_sentences,
    suspicions,
)
from tagger.data.corpus import Corpus
from tagger.data.document_context import OccurrenceIndex, number_passages
from tagger.data.sentence import Sentence
from tagger.data.stored_sentences import StoredSentences
from tagger.data.vocab import Vocab
from tagger.data.word_arrays import WordEncoder
from tagger.errors import ConfigError, DataError, EmptyError
from tests.conftest import tiny_corpus

JSONL = (
    '{"text": "Cy left.", "label": [], "annotated_types": []}\n'
    '{"text": "Ada Quill ran. She won.", "label": [[1, 9, "PER"]]}\n'
    '{"text": "It rained.", "label": [], "annotated_types": ["LOC", "PER"]}\n'
    '{"text": "Bo ate.", "label": [[0, 2, "PER"]], "annotated_types": ["PER"]}\n'
)
CONLLU = (
    "# newdoc\n1\tAda\t_\tPROPN\tNNP\t_\t_\t_\t_\t_\n2\tran\t_\tVERB\tVBD\t_\t_\t_\t_\t_\n\n"
    "1\tBo\t_\tPROPN\tNNP\t_\t_\t_\t_\t_\n\n"
)
UNKNOWN = tiny_corpus().replace("lives O", "lives ?").replace("O\n", "-\n")
FILES = {
    "columns.conll": (tiny_corpus(), "{}"),
    "unknown.conll": (UNKNOWN, "{unknown_tag: '?', outside_tag: '-'}"),
    "brackets.conll": ("Ada (PER*\nQuill *)\nran *\n\nBo (PER)\n", "{}"),
    "invalid.conll": ("Ada I-PER\nran O\nin I-LOC\n\nBo B-PER\nbo I-LOC\n", "{}"),
    "plain.conll": ("Ada N\nran V\n\nBo N\nBo N\n\n" * 3, "{}"),
    "texts.jsonl": (JSONL, "{}"),
    "words.conllu": (CONLLU, "{tag: upos}"),
}  # fmt: skip


def recipe(folder: Path, name: str, content: str, settings: str = "{}") -> Config:
    path = folder / name
    path.write_text(content)
    return parse(f"data: {settings}", "recipe.yaml", overrides=[f"data.train={path}"])


def read(config: Config, folder: Path) -> Corpus:
    corpus = corpus_cache.read_train(config.data, folder / "cache")
    assert corpus is not None
    assert isinstance(corpus.sentences, StoredSentences)
    return corpus


def plain(sentence: Sentence) -> tuple[object, ...]:
    return (
        *(sentence.tokens, sentence.tags, sentence.document, sentence.line, sentence.record),
        sentence.annotated_types,
    )


@pytest.fixture(params=FILES)
def corpora(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Corpus, Corpus]:
    """A corpus in memory and in a cache, with blocks so small that it has several."""
    monkeypatch.setattr(stored_sentences, "_BLOCK", 3)
    monkeypatch.setattr(stored_sentences, "_TOKEN_BLOCK", 11)
    config = recipe(tmp_path, request.param, *FILES[request.param])
    memory = reader.read_part(config.data, "train")
    assert memory is not None
    return memory, read(config, tmp_path)


def test_stored_sentences_are_those_in_memory(corpora: tuple[Corpus, Corpus]) -> None:
    memory, stored = corpora
    expected = list(map(plain, memory.sentences))
    assert list(map(plain, stored.sentences)) == expected
    assert [plain(stored.sentences[position]) for position in range(len(expected))] == expected
    assert [plain(stored.sentences[position]) for position in (-1, -len(expected))] == [expected[-1], expected[0]]
    assert list(map(plain, stored.sentences[1:3])) == expected[1:3]
    assert stored.sentences[0].raw == memory.sentences[0].raw
    with pytest.raises(IndexError):
        stored.sentences[len(expected)]
    for name in ("name", "format", "tag_format", "tokens", "document_count", "has_texts", "is_split_text"):
        assert getattr(stored, name) == getattr(memory, name), name
    assert list(stored.notices.lines()) == list(memory.notices.lines())
    assert stored.digest() == stored.digest() == memory.digest()


def test_counts_of_stored_sentences_are_those_in_memory(corpora: tuple[Corpus, Corpus]) -> None:
    memory, stored = corpora
    for count in (
        stored_sentences.count_words,
        stored_sentences.count_pairs,
        stored_sentences.count_annotated_types,
    ):
        assert count(stored.sentences) == count(memory.sentences), count
    assert list(suspicions.find_suspicions(stored)) == list(suspicions.find_suspicions(memory))
    for scheme, limit in (("IOB2", 1), ("IOBES", 2), ("IOB1", 100)):
        memory_faults, stored_faults = (
            # Without the line: stored sentences know only that of their first token.
            [re.sub(r":\d+: ", ": ", fault) for fault in corpus.describe_invalid(scheme, limit)]  # type: ignore[arg-type]
            for corpus in (memory, stored)
        )
        assert stored_faults == memory_faults
    annotated = [corpus.with_annotated_types(["X"]) for corpus in (memory, stored)]
    assert list(map(plain, annotated[1].sentences)) == list(map(plain, annotated[0].sentences))
    assert annotated[1].digest() == annotated[0].digest() != stored.digest()


@pytest.mark.parametrize(
    "corpora", [name for name in FILES if name not in ("plain.conll", "words.conllu")], indirect=True
)
@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES"])
def test_tags_in_another_scheme_are_those_in_memory(scheme: str, corpora: tuple[Corpus, Corpus]) -> None:
    memory, stored = corpora
    assert isinstance(stored.sentences, StoredSentences)
    converted = stored.sentences.in_scheme(scheme)  # type: ignore[arg-type]
    expected = [
        sentence.tags if "" in sentence.tags else schemes.convert(sentence.tags, scheme)  # type: ignore[arg-type]
        for sentence in memory.sentences
    ]
    assert [sentence.tags for sentence in converted] == expected
    assert converted.count_pairs() == schemes.count_pairs(expected)
    assert list(map(plain, stored.sentences)) == list(map(plain, memory.sentences))


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_sentences_are_found_by_their_tokens(limit: int, corpora: tuple[Corpus, Corpus]) -> None:
    memory, stored = corpora
    wanted = {sentence.tokens for sentence in memory.sentences[1::2]} | {("Ada",), ("no", "such", "sentence")}
    seen: Counter[tuple[str, ...]] = Counter()
    expected = []
    for sentence in memory.sentences:
        seen[sentence.tokens] += 1
        if sentence.tokens in wanted and seen[sentence.tokens] <= limit:
            expected.append(plain(sentence))
    assert isinstance(stored.sentences, StoredSentences)
    assert list(map(plain, stored.sentences.find(wanted, limit))) == expected
    assert overlaps.find_shared_sentences(memory.sentences, ()) is memory.sentences
    assert overlaps.find_shared_sentences(stored.sentences, memory.sentences) == [
        sentence for sentence in stored.sentences if len(sentence) >= 5
    ]


@pytest.mark.parametrize("tokens", [1, 30, 1 << 19])
def test_the_document_context_of_stored_sentences_is_that_in_memory(
    tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_context, "_TOKENS", tokens)
    monkeypatch.setattr(stored_context, "_SENTENCES", 5)
    monkeypatch.setattr(document_context, "PASSAGE_TOKENS", 40)
    corpus = read(recipe(tmp_path, "columns.conll", tiny_corpus()), tmp_path)
    assert isinstance(corpus.sentences, StoredSentences)
    words = Vocab(["", "", "ada", "in", "Oslo", "York", "lives"])
    encoder = WordEncoder(words, Vocab(["", "", "a"]))
    indices = encoder.indices(token for sentence in corpus.sentences for token in sentence.tokens)
    lengths = np.array(list(map(len, corpus.sentences)))
    passages = number_passages(corpus.sentences)
    assert len(set(passages)) > 3
    memory: OccurrenceIndex = encoder.occurrences(indices, lengths, passages)
    stored = encoder.index_occurrences(stored_context.open_occurrences(corpus.sentences))
    random = np.random.default_rng(1)
    for _ in range(20):
        chosen = random.permutation(len(indices))[:9]
        for expected, actual in zip(memory.select(chosen), stored.select(chosen), strict=True):
            assert np.array_equal(actual, expected)
            assert actual.dtype == expected.dtype


def test_a_changed_file_is_encoded_again_and_an_unchanged_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = recipe(tmp_path, "train.conll", tiny_corpus())
    status = (tmp_path / "train.conll").stat()
    read(first, tmp_path)
    assert "is encoded into" in caplog.text
    caplog.clear()
    read(first, tmp_path)
    assert "is read from" in caplog.text
    changed = recipe(tmp_path, "train.conll", tiny_corpus().replace("Oslo", "Olso"))
    os.utime(tmp_path / "train.conll", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (tmp_path / "train.conll").stat().st_size == status.st_size
    corpus = read(changed, tmp_path)
    assert any("Olso" in sentence.tokens for sentence in corpus.sentences)
    other = parse("data: {token: 1, tag: 0}", "recipe.yaml", overrides=[f"data.train={tmp_path / 'train.conll'}"])
    assert read(other, tmp_path).sentences[0].tags[0] == "Ada"


def test_notices_are_repeated_for_later_trainings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = "".join(f"a{number} O\nx O\nb PER\nc PER\n\n" for number in range(9)) + "d LOC\ne O\nf O\n\n"
    config = recipe(tmp_path, "train.conll", content)
    for _ in range(2):
        caplog.clear()
        read(config, tmp_path)
        assert caplog.text.count("tags such as 'PER' may be types of spans") == 1


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = recipe(tmp_path, "train.conll", tiny_corpus())
    write: Callable[..., StoredSentences] = stored_sentences.write

    def change(sentences: Iterator[Sentence], writer: object) -> StoredSentences:
        result = write(sentences, writer)
        (tmp_path / "train.conll").write_text(tiny_corpus().replace("Oslo", "Olso"))
        return result

    monkeypatch.setattr(stored_sentences, "write", change)
    with pytest.raises(DataError, match=r"train\.conll: has changed while it was read"):
        read(config, tmp_path)
    monkeypatch.setattr(stored_sentences, "write", write)
    assert any("Olso" in sentence.tokens for sentence in read(config, tmp_path).sentences)


def test_faults_of_the_data_are_those_of_reading_into_memory(tmp_path: Path) -> None:
    with pytest.raises(EmptyError, match="holds no sentence"):
        read(recipe(tmp_path, "empty.conll", "\n\n"), tmp_path)
    with pytest.raises(DataError, match=r"short\.conll:3: "):
        read(recipe(tmp_path, "short.conll", "a O\nb O\nc\n"), tmp_path)
    with pytest.raises(DataError, match=r"tags\.conll:1: found the tag 'X'"):
        read(recipe(tmp_path, "tags.conll", "a X\n\nb B_PER\n", "{tag_format: prefix}"), tmp_path)
    with pytest.raises(DataError, match=r"words\.conllu: no token has a tag in misc:NER"):
        read(recipe(tmp_path, "words.conllu", CONLLU, "{tag: 'misc:NER'}"), tmp_path)
    (tmp_path / "short.conll").unlink()
    with pytest.raises(DataError, match=r"short\.conll: cannot be read: No such file or directory"):
        read(parse("{}", "recipe.yaml", overrides=[f"data.train={tmp_path / 'short.conll'}"]), tmp_path)
    with pytest.raises(ConfigError, match=f"needs training data in one regular file, not {tmp_path}"):
        read(parse("data: {format: brat}", "recipe.yaml", overrides=[f"data.train={tmp_path}"]), tmp_path)
    with pytest.raises(ConfigError, match="needs training data in a file, not a dataset"):
        read(parse("data: {dataset: name}", "recipe.yaml"), tmp_path)
    assert corpus_cache.read_train(parse("{}", "recipe.yaml").data, tmp_path / "none") is None
