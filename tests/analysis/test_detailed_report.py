"""What lies behind the scores: errors, classes of spans, probabilities, the page, the files."""

import json
import re
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

import tagger
from tagger.analysis import evaluation_page
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError
from tagger.evaluation import Report
from tests.tagging.models import make_model, sentences
from tests.tagging.models import tagger as tagger_of

PLACES = "Grace B-PER\nlives O\nin O\nOslo B-LOC\n. O\n\nAda B-PER\nlives O\nin O\nQuito B-LOC\n. O\n\n"
WRONG = "Ada B-LOC\nlives O\nin O\nNew B-PER\nYork O\n. B-PER\n\n"


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """A file whose gold tags the model of the tiny corpus contradicts in some places."""
    path = tmp_path / "gold.conll"
    path.write_text(PLACES + WRONG)
    return path


def test_errors_name_the_kind_the_bounds_and_the_place(model_path: Path, gold: Path) -> None:
    report = tagger.evaluate(model_path, gold, device="cpu")
    assert isinstance(report, Report)
    found = {
        (error.kind, report.locate(error).rpartition(":")[2], error.gold and error.gold.type) for error in report.errors
    }
    assert ("type", "13", "LOC") in found
    assert ("both", "16", "PER") in found
    assert ("missed", "18", "PER") in found
    assert sum(report.error_counts.values()) == len(report.errors)
    assert report.confusions["LOC", "PER"] == 1
    assert report.confusions["PER", "PER"] == 2
    assert sum(count for (kind, _), count in report.confusions.items() if kind) == 7


def test_gold_spans_have_the_probability_that_the_model_gives_to_them(model_path: Path, gold: Path) -> None:
    report = tagger.evaluate(model_path, gold, device="cpu")
    for _, pair in report.pairs:
        if pair.gold and pair.predicted:
            if pair.is_correct:
                assert pair.gold.probability == pytest.approx(pair.predicted.probability)
            else:
                assert pair.gold.probability + pair.predicted.probability <= 1 + 1e-6


