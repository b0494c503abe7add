"""A record beyond the limit is one fault with its file and line; the others are read, and little is held."""

import gzip
import json
import random
import resource
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tagger.data import reader, vector_files
from tagger.data.formats import Layout, blocks
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Reject
from tagger.data.writer import make_sink
from tagger.errors import CorruptError, DataError
from tagger.io import line_reader
from tagger.jobs import pools
from tagger.jobs.pools import Reader
from tests.data.tagged import tagged
from tests.robustness.runs import SCALE

LIMIT = 1000
WORD = "1\t{}\t_\t_\t_\t_\t_\t_\t_\t_\n"
GOOD = {
    "lines": "{}\n",
    "text": "{}\n",
    "jsonl": '{{"tokens": ["{}"]}}\n',
    "columns": "{} O\n\n",
    "conllu": WORD + "\n",
}
LARGE = {
    "lines": ["a " * 600, "a" * 1001, " " * 1001, "é" * 600, "a " * 5_000],
    "text": ["a " * 600, "a" * 1001, "é" * 600, "a " * 5_000],
    "jsonl": ['{"tokens": [' + '"a", ' * 300 + '"a"]}', '{"text": "' + "a " * 600 + '"}', "[" * 1001, " " * 1001],
    "columns": [
        "a O\n" * 300,
        "a O\n" * 5_000,
        "-DOCSTART-\n" * 100,
        "a" * 1001 + " O\n",
        "é O\n" * 220,
        "a O\nb\n" * 200,
    ],
    "conllu": [WORD.format("b") * 60, "# x\n" * 300, "#" * 1001 + "\n" + WORD, "x\n" * 5_000, WORD + "# é\n" * 250],
}
CASES = [(input_format, large) for input_format, some in LARGE.items() for large in some]


def records(data: str | bytes, input_format: str, **options: object) -> list[Record]:
    data = data.encode() if isinstance(data, str) else data
    layout = Layout(0, "xpos" if input_format == "conllu" else None)
    return list(
        reader.read_records(
            BytesIO(data), input_format=input_format, layout=layout, name="x", max_record_bytes=LIMIT, **options
        )
    )


def tokens(found: list[Record]) -> list[tuple[str, ...]]:
    return [sentence.tokens for record in found for sentence in record.sentences if sentence.tokens]


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("block", [100, 1 << 20])
@pytest.mark.parametrize(("input_format", "large"), CASES)
def test_a_record_that_is_too_large_is_one_fault_and_the_others_are_read(
    monkeypatch: pytest.MonkeyPatch, input_format: str, large: str, block: int, end: str
) -> None:
    monkeypatch.setattr(line_reader, "_BLOCK_BYTES", block)
    good = GOOD[input_format]
    before = "".join(map(good.format, "pq"))
    data = before + large.removesuffix("\n") + "\n" + end
    if end or input_format not in ("columns", "conllu"):
        data += "".join(map(good.format, "rs"))
    rejects: list[Reject] = []
    found = tokens(records(data, input_format, reject=rejects.append))
    assert found == [(word,) for word in "pqrs"[: 4 if end or input_format not in ("columns", "conllu") else 2]]
    (one,) = rejects
    assert one.fault.startswith("x:")
    assert one.line == before.count("\n") + 1
    assert " of over 1,000 bytes; expected" in one.fault
    assert "raise `max_record_bytes`" in one.fault
    assert 0 < len(one.raw) <= 2 * line_reader.MAX_REJECT_BYTES
    with pytest.raises(DataError, match="of over 1,000 bytes"):
        records(data, input_format)


@pytest.mark.parametrize("input_format", ["columns", "conllu"])
def test_training_data_with_a_sentence_that_is_too_large_is_one_fault(input_format: str) -> None:
    data = BytesIO(LARGE[input_format][0].encode())
    layout = Layout(0, "xpos" if input_format == "conllu" else -1)
    with pytest.raises(
        DataError, match=r"^x:1: a block of over 1,000 bytes; expected a blank line after each sentence"
    ):
        list(
            reader.read_sentences(
                data, input_format=input_format, layout=layout, tagged=True, name="x", max_record_bytes=LIMIT
            )
        )


