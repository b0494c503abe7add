import random
import sys
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
import spacy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.lang.char_classes import HYPHENS

from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats import text as texts
from tagger.data.sentence import Record, Reject
from tagger.errors import ConfigError, DataError
from tests.robustness.runs import SCALE

NEWS = "“I'm in Oslo,” said Dr. Ada B. Lovelace (36). She didn't… e.g. pay $5.50/kg!\r\nwww.a-b.org  :-) \n\n No?Yes.\n"
AWKWARD = st.sampled_from(
    list("\n\r\t \xa0\x85\u2028\u2029\u200b\u200d\ufeff\u0301\U0001f468\u202e\x0b\x1c.!?…«)(':-,'a5É")
)
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | AWKWARD, max_size=60)


def records(data: bytes | str, language: str = "en") -> list[Record]:
    data = data.encode() if isinstance(data, str) else data
    return list(
        reader.read_records(BytesIO(data), input_format="text", layout=Layout(), language=language, name="a.txt")
    )


def tokens(data: bytes | str) -> list[str]:
    return [token for record in records(data) for sentence in record.sentences for token in sentence.tokens]


def with_paths(data: bytes | str, language: str = "en") -> list[list[tuple[str, int]]]:
    """Returns the tokens of each sentence with their offsets."""
    return [
        [(token, start) for token, (start, _) in zip(sentence.tokens, sentence.offsets, strict=True)]
        for record in records(data, language)
        for sentence in record.sentences
    ]


def by_spacy(text: str, language: str) -> list[list[tuple[str, int]]]:
    """The same of spaCy's own pipeline, a line at a time."""
    pipeline = spacy.blank(language)
    infixes = [infix for infix in pipeline.Defaults.infixes or () if HYPHENS not in infix]
    if language != "zh":
        pipeline.tokenizer.infix_finditer = spacy.util.compile_infix_regex(infixes).finditer
    pipeline.add_pipe("sentencizer")
    found, place = [], 0
    for line in text.split("\n"):
        for sentence in pipeline(line).sents:
            kept = [(token.text, token.idx + place) for token in sentence if not token.is_space]
            found += [kept] if kept else []
        place += len(line) + 1
    return found


@given(ANY)
@example("\ufeffa\r\n\ufeffb")
@settings(max_examples=300 * SCALE, deadline=None)
def test_every_token_is_the_text_between_its_offsets(text: str):
    found = records(text)
    for record in found:
        assert record.text == text[record.start : record.start + len(record.text)]
        for sentence in record.sentences:
            assert len(sentence.tokens) == len(sentence.offsets) > 0
            assert [text[start:end] for start, end in sentence.offsets] == list(sentence.tokens)
    bounds = [offset for record in found for sentence in record.sentences for offset in sentence.offsets]
    assert bounds == sorted(bounds)
    kept = set().union(*(range(*offset) for offset in bounds))
    assert len(kept) == sum(end - start for start, end in bounds)
    left = [one for place, one in enumerate(text) if place not in kept]
    assert all(one.isspace() or one == "\ufeff" for one in left)
    assert left.count("\ufeff") == text.startswith("\ufeff")


@pytest.mark.parametrize("language", ["en", "es", "zh", "ru", "xx"])
def test_tokens_and_sentences_are_those_of_a_spacy_pipeline(language: str):
    extra = "Los EE. UU. dicen: «no»... и др. в т.ч. тут. 我爱北京。你好!ok) ! B\u00a0c. \u00a0) d"
    text = NEWS * 2 + extra
    assert with_paths(text, language) == by_spacy(text, language)