def test_scores_of_all_classes_add_up_to_the_score(model_path: Path, gold: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen.conll"
    seen.write_text("Oslo B-LOC\n\nAda B-PER\nlives O\nin O\n\n")
    report = tagger.evaluate(model_path, gold, seen=seen, device="cpu")
    tables = [report.by_seen, report.by_span_length, report.by_sentence_length]
    tables.append({str(each.document): each.score for each in report.by_document})
    for scores in tables:
        correct, predicted, in_gold = (sum(column) for column in zip(*scores.values(), strict=True))
        assert report.precision == pytest.approx(100 * correct / predicted)
        assert report.recall == pytest.approx(100 * correct / in_gold)
    assert report.by_seen["seen with this type"].gold == 2
    assert report.by_seen["seen with another type"].gold == 1
    assert report.by_seen["not seen, unknown words"].gold == 4


def test_a_threshold_of_the_report_gives_the_scores_of_tagging_with_it(gold: Path) -> None:
    model = tagger_of(make_model(scheme="IOBES", types=("LOC", "PER")))
    data = [Sentence(each.tokens, tags=("S-PER",) * len(each)) for each in sentences(60)]
    report = tagger.evaluate(model, data)
    for score in report.thresholds[::5]:
        tagged = model.tag(data, threshold=score.threshold)
        predicted = sum(len(each.spans) for each in tagged)
        correct = sum(span.type == "PER" and span.end - span.start == 1 for each in tagged for span in each.spans)
        assert score.predicted == predicted
        assert score.precision == pytest.approx(100 * correct / max(predicted, 1))
        assert score.recall == pytest.approx(100 * correct / sum(map(len, data)))


def test_plain_tags_have_confusions_known_words_and_errors() -> None:
    model = tagger_of(make_model(plain=3))
    data = [Sentence(each.tokens, tags=("T1",) * len(each)) for each in sentences(20)]
    report = tagger.evaluate(model, data)
    tagged = model.tag(data, probabilities=True)
    wrong = [tag for sentence in tagged for tag in sentence.tags if tag != "T1"]
    assert len(report.errors) == len(wrong)
    assert report.confusions["T1", "T0"] == wrong.count("T0")
    assert {error.kind for error in report.errors} == {"type"}
    assert report.calibration.count == report.tokens
    assert report.interval[0] <= report.accuracy <= report.interval[1]
    page = report.to_html()
    assert "Tags <select" in page
    assert "<label hidden>Kind" in page
    assert 'class="kind"' not in page


def test_tokens_without_a_gold_tag_are_no_errors() -> None:
    model = tagger_of(make_model(plain=3))
    data = [Sentence(("ba0", "ba1", "ba2"), tags=("T1", "", ""))]
    report = tagger.evaluate(model, data)
    assert len(report.pairs) == 1


def test_the_json_of_a_report_adds_to_that_of_its_scores(model_path: Path, gold: Path) -> None:
    report = tagger.evaluate(model_path, gold, device="cpu")
    figures = json.loads(json.dumps(report.to_json()))
    assert figures["f1"] == report.f1
    assert figures["errors"] == report.error_counts
    assert figures["interval"][0] <= report.f1 <= figures["interval"][1]
    assert {"gold": "LOC", "predicted": "PER", "count": 1} in figures["confusions"]
    assert figures["reliability"]
    assert "corpus" not in figures


def test_predictions_are_written_a_line_for_each_sentence(model_path: Path, gold: Path, tmp_path: Path) -> None:
    target = tmp_path / "predictions.jsonl"
    result = tagger.evaluate_files(model_path, [gold], predictions=target, device="cpu")
    rows = list(map(json.loads, target.read_text().splitlines()))
    assert [row["line"] for row in rows] == [1, 7, 13]
    assert rows[2]["tokens"] == ["Ada", "lives", "in", "New", "York", "."]
    assert rows[2]["gold"] == ["B-LOC", "O", "O", "B-PER", "O", "B-PER"]
    (report,) = result.reports
    assert rows[2]["predicted"] == list(report.predicted[2].tags)
    assert [span["type"] for span in rows[2]["gold_spans"]] == ["LOC", "PER", "PER"]
    assert rows[2]["predicted_spans"][0]["probability"] == pytest.approx(report.predicted[2].spans[0].probability)


def test_predictions_keep_the_types_that_were_annotated(model_path: Path, gold: Path) -> None:
    report = tagger.evaluate(model_path, gold, annotated_types=["LOC"], device="cpu")
    assert {tuple(row["annotated_types"]) for row in report.prediction_rows()} == {("LOC",)}


def test_data_frames_without_pandas_name_it(model_path: Path, gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "tagger.analysis.frames", raising=False)
    monkeypatch.delattr("tagger.analysis.frames", raising=False)
    with pytest.raises(ConfigError, match="need pandas"):
        tagger.evaluate(model_path, gold, device="cpu").to_frames()


def test_several_files_are_shown_side_by_side(model_path: Path, gold: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.conll"
    other.write_text(PLACES)
    result = tagger.evaluate_files(model_path, [gold, other], device="cpu")
    assert [report.name for report in result.reports] == ["gold.conll", "other.conll"]
    *_, heading, _, last = str(result).splitlines()
    assert heading.endswith("95 % interval of F1")
    assert last.split()[:4] == ["other.conll", "100.00", "100.00", "100.00"]
    assert [each["name"] for each in result.to_json()["files"]] == ["gold.conll", "other.conll"]


class Page(HTMLParser):
    """Collects the tags of a page, their attributes, and the text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.depth: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "input", "br", "rect", "line"):
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.depth:
            while self.depth.pop() != tag:
                pass


def test_the_page_escapes_everything_and_needs_no_network(model_path: Path, tmp_path: Path) -> None:
    name = '\u202e<img src=x onerror="alert(1)">.conll'
    path = tmp_path / name
    path.write_text("<script>alert(1)</script> B-LOC\n\u202eAda B-PER\n\x1b[0m O\n\n")
    target = tmp_path / "page.html"
    tagger.evaluate_files(model_path, [path], report=target, device="cpu")
    text = target.read_text()
    page = Page(text)
    assert "img" not in page.opened
    assert page.opened.count("script") == 1
    assert not {name for name, _ in page.attributes if name.startswith("on")}
    assert not [value for name, value in page.attributes if name in ("src", "href") and not value.startswith("#")]
    assert not re.search(r"https?://|@import|url\(", text)
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_page_lists_each_error_in_context(model_path: Path, gold: Path) -> None:
    report = tagger.evaluate(model_path, gold, device="cpu")
    page = Page(report.to_html())
    assert page.opened.count("li") == len(report.errors)
    assert [value for name, value in page.attributes if name == "data-kind"] == [error.kind for error in report.errors]
    shown = [span for error in report.errors for span in (error.gold, error.predicted) if span]
    assert page.opened.count("mark") == len(shown)


def test_a_confusion_is_coloured_by_its_count_beside_that_of_the_most_frequent_error(
    model_path: Path, gold: Path
) -> None:
    report = tagger.evaluate(model_path, gold, device="cpu")
    errors = {pair: count for pair, count in report.confusions.items() if pair[0] != pair[1]}
    expected = sorted(f"{count / max(errors.values()):.2f}" for count in errors.values())
    cells = re.findall(r'class="heat" style="--part: ([0-9.]+)">\d', report.to_html())
    assert sorted(cells) == expected


def test_a_page_of_many_errors_stays_small_and_says_how_many_are_left_out(
    model_path: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tmp_path / "many.conll"
    many.write_text((PLACES + WRONG) * 40)
    result = tagger.evaluate_files(model_path, [many, gold], device="cpu")
    whole = result.to_html()
    sizes = [len(report.errors) for report in result.reports]
    assert sizes[0] == 40 * sizes[1]
    assert Page(whole).opened.count("li") == sum(sizes)
    assert "left out" not in whole
    monkeypatch.setattr(evaluation_page, "MAX_ERROR_BYTES", 30_000)
    page = result.to_html()
    (listed, every, left_out), *others = re.findall(
        r"The first (\d+) of (\d+) errors are listed; (\d+) are left out", page
    )
    assert others == []
    assert (int(every), int(left_out)) == (sizes[0], sizes[0] - int(listed))
    assert Page(page).opened.count("li") == int(listed) + sizes[1]
    without = len(whole) - len("".join(re.findall(r"<li .*?</li>", whole, re.DOTALL)))
    assert 20_000 < len(page.encode()) - without < 31_000


def test_data_frames_hold_errors_and_confusions(model_path: Path, gold: Path) -> None:
    report = tagger.evaluate(model_path, gold, device="cpu")
    frames = report.to_frames()
    assert list(frames["errors"]["kind"]) == [error.kind for error in report.errors]
    assert frames["confusions"]["count"].sum() == len(report.pairs)
    assert set(frames["types"]["type"]) == {"LOC", "PER"}


@pytest.mark.skipif(find_spec("nervaluate") is None, reason="needs the extra [evaluation]")
def test_partial_scores_count_overlaps_half(model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.conll"
    path.write_text("Ada B-PER\nlives O\nin O\nNew B-LOC\nYork O\n. O\n\n")  # the model tags New York as one place
    scores = tagger.evaluate(model_path, path, device="cpu").partial_scores()
    assert scores["strict"].f1 == scores["exact"].f1 == 50
    assert scores["type"].f1 == 100
    assert scores["partial"].f1 == 75


def test_partial_scores_without_their_library_name_the_extra(
    model_path: Path, gold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nervaluate", None)
    report = tagger.evaluate(model_path, gold, device="cpu")
    with pytest.raises(ConfigError, match=r"install the extra \[evaluation\]"):
        report.partial_scores()
    assert "partly right" not in report.to_html()


def test_spans_of_types_that_were_not_annotated_are_no_errors(model_path: Path, gold: Path) -> None:
    report = tagger.evaluate(model_path, gold, annotated_types=["LOC"], device="cpu")
    types = {span.type for error in report.errors for span in (error.gold, error.predicted) if span}
    assert types == {"LOC"}
