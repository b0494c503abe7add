import random
from collections.abc import Callable, Iterable
from dataclasses import astuple, replace
from io import BytesIO
from itertools import product
from pathlib import Path

import pytest
import torch

import tagger
from tagger import model as models
from tagger.config import Config, parse
from tagger.data import reader, schemes, tag_formats
from tagger.data.corpus import Corpus
from tagger.data.formats import Layout
from tagger.data.sentence import Sentence, Span
from tagger.errors import DataError
from tagger.evaluation import (
    SPANS,
    TOKENS,
    Report,
    accuracy,
    evaluate,
    evaluate_with_predictions,
    score_spans,
    score_tags,
)
from tagger.tagging import Tagger
from tests import conlleval
from tests.tagging.models import CPU, make_model, sentences

ALPHABET = ["O", "B-X", "I-X", "B-Y", "I-Y"]
STRINGS = {length: list(product(ALPHABET, repeat=length)) for length in range(1, 6)}
Pairs = list[tuple[tuple[str, ...], tuple[str, ...]]]


def assert_scored_as_conlleval_does(pairs: Pairs) -> None:
    gold, predicted = zip(*pairs, strict=True)
    overall, types = score_spans(
        [schemes.tags_to_spans(tags) for tags in gold], [schemes.tags_to_spans(tags) for tags in predicted]
    )
    counts = conlleval.count(pairs)
    names = counts["gold"].keys() | counts["guessed"].keys()
    assert types.keys() == names
    for score, which in [(overall, names), *((types[name], {name}) for name in names)]:
        numbers = [sum(counts[key][name] for name in which) for key in ("correct", "gold", "guessed")]
        assert (score.precision, score.recall, score.f1) == pytest.approx(conlleval.scores(*numbers))
        assert score.gold == numbers[1]
    assert accuracy(gold, predicted) == pytest.approx(100 * counts["tokens"]["right"] / counts["tokens"]["all"])


def test_all_pairs_of_short_tag_strings_are_scored_as_conlleval_does():
    for pair in product(STRINGS[1], repeat=2):
        assert_scored_as_conlleval_does([pair])
    for gold in (*STRINGS[2], *STRINGS[3]):
        assert_scored_as_conlleval_does([(gold, predicted) for predicted in STRINGS[len(gold)]])


def test_corpora_of_every_tag_string_are_scored_as_conlleval_does():
    draw = random.Random(1)
    pairs = [
        pair
        for strings in STRINGS.values()
        for _ in range(3)
        for pair in zip(strings, draw.sample(strings, len(strings)), strict=True)
    ]
    draw.shuffle(pairs)
    assert {gold for gold, _ in pairs} == {tags for strings in STRINGS.values() for tags in strings}
    assert_scored_as_conlleval_does(pairs)
    for start in range(0, len(pairs), 100):
        assert_scored_as_conlleval_does(pairs[start : start + 100])


def test_small_random_corpora_with_longer_sentences_are_scored_as_conlleval_does():
    draw = random.Random(2)
    alphabet = [*ALPHABET, "B-Z-1", "I-Z-1", "O", "O"]
    for _ in range(300):
        lengths = [draw.randint(1, 12) for _ in range(draw.randint(1, 4))]
        golds = [tuple(draw.choices(alphabet, k=length)) for length in lengths]
        noisy = [tuple(tag if draw.random() < 0.7 else draw.choice(alphabet) for tag in tags) for tags in golds]
        assert_scored_as_conlleval_does(list(zip(golds, noisy, strict=True)))


def test_no_entities_score_zero():
    overall, types = score_spans([(), ()], [(), ()])
    assert (overall.precision, overall.recall, overall.f1, overall.gold, types) == (0, 0, 0, 0, {})
    assert score_spans([], [])[0].f1 == accuracy([], []) == 0


def test_a_type_only_in_gold_or_predicted_spans_scores_zero():
    overall, types = score_spans([[Span("X", 0, 1), Span("Y", 1, 2)]], [[Span("X", 0, 1), Span("Z", 1, 2)]])
    assert (overall.precision, overall.recall, overall.gold) == (50, 50, 2)
    assert [(types[name].f1, types[name].gold) for name in "XYZ"] == [(100, 1), (0, 1), (0, 0)]