@pytest.mark.parametrize("input_format", ["columns", "conllu"])
@pytest.mark.parametrize("seed", range(5))
def test_runs_of_blank_lines_and_document_starts_are_written_back_byte_for_byte(
    monkeypatch: pytest.MonkeyPatch, input_format: str, seed: int
) -> None:
    monkeypatch.setattr(blocks, "_MAX_BLANK", 50)
    monkeypatch.setattr("tagger.data.formats.columns._MAX_PRECEDING", 20)
    draw = random.Random(seed)
    other = "-DOCSTART-\n\n" if input_format == "columns" else "# x\n\n"
    blank = "{}\n" if input_format == "conllu" else "{} \t\n"
    pieces = [GOOD[input_format].format("a"), "\n", blank.format(" "), "\r\n", other]
    for _ in range(20 * SCALE):
        data = "".join(piece * draw.choice([1, 3, 60]) for piece in draw.choices(pieces, k=8))
        data = draw.choice(["", "\ufeff"]) + data
        found = records(data, input_format)
        raw = [line for record in found for line in record.sentences[0].raw]
        assert "".join(raw) == data
        assert max(len(record.sentences[0].raw) for record in found) < 150
        lines = data.split("\n")
        assert all(f"{word}" in lines[record.line - 1] for record in found for word in record.sentences[0].tokens)
        into = make_sink(
            input_format,
            WriteOptions(input_format=input_format, layout=Layout(0, "upos" if input_format == "conllu" else -1)),
        )
        expected = data.replace("a O", "a B-X").replace("a\t_\t_", "a\t_\tB-X")
        assert into.write(tagged(found)).decode() == expected


@pytest.mark.parametrize(
    ("input_format", "piece"),
    [
        ("columns", "\n"),
        ("columns", "-DOCSTART-\n\n"),
        ("conllu", "\n"),
        ("conllu", "# comment\n"),
        ("conllu", "# comment\n\n"),
        ("conllu", " " * 900 + "\n"),
    ],
)
def test_records_of_long_runs_are_small(input_format: str, piece: str) -> None:
    layout = Layout(0, "xpos" if input_format == "conllu" else None)
    source = BytesIO(piece.encode() * (500_000 // len(piece)))
    found = reader.read_records(
        source, input_format=input_format, layout=layout, reject=lambda _: None, max_record_bytes=LIMIT
    )
    assert max((record.size for record in found), default=0) < 100_000


def test_a_hundred_thousand_tokens_are_not_a_large_record() -> None:
    words = ["word"] * 100_000
    for input_format, data in {
        "lines": " ".join(words),
        "jsonl": json.dumps({"tokens": words}),
        "columns": "".join(f"{word} O\n" for word in words),
        "conllu": "".join(f"{number}\t{word}\t_\t_\t_\t_\t_\t_\t_\t_\n" for number, word in enumerate(words, 1)),
    }.items():
        layout = Layout(0, "xpos" if input_format == "conllu" else None)
        (record,) = reader.read_records(BytesIO(data.encode()), input_format=input_format, layout=layout)
        assert len(record.sentences[0]) == 100_000


def test_a_long_line_among_vectors_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a 1 2\n" + "b" * (line_reader.MAX_RECORD_BYTES + 1) + " 1 2\n")
    with pytest.raises(DataError, match=r"^.*a\.txt:2: a line of over 1 MiB; expected a word") as caught:
        vector_files.read(path, wanted={"a"}, max_frozen_words=10)
    assert len(caught.value.faults) == 1


class Held(dict[str, str]):
    """The fields of a record that take much memory."""


@pytest.mark.parametrize("alone", [None, lambda _: True, lambda _: False])
def test_a_pool_is_full_when_its_records_are_large_however_few_tokens_they_have(
    monkeypatch: pytest.MonkeyPatch, alone: Callable[[int], bool] | None
) -> None:
    monkeypatch.setattr(pools, "POOL_BYTES", 1 << 20)

    def large(_: int, reject: object) -> Iterator[Record]:
        for line in range(1, 201):
            yield Record((), 0, line, fields=Held(), size=1 << 18)

    reader = Reader(["a"], large, None, is_document=alone)
    sizes = []
    for _ in reader.pools():
        pool = reader.pending.popleft()
        sizes.append(sum(len(chunk.records) for chunk in pool.chunks))
        pool.clear()
        assert not any(chunk.records for chunk in pool.chunks)
    assert sum(sizes) == 200
    assert max(sizes) <= (4 if alone is None or alone(0) else 32 + 4)


def test_a_compressed_endless_line_is_rejected_once_and_never_in_memory() -> None:
    packed = gzip.compress(bytes(200_000_000), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rejects: list[Reject] = []
    assert (
        list(reader.read_records(BytesIO(packed), input_format="lines", layout=Layout(), reject=rejects.append)) == []
    )
    assert [reject.line for reject in rejects] == [1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    with pytest.raises(CorruptError):
        list(reader.read_records(BytesIO(packed[:-1]), input_format="lines", layout=Layout(), reject=rejects.append))
