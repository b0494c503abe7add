"""Scores of the output of any system, against conlleval and SeqScore."""

import json
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from seqscore.scoring import score_label_sequences
from typer.testing import CliRunner

import tagger
from tagger.choices import Repair
from tagger.cli import app
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence, Span
from tagger.errors import ConfigError, DataError
from tagger.evaluation import Counts, SystemScore, repairs, systems
from tagger.evaluation.repairs import InvalidCounts
from tagger.evaluation.systems import ScoringOptions
from tests import conlleval

ALPHABET = ["O", "B-X", "I-X", "B-Y", "I-Y"]
STRINGS = [tags for length in range(1, 6) for tags in product(ALPHABET, repeat=length)]
Tags = Sequence[Sequence[str]]


def corpus(tags: Tags, name: str = "data") -> Corpus:
    return Corpus(name, tuple(Sentence(tuple(f"t{n}" for n in range(len(row))), tags=tuple(row)) for row in tags))


def score(gold: Tags, predicted: Tags, repair: Repair = "conlleval") -> tuple[SystemScore, Counts]:
    return systems.score(corpus(gold), corpus(predicted), ScoringOptions("IOB2", repair))


def assert_equal_to_seqscore(result: SystemScore, gold: Tags, predicted: Tags, repair: Repair) -> None:
    oracle, accuracy = score_label_sequences(predicted, gold, "BIO", repair=repair)
    report = result.report
    figures = (100 * oracle.precision, 100 * oracle.recall, 100 * oracle.f1)
    assert (report.precision, report.recall, report.f1) == pytest.approx(figures)
    assert report.types.keys() == oracle.type_scores.keys()
    for name, each in oracle.type_scores.items():
        ours = report.types[name]
        assert ours.gold == each.total_ref
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(
            (100 * each.precision, 100 * each.recall, 100 * each.f1)
        )
    if repair == "conlleval":
        assert report.accuracy == pytest.approx(100 * accuracy.accuracy)