def corpus(text: str, input_format: str = "columns", layout: Layout | None = None) -> Corpus:
    read = reader.read_sentences(
        BytesIO(text.encode()), input_format=input_format, layout=layout or Layout(), tagged=True
    )
    return Corpus("test.conll", tuple(sentence for sentence in read if sentence.tokens))


KNOWN = "Ada B-PER\nlives O\nin O\nNew B-LOC\nYork I-LOC\n. O\n"


@pytest.fixture(scope="module")
def model(model_path: Path) -> Tagger:
    return tagger.load(model_path, device="cpu")


def test_a_learned_corpus_scores_100(model: Tagger):
    report = evaluate(model, corpus(f"{KNOWN}\n{KNOWN}"))
    assert (report.score, report.f1, report.precision, report.recall, report.accuracy) == (100,) * 5
    assert {name: score.gold for name, score in report.types.items()} == {"LOC": 2, "PER": 2}
    assert (report.sentences, report.tokens, report.invalid_tags, report.unknown_tags) == (2, 12, 0, {})
    assert "F1" in str(report)
    assert str(report).endswith(report.signature)


def test_sentence_counts_equal_those_of_conlleval_and_sum_to_the_score(model: Tagger):
    gold = corpus(f"{KNOWN}\nAlan B-PER\nlives B-LOC\nin I-LOC\nOslo B-PER\n\nlives O\n")
    report, counts, *_ = evaluate_with_predictions(model, gold)
    predicted = [sentence.spans for sentence in model.stream(gold.sentences)]
    expected = []
    for sentence, spans in zip(gold.sentences, predicted, strict=True):
        sums = conlleval.count([(sentence.tags, schemes.spans_to_tags(spans, len(sentence), "IOB2"))])
        expected.append(tuple(sum(sums[key].values()) for key in ("correct", "guessed", "gold")))
    assert counts.rows == tuple(expected)
    assert len(set(expected)) == 3
    correct, guessed, in_gold = map(sum, zip(*expected, strict=True))
    together = conlleval.scores(correct, in_gold, guessed)
    assert together == pytest.approx((report.precision, report.recall, report.f1))
    assert (counts.data, counts.columns) == (gold.digest(), SPANS)


def test_the_json_has_every_figure(model: Tagger):
    figures = evaluate(model, corpus(KNOWN)).to_json()
    assert figures.keys() == {*Report.__dataclass_fields__, "sentences_per_second"}
    assert figures["types"]["PER"] == {"precision": 100, "recall": 100, "f1": 100, "gold": 1}


def test_an_unknown_type_is_counted_and_scored_as_wrong(model: Tagger):
    report = evaluate(model, corpus(KNOWN.replace("lives O\nin O", "lives B-EVENT\nin I-EVENT")))
    assert report.unknown_tags == {"B-EVENT": 1, "I-EVENT": 1}
    assert (report.types["EVENT"].recall, report.types["EVENT"].gold) == (0, 1)
    assert (report.recall, report.precision) == (pytest.approx(200 / 3), 100)
    assert report.accuracy == pytest.approx(400 / 6)  # the model says O, which an unknown tag is not
    assert "B-EVENT (1 time)" in str(report)


@pytest.mark.parametrize(
    ("spell", "scheme"),
    [
        (lambda tags: schemes.convert(tags, "IOB1"), "IOB1"),
        (lambda tags: schemes.convert(tags, "IOBES"), "IOBES"),
        (lambda tags: [tag.replace("S-", "U-").replace("E-", "L-") for tag in schemes.convert(tags, "IOBES")], "BILOU"),
        (lambda tags: [tag.replace("I-", "M-") for tag in schemes.convert(tags, "IOBES")], "BMES"),
    ],
)
def test_the_scheme_of_the_gold_tags_does_not_change_the_scores(model: Tagger, spell: Callable, scheme: str):
    clean = corpus(KNOWN.replace(". O", "of B-PER\nthe I-PER\nsea I-PER"))
    encoded = replace(
        clean, sentences=tuple(replace(sentence, tags=tuple(spell(sentence.tags))) for sentence in clean.sentences)
    )
    assert schemes.detect([sentence.tags for sentence in encoded.sentences]).name == scheme
    first, second = evaluate(model, clean), evaluate(model, encoded)
    assert second.types == first.types
    assert second.unknown_tags == first.unknown_tags == {}
    assert second.accuracy == first.accuracy


