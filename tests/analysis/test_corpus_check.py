import json
import unicodedata
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tagger
from tagger.cli import app
from tagger.errors import ConfigError, DataError
from tests.analysis.corpora import check, examples, findings, write

EMOJI = (
    "\U0001f469\u200d",
    "\u200d\U0001f680",
    "\u2764\ufe0f\u200d",
    "\U0001f44d\U0001f3fd\u200d",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)
GOOD = "Ada/B-PER lives/O in/O York/B-LOC | York/B-LOC is/O old/O"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_the_figures_of_each_part_are_counted(tmp_path: Path) -> None:
    result = check(tmp_path, train=f"{GOOD} | new/B-LOC York/I-LOC", dev="Bob/B-PER sleeps/O")
    train, dev = result.parts
    assert (train.role, train.sentences, train.tokens, train.documents, train.words) == ("train", 3, 9, 1, 7)
    assert (train.spans, train.types, train.scheme) == (4, {"LOC": 3, "PER": 1}, "IOB2")
    assert train.tags == {"O": 4, "B-LOC": 3, "B-PER": 1, "I-LOC": 1}
    assert (train.shortest, train.median, train.longest) == (2, 3, 4)
    assert train.lengths == (3, 0, 0, 0, 0, 0, 0, 0)
    assert (dev.role, dev.types) == ("dev", {"PER": 1})


def test_invalid_tags_are_errors_with_the_line_of_the_tag(tmp_path: Path) -> None:
    result = check(tmp_path, train="a/O b/I-PER | c/B-LOC d/I-LOC | e/B-PER f/I-LOC")
    assert examples(result, "invalid-tag") == [
        ("train.txt:2", "'I-PER' after 'O' in IOB2: a b"),
        ("train.txt:8", "'I-LOC' after 'B-PER' in IOB2: e f"),
    ]
    assert result.has_errors


def test_the_line_of_a_tag_counts_comments_and_word_ranges_of_a_treebank(tmp_path: Path) -> None:
    words = ["# newdoc\n# sent_id = 1\n", "1-2\tzum\t" + "_\t" * 7 + "_\n"]
    words += [f"{number}\tw{number}\t_\tX" + "\t_" * 5 + f"\tNER={tag}\n" for number, tag in ((1, "B-A"), (2, "I-B"))]
    path = tmp_path / "train.conllu"
    path.write_text("".join(words) + "\n")
    assert [location for location, _ in examples(tagger.check(path), "invalid-tag")] == ["train.conllu:5"]


def test_every_token_of_a_line_has_the_number_of_the_line(tmp_path: Path) -> None:
    (tmp_path / "train.pipes").write_text("a|B-PER b|O c|B-PER d|O e|I-PER\n\nc|B-PER d|O e|O f|I-LOC\n")
    result = tagger.check(tmp_path / "train.pipes")
    assert [location for location, _ in examples(result, "invalid-tag")] == ["train.pipes:1", "train.pipes:3"]


def test_a_fault_in_a_folder_has_its_file_and_its_line_in_the_text(tmp_path: Path) -> None:
    for number, text in enumerate(("Ada ran.\n\nBob\u200b ran.\n", "\nBob\u200b sat.\n")):
        path = tmp_path / "notes" / f"{number}" / "a.txt"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        start = text.index("Bob")
        path.with_suffix(".ann").write_text(f"T1\tPER {start} {start + 4}\tBob\u200b\n")
    result = tagger.check(tmp_path / "notes")
    assert [location for location, _ in examples(result, "zero-width")] == ["notes/0/a.txt:3", "notes/1/a.txt:2"]
    alone = tagger.check(tmp_path / "notes" / "0" / "a.ann")
    assert [location for location, _ in examples(alone, "zero-width")] == ["a.txt:3"]


