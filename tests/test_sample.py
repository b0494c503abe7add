"""The bundled corpus: built anew it is the same, and it can be learned, but not by heart."""

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from tagger import config, training
from tagger.data import reader, schemes
from tagger.data.reader import Corpus
from tagger.evaluation import score_spans

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "configs" / "sample"


def part(name: str) -> Corpus:
    return reader.read_corpus(
        SAMPLE / name, input_format="columns", layout=reader.find_layout(config.load("sample").data, "columns")
    )


def test_the_script_writes_the_corpus_that_is_bundled(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_sample.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True, capture_output=True)
    for path in SAMPLE.glob("*.txt"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_it_has_the_size_that_it_should_have() -> None:
    sizes = {name: len(part(name).sentences) for name in ("train.txt", "valid.txt", "test.txt")}
    assert sizes["train.txt"] >= 600
    assert min(sizes["valid.txt"], sizes["test.txt"]) >= 150
    assert not {one.tokens for one in part("train.txt").sentences} & {one.tokens for one in part("test.txt").sentences}


def test_a_tagger_scores_20_f1_above_each_words_most_frequent_tag(tmp_path: Path) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in part("train.txt").sentences:
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
            counts[token][tag] += 1
    usual = {token: found.most_common(1)[0][0] for token, found in counts.items()}
    test = part("test.txt").sentences
    guessed = [schemes.tags_to_spans([usual.get(token, "O") for token in one.tokens]) for one in test]
    baseline = score_spans([schemes.tags_to_spans(one.tags) for one in test], guessed)[0].f1
    outcome = training.train(config.load("sample", ["training.epochs=6"]), tmp_path / "run", device="cpu")
    assert outcome.test is not None
    assert outcome.test.score >= baseline + 20