def test_gold_without_entities_and_an_empty_corpus_do_not_crash(model: Tagger):
    assert evaluate(model, corpus("lives O\n")).recall == 0
    empty = evaluate(model, Corpus("none", ()))
    assert (empty.f1, empty.accuracy, empty.sentences) == (0, 0, 0)


def test_invalid_tags_are_counted_and_refused_with_positions_by_strict(model: Tagger):
    gold = corpus("\nlives O\nin I-LOC\n\nAda B-PER\nin O\nin I-PER\n\nAda B-PER\n")
    assert evaluate(model, gold).invalid_tags == 2
    with pytest.raises(DataError) as caught:
        evaluate(model, gold, strict=True)
    assert caught.value.faults == (
        "test.conll:3: 'I-LOC' after 'O' breaks IOB2",
        "test.conll:7: 'I-PER' after 'O' breaks IOB2",
    )
    assert evaluate(model, corpus(KNOWN), strict=True).f1 == 100


def test_only_the_first_of_many_invalid_tags_are_listed():
    gold = corpus("lives I-LOC\n\n" * 5 + "Ada B-PER\n")
    assert gold.describe_invalid("IOBES", 2)[1:] == [
        "test.conll:1: the sentence's end after 'I-LOC' breaks IOBES",
        "… and 9 more",
    ]


def test_plain_gold_tags_for_a_model_of_spans_are_refused_with_an_example(model: Tagger):
    with pytest.raises(DataError, match="gold column has plain tags such as 'NNP'"):
        evaluate(model, corpus("Ada B-PER\nLovelace NNP\n"))


def test_the_signature_has_versions_and_a_hash_of_the_data_independent_of_its_format(model: Tagger):
    conllu = corpus(
        "# newdoc\n"
        "1\tAda\t_\t_\t_\t_\t_\t_\t_\tNER=B-PER\n"
        "2-3\tlivesin\t_\t_\t_\t_\t_\t_\t_\t_\n"
        "2\tlives\t_\t_\t_\t_\t_\t_\t_\t_\n",
        "conllu",
        Layout(tag="misc:NER"),
    )
    texts = ("Ada B-PER\nlives O\n", "-DOCSTART- O\r\n\r\nAda B-PER\r\nlives O", "Ada\t_\tB-PER\nlives\t_\tO\n")
    signatures = {evaluate(model, part).signature for part in (conllu, *map(corpus, texts))}
    assert len(signatures) == 1
    assert f"f1=100.00 | scheme=IOBES conlleval | seqeval=1.2.2 | tagger={tagger.__version__} | data=sha256:" in min(
        signatures
    )
    for changed in ("Eva B-PER\nlives O\n", "Ada B-LOC\nlives O\n", "Ada B-PER\n\nlives O\n"):
        assert evaluate(model, corpus(changed)).signature.split("data=")[1] not in min(signatures)


@pytest.mark.parametrize("heads", [0, 4], ids=["cached", "torch"])
@pytest.mark.parametrize("context_dim", [0, 6])
def test_pools_encoded_once_are_scored_with_the_current_weights(heads: int, context_dim: int) -> None:
    encoder, context = {"hidden_size": 12, "attention_heads": heads}, {"output_dim": context_dim}
    model = make_model(encoder=encoder, document_context=context)
    corpus = Corpus("random", tuple(sentences(90)))
    reused = Tagger(model, CPU, workers=2)
    pools = reused.encode(corpus.sentences)
    results = []
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in model.network.parameters():
                weight.copy_(0.5 * torch.randn(weight.shape))
        reused.update_weights()
        expected = list(Tagger(model, CPU, workers=2).stream(corpus.sentences))
        for _ in range(2):
            results.append([sentence.tags for pool in reused.tag_encoded(pools) for sentence in pool])
            assert results[-1] == [sentence.tags for sentence in expected]
    assert results[0] != results[2] != results[4]


