"""The bundled corpus: the script reproduces it, and a model learns more than the tag of each word."""

from collections import Counter, defaultdict
from pathlib import Path

from tagger import config, training
from tagger.data import data_settings, reader, schemes
from tagger.data.corpus import Corpus
from tagger.evaluation import score_spans
from tests.scripts_in_process import run_script

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "configs" / "sample"


def read_part(name: str) -> Corpus:
    return reader.read_corpus(
        SAMPLE / name, input_format="columns", layout=data_settings.find_layout(config.load("sample").data, "columns")
    )


def test_the_script_reproduces_the_bundled_corpus(tmp_path: Path) -> None:
    assert run_script("scripts/make_sample.py", "--out", str(tmp_path)).returncode == 0
    for path in SAMPLE.glob("*.txt"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_corpus_is_large_enough_and_no_test_sentence_is_in_train() -> None:
    names = ("train.txt", "valid.txt", "test.txt")
    tokens = {name: [sentence.tokens for sentence in read_part(name).sentences] for name in names}
    sizes = {name: len(sentences) for name, sentences in tokens.items()}
    assert sizes["train.txt"] >= 600
    assert min(sizes["valid.txt"], sizes["test.txt"]) >= 150
    assert not set(tokens["train.txt"]) & set(tokens["test.txt"])


def test_a_tagger_scores_20_f1_above_the_most_frequent_tag_of_each_word(tmp_path: Path) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in read_part("train.txt").sentences:
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
            counts[token][tag] += 1
    most_frequent = {token: tags.most_common(1)[0][0] for token, tags in counts.items()}
    test = read_part("test.txt").sentences
    predicted = [[most_frequent.get(token, "O") for token in sentence.tokens] for sentence in test]
    gold_spans = [schemes.tags_to_spans(sentence.tags) for sentence in test]
    baseline = score_spans(gold_spans, [*map(schemes.tags_to_spans, predicted)])[0].f1
    result = training.train(config.load("sample", ["training.epochs=6"]), tmp_path / "run", device="cpu")
    assert result.test is not None
    assert result.test.score >= baseline + 20
