"""What is logged before the first epoch."""

import logging
from pathlib import Path

import pytest

from tagger.config import parse
from tagger.training import read_inputs


def notices(folder: Path, *overrides: str, **parts: str) -> list[str]:
    """Returns what is logged when data of these contents is read, without the lines of the reader."""
    for role, text in parts.items():
        (folder / f"{role}.conll").write_text(text)
    recipe = "data:\n" + "".join(f"  {role}: {folder / role}.conll\n" for role in parts)
    records = read_inputs(parse(recipe, "recipe.yaml", overrides=overrides), is_new=False).notices
    return [record.getMessage() for record in records if record.module == "overview"]


SPANS = "Ada B-PER\nsaw O\nNew B-LOC\nYork I-LOC\n\nAlan B-PER\nran O\n\n"
TAGS = "it O\nran O\n, P\nso O\n? Q\n\n"


def test_spans_are_counted_by_type_and_part(tmp_path: Path) -> None:
    lines = notices(tmp_path, train=SPANS * 2, dev=SPANS, test="it O\n")
    assert lines == [
        "type    train      dev     test",
        "PER         4        2        0",
        "LOC         2        1        0",
        "the best epoch is the one with the highest F1 of spans on dev",
    ]


def test_plain_tags_are_counted_and_the_score_of_the_recipe_is_named(tmp_path: Path) -> None:
    lines = notices(tmp_path, "training.selection=f1", train=TAGS, dev=TAGS)
    assert lines[1:] == [
        "O          3        3",
        "P          1        1",
        "Q          1        1",
        "the best epoch is the one with the highest F1 of tags other than O on dev",
    ]
    assert notices(tmp_path, train=TAGS, dev=TAGS)[-1].endswith("highest accuracy on dev")
    assert notices(tmp_path, "training.selection=macro_f1", train=TAGS, dev=TAGS)[-1].endswith(
        "macro F1 over tags on dev"
    )


def test_only_the_most_frequent_of_many_tags_are_shown(tmp_path: Path) -> None:
    lines = notices(tmp_path, train="".join(f"w T{n}\n" * (n + 1) for n in range(40)), dev="w T0\n")
    assert len(lines) == 14
    assert lines[1].split() == ["T39", "40", "0"]
    assert lines[12] == "… and 29 more"


def test_annotated_types_without_a_span_are_a_warning(tmp_path: Path) -> None:
    (warning,) = [
        line for line in notices(tmp_path, "data.annotated_types=[PER, LCO]", train=SPANS, dev=SPANS) if "names" in line
    ]
    assert warning == "annotated_types has types without a span in train.conll: LCO; are the names right?"


def test_types_that_the_training_data_lacks_are_a_warning(tmp_path: Path) -> None:
    dev = SPANS.replace("LOC", "CITY") + "".join(f"w B-T{n}\n" for n in range(30))
    (warning,) = [line for line in notices(tmp_path, train=SPANS, dev=dev) if "lacks" in line]
    assert warning.startswith("dev.conll has types that the training data lacks: CITY (1), T0 (1), ")
    assert warning.endswith(" and 21 more")


@pytest.mark.parametrize(
    ("train", "setting", "fault"),
    [
        (SPANS, "null", "no spans"),
        (TAGS, "f1", "only the tag O"),
        (SPANS, "accuracy", None),
        (TAGS, "macro_f1", None),
    ],
)
def test_dev_data_that_cannot_select_an_epoch_is_a_warning(
    tmp_path: Path, train: str, setting: str, fault: str | None
) -> None:
    lines = notices(tmp_path, f"training.selection={setting}", train=train, dev="it O\n\nran O\n")
    found = [line for line in lines if "cannot select" in line]
    assert found == (
        [f"dev.conll has {fault}, so that it cannot select an epoch: the last epoch is kept as the best"]
        if fault
        else []
    )


def test_training_data_of_nothing_but_o_is_a_warning(tmp_path: Path) -> None:
    assert "train.conll has only the tag O; is data.tag the right column?" in notices(
        tmp_path, train="it O\n", dev="it O\n"
    )


def test_the_overview_is_part_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tagger"):
        notices(tmp_path, train=SPANS, dev=SPANS)
    assert "PER         2        2" in caplog.text
