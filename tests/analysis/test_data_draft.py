from pathlib import Path

import pytest

import tagger
from tagger.analysis import data_draft
from tagger.data import reader


def draft(tmp_path: Path, text: str, name: str = "train.txt") -> tuple[dict[str, str | int], dict[str, str]]:
    path = tmp_path / name
    path.write_text(text)
    result = data_draft.draft(path)
    return result.settings, result.notes


def rows(*columns: str, count: int = 5) -> str:
    """Returns sentences of two tokens with these columns; `#` becomes the number of the token, `@` a new word."""
    lines = []
    for number in range(2 * count):
        line = "\t".join(column.split("|")[number % 2] for column in columns)
        lines.append(line.replace("#", str(number % 2 + 1)).replace("@", f"w{number}") + "\n")
    return "\n".join("".join(lines[start : start + 2]) for start in range(0, 2 * count, 2))


def test_the_last_column_that_may_hold_tags_is_the_tag_and_others_are_noted(tmp_path: Path) -> None:
    settings, notes = draft(tmp_path, rows("@|@", "DT|NN", "O|B-PER"))
    assert settings == {"format": "columns", "token": 0, "tag": 2}
    assert notes == {"tag": "other columns that may hold tags: 1 (DT, NN, …)"}


def test_columns_of_words_or_of_a_single_value_hold_no_tags(tmp_path: Path) -> None:
    settings, notes = draft(tmp_path, rows("@|@", "O|B-PER", "_|_", "@|@"))
    assert (settings["tag"], notes) == (1, {})


def test_a_numbering_is_not_the_token(tmp_path: Path) -> None:
    assert draft(tmp_path, rows("#|#", "@|@", "O|B-PER"))[0] == {"format": "columns", "token": 1, "tag": 2}
    assert draft(tmp_path, rows("#|#", "O|B-PER"))[0] == {"format": "columns", "token": 0, "tag": 1}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O|B_PER", {"tag_format": "prefix"}),
        ("O|PER-B", {"tag_format": "suffix"}),
        ("-|B-PER", {"tag_format": "prefix", "outside_tag": "-"}),
        ("O|B-PER", {}),
        ("NN|DT", {}),
        ("B|I", {}),
    ],
)
def test_the_format_of_tags_is_drafted_if_the_reader_does_not_guess_it(
    tmp_path: Path, tags: str, expected: dict[str, str]
) -> None:
    settings, _ = draft(tmp_path, rows("@|@", tags))
    assert {name: settings[name] for name in settings if name in ("tag_format", "outside_tag")} == expected


def test_types_in_runs_are_drafted_as_spans_with_a_note(tmp_path: Path) -> None:
    settings, notes = draft(tmp_path, rows("@|@", "O|O") + "\n" + rows("@|@", "PER|PER"))
    assert settings["tag_format"] == "types"
    assert notes["tag_format"] == "runs of one type are spans; `plain` if the tags encode no spans"


def treebank(misc: str, upos: str = "X", xpos: str = "_") -> str:
    return f"1\tw\t_\t{upos}\t{xpos}\t_\t_\t_\t_\t{misc}\n\n"


@pytest.mark.parametrize(
    ("text", "tag", "note"),
    [
        (treebank("SpaceAfter=No|ner=B-PER"), "misc:ner", "other fields with tags: upos"),
        (treebank("_", xpos="Y"), "upos", "other fields with tags: xpos"),
        (treebank("_", upos="_", xpos="Y"), "xpos", ""),
        (treebank("SpaceAfter=No"), "upos", ""),
    ],
)
def test_the_tag_of_a_treebank_is_that_of_spans_else_the_part_of_speech(
    tmp_path: Path, text: str, tag: str, note: str
) -> None:
    settings, notes = draft(tmp_path, text, "train.conllu")
    assert settings == {"format": "conllu", "tag": tag}
    assert notes.get("tag", "") == note


def test_ids_constants_and_the_columns_of_ontonotes_are_not_tokens(tmp_path: Path) -> None:
    assert draft(tmp_path, rows("doc|doc", "0|0", "#|#", "@|@", "O|B-PER"))[0]["token"] == 3
    lines = [f"a/b 0 {number} w{number} NN (S* - - - - {tag} * (1)\n" for number, tag in enumerate(("(PER*", "*)"))]
    settings, notes = draft(tmp_path, "#begin document (a/b); part 000\n" + "".join(lines) + "\n#end document\n")
    assert (settings["token"], settings["tag"], notes) == (3, 10, {})


def test_a_table_with_a_header_needs_no_columns(tmp_path: Path) -> None:
    assert draft(tmp_path, "token,tag\nAda,B_PER\nsleeps,O\n\n", "train.csv")[0] == {
        "format": "csv",
        "tag_format": "prefix",
    }


def test_tokens_of_a_treebank_without_a_value_are_drafted_as_not_annotated(tmp_path: Path) -> None:
    settings, notes = draft(tmp_path, treebank("_") + treebank("_", upos="_"), "train.conllu")
    assert settings == {"format": "conllu", "tag": "upos", "unknown_tag": "_"}
    assert notes == {"unknown_tag": "tokens without a value may have any tag"}


@pytest.mark.parametrize(("start", "comments"), [("% id x y", "%"), ("#1\tO\tO", "none")])
def test_comments_are_read_as_set(tmp_path: Path, start: str, comments: str) -> None:
    path = tmp_path / "train.conll"
    text = rows("@|@", "DT|NN", "O|B-PER")
    path.write_text("\n\n".join(f"{start}\n{each}" for each in text.split("\n\n")))
    result = tagger.init(path, settings={"data.comments": comments})
    data = result.config.data
    assert (data.token, data.tag, data.comments) == (0, 2, comments)
    assert reader.read_part(data, "train").tokens == (10 if comments == "%" else 15)
