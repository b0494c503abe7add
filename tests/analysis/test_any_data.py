"""Whatever a file holds, `check`, `init` and `split` end with a result or with errors that a user can read.

By default 20 files of each kind; TAGGER_TEST_SCALE=10 makes them 2000.
"""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tagger
from tagger.errors import TaggerError
from tests.robustness.runs import SCALE

ANY = settings(
    max_examples=20 if SCALE == 1 else 200 * SCALE,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters=" \t")
WORD = st.text(CHARACTERS, min_size=1, max_size=4)
TAG = st.sampled_from(["O", "B-PER", "I-PER", "B_LOC", "PER", "LOC-B", "_", "-DOCSTART-", "(A*", "*)", "#", "1", ""])
LINE = st.one_of(
    st.tuples(WORD, TAG).map("\t".join),
    st.tuples(WORD, TAG).map(" ".join),
    st.sampled_from(
        ["", "", "-DOCSTART- O", "# id = 1", "token\ttag", '{"text": "a b", "label": [[0, 1, "X"]]}', "a,b"]
    ),
    st.text(max_size=10),
)


@pytest.mark.parametrize("suffix", [".txt", ".conllu", ".jsonl", ".csv", ".json"])
def test_any_lines_are_checked_drafted_and_split_or_refused(tmp_path: Path, suffix: str) -> None:
    @ANY
    @given(lines=st.lists(LINE, max_size=12), line_end=st.sampled_from(["\n", "\r\n"]))
    def run(lines: list[str], line_end: str) -> None:
        path = tmp_path / f"train{suffix}"
        path.write_bytes(line_end.join(lines).encode("utf-8", "surrogatepass"))
        out = tmp_path / "parts"
        for function in (tagger.check, tagger.init):
            with suppress(TaggerError):
                assert str(function(path))
        try:
            result = tagger.split(path, out=out)
        except TaggerError:
            assert not out.exists()
        else:
            parts = [file.read_bytes() for file in result.files]
            assert suffix == ".csv" or sorted(b"".join(parts)) == sorted(path.read_bytes())
            for file in result.files:
                file.unlink()
            out.rmdir()

    run()


def sentences(document: int, sizes: list[int]) -> list[str]:
    return [
        "".join(f"w{document}-{number}-{token}\tO\n" for token in range(size)) + "\n"
        for number, size in enumerate(sizes)
    ]


@ANY
@given(
    documents=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=8),
    fractions=st.lists(st.floats(0.01, 100), min_size=2, max_size=3),
    seed=st.integers(0, 5),
)
def test_every_sentence_is_in_one_part_and_documents_are_whole(
    tmp_path: Path, documents: list[list[int]], fractions: list[float], seed: int
) -> None:
    blocks = [sentences(number, sizes) for number, sizes in enumerate(documents)]
    texts = ["-DOCSTART-\tO\n\n" + "".join(block) for block in blocks]
    count = sum(map(len, documents))
    path = tmp_path / "all.conll"
    path.write_text("".join(texts))
    if count < len(fractions):
        return
    result = tagger.split(path, out=tmp_path / "parts", fractions=fractions, seed=seed)
    parts = [file.read_text() for file in result.files]
    for file in result.files:
        file.unlink()
    assert all(parts)
    assert sum(part.count(sentence) for part in parts for block in blocks for sentence in block) == count
    if len(documents) >= len(fractions):
        assert all(sum(text in part for part in parts) == 1 for text in texts)
