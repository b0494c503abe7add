"""The file of a search space: what it holds, and a line for each fault before anything runs."""

from pathlib import Path

import pytest

from tagger.config import Config, loader, search_space
from tagger.config.search_space import Choices, Range
from tagger.errors import ConfigError


def load(folder: Path, text: str) -> search_space.SearchSpace:
    (folder / "space.yaml").write_text(text)
    return search_space.load(folder / "space.yaml")


def test_settings_are_dotted_or_in_sections_with_choices_or_ranges(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        """
        model.encoder.cell: [lstm, gru]
        model.encoder.attention_heads: [0, 2]
        model:
          encoder:
            hidden_size: {low: 100, high: 290, step: 50}
          dropout: {input: {low: 0, high: 0.5}}
        training:
          optimizer.learning_rate: {low: 1e-3, high: 0.1, log: true}
          optimizer.betas: [[0.9, 0.99], [0.8, 0.9]]
          clip_norm: [null, 5]
        """,
    )
    assert space.settings == {
        "model.encoder.cell": Choices(("lstm", "gru")),
        "model.encoder.attention_heads": Choices((0, 2)),
        "model.encoder.hidden_size": Range(100, 250, is_integer=True, step=50),
        "model.dropout.input": Range(0, 0.5, is_integer=False),
        "training.optimizer.learning_rate": Range(0.001, 0.1, is_integer=False, log=True),
        "training.optimizer.betas": Choices(([0.9, 0.99], [0.8, 0.9])),
        "training.clip_norm": Choices((None, 5)),
    }
    assert space.count_combinations() is None


def test_combinations_are_counted_if_every_range_has_steps() -> None:
    settings = {"model.encoder.cell": ["lstm", "gru"], "model.dropout.input": {"low": 0.1, "high": 0.5, "step": 0.1}}
    assert search_space.parse(settings).count_combinations() == 2 * 5


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("training.batchsize: [1]", "unknown key 'training.batchsize'; did you mean 'batch_size'?"),
        ("lr: [0.1]", "unknown key 'lr'; did you mean 'training.optimizer.learning_rate'?"),
        ("model.encoder: [1]", "'model.encoder' is a section; expected settings in it, found a list"),
        ("model.encoder.cell: []", "model.encoder.cell: the list is empty; expected a list of choices, or a range"),
        ("model.encoder.cell: lstm", "model.encoder.cell: expected a list of choices, or a range"),
        ("model.encoder.cell: [lstm, lsmt]", "model.encoder.cell must be lstm, lstm1997, gru or rnn, got 'lsmt'"),
        ("model.encoder.cell: [lstm, lstm]", 'model.encoder.cell: "lstm" is repeated'),
        ("model.encoder.cell: {low: 1, high: 2}", "model.encoder.cell is not a number; expected a list of choices"),
        ("training.batch_size: [0, 8]", "training.batch_size should be greater than or equal to 1, got 0"),
        ("model.dropout.input: {low: 0.1, high: 1}", "model.dropout.input should be less than 1, got 1"),
        ("model.dropout.input: {low: 0.4, high: 0.1}", "low must be below high, got 0.4 and 0.1"),
        ("model.dropout.input: {low: 0, high: 0.1, log: true}", "log needs a low above 0, got 0"),
        ("model.dropout.input: {low: 0, high: 0.1, log: 1}", "log must be true or false, got 1"),
        ("model.dropout.input: {low: 0.1, high: 0.2, lgo: true}", "unknown key 'lgo'; expected low, high, log or step"),
        ("model.dropout.input: {low: 0.1}", "model.dropout.input: 'high' is missing"),
        ("model.dropout.input: {low: 0.1, high: 0.2, step: 0}", "step must be above 0 and at most high - low, got 0"),
        ("training.batch_size: {low: 1.5, high: 8}", "low must be an integer, got 1.5"),
        ("training.batch_size: {low: 1, high: 8, log: true, step: 2}", "log and step exclude each other"),
        ("training.seed: [1, 2]", "training.seed cannot be tuned: each trial is trained with the same seeds"),
        ("data.dev: [a.txt]", "data.dev cannot be tuned: it changes the data, so that scores cannot be compared"),
        ("training.batch_size: [1]\ntraining: {batch_size: [2]}", "'training.batch_size' is repeated"),
        ("", "holds no setting; expected a list of choices"),
    ],
)
def test_each_fault_is_a_line_with_file_key_and_what_was_expected(tmp_path: Path, line: str, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, line)
    (message,) = raised.value.faults
    assert fault in message
    assert message.startswith(f"{tmp_path / 'space.yaml'}{':' if line else ': '}")


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, "lr: [1]\nmodel.encoder.cell: [a]\ntraining.epochs: 3\n")
    assert [message.split(":")[1] for message in raised.value.faults] == ["1", "2", "3"]


def test_a_file_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: no such file; expected a YAML file"):
        search_space.load(tmp_path / "none.yaml")


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    space = load(tmp_path, "model.words.vectors: [[a.txt], [a.txt, b.txt]]")
    a, b = str(tmp_path / "a.txt"), str(tmp_path / "b.txt")
    assert space.settings["model.words.vectors"] == Choices(([a], [a, b]))
    (tmp_path / "bert").mkdir()
    space = load(tmp_path, "model.transformer.name: [bert, owner/name]")
    assert space.settings["model.transformer.name"] == Choices((str(tmp_path / "bert"), "owner/name"))


def test_values_without_effect_beside_others_are_omitted() -> None:
    values = {"training.optimizer.kind": "adamw", "training.optimizer.momentum": 0.5, "model.encoder.cell": "gru"}
    config = loader.with_values(Config(), values)
    assert (config.training.optimizer.kind, config.model.encoder.cell) == ("adamw", "gru")
    assert search_space.select_effective(config, values) == {
        "training.optimizer.kind": "adamw",
        "model.encoder.cell": "gru",
    }


def test_values_that_cannot_be_combined_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the settings: model\.encoder: attention_heads must divide the merged size"):
        loader.with_values(Config(), {"model.encoder.attention_heads": 3})


def test_a_recipe_with_its_changes_alone_is_the_same_recipe() -> None:
    config = loader.with_values(Config(), {"model.encoder.cell": "gru", "training.batch_size": 64})
    text = loader.dump_changes(config)
    assert len(text.splitlines()) == 5
    assert loader.parse(text, "text") == config