def test_a_caller_can_stop_between_batches(model: Tagger):
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, corpus(KNOWN), on_batch=stop)


def plain_model(sentences: Iterable[Sentence]) -> Tagger:
    torch.manual_seed(0)
    return Tagger(models.build_model(Config(), tuple(sentences)), torch.device("cpu"))


def test_a_model_of_plain_tags_is_scored_by_accuracy():
    gold = corpus("dogs NN\nbark VB\n\nO UH\n")
    model = plain_model(gold.sentences)
    predicted = [sentence.tags for sentence in model.stream(gold.sentences)]
    right = sum(
        a == b
        for sentence, tags in zip(gold.sentences, predicted, strict=True)
        for a, b in zip(sentence.tags, tags, strict=True)
    )
    report, counts, *_ = evaluate_with_predictions(model, gold)
    assert report.types == {}
    assert report.selection == "accuracy"
    assert (counts.data, counts.columns) == (gold.digest(), TOKENS)
    assert [tokens for _, tokens in counts.rows] == [2, 1]
    assert [correct for correct, _ in counts.rows] == [
        sum(a == b for a, b in zip(sentence.tags, tags, strict=True))
        for sentence, tags in zip(gold.sentences, predicted, strict=True)
    ]
    assert report.score == report.accuracy == pytest.approx(100 * right / 3)
    assert report.signature.startswith(f"accuracy={report.accuracy:.2f} | scheme=plain tags | ")
    unseen = corpus("dogs NNS\nbark VB\n\nO B-X\n")
    assert evaluate(model, unseen).unknown_tags == {"B-X": 1, "NNS": 1}


def test_of_many_unknown_tags_the_report_lists_ten_and_counts_the_others(model: Tagger):
    many = "".join(f"w{number} B-new{number:04}\n" for number in range(3000))
    lines = str(evaluate(model, corpus(KNOWN + many))).splitlines()
    assert sum(line.startswith("tag that the training data lacks: B-new") for line in lines) == 10
    assert "… and 2,990 more tags that the training data lacks" in lines
    assert len(lines) < 40


def test_plain_tags_are_scored_as_spans_of_one_token_are():
    draw = random.Random(3)
    gold, predicted = [[draw.choices("OOOABC", k=9) for _ in range(40)] for _ in range(2)]
    overall, tags = score_tags(gold, predicted)
    as_spans = [[[Span(tag, n, n + 1) for n, tag in enumerate(row)] for row in side] for side in (gold, predicted)]
    expected = score_spans(*as_spans)[1]
    assert tags.keys() == expected.keys()
    for name, score in tags.items():
        assert astuple(score) == pytest.approx(astuple(expected[name]))
    without = [[[span for span in spans if span.type != "O"] for spans in side] for side in as_spans]
    assert astuple(overall) == pytest.approx(astuple(score_spans(*without)[0]))


def test_the_table_of_plain_tags_has_a_row_for_each_tag_and_one_without_o():
    gold = corpus("it O\n, P\nso O\n? Q\n")
    text = str(evaluate(plain_model(gold.sentences), gold))
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["O", "P", "Q"]
    assert text.splitlines()[4].startswith("all but O ")
    assert text.splitlines()[4].endswith(" 2")
    assert text.splitlines()[5].startswith("macro F1 ")


@pytest.mark.parametrize("selection", ["f1", "macro_f1", "accuracy"])
def test_the_score_that_selects_models_is_that_of_the_recipe(selection: str):
    gold = corpus("it O\n, P\nso O\n? Q\nand O\n")
    torch.manual_seed(0)
    model = models.build_model(parse(f"training: {{selection: {selection}}}", "a"), gold.sentences)
    report = evaluate(Tagger(model, torch.device("cpu")), gold)
    assert report.selection == report.scores.selection == selection
    assert report.score == getattr(report, selection)
    assert len({report.f1, report.macro_f1, report.accuracy}) == 3
    assert report.macro_f1 == pytest.approx(sum(score.f1 for score in report.tags.values()) / 3)
    assert report.signature.startswith(f"{selection}={report.score:.2f} | ")
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("selection", "text", "expected"),
    [
        ("f1", "it O\n", False),
        ("f1", "it P\n", True),
        ("macro_f1", "it O\n", True),
        ("accuracy", "it O\n", True),
    ],
)
def test_gold_data_of_only_o_cannot_select_by_f1(selection: str, text: str, expected: bool):
    model = models.build_model(parse(f"training: {{selection: {selection}}}", "a"), corpus("it O\n, P\n").sentences)
    assert evaluate(Tagger(model, torch.device("cpu")), corpus(text)).can_select is expected


