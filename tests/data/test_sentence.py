import copy
import pickle
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tagger.data import reader
from tagger.data.formats import Layout, jsonl
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Alternative, Sentence, SourceText, Span
from tagger.data.writer import make_sink

SPLIT = Sentence(  # from "Ah.  Ada\tLovelace ran", where the document has 10 characters before it
    ("Ada", "Lovelace", "ran"),
    tags=("B-PER", "I-PER", "O"),
    spans=(Span("PER", 0, 2, 0.75),),
    offsets=((15, 18), (19, 27), (28, 31)),
    source=SourceText("Ah.  Ada\tLovelace ran", 10),
)


def test_only_tokens_are_positional():
    with pytest.raises(TypeError, match="positional"):
        Sentence(("a",), ("O",))


def test_a_span_knows_its_text_and_character_offsets():
    (span,) = SPLIT.spans
    assert (span.text, span.start_char, span.end_char) == ("Ada\tLovelace", 15, 27)
    assert SPLIT.text == "Ada\tLovelace ran"


def test_the_text_of_tokens_without_a_source_is_joined_by_spaces_and_has_no_offsets():
    sentence = Sentence(("in", "New", "York"), spans=(Span("LOC", 1, 3),))
    assert (sentence.text, sentence.spans[0].text) == ("in New York", "New York")
    assert sentence.spans[0].start_char is sentence.spans[0].end_char is None
    assert Sentence(()).text == ""


def test_offsets_without_a_source_text_give_character_offsets_and_joined_tokens():
    (span,) = replace(SPLIT, source=None).spans
    assert (span.text, span.start_char, span.end_char) == ("Ada Lovelace", 15, 27)


def test_a_span_outside_of_a_sentence_has_no_text():
    span = Span("PER", 0, 2)
    assert span.start_char is span.end_char is None
    with pytest.raises(ValueError, match="belongs to no sentence"):
        span.text  # noqa: B018


def test_equality_and_hash_of_spans_ignore_the_sentence():
    span = Span("PER", 0, 2, 0.75)
    assert SPLIT.spans == (span,)
    assert hash(SPLIT.spans[0]) == hash(span)
    assert len({span, SPLIT.spans[0], Span("PER", 0, 2)}) == 2


def test_sentences_that_share_a_span_keep_their_own_texts():
    span = Span("PER", 0, 1)
    first, second = (Sentence((name,), spans=(span,)) for name in ("Ada", "Bob"))
    assert (first.spans[0].text, second.spans[0].text) == ("Ada", "Bob")
    assert replace(first, tokens=("Eve",)).spans[0].text == "Eve"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda sentence: pickle.loads(pickle.dumps(sentence))])  # noqa: S301
def test_a_copied_sentence_keeps_the_texts_of_its_spans(duplicate):
    copied = duplicate(SPLIT)
    assert copied == SPLIT
    assert copied.spans[0].text == "Ada\tLovelace"


def test_the_dict_of_a_sentence_has_the_fields_of_a_line_of_json_output():
    assert SPLIT.to_dict() == {
        "document": 0,
        "tokens": ["Ada", "Lovelace", "ran"],
        "tags": ["B-PER", "I-PER", "O"],
        "spans": [{"type": "PER", "start": 15, "end": 27, "text": "Ada\tLovelace"}],
        "offsets": [(15, 18), (19, 27), (28, 31)],
    }


def test_probabilities_and_alternatives_are_in_the_dict_of_a_sentence_that_has_them():
    sentence = replace(
        SPLIT, document=3, offsets=(), probabilities=(0.75,) * 3, alternatives=(Alternative(SPLIT.tags, 0.5),)
    )
    assert sentence.to_dict() == {
        "document": 3,
        "tokens": ["Ada", "Lovelace", "ran"],
        "tags": ["B-PER", "I-PER", "O"],
        "spans": [{"type": "PER", "start": 0, "end": 2, "text": "Ada Lovelace", "probability": 0.75}],
        "probabilities": [0.75, 0.75, 0.75],
        "alternatives": [[{"tags": ("B-PER", "I-PER", "O"), "probability": 0.5}]],
    }


def test_the_dict_of_a_sentence_is_the_line_that_the_writer_writes(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("Ada O\nran O\n\n")
    (record,) = reader.read_records(path, input_format="columns", layout=Layout())
    tagged = replace(record.sentences[0], tags=("S-PER", "O"), spans=(Span("PER", 0, 1),))
    line = make_sink("jsonl", WriteOptions("columns", Layout())).write([replace(record, sentences=(tagged,))])
    assert line == jsonl.dump(tagged.to_dict()) + b"\n"


class Fragment(HTMLParser):
    """Records the visible text of a fragment, the texts of its marks and their styles."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.text, self.marks, self.styles, self.open = "", [], [], []
        self.feed(fragment)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in ("div", "mark", "bdi")
        self.open.append(tag)
        if tag == "mark":
            self.marks.append("")
            self.styles.append(dict(attrs)["style"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "bdi" not in self.open:
            self.text += data
            if "mark" in self.open:
                self.marks[-1] += data


def test_a_notebook_shows_the_text_with_its_entities_highlighted():
    for sentence, entity in ((SPLIT, "Ada\tLovelace"), (replace(SPLIT, offsets=(), source=None), "Ada Lovelace")):
        shown = Fragment(sentence._repr_html_())
        assert (shown.text, shown.marks) == (f"{entity} ran", [entity])


def test_a_notebook_obeys_nothing_in_tokens_or_types():
    hostile = "</mark><script>alert(1)</script>"
    sentence = Sentence(("a", hostile), spans=(Span(hostile, 1, 2),))
    assert "<script" not in sentence._repr_html_()
    assert Fragment(sentence._repr_html_()).marks == [hostile]


def test_the_usual_types_have_different_colours_in_a_notebook_and_any_type_always_the_same():
    kinds = ["PER", "ORG", "LOC", "MISC", "Gene"]
    spans = tuple(Span(kind, number, number + 1) for number, kind in enumerate(kinds))
    sentence = Sentence(tuple("abcde"), spans=spans)
    styles = Fragment(sentence._repr_html_()).styles
    assert len(set(styles[:4])) == 4
    assert Fragment(Sentence(("f",), spans=(Span("Gene", 0, 1),))._repr_html_()).styles == styles[4:]


def test_a_sentence_without_tokens_can_be_shown():
    assert Fragment(Sentence(())._repr_html_()).text == ""


def test_a_text_in_place_of_tokens_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"^tokens must be words, got a text; split it, or pass it to Tagger\.tag_text$"
    ):
        Sentence("Ada sleeps")  # type: ignore[arg-type]


@pytest.mark.parametrize("tags", [("O",), ("O", "O", "O")])
def test_another_number_of_tags_than_tokens_is_refused(tags: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=rf"^expected a tag for each of 2 tokens, got {len(tags)} tags$"):
        Sentence(("Ada", "sleeps"), tags=tags)
    assert Sentence(("Ada", "sleeps")).tags == ()
