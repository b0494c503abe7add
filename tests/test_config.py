"""Recipes: all faults are reported together with positions, and configs are unchanged after writing and reading."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger import config
from tagger.config import Config, dump, parse
from tagger.config.schema import Data
from tagger.errors import ConfigError

TRAINABLE = "model: {transformer: {name: some, trainable: true}}"


def faults(text: str, *overrides: str) -> tuple[str, ...]:
    """Returns the faults of a recipe."""
    with pytest.raises(ConfigError) as raised:
        parse(text, "recipe.yaml", overrides=overrides)
    return raised.value.faults


def test_every_shipped_recipe_is_valid() -> None:
    shipped = sorted(path.stem for path in config.recipes().glob("*.yaml"))
    ner = [f"ner-conll2003-{name}" for name in ("fast", "finetuned", "hub", "small", "tiny", "transformer")]
    assert shipped == ["ner-conll2003", *ner, "pos-conll2003", "pos-ewt", "pos-ewt-transformer", "sample"]
    for name in shipped:
        assert config.recipe_path(name).read_text().startswith("# ")
        assert parse(dump(config.load(name)), name) == config.load(name)


def test_an_empty_recipe_has_all_defaults() -> None:
    assert parse("", "recipe.yaml") == parse("# nothing\n", "recipe.yaml") == Config()


def test_paths_start_from_the_recipes_folder(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train: a/train.txt, dev: /b/dev.txt}\nmodel: {words: {vectors: [glove.txt]}}")
    loaded = config.load(str(recipe))
    assert loaded.data.train == str(tmp_path / "a" / "train.txt")
    assert (loaded.data.dev, loaded.data.test) == ("/b/dev.txt", None)
    assert loaded.model.words.vectors == (str(tmp_path / "glove.txt"),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "model:\n  encoder: {num_layer: 3}",
            "2:13: unknown key 'model.encoder.num_layer'; did you mean 'num_layers'?",
        ),
        (
            "model:\n  encoder: {hiden_size: 3}",
            "2:13: unknown key 'model.encoder.hiden_size'; did you mean 'hidden_size'?",
        ),
        ("trainig: {}", "1:1: unknown key 'trainig'; did you mean 'training'?"),
        ("training: {epochs: true}", "1:12: training.epochs should be a valid integer, got True"),
        ("training: {epochs: 5.0}", "1:12: training.epochs should be a valid integer, got 5.0"),
        ("training: {epochs: '5'}", "1:12: training.epochs should be a valid integer, got '5'"),
        ("training: {epochs: 0}", "1:12: training.epochs should be greater than or equal to 1, got 0"),
        ("training: {epochs: 1e999}", "1:12: training.epochs should be a valid integer, got inf"),
        (
            "training: {optimizer: {learning_rate: .nan}}",
            "1:24: training.optimizer.learning_rate should be a finite number, got nan",
        ),
        (
            "training: {optimizer: {learning_rate: .inf}}",
            "1:24: training.optimizer.learning_rate should be a finite number, got inf",
        ),
        (
            "training: {optimizer: {betas: [true, 0.9]}}",
            "1:32: training.optimizer.betas.0 should be a valid number, got True",
        ),
        (
            "training: {optimizer: {learning_rates: {head: -1}}}",
            "1:41: training.optimizer.learning_rates.head should be greater than or equal to 0, got -1",
        ),
        ("data: {token: true}", "1:8: data.token should be a valid integer, got True"),
        ("data: {columns: [1]}", "1:18: data.columns.0 should be a valid string, got 1; put text in quotes"),
        ("model: {encoder: {merge: max}}", "1:19: model.encoder.merge must be concat, sum or mean, got 'max'"),
        ("model: 3", "1:1: model must hold settings, got 3"),
        ("data: {train: a}\ndata: {}", "2:1: key 'data' is repeated"),
        ("training: {epochs: 1,\n  epochs: 2}", "2:3: key 'training.epochs' is repeated"),
        (
            "a: &x [1]\nb: *x",
            "1:4: anchors, aliases and tags are not used in recipes; put text with such a character in quotes",
        ),
        (
            "data: !!set {a}",
            "1:7: anchors, aliases and tags are not used in recipes; put text with such a character in quotes",
        ),
        ("a: " + "[" * 500, "1:24: nested too deeply"),
        ("- a", ": expected keys such as data, model and training, found list"),
        ("a: [", "1:5: expected the node content, but found '<stream end>'"),
        ("? [a]\n: b", "1:3: found unhashable key"),
        ("a\0b", ": unacceptable character #x0000: special characters are not allowed"),
        ("#" * 10_001, ": expected at most 10000 bytes, found more"),
    ],
)
def test_a_fault_is_reported_with_its_position(text: str, fault: str) -> None:
    assert faults(text) == (f"recipe.yaml{'' if fault.startswith(':') else ':'}{fault}",)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("model: {characters: {kernel_size: 4}}", "kernel_size must be odd, got 4"),
        ("model: {characters: {kind: lstm, output_dim: 5}}", "output_dim must be even for the two directions"),
        (
            "model: {encoder: {hidden_size: 5, attention_heads: 4}}",
            "attention_heads must divide the merged size 10, got 4",
        ),
        (
            "model: {encoder: {direction: forward, merge: sum}}",
            "model.encoder.merge has no effect with direction forward; omit it",
        ),
        ("model: {encoder: {cell: gru, forget_bias: 2}}", "forget_bias has no effect with cell gru"),
        ("model: {characters: {kind: lstm, kernel_size: 5}}", "kernel_size has no effect with kind lstm"),
        ("model: {characters: {kind: none, dropout: 0.1}}", "dropout has no effect with kind none"),
        ("model: {document_context: {dropout: 0.1}}", "dropout has no effect with output_dim 0"),
        ("model: {dropout: {layers: 0.1}}", "dropout.layers has no effect with encoder.num_layers 1"),
        (
            "model: {head: {kind: softmax, forbid_in_training: true}}",
            "forbid_in_training has no effect with kind softmax",
        ),
        ("training: {optimizer: {kind: adam, momentum: 0.5}}", "momentum has no effect with kind adam"),
        ("training: {optimizer: {betas: [0.8, 0.9]}}", "betas has no effect with kind sgd"),
        ("training: {schedule: {kind: linear, decay: 0.1}}", "decay has no effect with kind linear"),
        ("training: {schedule: {kind: onecycle, warmup: 3}}", "warmup has no effect with kind onecycle"),
        ("data: {format: columns, dataset: conll2003}", "dataset has no effect with format columns"),
        (
            "model: {characters: {kind: none}}\ntraining: {optimizer: {learning_rates: {characters: 0.1}}}",
            "learning_rates.characters has no effect on a model without characters",
        ),
        (
            f"{TRAINABLE}\ntraining: {{epochs: 3, fine_tuning: {{frozen_epochs: 3}}}}",
            "frozen_epochs must be less than training.epochs, which is 3, got 3",
        ),
        (
            f"{TRAINABLE}\ntraining: {{optimizer: {{learning_rates: {{transformer: 0}}}}}}",
            "learning_rates.transformer must be above 0; for a frozen transformer, whose features are cached, omit it",
        ),
        (
            "training: {optimizer: {learning_rates: {transformer: 0.1}}}",
            "learning_rates.transformer has no effect without model.transformer.trainable",
        ),
        ("model: {encoder: {width: 5}}", "'model.encoder.width'; it is called 'model.encoder.hidden_size' now"),
        ("model: {elsewhere: {width: 5}}", "'model.elsewhere'; it is called 'model.document_context' now"),
        ("training: {batch_size: null}", "set batch_size or max_batch_tokens to limit a batch"),
        ("training: {optimizer: {nesterov: true, momentum: 0}}", "nesterov needs a momentum above 0"),
    ],
)
def test_contradictory_settings_are_reported(text: str, fault: str) -> None:
    (message,) = faults(text)
    assert fault in message


def test_all_faults_are_reported_together() -> None:
    messages = faults("training:\n  epochs: many\n  seeed: 1\nmodel: {head: {kind: crff}}", "training.patience=0")
    assert [fault.split(" ", 1)[0] for fault in messages] == [
        "recipe.yaml:4:16:",
        "recipe.yaml:2:3:",
        "setting",
        "recipe.yaml:3:3:",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E+2", 100.0), (".5", 0.5), ("1", 1.0), ("010", 10.0)],
)
def test_numbers_are_read_by_yaml_12(text: str, value: float) -> None:
    assert parse(f"training: {{optimizer: {{learning_rate: {text}}}}}", "r").training.optimizer.learning_rate == value


@pytest.mark.parametrize("word", ["NO", "yes", "Off", "12:30:45", "2001-01-01", "0x1F", "1_000", "=", "<<"])
def test_words_are_read_as_text(word: str) -> None:
    assert parse(f"data: {{train: {word}}}", "r").data.train == word


def test_a_setting_overrides_the_recipe() -> None:
    parsed = parse(
        "training: {epochs: 3}",
        "r",
        overrides=["training.epochs=5", "data.columns=[a, b]", "model.words.embedding_dim=7"],
    )
    assert (parsed.training.epochs, parsed.data.columns, parsed.model.words.embedding_dim) == (5, ("a", "b"), 7)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("training.epochs", "expected KEY=VALUE such as training.epochs=5"),
        ("=5", "expected KEY=VALUE such as training.epochs=5"),
        ("training..epochs=5", "expected KEY=VALUE such as training.epochs=5"),
        ("training.epochs=[", "expected the node content, but found '<stream end>'"),
        ("training.epochs=five", "training.epochs should be a valid integer, got 'five'"),
        ("training.epochs.more=5", "training.epochs should be a valid integer, got a dict"),
        ("training=5", "training must hold settings, got 5"),
        ("trainng.epochs=5", "unknown key 'trainng'; did you mean 'training'?"),
        ("training.epochs=!!int x", "anchors, aliases and tags are not used in recipes"),
        ("training.epochs=" + "[" * 2000, "nested too deeply"),
    ],
)
@pytest.mark.parametrize("text", ["", "training: {seed: 2}"])
def test_a_fault_in_a_setting_is_reported(text: str, override: str, fault: str) -> None:
    assert faults(text, override) == (f"setting {override}: {fault}",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sampel", "no recipe is called 'sampel'; did you mean 'sample'"),
        ("no/such.yaml", r"no/such.yaml: no such recipe file"),
        ("x" * 300, "no recipe is called"),
        (".", "is a folder: pass a recipe, and the folder as `data`"),
    ],
)
def test_a_missing_recipe_is_reported(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(name)


def test_a_recipe_that_is_not_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"data: \xff")
    with pytest.raises(ConfigError, match=r"r.yaml: cannot be read as UTF-8 text"):
        config.load(str(tmp_path / "r.yaml"))


@given(st.text(max_size=12) | st.sampled_from(["1e3", ".5e3", "~", "NO", "null", "true", "1_0", "\x85a", "a\u2028b"]))
@settings(max_examples=150, deadline=None)
def test_any_text_is_unchanged_after_writing_and_reading(text: str) -> None:
    written = Config(data=Data(train=text, columns=(text, "b")))
    assert parse(dump(written), "r") == written


@pytest.mark.parametrize(("recipe", "other"), [("ner-conll2003", "ner-conll2003-hub"), ("pos-ewt", "pos-conll2003")])
def test_recipes_for_different_data_have_equal_model_and_training_settings(recipe: str, other: str) -> None:
    first, second = config.load(recipe), config.load(other)
    assert (first.model, first.training) == (second.model, second.training)


OFF = {
    "model.words.embedding_dim=0": "model: {words: {vectors: [a.txt], trainable: false, dropout: 0.3}, casing: 4,"
    " document_context: {output_dim: 10, dropout: 0.1}}\ntraining: {optimizer: {learning_rates: {words: 0.1}}}",
    "model.characters.kind=none": "model: {characters: {embedding_dim: 7, output_dim: 7, kernel_size: 5}}\n"
    "training: {optimizer: {learning_rates: {characters: 0.1}}}",
    "model.characters.kind=lstm": "model: {characters: {kernel_size: 5}}",
    "model.document_context.output_dim=0": "model: {document_context: {output_dim: 9, dropout: 0.1}}",
    "model.transformer.name=null": f"{TRAINABLE[:-2]}, layers: last, mix: mean, context: 9, context_dropout: 0.1}}}}\n"
    "training: {fine_tuning: {frozen_epochs: 1}, optimizer: {learning_rates: {transformer: 0.1}}}",
    "model.transformer.trainable=false": f"{TRAINABLE[:-2]}, context_dropout: 0.1}}}}\n"
    "training: {fine_tuning: {layer_decay: 0.5}, optimizer: {learning_rates: {transformer: 0.1}}}",
    "model.transformer.trainable=true": "model: {transformer: {name: a/b, include_weights: true}}\n"
    "training: {feature_cache: folder, feature_cache_gb: 1}",
    "model.transformer.context=0": f"{TRAINABLE[:-2]}, context_dropout: 0.1}}}}",
    "model.encoder.num_layers=0": "model: {encoder: {cell: gru, hidden_size: 7, num_layers: 2, attention_heads: 2},"
    " dropout: {layers: 0.1, output: 0.1}}\ntraining: {optimizer: {learning_rates: {encoder: 0.1}}}",
    "model.encoder.num_layers=1": "model: {encoder: {num_layers: 2}, dropout: {layers: 0.1, output: 0.1}}",
    "model.encoder.direction=forward": "model: {encoder: {merge: sum}}",
    "model.encoder.cell=gru": "model: {encoder: {forget_bias: 2}}",
    "model.head.kind=softmax": "model: {head: {forbid_in_training: true}}",
    "training.optimizer.kind=adamw": "training: {optimizer: {momentum: 0.5, nesterov: true}}",
    "training.schedule.kind=onecycle": "training: {schedule: {kind: inverse, decay: 0.1, warmup: 7}}",
    "data.format=columns": "data: {dataset: a/b, splits: {dev: other}, tag_names: [a, b]}",
    "data.tag_format=plain": "data: {outside_tag: _}",
}


@pytest.mark.parametrize("override", OFF)
def test_an_override_that_turns_a_part_off_also_omits_its_settings_in_the_recipe(override: str) -> None:
    config = parse(OFF[override], "recipe.yaml", overrides=[override])
    name, _, value = override.partition("=")
    assert f"{name.rpartition('.')[2]}: {value}" in dump(config)
    assert parse(dump(config), "stored") == config


def test_an_override_without_effect_and_a_contradiction_within_the_recipe_stay_faults() -> None:
    text, off = "model: {words: {dropout: 0.3, max_frozen_words: 5}}", "model.words.embedding_dim=0"
    assert faults(text, off, "model.words.dropout=0.2") == (
        "setting model.words.dropout=0.2: model.words.dropout has no effect with embedding_dim 0; omit it",
    )
    assert faults("model: {words: {embedding_dim: 0, dropout: 0.3}}", "training.epochs=3") == (
        "recipe.yaml:1:35: model.words.dropout has no effect with embedding_dim 0; omit it",
    )
    assert faults(text, off, "model.words={embedding_dim: 0, dropout: 0.2}")
    assert faults("{}", "training.fine_tuning.frozen_epochs=1")
    trainable = f"{TRAINABLE}\ntraining: {{fine_tuning: {{layer_decay: 0.5}}}}"
    assert faults(trainable, "model.transformer.trainable=false", "training.fine_tuning.frozen_epochs=1")


def test_settings_that_an_override_omits_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parse("model: {words: {dropout: 0.3}}", "recipe.yaml", overrides=["model.words.embedding_dim=0"])
    assert caplog.messages == ["without effect after overrides, and omitted: model.words.dropout"]


@pytest.mark.parametrize(
    "text", ["?", "-", "*", "&x", "!x", "%", "@", "`", "~", "no", "1e3", "5", "true", "#", "a: b", "[x]", "|", "a b"]
)
def test_a_setting_that_is_text_takes_any_text(text: str) -> None:
    assert parse("", "a", overrides=[f"data.unknown_tag={text}"]).data.unknown_tag == text
    assert parse("", "a", overrides=[f"data.unknown_tag={json.dumps(text)}"]).data.unknown_tag == text


def test_null_quotes_and_numbers_of_columns_keep_their_meaning() -> None:
    texts = {"null": None, "'null'": "null", '"a # b"': "a # b", "": None}
    for text, value in texts.items():
        assert parse("", "a", overrides=[f"data.unknown_tag={text}"]).data.unknown_tag == value
    assert parse("", "a", overrides=["data.tag=3"]).data.tag == 3
    assert parse("", "a", overrides=["data.tag=?", "data.format=csv"]).data.tag == "?"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("?", "mapping keys are not allowed here; put text with such a character in quotes"),
        ("1", "data.unknown_tag should be a valid string, got 1; put text in quotes"),
        ("@", "that cannot start any token; put text with such a character in quotes"),
        ("-", "sequence entries are not allowed here; put text with such a character in quotes"),
        ("*", "; put text with such a character in quotes"),
        ("!x", "; put text with such a character in quotes"),
    ],
)
def test_a_recipe_with_text_that_yaml_reads_otherwise_says_to_quote_it(text: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"data:\n  unknown_tag: {text}\n", "a.yaml")
    assert len(caught.value.faults) == 1
    assert str(caught.value).endswith(advice)
