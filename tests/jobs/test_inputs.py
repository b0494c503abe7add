"""What paths stand for, and where outputs go; every fault is told before anything is written."""

import logging
from pathlib import Path, PurePath

import pytest

from tagger.errors import ConfigError, DataError
from tagger.jobs import inputs
from tagger.jobs.inputs import STDIN, Input


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files at two depths, some of them hidden."""
    for name in ("data/b.txt", "data/a.txt", "data/sub/c.txt", "data/sub.txt", "data/.git/x.txt", "data/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "data"


def places(*paths: Path, **options: object) -> list[str]:
    return [str(item.relative_path) for item in inputs.find_inputs(paths, **options)]  # type: ignore[arg-type]


def test_a_folder_stands_for_its_files_that_are_not_hidden_in_the_order_of_their_names(folder: Path) -> None:
    assert places(folder) == ["a.txt", "b.txt", "sub/c.txt", "sub.txt"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("*.txt", ["a.txt", "b.txt", "sub/c.txt", "sub.txt"]), ("sub/*", ["sub/c.txt"]), ("[ab].*", ["a.txt", "b.txt"])],
)
def test_a_pattern_chooses_among_the_files_of_a_folder(folder: Path, pattern: str, found: list[str]) -> None:
    assert places(folder, pattern=pattern) == found


def test_a_glob_that_no_shell_expanded_stands_for_what_the_shell_would_give(folder: Path) -> None:
    assert places(folder / "*.txt") == ["a.txt", "b.txt", "sub.txt"]
    assert places(folder / "*") == ["a.txt", "b.txt", "c.txt", "sub.txt"]
    assert places(folder / "**" / "c.*") == ["c.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").touch()
    (tmp_path / "a1.txt").touch()
    assert places(tmp_path / "a[1].txt") == ["a[1].txt"]


def test_paths_keep_the_order_in_which_they_are_given(folder: Path) -> None:
    assert places(folder / "b.txt", STDIN, folder / "a.txt") == ["b.txt", "stdin", "a.txt"]


def test_all_faults_come_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        inputs.find_inputs(
            [tmp_path / "none.txt", tmp_path / "empty", tmp_path / "*.x", folder / "a.txt", folder / "a.txt"]
        )
    assert raised.value.faults == (
        f"{tmp_path}/none.txt: no such file",
        f"{tmp_path}/empty: no file in this folder",
        f"{tmp_path}/*.x: no such file",
        f"{folder}/a.txt: given twice",
    )


def test_of_many_faults_some_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        inputs.find_inputs([tmp_path / str(number) for number in range(30)])
    assert len(raised.value.faults) == 21
    assert raised.value.faults[-1] == "… and 10 more"


def test_a_file_is_found_twice_through_its_folder(folder: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt: given twice"):
        inputs.find_inputs([folder, folder / "a.txt"])


def test_a_link_that_leads_nowhere_is_a_missing_file(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder / "gone.txt")
    with pytest.raises(DataError, match=r"link\.txt: no such file"):
        inputs.find_inputs([folder])


def test_folders_that_are_linked_into_another_are_told_of_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    expected = inputs.find_inputs([folder])
    for place in ("sub/round", "link", ".link"):
        (folder / place).symlink_to(folder)
    assert inputs.find_inputs([folder]) == expected
    assert [record.message for record in caplog.records] == [
        f"{folder / 'link'} and 1 more: links to folders are not followed; name the folders themselves"
    ]


@pytest.mark.parametrize("out", ["data", "data/out", "data/sub/../out"])
def test_the_outputs_cannot_lie_in_an_input_folder(folder: Path, out: str) -> None:
    with pytest.raises(DataError, match="lies within the input folder"):
        inputs.find_inputs([folder], out=folder.parent / out)


def test_a_pattern_without_a_folder_is_a_mistake(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no folder is given"):
        inputs.find_inputs([folder / "a.txt"], pattern="*.txt")


@pytest.mark.parametrize(
    ("name", "same", "output"),
    [
        ("a.txt", False, "a.jsonl"),
        ("sub/a.txt.gz", False, "sub/a.jsonl"),
        ("a.b.txt.zst", False, "a.b.jsonl"),
        ("a", False, "a.jsonl"),
        ("a.gz", False, "a.jsonl"),
        ("en.iob.xz", True, "en.iob"),
        ("a", True, "a.jsonl"),
        (".a", False, ".a.jsonl"),
        ("stdin", False, "stdin.jsonl"),
        ("log.2024-01-05", False, "log.2024-01-05.jsonl"),
    ],
)
def test_an_output_is_named_after_its_input(name: str, same: bool, output: str) -> None:
    assert Input(Path("x") / name, PurePath(name)).output_path(".jsonl", same_format=same) == PurePath(output)


def check(out: Path, *pairs: tuple[Path, str]) -> None:
    items = [Input(path, PurePath(path.name)) for path, _ in pairs]
    inputs.check_outputs(out, items, [PurePath(name) for _, name in pairs], [PurePath("rejects.jsonl")])


def test_two_outputs_cannot_have_one_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt and .*b\.txt would both be written to .*x$"):
        check(tmp_path / "out", (folder / "a.txt", "x"), (folder / "b.txt", "x"))


def test_files_of_one_name_in_two_folders_may_keep_their_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"written to .*x; pass their common folder, with `pattern`, to keep its subfolders apart$"
    ):
        check(tmp_path / "out", (folder / "a.txt", "x"), (folder / "sub" / "c.txt", "x"))


def test_no_output_may_overwrite_an_input_its_own_or_anothers(folder: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt would be overwritten by its own output"):
        check(folder, (folder / "a.txt", "a.txt"))
    with pytest.raises(DataError, match=r"b\.txt would be overwritten by the output of .*a\.txt"):
        check(folder, (folder / "a.txt", "b.txt"), (folder / "b.txt", "x"))
    (folder / "x").symlink_to(folder / "b.txt")
    with pytest.raises(DataError, match=r"b\.txt would be overwritten"):
        check(folder, (folder / "b.txt", "x"))


def test_no_output_may_have_a_name_that_the_job_keeps(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which is reserved for the job"):
        check(tmp_path, (folder / "a.txt", "rejects.jsonl"))


@pytest.mark.parametrize(
    ("rejects", "summary", "fault"),
    [
        (None, "data/a.txt", r"a\.txt: is an input, and `summary`"),
        (None, "data/link", "link: is an input, and `summary`"),
        ("data/b.txt", None, r"b\.txt: is an input, and `rejects`"),
        (None, "out/a.jsonl", r"a\.jsonl: is written by the job itself, and `summary`"),
        (None, "data/../out/a.jsonl", r"a\.jsonl: is written by the job itself, and `summary`"),
        ("linked/a.jsonl", None, r"a\.jsonl: is written by the job itself, and `rejects`"),
        ("out/x", "linked/x", r"linked/x: is the file of `rejects`, and `summary`"),
    ],
)
def test_no_file_beside_the_outputs_may_overwrite_another_of_the_job(
    folder: Path, tmp_path: Path, rejects: str | None, summary: str | None, fault: str
) -> None:
    (folder / "link").symlink_to(folder / "a.txt")
    (tmp_path / "out").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "out")
    aside = {"rejects": rejects and tmp_path / rejects, "summary": summary and tmp_path / summary}
    read = [folder / "a.txt", folder / "b.txt"]
    with pytest.raises(DataError, match=f"{fault} would overwrite it$"):
        inputs.check_extra_outputs(aside, read, tmp_path / "out", {PurePath("a.jsonl")}.__contains__)
    inputs.check_extra_outputs(
        {"rejects": tmp_path / "a.jsonl", "summary": None}, read, tmp_path / "out", lambda _: True
    )


def test_what_can_be_read_only_once_has_no_identity(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert (Input(tmp_path / "file", PurePath("file")).file_status() or [])[0] == 1
    assert Input(None, PurePath("stdin")).file_status() is None


def test_a_saved_dataset_is_no_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="saved: a saved dataset is read for training only; write it as Parquet"):
        inputs.find_inputs([tmp_path / "saved"])
