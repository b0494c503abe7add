import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.data.vocab import CASINGS, SPECIAL, UNKNOWN, Vocab, casing, forms
from tagger.errors import ModelError

ITEM = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n") | st.sampled_from("\r\x85\u2028 "))


def test_ids_are_positions_and_special_entries_are_first():
    vocab = Vocab((*SPECIAL, "a", "b"))
    assert [vocab[item] for item in vocab.items] == [0, 1, 2, 3]
    assert (vocab[SPECIAL[0]], vocab[SPECIAL[UNKNOWN]], len(vocab)) == (0, 1, 4)
    assert ("a" in vocab, "c" in vocab) == (True, False)
    with pytest.raises(KeyError):
        vocab["c"]


def test_missing_items_are_encoded_as_unknown():
    assert Vocab((*SPECIAL, "a", "b")).encode("bca") == [3, UNKNOWN, 2]


@pytest.mark.parametrize(
    ("items", "word", "actual"),
    [
        (("Route66", "route66", "route00"), "Route66", "Route66"),
        (("route66", "route00"), "Route66", "route66"),
        (("route00",), "Route66", "route00"),
        (("Route00",), "Route66", "<unknown>"),
        (("00.0",), "\u0661\u0662.3", "00.0"),
    ],
)
def test_a_word_is_looked_up_as_written_then_lower_then_with_digits_as_0(items: tuple, word: str, actual: str):
    vocab = Vocab((*SPECIAL, *items))
    assert vocab.items[vocab.lookup(word)] == actual
    assert forms(word)[0] == word


@given(st.lists(ITEM, unique=True))
def test_a_vocabulary_can_be_written_and_read(items: list[str]):
    vocab = Vocab(items)
    again = Vocab.from_bytes(vocab.to_bytes())
    assert again.items == vocab.items == tuple(items)
    assert again.ids == vocab.ids


@pytest.mark.parametrize("data", [b"a\nb\na\n", b"a\nb", b"a\n\xff\n"])
def test_a_damaged_file_is_rejected(data: bytes):
    with pytest.raises(ModelError, match=r"^vocabulary (is not UTF-8|has a repeated entry or an incomplete last line)"):
        Vocab.from_bytes(data)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("lamb", "lower"),
        ("EU", "upper"),
        ("Peter", "initial"),
        ("A", "initial"),
        ("eBay", "mixed"),
        ("McDonald", "mixed"),
        ("22", "other"),
        ("...", "other"),
        ("U.S.", "upper"),
        ("1990s", "lower"),
        ("Éva", "initial"),
        ("東京", "mixed"),
    ],
)
def test_casing_of_words(word: str, kind: str):
    assert CASINGS[casing(word)] == kind