def test_records_that_share_a_line_are_numbered(tmp_path: Path) -> None:
    rows = [{"text": f"{name} ran.", "label": [[0, 4, "PER"]]} for name in ("Bob\u200b", "Ada\u200b")]
    expected = {", ": ["a.json:1, record 1", "a.json:1, record 2"], ",\n": ["a.json:1", "a.json:2"]}
    for separator, places in expected.items():
        (tmp_path / "a.json").write_text(f"[{separator.join(map(json.dumps, rows))}]")
        assert [place for place, _ in examples(tagger.check(tmp_path / "a.json"), "zero-width")] == places
    (tmp_path / "a.json").write_text(json.dumps([rows[0], {"text": "Ada"}, {"text": 1}]))
    result = tagger.check(tmp_path / "a.json")
    assert "a.json:1, record 2: skipped" in str(result)
    assert "a.json:1, record 3: expected a string as 'text'" in str(result)


def test_the_text_of_a_span_is_that_of_its_source(tmp_path: Path) -> None:
    row = {"text": "the Anglo-French pact", "label": [[4, 16, "MISC"]]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    tagger.convert(tmp_path / "train.jsonl", tmp_path / "train.spacy")
    (text,) = (text for _, text in examples(tagger.check(tmp_path / "train.spacy"), "rare-type"))
    assert text == "MISC: Anglo-French; 1 span in train"


def test_types_that_the_training_data_lacks_are_reported(tmp_path: Path) -> None:
    result = check(tmp_path, train=GOOD, dev="Ada/B-PER", test="the/O EU/B-ORG and/O Nato/B-ORG")
    assert examples(result, "unseen-type") == [("test.txt:2", "ORG: EU; 2 spans in test")]
    assert findings(result, "unseen-type")[0].severity == "warning"


def test_plain_tags_that_the_training_data_lacks_are_reported(tmp_path: Path) -> None:
    result = check(tmp_path, train="a/DT dog/NN", dev="a/DT cat/NN | big/JJ")
    assert examples(result, "unseen-tag") == [("dev.txt:4", "'JJ' at 'big'; 1 token in dev")]
    assert not result.has_errors
    assert result.parts[0].types == {}


def test_the_same_sentence_in_two_parts_is_reported_once_with_both_lines(tmp_path: Path) -> None:
    text = "a/O b/O | Ada/B-PER lives/O in/O York/B-LOC"
    result = check(tmp_path, train=text, dev=f"x/O y/B-PER | {text}")
    assert examples(result, "shared-sentence") == [
        ("dev.txt:7, train.txt:4", "Ada lives in York"),
        ("dev.txt:4, train.txt:1", "a b"),
    ]


def documents(*texts: str) -> str:
    """Returns columns of plain text, a document for each text, sentences separated by bars."""
    return "".join(
        "-DOCSTART- O\n\n" + "".join("".join(f"{w} B-X\n" for w in s.split()) + "\n" for s in text.split("|"))
        for text in texts
    )


FIRST = "one two three four five six seven eight nine ten|eleven twelve thirteen fourteen fifteen"
SECOND = "the fox sleeps in the old house today again|sixteen seventeen eighteen nineteen twenty now"


def test_a_document_in_two_parts_is_an_error_and_half_of_one_a_warning(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(documents("an old text of other words here", FIRST + "|" + SECOND))
    (tmp_path / "dev.txt").write_text(
        documents(FIRST + "|" + SECOND, "something else", FIRST + "|quite another end is here")
    )
    (tmp_path / "test.txt").write_text(documents("what is said here is said nowhere else at all|" + FIRST[:48]))
    result = tagger.check(tmp_path)
    complete, half = findings(result, "shared-document")
    assert (complete.severity, complete.count, half.severity, half.count) == ("error", 1, "warning", 2)
    assert complete.examples[0].location == "dev.txt:3"
    assert "100 % in the document at train.txt:13" in complete.examples[0].text
    assert [example.location for example in half.examples] == ["dev.txt:44", "test.txt:3"]


def test_the_same_sentence_with_other_spans_is_reported_whatever_the_scheme(tmp_path: Path) -> None:
    train = "in/O York/I-LOC | in/O York/I-LOC | New/I-LOC York/B-LOC | a/O b/O"
    result = check(tmp_path, train=train, dev="in/O York/O | New/B-LOC York/B-LOC | a/O b/O")
    text = "in York: York/O at dev.txt:1 (1×); York/I-LOC at train.txt:1 (2×)"
    assert examples(result, "inconsistent-tags") == [("dev.txt:1", text)]
    assert examples(result, "different-schemes") == [("", "train: IOB1, dev: IOB2")]


def test_types_with_few_spans_and_types_that_look_alike_are_reported(tmp_path: Path) -> None:
    result = check(tmp_path, train=" | ".join(["a/B-PER"] * 10 + ["b/B-Per", "c/B-ORG"]))
    assert examples(result, "rare-type") == [
        ("train.txt:21", "Per: b; 1 span in train"),
        ("train.txt:23", "ORG: c; 1 span in train"),
    ]
    assert examples(result, "similar-types") == [("train.txt:21", "'PER', 'Per'")]


@pytest.mark.parametrize(
    ("span", "is_reported"),
    [
        (", Inc", True),
        ("Inc ,", True),
        ("Inc .", False),
        ("Yahoo !", False),
        ("( a )", False),
        ("the ' Club '", False),
        ("a )", True),
        ("-", True),
        ("U.S.", False),
    ],
)
def test_spans_with_punctuation_at_an_edge_are_reported(tmp_path: Path, span: str, is_reported: bool) -> None:
    tokens = [f"{token}/{'I' if number else 'B'}-ORG" for number, token in enumerate(span.split())]
    result = check(tmp_path, train=f"by/O {' '.join(tokens)} today/O")
    assert examples(result, "span-edge") == [("train.txt:2", f"ORG: {span}")] * is_reported


@pytest.mark.parametrize(
    ("token", "kind", "name"),
    [
        ("Yo\u200brk", "zero-width", "U+200B ZERO WIDTH SPACE"),
        ("\ufeffYork", "zero-width", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("Yo\u200drk", "zero-width", "U+200D ZERO WIDTH JOINER"),
        ("Yo\x07rk", "control-character", "U+0007"),
        ("Yo\ufffdrk", "replacement-character", "U+FFFD REPLACEMENT CHARACTER"),
        ("York\u00a0", "white-space", "U+00A0 NO-BREAK SPACE"),
    ],
)
def test_odd_characters_are_reported_with_their_name(tmp_path: Path, token: str, kind: str, name: str) -> None:
    result = check(tmp_path, train=f"in/O {token}/B-LOC")
    assert examples(result, kind) == [("train.txt:2", f"{token!r} with {name}")]


@pytest.mark.parametrize("token", ["می‌خواهم", "👩‍🚀", "10\u00a0000", "naïve", "क्‍ष", *EMOJI])
def test_characters_that_a_language_needs_are_not_odd(tmp_path: Path, token: str) -> None:
    result = check(tmp_path, train=f"in/O {token}/B-LOC")
    assert [each.kind for each in result.findings] == ["rare-type"]


def test_words_in_two_normal_forms_are_reported(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    result = check(tmp_path, train=f"{composed}/O {composed}/O naïve/O | {decomposed}/O x/B-PER")
    assert examples(result, "mixed-normalization") == [("train.txt:5", f"{decomposed!r} is NFD")]
    assert not findings(check(tmp_path, train=f"{decomposed}/O x/B-PER"), "mixed-normalization")


def test_a_file_without_blank_lines_is_reported(tmp_path: Path) -> None:
    result = check(tmp_path, train="x/B-PER " + " ".join(["a/O"] * 250))
    ((location, text),) = examples(result, "long-sentence")
    assert location == "train.txt:1"
    assert text.startswith("251 tokens: x a a")


def test_parts_with_tags_of_different_kinds_and_parts_without_spans_are_errors(tmp_path: Path) -> None:
    result = check(tmp_path, train=GOOD, dev="a/DT dog/NN", test="a/O dog/O")
    assert examples(result, "different-kinds") == [("", "train: spans, dev: plain tags")]
    assert examples(result, "no-spans") == [("", "test")]


def test_plain_tags_among_tags_of_spans_are_an_error(tmp_path: Path) -> None:
    result = check(tmp_path, train="a/B-PER b/I-PER c/B-LOC | d/B-PER x/DATE")
    assert examples(result, "mixed-tags") == [("train.txt:6", "'DATE' at 'x'; 1 token in train")]


def test_a_part_that_cannot_be_read_is_an_error_beside_the_other_parts(tmp_path: Path) -> None:
    write(tmp_path, train=GOOD)
    (tmp_path / "dev.txt").write_text("a O\nb O O\n")
    result = tagger.check(tmp_path)
    ((_, text),) = examples(result, "unreadable")
    assert "dev.txt:2: expected 2 columns" in text
    assert [part.role for part in result.parts] == ["train"]


def test_the_coverage_of_vectors_is_computed(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("ada 1 2\nlives 3 4\nin 5 6\n")
    write(tmp_path, train="Ada/B-PER lives/O in/O York/B-LOC")
    result = tagger.check(tmp_path, vectors=tmp_path / "vectors.txt")
    assert result.parts[0].coverage == 75
    assert examples(result, "low-coverage") == [("", "train: 75.0 %")]
    assert "tokens with a vector" in str(result)


def test_many_faults_are_a_count_and_the_first_ones(tmp_path: Path) -> None:
    write(tmp_path, train=" | ".join(["a/B-PER x/I-LOC"] * 1005))
    result = tagger.check(tmp_path, report=tmp_path / "report.html")
    (finding,) = findings(result, "invalid-tag")
    assert (finding.count, len(finding.examples)) == (1005, 1000)
    assert "    … and 995 more" in str(result).splitlines()
    page = (tmp_path / "report.html").read_text()
    assert page.count("after &#x27;B-PER&#x27;") == 1000
    assert "… and 5 more" in page


def test_every_record_that_cannot_be_read_is_an_error_and_the_others_are_checked(tmp_path: Path) -> None:
    rows = ['{"text": "Ada ran.", "label": [[0, 3, "PER"]]}', "{", '{"text": "a", "label": [3]}', '{"label": []}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    (tmp_path / "b.txt").write_text("a O\n\nb\n\nc O\n\nd O x\n")
    for name, expected, sentences in (("a.jsonl", [2, 3, 4], 1), ("b.txt", [3, 7], 2)):
        result = tagger.check(tmp_path / name)
        (finding,) = findings(result, "unreadable")
        locations = [example.text.partition(": ")[0] for example in finding.examples]
        assert (finding.count, locations) == (len(expected), [f"{tmp_path / name}:{line}" for line in expected])
        assert result.parts[0].sentences == sentences
        assert result.has_errors


def test_the_settings_that_the_data_suggest_are_printed(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("Ada NN PER-B\nran VB O\n\n" * 5)
    result = tagger.check(path, report=tmp_path / "report.html")
    assert result.decisions == (
        "read with data.format=columns, data.token=0, data.tag=2, data.tag_format=suffix",
        "data.tag: other columns that may hold tags: 1 (NN, VB, …)",
    )
    assert set(result.decisions) <= set(str(result).splitlines())
    assert all(decision in (tmp_path / "report.html").read_text() for decision in result.decisions)


def test_options_say_how_the_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"body": "Ada ran.", "marks": [[0, 3, "PER"]]}\n' * 3)
    fields = ("--set", "data.fields.text=body", "--set", "data.fields.spans=marks", "--language", "de")
    result = json.loads(run(path, *fields, "--json").stdout)
    assert result["parts"][0]["types"] == {"PER": 3}
    expected = "data.language=de, data.fields.text=body, data.fields.spans=marks"
    assert result["decisions"][0] == f"read with data.format=jsonl, {expected}"
    write(tmp_path / "columns", train="Ada/? ran/O | Ada/B-PER ran/O")
    assert tagger.check(tmp_path / "columns", unknown_tag="?").parts[0].unknown == 1
    with pytest.raises(ConfigError, match="`settings` change how data is read here; training has no effect"):
        tagger.check(path, settings={"training.epochs": 3})


def test_errors_end_the_command_with_1_and_warnings_with_0(tmp_path: Path) -> None:
    good = run(write(tmp_path / "good", train=GOOD))
    assert (good.exit_code, good.stderr) == (0, "")
    assert "0 errors" in good.stdout
    assert "1 warning" in good.stdout
    bad = run(write(tmp_path / "bad", train="a/O b/I-PER | c/B-PER"), "--json")
    assert bad.exit_code == 1
    result = json.loads(bad.stdout)
    assert [part["role"] for part in result["parts"]] == ["train"]
    assert result["findings"][0] == {
        "kind": "invalid-tag",
        "severity": "error",
        "message": result["findings"][0]["message"],
        "count": 1,
        "examples": [{"location": "train.txt:2", "text": "'I-PER' after 'O' in IOB2: a b"}],
    }


def test_files_have_the_role_of_their_names(tmp_path: Path) -> None:
    folder = write(tmp_path, corpus=GOOD, more="x/B-PER", **{"my-dev": "y/O z/B-LOC"})
    result = tagger.check([folder / "my-dev.txt", folder / "corpus.txt", folder / "more.txt"])
    assert [(part.role, part.files) for part in result.parts] == [
        ("train", ("corpus.txt", "more.txt")),
        ("dev", ("my-dev.txt",)),
    ]


def test_a_recipe_says_how_its_data_or_other_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("B-PER x Ada\nO y sleeps\n")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("data: {token: 2, tag: 0, train: words.txt}\n")
    assert tagger.check(recipe).parts[0].types == {"PER": 1}
    recipe.write_text("data: {token: 2, tag: 0}\n")
    assert tagger.check([recipe, tmp_path / "words.txt"]).parts[0].types == {"PER": 1}
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: the recipe names no training data; add a folder or files to `data`"
    ):
        tagger.check(recipe)


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("B-PER Ada X\nO sleeps Y\n\nO he Z\nO is Z\n")
    result = tagger.check(path, token_column=1, tag_column=0)
    assert result.parts[0].types == {"PER": 1}
    assert tagger.check(path, token_column=1).parts[0].tags.keys() == {"X", "Y", "Z"}


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "nothing")
    assert done.exit_code == 2
    assert done.stderr == f"{tmp_path}/nothing: no such file or folder\n"
    with pytest.raises(
        DataError, match=r"found no training file such as train\.txt or en-train\.conllu; name the files$"
    ):
        tagger.check(tmp_path)


def test_what_the_reader_decides_is_a_warning_and_nothing_is_printed_twice(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("#\thttp://example.org/1\na\tb\tO\nAda\tc\tB-PER\n\n" * 5)
    done = run(path)
    assert done.exit_code == 0
    assert done.stderr == ""
    assert "notice (1)" in done.stdout
    assert "are read as comments" in done.stdout


def test_spans_that_do_not_meet_tokens_are_reported_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    row = {"text": "Ada sleeps .", "label": [[0, 2, "PER"]]}
    path.write_text(f"{json.dumps(row)}\n" * 2)
    (notice,) = findings(tagger.check(path), "notice")
    assert (notice.severity, notice.count) == ("warning", 2)
    assert "train.jsonl:1: PER 0-2 'Ad'" in notice.examples[0].text


def test_tokens_that_were_not_annotated_are_counted_and_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("Ada B-PER\nsleeps ?\n\nAda ?\nsleeps O\n\nAda B-PER\nsleeps O\n")
    (tmp_path / "mine.yaml").write_text("data: {unknown_tag: '?', train: train.txt}")
    result = tagger.check(tmp_path / "mine.yaml")
    assert (result.parts[0].unknown, result.parts[0].tags, result.parts[0].types) == (
        2,
        {"B-PER": 2, "O": 2},
        {"PER": 2},
    )
    assert [finding.kind for finding in result.findings] == ["rare-type"]
    assert "tokens not annotated" in str(result)
