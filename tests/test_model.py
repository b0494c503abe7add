"""How a recipe, sentences and tables of vectors become a model."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tagger import model as models
from tagger.config import Config
from tagger.data import schemes
from tagger.data.partial import GoldEncoder
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError

SENTENCES = (
    Sentence(("Ada", "saw", "Xyzzy", "in", "1843"), tags=("S-PER", "O", "S-PER", "O", "O")),
    Sentence(("Ada", "left"), tags=("S-PER", "O")),
)
TABLE = "saw 1 2\nparis 3 4\nada 5 6\n0000 7 8\nin 9 10\nloved 11 12\n"


def build(folder: Path, **words: object) -> models.TaggerModel:
    (folder / "vectors.txt").write_text(TABLE)
    model = {"words": {"vectors": (str(folder / "vectors.txt"),), **words}, "encoder": {"hidden_size": 4}}
    config = Config.model_validate({"model": model})
    return models.build_model(config, SENTENCES, models.read_tables(config, SENTENCES))


def vector(built: models.TaggerModel, word: str) -> list[float]:
    built.network.eval()
    ids = torch.tensor([built.known_words.lookup(word)])
    return built.network.embedding.words(ids)[0].tolist()


def test_training_words_get_the_vector_of_their_first_form_in_a_table(tmp_path: Path) -> None:
    built = build(tmp_path)
    assert vector(built, "Ada") == [5.0, 6.0]
    assert vector(built, "1843") == [7.0, 8.0]
    assert vector(built, "saw") == [1.0, 2.0]


def test_words_in_no_table_start_with_the_vector_of_the_unknown_word(tmp_path: Path) -> None:
    built = build(tmp_path)
    assert vector(built, "Xyzzy") == vector(built, "nowhere") == [0.0, 0.0]


@pytest.mark.parametrize(("table", "warned"), [(TABLE, False), ("tokio 1 2\noslo 3 4\n", True)])
def test_a_table_without_any_word_of_the_data_gives_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str, *, warned: bool
) -> None:
    (tmp_path / "vectors.txt").write_text(table)
    config = Config.model_validate({"model": {"words": {"vectors": (str(tmp_path / "vectors.txt"),)}}})
    models.read_tables(config, SENTENCES)
    assert ("vectors.txt has a vector for no word of the training data" in caplog.text) is warned


def test_words_not_in_the_training_data_keep_their_vector(tmp_path: Path) -> None:
    built = build(tmp_path)
    assert built.frozen_words.items == ("paris", "ada", "0000", "loved")
    assert vector(built, "Paris") == [3.0, 4.0]
    assert vector(built, "1999") == [7.0, 8.0]
    assert vector(built, "nowhere") == built.network.embedding.words.unknown()[0].tolist()


@pytest.mark.parametrize(("keep", "kept"), [(0, 0), (2, 2), (100, 4)])
def test_the_number_of_frozen_words_is_limited(tmp_path: Path, keep: int, kept: int) -> None:
    assert len(build(tmp_path, max_frozen_words=keep).frozen_words) == kept


def test_frozen_vectors_are_not_parameters(tmp_path: Path) -> None:
    built = build(tmp_path, trainable=False)
    assert set(built.words.items[2:]) == {"Xyzzy", "left"}
    assert vector(built, "Ada") == [5.0, 6.0]
    assert built.network.embedding.words.weight.shape == (4, 2)


def test_the_config_of_a_model_has_no_paths_but_the_dimension_of_its_tables(tmp_path: Path) -> None:
    config = build(tmp_path).config
    assert str(tmp_path) not in config.model_dump_json()
    assert config.model.words.embedding_dim == 2


def test_a_text_may_contain_the_names_of_padding_and_the_unknown_word() -> None:
    built = models.build_model(Config(), [Sentence(("<padding>", "<unknown>", "a"), tags=("X", "Y", "X"))])
    assert built.words.items == ("<padding>", "<unknown>", "a")
    assert [built.known_words.lookup(word) for word in ("<padding>", "<unknown>", "a")] == [1, 1, 2]


def test_all_tags_of_seen_types_are_included_and_plain_tags_are_sorted_by_frequency() -> None:
    assert models.build_model(Config(), SENTENCES).tags.items == ("O", "B-PER", "I-PER", "E-PER", "S-PER")
    plain = [Sentence(("a", "b", "c"), tags=("DT", "NN", "NN"))]
    built = models.build_model(Config(), plain)
    assert built.tags.items == ("NN", "DT")
    assert built.scheme is None
    assert built.network.head.transitions_allowed.all()


def test_the_head_allows_what_the_scheme_allows() -> None:
    built = models.build_model(Config(), SENTENCES)
    head, tags = built.network.head, built.tags.items
    for row, before in enumerate(tags):
        assert bool(head.start_allowed[row]) == schemes.is_valid_transition(None, before, "IOBES")
        assert bool(head.end_allowed[row]) == schemes.is_valid_transition(before, None, "IOBES")
        for column, after in enumerate(tags):
            assert bool(head.transitions_allowed[row, column]) == schemes.is_valid_transition(before, after, "IOBES")


def weighted(sentences: Sequence[Sentence], **weights: float) -> list[float]:
    config = Config.model_validate({"model": {"head": {"tag_weights": weights}}})
    actual = models.build_model(config, sentences).network.head.tag_weights
    assert actual is not None
    return actual.tolist()


def test_tag_weights_may_be_set_by_tag_or_by_type() -> None:
    assert weighted(SENTENCES, **{"PER": 2.0, "B-PER": 3.0}) == [1.0, 3.0, 2.0, 2.0, 2.0]
    assert weighted([Sentence(("a", "b"), tags=("NNP", "P"))], P=0.5) == [1.0, 0.5]
    assert models.build_model(Config(), SENTENCES).network.head.tag_weights is None


def test_a_weight_for_an_unknown_tag_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"model\.head\.tag_weights: 'LOC' is none of the tags and types O, B-PER"):
        weighted(SENTENCES, LOC=2.0)


@pytest.mark.parametrize(
    "model",
    [
        {"characters": {"kind": "lstm"}, "encoder": {"cell": "gru", "num_layers": 2, "merge": "sum"}},
        {"characters": {"kind": "none"}, "head": {"kind": "softmax"}, "casing": 4},
        {"encoder": {"cell": "rnn", "direction": "forward", "attention_heads": 4}, "dropout": {"kind": "locked"}},
        {"encoder": {"cell": "lstm1997", "direction": "backward"}},
    ],
)
def test_every_network_computes_emissions_and_gradients(model: dict[str, object]) -> None:
    from tagger.data.batching import EncodedCorpus
    from tagger.data.word_arrays import WordEncoder

    built = models.build_model(Config.model_validate({"model": model}), SENTENCES)
    batch = EncodedCorpus(
        SENTENCES, WordEncoder(built.known_words, built.characters), GoldEncoder(built.tags, built.scheme)
    ).batch([0, 1])
    emissions = built.network(batch)
    assert emissions.shape == (2, 5, 5)
    chosen = built.config.model.encoder
    assert built.network.encoder.layers[0].is_reversed == (
        [False, True] if chosen.direction == "both" else [chosen.direction == "backward"]
    )
    built.network.loss(emissions, batch.gold, batch.lengths).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.network.parameters() if p.numel())


def test_a_network_on_the_device_meta_draws_no_vectors_of_casings(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("on the device meta, this imports torch's compiler")

    config = Config.model_validate({"model": {"casing": 3, "words": {"embedding_dim": 4}}})
    built = models.build_model(config, SENTENCES)
    monkeypatch.setattr(torch.nn.init, "normal_", refuse)
    monkeypatch.setattr(torch, "randn", refuse)
    monkeypatch.setattr(torch.Tensor, "normal_", refuse)
    network = models.build_meta_network(config, built.tags, built.characters, words=3, frozen_words=0)
    assert network.embedding.casing.weight.is_meta
