"""Initial weights from a model: weights of a word, character or tag move to its index in the new model."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tagger
from tagger import model_dir, training
from tagger.config import Config
from tagger.data import schemes
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError
from tagger.model import TaggerModel, build_model
from tagger.training import transfer

NEW = [Sentence(("Zoë", "lives", "Ada"), tags=("S-LOC", "O", "S-AGE")), Sentence(("Quito",), tags=("S-PER",))]


@pytest.fixture
def source(model_path: Path) -> TaggerModel:
    """The model trained on the tiny corpus."""
    return model_dir.load(model_path)[0]


def started(source: TaggerModel, *sentences: Sentence, **model: object) -> TaggerModel:
    """Returns a new model with the weights of the source, and with its shape except for changes."""
    settings = Config.model_validate({"model": source.config.model.model_dump() | model})
    transfer.check_settings(source, settings)
    model = build_model(settings, sentences, transfer.vector_tables(source), extended=source)
    transfer.transfer_weights(source, model)
    return model


def vector(model: TaggerModel, word: str) -> list[float]:
    vector: list[float] = model.network.embedding.words(torch.tensor([model.known_words.lookup(word)]))[0].tolist()
    return vector


def test_every_word_vector_is_transferred(source: TaggerModel) -> None:
    model = started(source, *NEW)
    assert "Ada" in model.words
    assert "Grace" in model.frozen_words
    assert vector(model, "Ada") == vector(source, "Ada")
    assert vector(model, "Grace") == pytest.approx(vector(source, "Grace"), rel=1e-3)  # in half precision
    assert vector(model, "nowhere") == vector(source, "nowhere")


@pytest.mark.parametrize(("dtype", "stored"), [("int8", torch.int8), ("product", torch.uint8)])
def test_frozen_vectors_can_be_transferred_to_bytes_and_are_saved_as_such(
    dtype: str, stored: torch.dtype, source: TaggerModel, tmp_path: Path
) -> None:
    words = source.config.model.words.model_dump() | {"frozen_dtype": dtype}
    model = started(source, *NEW, words=words)
    assert vector(model, "Grace") == pytest.approx(
        vector(source, "Grace"), abs=max(map(abs, vector(source, "Grace"))) / 250
    )
    model_dir.save(model, tmp_path / "model", {})
    loaded = model_dir.load(tmp_path / "model")[0]
    assert loaded.network.embedding.words.frozen.dtype is stored
    assert vector(loaded, "Grace") == vector(model, "Grace")


def test_weights_of_tags_and_transitions_move_to_the_new_tag_ids(source: TaggerModel) -> None:
    model = started(source, *NEW)
    ours, theirs = model.network.state_dict(), source.network.state_dict()
    assert model.tags.items != source.tags.items
    shared = [tag for tag in model.tags.items if tag in source.tags]
    assert len(shared) == 9
    for left in shared:
        here, there = model.tags[left], source.tags[left]
        assert torch.equal(ours["projection.weight"][here], theirs["projection.weight"][there])
        for right in shared:
            moved = ours["head.crf.transitions"][here, model.tags[right]]
            assert moved == theirs["head.crf.transitions"][there, source.tags[right]]


def test_types_tags_and_characters_that_the_new_data_lacks_stay(source: TaggerModel) -> None:
    model = started(source, Sentence(("Ωmega",), tags=("S-AGE",)))
    assert {schemes.split(tag)[1] for tag in model.tags.items} == {"", "AGE", "LOC", "PER"}
    assert {"Ω", *source.characters.items} <= {*model.characters.items}
    plain = build_model(Config(), [Sentence(("a", "b"), tags=("N", "V"))])
    more = build_model(Config(), [Sentence(("a", "b"), tags=("V", "X"))], extended=plain)
    assert more.tags.items == ("V", "X", "N")


def test_weights_of_new_tags_are_drawn(source: TaggerModel) -> None:
    model = started(source, *NEW)
    fresh = torch.stack([model.network.projection.weight[model.tags[f"{prefix}-AGE"]] for prefix in "BIES"])
    assert (fresh != 0).all()
    assert len({tuple(row.tolist()) for row in fresh}) == 4


def test_what_is_kept_added_and_dropped_is_logged(source: TaggerModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tagger"):
        started(source, *NEW)
    known = len(source.known_words) - 2
    assert caplog.messages[0] == "started from a model; types kept: LOC, PER; added: AGE"
    assert caplog.messages[1] == f"words kept: {known}; added: 1; dropped: 0"
    assert caplog.messages[2] == f"characters kept: {len(source.characters) - 2}; added: 2; dropped: 0"
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="tagger"):
        started(source, Sentence(("lives",), tags=("VERB",)))
    assert caplog.messages[0].startswith("started from a model; tags added: VERB; dropped: B-LOC, B-PER, ")


def test_types_that_the_data_would_unlearn_are_found(source: TaggerModel) -> None:
    tagged = Sentence(("Ada",), tags=("S-PER",))
    assert transfer.find_unlearned(source, [tagged]) == ["LOC"]
    assert transfer.find_unlearned(source, [tagged, Sentence(("Oslo",), tags=("S-LOC",))]) == []
    assert transfer.find_unlearned(source, [replace(tagged, annotated_types=("PER",))]) == []
    assert transfer.find_unlearned(source, [replace(tagged, annotated_types=("PER", "LOC"))]) == ["LOC"]


def test_another_scheme_than_that_of_the_model_is_refused(source: TaggerModel) -> None:
    with pytest.raises(ConfigError, match=r"data\.scheme is IOBES in the model and IOB2 in the recipe"):
        transfer.check_settings(source, Config.model_validate({"data": {"scheme": "IOB2"}}))


@pytest.mark.parametrize("annotated", [True, False])
def test_a_new_type_is_learned_without_unlearning_others_where_these_were_not_annotated(
    tiny_config: Config, model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, annotated: bool
) -> None:
    old = (model_path.parents[1] / "train.conll").read_text()
    verbs = re.sub(r"[BI]-(PER|LOC)", "O", old).replace("lives O", "lives B-VERB")
    whole = old.replace("lives O", "lives B-VERB")
    for name, text in (("verbs", verbs), ("whole", whole)):
        (tmp_path / f"{name}.conll").write_text(text)
    types = ("VERB",) if annotated else None
    paths = {"train": str(tmp_path / "verbs.conll"), "dev": str(tmp_path / "verbs.conll"), "annotated_types": types}
    data = tiny_config.data.model_copy(update=paths)
    more = tiny_config.training.model_copy(update={"epochs": 4})
    config = tiny_config.model_copy(update={"data": data, "training": more})
    result = training.train(config, tmp_path / "run", device="cpu", init_from=model_path)
    types_of = tagger.evaluate(result.tagger, tmp_path / "whole.conll").types
    assert types_of["VERB"].f1 == 100.0
    old_types = [types_of[kind].f1 for kind in ("PER", "LOC")]
    assert min(old_types) > 70 if annotated else max(old_types) == 0
    assert ("has no LOC, PER, which the model knows and will unlearn" in caplog.text) is not annotated


def test_all_other_weights_are_equal(source: TaggerModel) -> None:
    model = started(source, *NEW)
    ours, theirs = model.network.state_dict(), source.network.state_dict()
    same = [name for name in ours if name.startswith(("encoder", "embedding.characters.convolution"))]
    assert len(same) == 10
    assert all(torch.equal(ours[name], theirs[name]) for name in same)
    letter = model.characters["d"], source.characters["d"]
    name = "embedding.characters.embedding.weight"
    assert torch.equal(ours[name][letter[0]], theirs[name][letter[1]])


def test_a_model_without_common_tags_is_accepted(source: TaggerModel) -> None:
    assert started(source, Sentence(("lives",), tags=("VERB",))).tags.items == ("VERB",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder": {"hidden_size": 8}, "casing": 4},
            "model.casing is 0 in the model and 4 in the recipe,"
            " model.encoder.hidden_size is 16 in the model and 8 in the recipe;"
            " set what the model has, or draft a recipe with `tagger init` and `init_from`",
        ),
        (
            {"encoder": {"cell": "lstm1997", "hidden_size": 16}},
            "model.encoder.cell is lstm in the model and lstm1997 in the recipe",
        ),
        (
            {"encoder": {"merge": "mean", "hidden_size": 16}},
            "model.encoder.merge is concat in the model and mean in the recipe",
        ),
        ({"encoder": {"num_layers": 2, "hidden_size": 16}}, "model.encoder.num_layers is 1 in the model and 2"),
        ({"encoder": {"attention_heads": 2, "hidden_size": 16}}, "model.encoder.attention_heads is 0 in the model"),
        ({"characters": {"kind": "none"}}, "model.characters.kind is cnn in the model and none in the recipe"),
        ({"characters": {"kernel_size": 5}}, "model.characters.kernel_size is 3 in the model and 5 in the recipe"),
        ({"document_context": {"output_dim": 4}}, "model.document_context.output_dim is 0 in the model and 4"),
        ({"head": {"kind": "softmax"}}, "model.head.kind is crf in the model and softmax in the recipe"),
        ({"words": {"embedding_dim": 0}}, "model.words.embedding_dim is [0-9]+ in the model and 0 in the recipe"),
    ],
)
def test_a_recipe_with_another_shape_is_refused(source: TaggerModel, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^cannot start from the model: .*{message}") as caught:
        started(source, *NEW, **change)
    assert len(caught.value.faults) == 1


def test_a_training_starts_from_either_a_model_or_vector_tables(
    tiny_config: Config, model_path: Path, tmp_path: Path
) -> None:
    once = tiny_config.training.model_copy(update={"epochs": 1})
    config = tiny_config.model_copy(update={"training": once})
    assert training.train(config, tmp_path / "run", device="cpu", init_from=model_path).dev.score == 100.0
    words = config.model.words.model_copy(update={"vectors": ("table.txt",)})
    both = config.model_copy(update={"model": config.model.model_copy(update={"words": words})})
    with pytest.raises(ConfigError, match="brings its own word vectors"):
        training.train(both, tmp_path / "other", device="cpu", init_from=model_path)