def test_random_sentences_are_split_as_by_spacy():
    draw = random.Random(3)
    words = [
        *NEWS.split(),
        ".",
        "!",
        ")",
        "\u00a0",
        "  ",
        "Rp",
        "kmh",
        "US",
        "cannot",
        "gonna",
        "U.S.",
        "x.y",
        '"',
        "…",
        "?!",
        "co-op",
        "3-4",
        "don't",
    ]
    text = "\n".join(" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(200 * SCALE))
    assert with_paths(text) == by_spacy(text, "en")


def test_a_hyphen_does_not_split_a_word_and_a_newline_ends_a_sentence():
    found = [
        sentence.tokens
        for record in records("A well-known man\nin Paris. He\r\n\r\nleft")
        for sentence in record.sentences
    ]
    assert found == [("A", "well-known", "man"), ("in", "Paris", "."), ("He",), ("left",)]


def test_offsets_count_all_code_points_of_the_file():
    (first, second) = records("\ufeffÉ😀 b\r\n\r\ncats.\r\n")
    assert (first.text, first.start, first.line, first.document) == ("É😀 b", 1, 1, "a.txt")
    assert (second.text, second.start, second.line) == ("cats.", 9, 3)
    assert second.sentences[0].offsets == ((9, 13), (13, 14))
    assert second.sentences[0].line == 3


@pytest.mark.parametrize(
    "changed",
    [
        NEWS.replace("\n", "\r\n"),
        "\ufeff" + NEWS,
        NEWS.removesuffix("\n"),
        NEWS.replace(" ", "\u2028"),
        NEWS.replace(" ", "\u0085"),
        NEWS.replace(" ", "\u00a0"),
        NEWS.replace(" ", " \t "),
    ],
    ids=["CRLF", "BOM", "no final newline", "U+2028", "U+0085", "no-break space", "tabs"],
)
def test_unusual_white_space_does_not_change_tokens(changed: str):
    assert tokens(changed) == tokens(NEWS)


@pytest.mark.parametrize("text", ["", "\n", "\n \r\n\t\n", "\ufeff", "\u2028\xa0"])
def test_a_text_without_tokens_has_no_record(text: str):
    assert records(text) == []


def test_a_paragraph_of_over_a_million_characters_is_split_at_white_space():
    text = "word " * 300_000 + "end\nnext"
    found = records(text)
    assert len(found) == 3
    assert all(len(record.text) <= 1_000_000 for record in found)
    assert tokens(text) == text.split()
    assert [text[start:end] for start, end in found[1].sentences[0].offsets[:2]] == ["word", "word"]
    assert [record.line for record in found] == [1, 1, 2]


@pytest.mark.parametrize(
    ("language", "text"),
    [("zh", "我爱北京。你好!" * 300), ("zh", "我爱北京" * 600), ("es", "En EE. UU. e\u0301l vive. " * 100)],
)
def test_a_long_text_in_a_row_is_split_like_a_short_one(language: str, text: str, monkeypatch: pytest.MonkeyPatch):
    expected = list(texts.Splitter(language)(text))
    monkeypatch.setattr(texts, "_MAX_PIECE", 1000)
    monkeypatch.setattr(texts, "_MAX_RULELESS_PIECE", 200)
    split = texts.Splitter(language)
    split._pipeline.max_length = 1000 if language == "es" else 200
    assert list(split(text)) == expected


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("aa bb cc", ["aa bb", " cc"]),
        ("aaa,bbb,b", ["aaa,", "bbb,b"]),
        ("ee\u0301e\u0301e\u0301e", ["ee\u0301e\u0301", "e\u0301e"]),
        ("aaaaaaaaa", ["aaaaaa", "aaa"]),
        ("aaaaaa\r\n", ["aaaaaa"]),
    ],
)
def test_pieces_end_between_words_or_characters(text: str, pieces: list[str]):
    assert [text[start:end] for start, end in texts._split_pieces(text, 0, 6)] == pieces


THAI = "\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48\u0e1c\u0e39\u0e49\u0e19\u0e31\u0e49\u0e19"  # letters and their marks


@pytest.mark.parametrize("most", range(3, 13))
def test_no_piece_starts_with_a_combining_mark(most: int):
    text = THAI * 3
    pieces = [text[start:end] for start, end in texts._split_pieces(text, 0, most)]
    assert "".join(pieces) == text
    assert all(not unicodedata.category(one[0]).startswith("M") and 0 < len(one) <= most for one in pieces)
    spaced = f"{THAI} {THAI}"
    assert [spaced[start:end] for start, end in texts._split_pieces(spaced, 0, len(THAI) + 3)] == [THAI, f" {THAI}"]
    after_comma = "\u0e01\u0e01\u0e01,\u0e01\u0e35\u0e01\u0e01\u0e01"
    assert next(texts._split_pieces(after_comma, 0, 8)) == (0, 4)