def shuffled_pairs(seed: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Returns every tag string once as gold tags, and every one as the prediction for another of its length."""
    draw = random.Random(seed)
    gold, predicted = [], []
    for length in range(1, 6):
        strings = [tags for tags in STRINGS if len(tags) == length]
        gold += strings
        predicted += draw.sample(strings, len(strings))
    return gold, predicted


@pytest.mark.parametrize("repair", ["conlleval", "discard"])
def test_every_tag_string_is_counted_as_conlleval_and_seqscore_count_it(repair: Repair) -> None:
    gold, predicted = shuffled_pairs(1)
    assert len(gold) == len(set(gold)) == 3905
    result, counts = score(gold, predicted, repair)
    assert_equal_to_seqscore(result, gold, predicted, repair)
    for left, right, row in zip(gold, predicted, counts.rows, strict=True):
        oracle, _ = score_label_sequences([right], [left], "BIO", repair=repair)
        assert row == (oracle.true_pos, oracle.total_pos, oracle.total_ref)
        if repair == "conlleval":
            sums = conlleval.count([(left, right)])
            assert row == tuple(sums[key].total() for key in ("correct", "guessed", "gold"))


def random_tags(draw: random.Random) -> tuple[list[list[str]], list[list[str]]]:
    """Returns gold tags, and predicted tags that differ in some tokens; some of both are invalid."""
    alphabet = draw.choice([ALPHABET, [*ALPHABET, "O", "O", "B-Z-1", "I-Z-1"], ["O", "B-X", "I-X", "I-X", "I-X"]])
    gold = [draw.choices(alphabet, k=draw.randint(1, 12)) for _ in range(draw.randint(1, 5))]
    keep = draw.choice([0.0, 0.7, 0.95])
    return gold, [[tag if draw.random() < keep else draw.choice(alphabet) for tag in tags] for tags in gold]


def test_a_thousand_random_files_score_as_with_conlleval_and_seqscore(tmp_path: Path) -> None:
    draw = random.Random(3)
    for number in range(1000):
        gold, predicted = random_tags(draw)
        repair = draw.choice(["conlleval", "discard"])
        result, _ = score(gold, predicted, repair)
        assert_equal_to_seqscore(result, gold, predicted, repair)
        if repair == "conlleval":
            sums = conlleval.count(zip(gold, predicted, strict=True))
            numbers = [sums[key].total() for key in ("correct", "gold", "guessed")]
            report = result.report
            assert (report.precision, report.recall, report.f1) == pytest.approx(conlleval.scores(*numbers))
        if number < 50:
            path = write(tmp_path / "both.conll", gold, predicted)
            scores = tagger.score(path, predicted_column=2, tag_scheme="IOB2", repair=repair)
            assert scores.systems[0].report == result.report


def write(path: Path, *columns: Tags) -> Path:
    """Writes sentences of the tokens t0, t1, … with columns of tags."""
    sentences = (
        "".join(f"t{number} {' '.join(row)}\n" for number, row in enumerate(zip(*sentence, strict=True)))
        for sentence in zip(*columns, strict=True)
    )
    path.write_text("\n".join(sentences))
    return path


GOLD = [["B-X", "O", "B-Y", "I-Y"], ["B-X"]]
PREDICTED = [["I-X", "O", "B-Y", "I-Y"], ["B-Y"]]


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("IOB2", "B-X I-Y I-Y O I-X", [(1, 3), (4, 5)]),
        ("IOB2", "B-X B-X I-X O", []),
        ("IOB1", "B-X I-X I-Y B-Y B-X", [(0, 2), (4, 5)]),
        ("IOBES", "B-X O B-X E-X S-X", [(0, 1)]),
        ("IOBES", "B-X E-Y I-X E-X S-Y", [(0, 1), (1, 2), (2, 4)]),
        ("IOBES", "B-X I-X", [(0, 2)]),
    ],
)
def test_a_span_is_invalid_if_its_tags_do_not_encode_it(scheme, tags: str, expected: list[tuple[int, int]]) -> None:
    invalid = repairs.find_invalid_spans(tags.split(), scheme)
    assert [(span.start, span.end) for span in invalid] == expected


def test_spans_next_to_an_unknown_tag_are_not_invalid() -> None:
    assert repairs.find_invalid_spans(["I-X", "O", "", "I-X", "O"], "IOB2") == [Span("X", 0, 1)]


def test_repairs_are_counted_for_gold_and_predicted_tags() -> None:
    gold = [*GOLD, ["I-Y", "I-Y", "I-X"]]
    for repair, in_text, correct in (("conlleval", "read by the rules of conlleval", 3), ("discard", "discarded", 1)):
        result, counts = score(gold, [*PREDICTED, ["I-Y", "I-Y", "O"]], repair)
        assert (result.invalid_gold, result.invalid_predicted) == (InvalidCounts(2, 2), InvalidCounts(2, 2))
        assert sum(row[0] for row in counts.rows) == correct
        assert str(result).count(f"2 invalid tags in 2 spans, {in_text}" if repair == "conlleval" else in_text) == 2
    with pytest.raises(DataError, match="'I-X' after the sentence's start breaks IOB2") as caught:
        score(GOLD, PREDICTED, "none")
    assert caught.value.faults[-1] == ("data: 1 tag is invalid; repair it with `repair=conlleval` or `repair=discard`")


def test_predicted_tags_are_read_in_the_scheme_of_the_gold_tags_unless_most_spans_are_invalid_in_it() -> None:
    gold = [["B-X", "O", "B-Y", "I-Y"], ["B-X"]]
    for predicted, scheme in (
        ([["B-X", "O", "I-Y", "I-Y"], ["O"]], "IOB2"),
        ([["I-X", "O", "I-Y", "I-Y"], ["I-X"]], "IOB1"),
        ([["S-X", "O", "B-Y", "E-Y"], ["S-X"]], "IOBES"),
        ([["I-X", "O", "I-Y", "B-Y"], ["B-X"]], "IOB2"),  # with fewer invalid tags in IOB1
        ([["O", "O", "O", "O"], ["O"]], "IOB2"),
    ):
        result, _ = systems.score(corpus(gold), corpus(predicted))
        assert (result.report.gold_scheme, result.predicted_scheme) == ("IOB2", scheme)
        if scheme != "IOB2":  # tags are compared in the scheme of the gold tags
            assert (result.report.f1, result.report.accuracy) == (100, 100)
    assert systems.score(corpus([["O"]]), corpus([["S-X"]]))[0].report.gold_scheme == "IOBES"


def test_plain_tags_are_scored_by_accuracy() -> None:
    result, counts = systems.score(corpus([["N", "V", "O"], ["N"]]), corpus([["N", "N", "O"], ["V"]]))
    assert counts.rows == ((2, 3), (0, 1))
    assert (result.report.score, result.report.selection) == (50, "accuracy")
    assert result.interval == (0, pytest.approx(200 / 3))
    assert "accuracy 50.00, 95 % interval 0.00 to 66.67" in str(result)
    assert "invalid" not in str(result)


def test_tags_that_do_not_fit_are_one_error(tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.conll", GOLD)
    for tags, message in (
        ([["N", "V", "O", "N"], ["N"]], r"gold.conll has spans in IOB2, but .*other.conll has plain tags such as 'N'"),
        ([["B-X", "O", "PER", "I-Y"], ["B-X"]], r"other.conll:3: the tag 'PER' is no tag of a span, but most tags are"),
    ):
        with pytest.raises(DataError, match=message):
            tagger.score(gold, write(tmp_path / "other.conll", tags))
    with pytest.raises(DataError, match=r"other.conll:1: the tag 'S-X' is not in IOB2; expected 'O' or .*'B-PER'"):
        tagger.score(gold, write(tmp_path / "other.conll", [["S-X", *"OOO"], ["O"]]), tag_scheme="BIO")


@pytest.mark.parametrize(
    ("text", "actual", "expected"),
    [
        ("a O\nb O\n\nd O\n", "other.conll:2: found the token 'b'", "the token 'B' as in .*gold.conll:2"),
        ("a O\n\nd O\n", "other.conll:1: found the end of the sentence after 'a'", "the token 'B' as in .*conll:2"),
        ("a O\nB O\nd O\n", "other.conll:3: found the token 'd'", "the end of the sentence after 'B' as in .*conll:2"),
        ("a O\nB O\n", "other.conll:2: found the end of the data", "the token 'd' as in .*gold.conll:4"),
        ("a O\nB O\n\nd O\n\ne O\n", "other.conll:6: found the token 'e'", "the end of the data as in .*conll:4"),
    ],
)
def test_other_tokens_or_sentences_are_one_error(tmp_path: Path, text: str, actual: str, expected: str) -> None:
    (tmp_path / "gold.conll").write_text("a B-X\nB O\n\nd B-X\n")
    (tmp_path / "other.conll").write_text(text)
    with pytest.raises(
        DataError, match=f"{actual}, expected {expected}; gold and predicted data need the same"
    ) as caught:
        tagger.score(tmp_path / "gold.conll", tmp_path / "other.conll")
    assert len(caught.value.faults) == 1


def test_sentences_in_memory_are_scored_and_named_by_their_number() -> None:
    gold, predicted = (corpus(tags).sentences for tags in (GOLD, PREDICTED))
    assert tagger.score(gold, predicted).systems[0].report == score(GOLD, PREDICTED)[0].report
    with pytest.raises(DataError, match=r"sentence 1 of `predicted`: found the token 'other', expected the token 't0'"):
        tagger.score(gold, [predicted[0], Sentence(("other",), tags=("O",))])
    with pytest.raises(ConfigError, match="`predicted` is missing"):
        tagger.score(gold)


def test_files_of_any_format_give_the_same_scores(tmp_path: Path) -> None:
    gold, first = write(tmp_path / "gold.conll", GOLD), write(tmp_path / "first.conll", PREDICTED)
    both = write(tmp_path / "both.conll", GOLD, PREDICTED)
    tagger.convert(gold, tmp_path / "gold.conllu")
    tagger.convert(first, tmp_path / "first.jsonl")
    named = [
        {"tokens": [f"t{n}" for n in range(len(gold))], "gold": gold, "predicted": predicted, "text": "unused"}
        for gold, predicted in zip(GOLD, PREDICTED, strict=True)
    ]
    (tmp_path / "named.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    results = [
        tagger.score(gold, [first, tmp_path / "first.jsonl"]),
        tagger.score(tmp_path / "gold.conllu", first),
        tagger.score(both, predicted_column=2),
        tagger.score(both, predicted_column=-1),
        tagger.score(both, predicted_column=1, tag_column=2),
        tagger.score(both, first, tag_column=1, predicted_column=-1),
        tagger.score(tmp_path / "named.jsonl", tag_column="gold", predicted_column="predicted"),
    ]
    systems = [system for result in results for system in result.systems]
    assert [system.report.f1 for system in systems] == [pytest.approx(200 / 3)] * 8
    signatures = [system.report.signature for system in systems]
    swapped = signatures.pop(5)
    assert len(set(signatures)) == 1
    assert swapped != signatures[0]
    with pytest.raises(ConfigError, match=r"both.conll: name files as `predicted`, or a column .* `predicted_column`"):
        tagger.score(both)


def test_tagged_rows_that_still_have_their_gold_spans_are_read_by_their_tags(tmp_path: Path) -> None:
    text, gold = "Ada saw Oslo", [[0, 3, "X"], [8, 12, "Y"]]
    (tmp_path / "gold.jsonl").write_text(json.dumps({"text": text, "label": gold}))
    tagged = {"tokens": text.split(), "tags": ["B-X", "O", "O"], "spans": [{"type": "X", "start": 0, "end": 3}]}
    tagged["offsets"] = [[0, 3], [4, 7], [8, 12]]
    (tmp_path / "tagged.jsonl").write_text(json.dumps({"text": text, "label": gold, **tagged}))
    report = tagger.score(tmp_path / "gold.jsonl", tmp_path / "tagged.jsonl").systems[0].report
    assert (report.precision, report.recall) == (100, 50)


def test_what_was_not_annotated_is_not_scored(tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.conll", [["B-X", "?", "B-Y", "I-Y"], ["B-X"]])
    predicted = write(tmp_path / "other.conll", [["B-X", "I-X", "B-Y", "I-Y"], ["B-Z"]])
    report = tagger.score(gold, predicted, unknown_tag="?").systems[0].report
    assert (report.types["Y"].f1, report.left_out.spans) == (100, 2)
    report = tagger.score(gold, predicted, unknown_tag="?", annotated_types=["X", "Y"]).systems[0].report
    assert report.left_out.types == {"Z": 1}


def test_the_command_prints_the_figures_of_the_function(tmp_path: Path) -> None:
    gold, first = write(tmp_path / "gold.conll", GOLD), write(tmp_path / "first.conll", PREDICTED)

    def run(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["score", *map(str, arguments)])
        assert done.exit_code == 0, done.stderr
        return done.stdout

    result = tagger.score(gold, [first, gold], repair="discard")
    assert json.loads(run(gold, first, gold, "--repair", "discard", "--json")) == json.loads(
        json.dumps(result.to_json())
    )
    printed = run(gold, first, gold, "--repair", "discard")
    assert printed == f"{result}\n"
    assert [line.split()[1:5] for line in printed.splitlines()[-2:]] == [
        ["50.00", "33.33", "40.00", "60.00"],
        ["100.00"] * 4,
    ]
    assert "second" not in result.to_json()["systems"][0]
    failed = CliRunner().invoke(app, ["score", str(gold)])
    assert (failed.exit_code, "or a column of this file as --predicted-column" in failed.stderr) == (2, True)