def test_gold_data_without_spans_cannot_select_by_f1(model: Tagger):
    assert not evaluate(model, corpus("Ada O\nlives O\n")).can_select
    assert evaluate(model, corpus(KNOWN)).can_select


def test_gold_spans_for_a_model_of_plain_tags_are_refused(model: Tagger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(model.model), "scheme", None)
    with pytest.raises(DataError, match="the gold column has spans in IOB2"):
        evaluate(model, corpus("Ada B-PER\n"))


# Partial annotation


def unknown(text: str) -> Corpus:
    whole = corpus(text)
    return replace(whole, sentences=tuple(tag_formats.mark_unknown(sentence, "?") for sentence in whole.sentences))


def test_tokens_without_a_plain_tag_are_left_out_and_counted():
    known = corpus("it O\n, P\nso O\n")
    model = plain_model(known.sentences)
    tags = next(iter(model.stream(known.sentences))).tags
    gold = "".join(f"{token} {tag}\n" for token, tag in zip(("it", ",", "so"), tags, strict=True))
    wrong = gold.replace(f"so {tags[2]}", "so " + ("P" if tags[2] == "O" else "O"))
    assert evaluate(model, corpus(wrong)).accuracy == pytest.approx(200 / 3)
    report, counts, *_ = evaluate_with_predictions(model, unknown(wrong.rpartition("so ")[0] + "so ?\n"))
    assert report.accuracy == 100
    assert (report.left_out.tokens, report.tokens, counts.rows) == (1, 3, ((2, 2),))
    assert "not scored, because not annotated: 1 token; touching them: 0 spans" in str(report)
    assert report.unknown_tags == {}


def test_spans_that_touch_tokens_without_a_tag_are_left_out(model: Tagger):
    whole = evaluate(model, corpus(KNOWN))
    assert (whole.f1, whole.types["LOC"].gold, whole.types["PER"].gold) == (100, 1, 1)
    for text, spans in (("New B-LOC\nYork ?", 2), ("New ?\nYork ?", 1), ("New ?\nYork O", 1)):
        report = evaluate(model, unknown(KNOWN.replace("New B-LOC\nYork I-LOC", text)))
        assert report.f1 == report.accuracy == 100
        assert report.types.keys() == {"PER"}
        assert (report.left_out.tokens, report.left_out.spans) == (2, spans)
    missed = evaluate(model, unknown(KNOWN.replace("lives O", "lives B-PER").replace("in O", "in ?")))
    assert (missed.recall, missed.left_out.tokens, missed.left_out.spans) == (100, 2, 1)
    wrong = evaluate(model, unknown(KNOWN.replace("lives O", "lives S-PER").replace("in O", "in ?")))
    assert wrong.recall == pytest.approx(200 / 3)


def test_spans_of_types_that_were_not_annotated_are_left_out_and_counted(model: Tagger):
    gold = corpus(KNOWN.replace("New B-LOC\nYork I-LOC", "New O\nYork O"))
    assert evaluate(model, gold).precision == 50
    (sentence,) = gold.sentences
    part = replace(gold, sentences=(replace(sentence, annotated_types=("PER",)),))
    report = evaluate(model, part)
    assert (report.precision, report.f1, report.accuracy) == (100, 100, 100)
    assert report.left_out.types == {"LOC": 1}
    assert "; of types that were not annotated: 1 span, LOC (1)" in str(report)
    assert Report.from_json(report.to_json()) == report


def test_gold_data_without_a_known_tag_cannot_select_by_accuracy():
    model = plain_model(corpus("it O\n, P\n").sentences)
    assert not evaluate(model, unknown("it ?\n, ?\n")).can_select