def test_a_long_word_is_not_split_before_a_combining_mark():
    found = tokens(THAI * 300)
    assert "".join(found) == THAI * 300
    assert len(found) > 1
    assert not any(unicodedata.category(one[0]).startswith("M") for one in found)


def test_the_limit_of_sudachi_applies_only_to_japanese(monkeypatch: pytest.MonkeyPatch):
    honest = texts.spacy_library.build_pipeline
    monkeypatch.setattr(texts.spacy_library, "build_pipeline", lambda _: honest("zh"))
    assert (texts.Splitter("ja")._max_ruleless_piece, texts.Splitter("zh")._max_ruleless_piece) == (10_000, 100_000)


def test_one_splitter_serves_several_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "_ZONE_WORDS", 5)
    split = texts.Splitter("en")
    honest, inside, most = split._pipeline.make_doc, [], []

    def make_doc(text: str) -> object:
        inside.append(text)
        threading.Event().wait(0.001)
        most.append(len(inside))
        inside.remove(text)
        return honest(text)

    monkeypatch.setattr(split._pipeline, "make_doc", make_doc)
    given = [" ".join(f"x{number}x{word}," for word in range(20)) for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda text: list(split(text)), given))
    assert [" ".join(one.tokens).replace(" ,", ",") for (one,) in found] == given
    assert set(most) == {1}


@pytest.mark.parametrize("one", ["(", "a", "'", ".", "1,", "\u0301", "http://a"])
def test_a_million_characters_without_white_space_are_read_in_seconds(one: str):
    text = one * (20_000 // len(one))
    assert "".join(tokens(text)) == text


def test_the_word_cache_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "_MAX_CACHED_WORDS", 50)
    monkeypatch.setattr(texts, "_ZONE_WORDS", 70)
    split = texts.Splitter("en")
    text = " ".join(f"w{number % 130}, x." for number in range(1000))
    assert [list(one.tokens) for one in split(text)] == [[token for token, _ in one] for one in with_paths(text)]
    assert len(split._words) <= 50
    assert len(split._words._older) <= 50
    known = len(split._pipeline.vocab.strings)
    list(split(" ".join(f"y{number}" for number in range(700))))
    assert len(split._pipeline.vocab.strings) < known + 200


@pytest.mark.parametrize("language", ["qq", "english", "char_classes", "", "../en", "EN"])
def test_an_unknown_language_is_an_error_before_anything_is_read(language: str):
    with pytest.raises(ConfigError, match="language"):
        reader.read_records(BytesIO(b""), input_format="text", layout=Layout(), language=language)


def test_without_spacy_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ConfigError, match=r"pip install 'bilstm-crf-tagger\[text\]'"):
        texts.Splitter("en")


def test_invalid_utf8_is_an_error_with_its_line(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"ok\nb\xff")
    with pytest.raises(DataError, match=r"a\.txt:2: byte 2 is 0xff"):
        list(reader.read_records(tmp_path / "a.txt", input_format="text", layout=Layout()))


def test_a_rejected_line_does_not_change_later_offsets():
    lines = [b"caf\xc3\xa9 ok\r\n", b"b\xff\xc3 \xc3\xa9\n", b"c\0d\n", b"Ada lives\n", b"\xff"]
    rejects: list[Reject] = []
    found = list(
        reader.read_records(
            BytesIO(b"".join(lines)), input_format="text", layout=Layout(), name="a", reject=rejects.append
        )
    )
    shown = b"".join(lines).decode(errors="replace")
    assert [one.sentences[0].tokens for one in found] == [("café", "ok"), ("Ada", "lives")]
    assert [[shown[start:end] for start, end in one.sentences[0].offsets] for one in found] == [
        ["café", "ok"],
        ["Ada", "lives"],
    ]
    assert [(reject.line, reject.raw.encode(errors="surrogateescape")) for reject in rejects] == [
        (2, lines[1]),
        (3, lines[2]),
        (5, lines[4]),
    ]
    assert rejects[0].fault.startswith("a:2: byte 2 is 0xff")
