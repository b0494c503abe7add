"""What the journal takes up it gives back, a line cut short left out; and it tells one job from another."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tagger.data.sentence import Record, Sentence, Span
from tagger.errors import StorageError
from tagger.jobs.journal import InputRecord, JobRecord, Journal, State, list_differences
from tagger.jobs.summary import Summary
from tests.robustness.runs import SCALE

INPUTS = [InputRecord(name, name, (1, 2)) for name in ("a", "b", "c\udcff")]
JOB = JobRecord.create({"model digest": "abc", "output_format": None}, INPUTS)


def state() -> State:
    summary = Summary(1, 2, 3, rejected=4, seconds=0.5)
    summary.spans.update(["PER", "PER"])
    return State(5, 2, 1, [1], 7, 80, "id", (90, 4), summary, Summary(rejected=1))


def test_the_journal_returns_the_last_state(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.start(JOB)
    assert Journal(tmp_path / "journal").read() == (JOB, State())
    journal.add(State(pools=1))
    journal.add(state())
    assert Journal(tmp_path / "journal").read() == (JOB, state())


def test_a_journal_truncated_anywhere_returns_its_complete_lines_and_can_continue(tmp_path: Path) -> None:
    whole = Journal(tmp_path / "whole")
    whole.start(JOB)
    whole.add(State(pools=1))
    whole.add(state())
    data = (tmp_path / "whole").read_bytes()
    for size in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:size])
        journal = Journal(tmp_path / "cut")
        found = journal.read()
        lines = data[:size].count(b"\n")
        assert found == (None if not lines else (JOB, State(pools=lines - 1)))
        if found:
            journal.add(state())
            assert Journal(tmp_path / "cut").read() == (JOB, state())


def test_there_may_be_no_journal(tmp_path: Path) -> None:
    assert Journal(tmp_path / "none").read() is None


def changed(**files: tuple[int, int]) -> JobRecord:
    return replace(JOB, inputs=[replace(item, file=files.get(item.path, item.file)) for item in JOB.inputs])


def test_the_same_job_has_no_differences() -> None:
    assert list_differences(JOB, JOB, 3) == []


@pytest.mark.parametrize(("finished", "found"), [(0, []), (1, []), (2, ["b has changed since it was tagged"])])
def test_an_input_may_change_until_it_is_finished(finished: int, found: list[str]) -> None:
    assert list_differences(JOB, changed(b=(1, 3)), finished) == found


def test_each_difference_has_its_line() -> None:
    other = JobRecord.create({"model digest": "def", "output_format": "jsonl"}, JOB.inputs[:2])
    assert list_differences(JOB, other, 0) == [
        "model digest was 'abc', now 'def'",
        "`output_format` was None, now 'jsonl'",
        "the inputs were 3, now 2; they differ from number 3 on",
    ]


def test_a_summary_counts_documents_where_their_ids_change() -> None:
    summary = Summary()
    one = Sentence(("a", "b"), spans=(Span("X", 0, 2),))
    last = summary.add([Record((one,), "d1"), Record((one, Sentence(())), "d1"), Record((one,), "d2")], None)
    assert summary.add([Record((Sentence(()),), "d2")], last) == "d2"
    assert (summary.documents, summary.sentences, summary.tokens, summary.spans) == (2, 3, 6, {"X": 3})
    assert Summary.from_dict(summary.to_dict()) == summary
    assert str(summary).startswith("2 documents, 3 sentences, 6 tokens in 0.0 s (")


def mutated(value: Any, source: random.Random) -> Any:
    """Returns a JSON value in which one part, drawn at random, is another value."""
    if isinstance(value, dict) and value and source.random() < 0.8:
        key = source.choice(list(value))
        if source.random() < 0.2:
            return {name: inner for name, inner in value.items() if name != key}
        return value | {key: mutated(value[key], source)}
    if isinstance(value, list) and value and source.random() < 0.8:
        index = source.randrange(len(value))
        return [*value[:index], mutated(value[index], source), *value[index + 1 :]]
    return source.choice([None, True, -1, 10**30, 1e300, "../x", "", [], {}, [[]], {"a": 1}, -0.5, 2**63])


def test_a_journal_of_any_content_is_refused_in_one_line_or_read(tmp_path: Path) -> None:
    path, source, refused = tmp_path / "journal", random.Random(16), 0
    for number in range(200 * SCALE):
        lines = [JOB.to_json(), state().to_json()]
        lines[number % 2] = mutated(lines[number % 2], source)
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        if number % 5 == 0:
            place = source.randrange(len(data))
            data = data[:place] + source.randbytes(3) + data[place + 1 :]
        path.write_bytes(data)
        try:
            Journal(path).read()
        except StorageError as error:
            refused += 1
            assert len(error.faults) == 1  # noqa: PT017
            assert "\n" not in error.faults[0]  # noqa: PT017
    assert refused > 100 * SCALE


def test_a_file_that_is_not_a_journal_is_not_read(tmp_path: Path) -> None:
    for content in (b"mine\n", b"{}\n", b'{"options": {}, "inputs": []}\n'):
        (tmp_path / "journal").write_bytes(content)
        assert not Journal(tmp_path / "journal").has_mark(may_be_truncated=True)
        assert Journal(tmp_path / "journal").read() is None
    (tmp_path / "link").symlink_to("journal")
    assert not Journal(tmp_path / "link").has_mark(may_be_truncated=True)


def test_a_line_of_too_many_values_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = Journal(path)
    whole.start(JOB)
    path.write_bytes(path.read_bytes()[:-2] + b', "more": [' + b"[]," * 2_000_001 + b"1]}\n")
    with pytest.raises(StorageError, match="a line has too many values"):
        Journal(path).read()
