"""A model, or a run, that its author made to harm is refused in one line: in seconds, and before memory is taken.

By default 50 variants of each kind; TAGGER_TEST_SCALE=10 makes them 500. All have a valid manifest.
"""

import copy
import json
import logging
import os
import random
import resource
import shutil
import signal
import socket
import string
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file, save

from tagger import model as models
from tagger import model_dir, tagging, training
from tagger.config import Config, dump, load
from tagger.data import schemes
from tagger.data.sentence import Sentence
from tagger.data.vocab import SPECIAL, Vocab
from tagger.errors import ConfigError, DataError, ModelError, StorageError, TaggerError
from tagger.experiments import comparison, runs
from tagger.io import manifest, tensor_files
from tagger.nn.crf.linear_chain import IndependentTags
from tagger.tagging import Tagger, scorer_choice
from tagger.training import read_result, records
from tests.robustness.runs import SCALE, changed, child, ended
from tests.robustness.test_hostile_tensors import put

COUNT = 50 * SCALE
TEXT = ("config.yaml", "tags.txt", "words.txt", "frozen_words.txt", "chars.txt", "metrics.json")
FILES = (*TEXT, "weights.safetensors", manifest.MANIFEST)
NUMBERS = (-1, 0, 1, 2, 3, 64, 99, 16_384, 10**6, 10**9, 2**31, 2**63, 10**25, -0.5, 0.5, 1e6, 1e300, 1e-300)
VALUES = (*NUMBERS, None, True, "", "x", "O", [], [1], {}, {"a": 1}, {"O": 1e300})


@pytest.fixture(autouse=True)
def _in_seconds() -> Iterator[None]:
    """Ends a test that computes for long or hangs, as one that waits for a FIFO's writer does."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError("it hangs")

    limits = (signal.ITIMER_PROF, signal.SIGPROF, 10 * SCALE + 10), (signal.ITIMER_REAL, signal.SIGALRM, 100 * SCALE)
    before = [signal.signal(signum, stop) for _, signum, _ in limits]
    for timer, _, seconds in limits:
        signal.setitimer(timer, seconds)
    yield
    for (timer, signum, _), handler in zip(limits, before, strict=True):
        signal.setitimer(timer, 0)
        signal.signal(signum, handler)


@pytest.fixture
def model(model_path: Path, tmp_path: Path) -> Path:
    """A copy of the trained model."""
    return Path(shutil.copytree(model_path, tmp_path / "model"))


def one_line(error: TaggerError) -> None:
    """Sees that an error is told in lines of its own, none of them long."""
    assert all("\n" not in fault and len(fault) < 2000 for fault in error.faults), error.faults


# Files


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [_fifo, _device, Path.mkdir, _socket])
def test_only_regular_files_are_read(
    model: Path, name: str, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)  # the path of a socket must be short
    (model / name).unlink()
    make(Path(name))
    with pytest.raises(ModelError, match=rf"{name} (is not a regular file|cannot be read: No such device)") as caught:
        model_dir.load(model)
    one_line(caught.value)


def test_a_link_to_a_regular_file_is_read(model: Path, tmp_path: Path) -> None:
    for name in FILES:
        (model / name).rename(tmp_path / name)
        (model / name).symlink_to(tmp_path / name)
    assert len(model_dir.load(model)[0].tags) > 1


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_20_gigabytes_is_refused_for_its_size(model: Path, name: str) -> None:
    size = 20 << 30
    if name != manifest.MANIFEST:
        listed = json.loads((model / manifest.MANIFEST).read_bytes())
        del listed["sha256"]
        listed["files"][name]["size"] = size
        (model / manifest.MANIFEST).write_bytes(manifest.serialize(listed))
    os.truncate(model / name, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(ModelError, match=rf"{name} (is refused: it )?has 21474836480 bytes"):
        model_dir.load(model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 1


def test_no_changed_manifest_crashes_the_reader(model: Path) -> None:
    source, refused = random.Random(1), 0
    whole = json.loads((model / manifest.MANIFEST).read_bytes())
    del whole["sha256"]
    for _ in range(COUNT):
        listed = copy.deepcopy(whole)
        change_json(listed, source)
        try:
            (model / manifest.MANIFEST).write_bytes(manifest.serialize(listed))
            model_dir.load(model)
        except ModelError as error:
            one_line(error)
            refused += 1
    assert refused > COUNT // 2


def change_json(value: Any, source: random.Random) -> None:
    """Replaces, removes or adds a value somewhere within JSON, in place."""
    inside = [value]
    for inner in inside:
        inside += [
            one for one in (inner.values() if isinstance(inner, dict) else inner) if isinstance(one, dict | list)
        ]
    inner = source.choice([one for one in inside if one])
    key: Any = source.choice(list(inner)) if isinstance(inner, dict) else source.randrange(len(inner))
    match source.randrange(5):
        case 0:
            del inner[key]
        case 1 if isinstance(inner, dict):
            inner["".join(source.choices(string.printable, k=3))] = source.choice(VALUES)
        case _:
            inner[key] = source.choice(VALUES)


# Config


def try_configs(model: Path, count: int, report: Path) -> None:
    """Loads models of so many absurd recipes; reports what was refused, what went wrong, and the memory taken."""
    torch.set_num_threads(1)
    whole = yaml.safe_load((model / "config.yaml").read_text())
    source, refused, wrong = random.Random(2), 0, []
    for number in range(count):
        settings = copy.deepcopy(whole)
        for _ in range(source.choice((1, 1, 3))):
            section = settings[source.choice(("model", "model", "training", "data"))]
            if source.random() < 0.8:
                inner = [one for one in section.values() if isinstance(one, dict) and one] or [section]
                section = source.choice([section, *inner])
            section[source.choice(list(section))] = source.choice(VALUES)
        put(model, yaml.safe_dump(settings).encode(), "config.yaml")
        try:
            model_dir.load(model)
        except ModelError as error:
            refused += 1
            wrong += [f"{number}: {fault}" for fault in error.faults if "\n" in fault]
        except Exception as error:
            wrong.append(f"{number}: {error!r}")
    report.write_text(json.dumps([refused, wrong, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))


def test_no_absurd_recipe_allocates_memory(model: Path, tmp_path: Path) -> None:
    code = ended(child(try_configs, model, COUNT, tmp_path / "report"), 60 * SCALE)
    refused, wrong, kilobytes = json.loads((tmp_path / "report").read_text())
    assert (code, wrong) == (0, [])
    assert refused > COUNT // 2
    assert kilobytes < 1_000_000


@pytest.mark.parametrize(
    "override",
    [
        *(
            "words.embedding_dim=1000000000",
            "words.embedding_dim=16384",
            "encoder.hidden_size=16384",
            "encoder.num_layers=1000000",
        ),
        *(
            "encoder={hidden_size: 4096, num_layers: 64}",
            "characters.kernel_size=999999999",
            "characters.output_dim=10000000",
        ),
        *("casing=1000000000", "document_context.output_dim=1000000000", "encoder.attention_heads=1000000"),
        *("encoder.forget_bias=1e300", "encoder.forget_bias=-1e300", "head.tag_weights={O: 1e300}"),
        *("head.tag_weights={nothing: 1}", "head.tag_weights={PER: 1}"),
    ],
)
def test_a_model_of_an_absurd_size_is_refused(model: Path, override: str) -> None:
    key, _, value = override.partition("=")
    settings = yaml.safe_load((model / "config.yaml").read_text())
    *sections, last = key.split(".")
    inner = settings["model"]
    for section in sections:
        inner = inner[section]
    given = yaml.safe_load(value)
    inner[last] = inner[last] | given if isinstance(given, dict) else given
    put(model, yaml.safe_dump(settings).encode(), "config.yaml")
    if override == "head.tag_weights={PER: 1}":
        model_dir.load(model)
        return
    with pytest.raises(ModelError, match="model") as caught:
        model_dir.load(model)
    one_line(caught.value)


def test_a_model_too_large_to_be_loaded_is_not_trained(tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = changed(tiny_config, "model.encoder={hidden_size: 16384, num_layers: 2}")
    with pytest.raises(ConfigError, match=r"the model is too large: \d+ MiB of weights .* at most 700 MiB are loaded"):
        models.build_model(settings, [Sentence(("a",), tags=("X",))])
    monkeypatch.setattr(models, "MAX_WEIGHT_BYTES", 3_000)
    with pytest.raises(ConfigError, match="the model is too large"):
        models.build_model(tiny_config, [Sentence(("a",), tags=("X",))])


def test_loading_a_model_draws_no_random_numbers(model_path: Path) -> None:
    before = torch.get_rng_state()
    model_dir.load(model_path)
    assert torch.equal(before, torch.get_rng_state())


# Tensors


def test_every_file_that_our_reader_accepts_is_accepted_by_safetensors(model_path: Path) -> None:
    """And reads the same."""
    data, source, taken = (model_path / "weights.safetensors").read_bytes(), random.Random(3), 0
    length = 8 + int.from_bytes(data[:8], "little")
    for _ in range(COUNT):
        changed_data = bytearray(data)
        for _ in range(source.randrange(3)):
            changed_data[source.randrange(length)] = source.choice(b'0123456789,:[]{}" FIU')
        try:
            tensors = tensor_files.load_tensors(bytearray(changed_data))
        except ValueError:
            continue
        taken += 1
        expected = load_tensors(bytes(changed_data))
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert taken > COUNT // 10


# Vocabularies


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("words.txt", b"", "expected <padding> and <unknown> as its first entries"),
        ("words.txt", b"<padding>\n", "expected <padding> and <unknown>"),
        ("words.txt", b"<unknown>\n<padding>\n", "expected <padding> and <unknown>"),
        ("chars.txt", b"", "expected <padding> and <unknown>"),
        ("chars.txt", b"a\nb\nc\n", "expected <padding> and <unknown>"),
        ("frozen_words.txt", b"<padding>\n", "frozen_words.txt: has a word that is also in words.txt"),
        ("tags.txt", b"", "expected at least one tag"),
        ("tags.txt", b"O\n\n", "is empty or has a control character"),
        ("tags.txt", b"S-PER\nB-PER\n", "has span tags, but not O"),
        ("tags.txt", b"O\nL-PER\nU-PER\n", "'L-PER' is not a tag of the scheme IOBES"),
        ("tags.txt", b"O\nM-PER\n", "'M-PER' is not a tag of the scheme IOBES"),
        ("tags.txt", b"".join(b"%d\n" % number for number in range(2001)), "2001 tags are too many for the head crf"),
        ("tags.txt", b"".join(b"%d\n" % number for number in range(10_001)), "has 10001 entries; at most 10000"),
        ("words.txt", b"\n" * 4_000_001, "has 4000001 entries; at most 4000000"),
        (
            "words.txt",
            b"".join([b"<padding>\n<unknown>\n", *map(b"%d\n".__mod__, range(50_000))]),
            "is refused: it has",
        ),
    ],
)
def test_an_invalid_vocabulary_is_refused(model: Path, name: str, data: bytes, message: str) -> None:
    put(model, data, name)
    with pytest.raises(ModelError, match=message) as caught:
        model_dir.load(model)
    one_line(caught.value)


@pytest.mark.parametrize("character", "\0\r\t\x1b\x7f\x85\u2028\u2029\u202e\u2066\u200f\u061c")
def test_a_tag_with_a_control_character_is_refused(model: Path, character: str, tmp_path: Path) -> None:
    put(model, f"O\nA{character}B\n".encode(), "tags.txt")
    with pytest.raises(ModelError, match="is empty or has a control character") as caught:
        model_dir.load(model)
    one_line(caught.value)
    if character in "\0\r\t":  # the reader of columns refuses these, or takes them for something else
        return
    (tmp_path / "train.conll").write_text(f"a\tO\n\nb\tA{character}B\n")
    settings = changed(Config(), f"data.train={tmp_path}/train.conll")
    with pytest.raises(DataError, match=r"train\.conll:3: the tag .* is empty or has a control character"):
        training.train(settings, tmp_path / "run", device="cpu")


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES"])
def test_every_accepted_tag_set_has_a_valid_path_of_every_length(model: Path, scheme: str) -> None:
    """Walked from the start, tag by tag; the sets are all that can be made of O and two types."""
    settings = yaml.safe_load((model / "config.yaml").read_text())
    settings["data"]["scheme"] = scheme
    put(model, yaml.safe_dump(settings).encode(), "config.yaml")
    source, taken = random.Random(scheme), 0
    all_tags = ["O", *(f"{prefix}-{kind}" for prefix, kind in product("BIESLUM", ("PER", "LOC")))]
    config = model_dir.config.parse(yaml.safe_dump(settings), "a")
    for _ in range(4 * COUNT):  # few are accepted
        tags = source.sample(all_tags, source.randint(1, 5))
        try:
            model_dir._check_tags(Vocab(tags), config)
        except ModelError:
            continue
        taken += 1
        if not schemes.detect([tags]).scheme:
            continue
        reached = {tag for tag in tags if schemes.is_valid_transition(None, tag, scheme)}  # type: ignore[arg-type]
        for _ in range(len(tags) + 1):
            assert any(schemes.is_valid_transition(tag, None, scheme) for tag in reached)  # type: ignore[arg-type]
            reached = {tag for tag in tags if any(schemes.is_valid_transition(one, tag, scheme) for one in reached)}  # type: ignore[arg-type]
    assert taken > COUNT // 50


def test_no_changed_vocabulary_crashes_the_reader(model: Path) -> None:
    source, refused = random.Random(4), 0
    whole = {name: (model / name).read_bytes() for name in ("tags.txt", "words.txt", "frozen_words.txt", "chars.txt")}
    for number in range(COUNT):
        name = source.choice(list(whole))
        lines = whole[name].splitlines(keepends=True) or [b"\n"]
        place = source.randrange(len(lines))
        match number % 5:
            case 0:
                del lines[place]
            case 1:
                lines.insert(
                    place, source.choice((b"\n", b"a\n", b"\xff\n", b"<padding>\n", b"a", b"\0\n", b"B-X\n", b"O\n"))
                )
            case 2:
                lines[place] = lines[place].rstrip(b"\n")
            case 3:
                lines = [b"%d\n" % entry for entry in range(source.choice((1, 2, 100, 2001, 20_000)))]
            case _:
                source.shuffle(lines)
        put(model, b"".join(lines), name)
        try:
            loaded = model_dir.load(model)[0]
            if name == "tags.txt":
                Tagger(loaded, torch.device("cpu"), workers=1).tag(["a b"], probabilities=True, nbest=2)
        except ModelError as error:
            one_line(error)
            refused += 1
        put(model, whole[name], name)
    assert refused > COUNT // 2


def test_a_model_of_one_plain_tag_works(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("a X\nb X\n\nc X\n")
    overrides = [f"data.train={tmp_path}/train.conll", f"data.dev={tmp_path}/train.conll", "training.epochs=1"]
    for head in ("crf", "softmax"):
        settings = changed(Config(), *overrides, f"model.head.kind={head}", "model.encoder.hidden_size=8")
        best = training.train(settings, tmp_path / head, device="cpu").model_dir
        (sentence,) = tagging.load(best, device="cpu").tag(["a d"], probabilities=True, nbest=2)
        assert (sentence.tags, sentence.probabilities) == (("X", "X"), (1.0, 1.0))
        assert [alternative.tags for alternative in sentence.alternatives] == [("X", "X")]


# Many tags


def many(count: int, *overrides: str) -> models.TaggerModel:
    """Returns a model of so many plain tags."""
    settings = changed(
        Config(), "model.encoder.hidden_size=8", "model.characters.kind=none", "model.words.embedding_dim=8", *overrides
    )
    return models.build_model(settings, [Sentence(("a",), tags=(f"T{number}",)) for number in range(count)])


def test_a_tag_set_too_large_for_its_head_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        ConfigError, match=r"2001 tags are too many .* is data.tag the right column\? model.head.kind=soft"
    ):
        many(2001)
    with pytest.raises(ConfigError, match=r"10001 tags are too many for the head softmax, which takes 10000$"):
        many(10_001, "model.head.kind=softmax")
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "tagger"):
        many(501)
    assert "501 tags make a CRF slow" in caplog.text


def test_a_softmax_over_many_plain_tags_equals_a_chain_without_forbidden_transitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = many(7, "model.head.kind=softmax").network.head
    emissions, lengths = torch.randn(4, 6, 7, generator=torch.Generator().manual_seed(1)), torch.tensor([6, 3, 1, 5])
    chain = head.chain(emissions, lengths)
    monkeypatch.setattr(head, "_is_independent", True)
    independent = head.chain(emissions, lengths)
    assert isinstance(independent, IndependentTags)
    assert not isinstance(chain, IndependentTags)
    torch.testing.assert_close(independent.best_path(), chain.best_path())
    torch.testing.assert_close(independent.log_partition(), chain.log_partition())
    torch.testing.assert_close(independent.marginals(), chain.marginals())
    torch.testing.assert_close(independent.best_paths(9), chain.best_paths(9))


# Metrics

BAD_METRICS = (
    *("[]", "null", "NaN", "1", '"x"', '{"a": NaN}', '{"a": 1e999}', '{"a": -1e999}', '{"a": 1, "a": 2}'),
    *("[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000, "{", "", '{"a": ' + "9" * 30 + "}", '{"a": Infinity}'),
)


@pytest.mark.parametrize("text", BAD_METRICS, ids=lambda text: text[:12])
def test_metrics_that_are_not_an_object_of_valid_json_are_refused(model: Path, text: str) -> None:
    put(model, text.encode(), "metrics.json")
    with pytest.raises(ModelError, match=r"metrics\.json: ") as caught:
        model_dir.describe(model)
    one_line(caught.value)


def test_the_description_of_a_model_with_any_metrics_is_valid_json(model: Path) -> None:
    source, whole = random.Random(5), json.loads((model / "metrics.json").read_bytes())
    for _ in range(COUNT):
        metrics = copy.deepcopy(whole)
        change_json(metrics, source)
        put(model, json.dumps(metrics).encode(), "metrics.json")
        try:
            json.dumps(model_dir.describe(model), allow_nan=False)
        except ModelError as error:  # of a number that is too large
            one_line(error)


# Scores


def test_no_weights_lead_to_a_result_that_is_not_finite(model_path: Path) -> None:
    source, refused = random.Random(6), 0
    sentences = ["Ada lives in New York .", " ".join(["Oslo", "New"] * 10)]
    for number in range(COUNT):
        model = model_dir.load(model_path)[0]
        for name, weight in model.network.named_parameters():
            if source.random() < 0.2 or (number % 2 and name.startswith(("projection.", "head."))):
                size = source.choice((1e6, 1e15, 1e24, 1e25, 1e30, 1e37, 3e38))
                with torch.no_grad():
                    signs = torch.rand(weight.shape, generator=torch.Generator().manual_seed(number)) * 2 - 1
                    weight.copy_(signs * size if source.random() < 0.7 else torch.full_like(weight, size))
        asked = source.choice(({}, {"probabilities": True}, {"nbest": 3}, {"nbest": 2, "threshold": 0.5}))
        try:
            tagged = Tagger(model, torch.device("cpu"), workers=1).tag(sentences, **asked)  # type: ignore[arg-type]
        except ModelError as error:
            one_line(error)
            refused += 1
            continue
        for sentence in tagged:
            shares = [*sentence.probabilities, *(one.probability for one in sentence.alternatives)]
            shares += [span.probability for span in sentence.spans if span.probability is not None]
            assert all(0 <= share < 1.01 for share in shares), (number, shares)
    assert COUNT // 5 < refused < COUNT


def test_weights_that_overflow_are_refused_by_every_scorer(model: Path) -> None:
    tensors = load_file(model / "weights.safetensors")
    tensors["projection.weight"][:] = 3e38
    put(model, save(tensors))
    for asked in ({}, {"probabilities": True}, {"nbest": 3}):
        with pytest.raises(ModelError, match="the model's scores are"):
            tagging.load(model, device="cpu").tag(["Ada lives in Paris ."], **asked)  # type: ignore[arg-type]


# Runs


@pytest.fixture
def run(model_path: Path, tmp_path: Path) -> Path:
    """The records of a finished run, without its models."""
    finished = tmp_path / "run"
    finished.mkdir()
    for name in ("config.yaml", records.METRICS, records.COUNTS):
        shutil.copy(model_path.parent / name, finished)
    return finished


@pytest.mark.parametrize(
    "text",
    [
        *(
            "[]",
            "null",
            "1",
            "NaN",
            "",
            "{",
            "[" * 100_000,
            '{"dev": 1}',
            '{"dev": {"data": "", "columns": [], "rows": []}}',
        ),
        *(
            json.dumps({"dev": {"data": "x", "columns": columns, "rows": rows}})
            for columns, rows in [
                (["correct", "tokens"], []),
                (["correct", "tokens"], [[1]]),
                (["correct", "tokens"], [[1, -1]]),
                (["correct", "tokens"], [[1, 10**30]]),
                (["correct", "tokens"], [[1, 1.5]]),
                (["correct", "tokens"], [[1, True]]),
                (["correct", "tokens"], [[1, None]]),
                (["correct", "tokens"], {}),
                (["a", "b"], [[1, 1]]),
                ([], [[], []]),
                ("x", "y"),
            ]
        ),
    ],
    ids=lambda text: text[:60],
)
def test_counts_of_any_content_are_refused_in_one_line(run: Path, text: str) -> None:
    (run / records.COUNTS).write_text(text)
    with pytest.raises(ModelError, match="run") as caught:
        comparison.compare(run, run, on="dev", samples=10)
    one_line(caught.value)


def test_no_changed_counts_lead_to_a_comparison_that_is_not_valid_json(run: Path) -> None:
    source, whole = random.Random(7), json.loads((run / records.COUNTS).read_bytes())
    for part in whole.values():
        del part["rows"][3:]
    for _ in range(COUNT):
        counts = copy.deepcopy(whole)
        change_json(counts, source)
        (run / records.COUNTS).write_text(json.dumps(counts))
        try:
            found = comparison.compare(run, run, on="dev", samples=5)
        except (ModelError, StorageError) as error:  # StorageError: the part of the data is missing
            one_line(error)
        else:
            json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("samples", [0, -1, 1_000_001, 10**10, 10**30])
def test_a_number_of_samples_that_takes_hours_is_refused(run: Path, samples: int) -> None:
    with pytest.raises(ConfigError, match="samples must be from 1 to 1000000"):
        comparison.compare(run, run, on="dev", samples=samples)


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "null", "1", "NaN", "", "{", "{}", "[" * 100_000, '{"seeds": [1]}'),
        *(
            json.dumps({"seeds": seeds, "init_from": init_from})
            for seeds, init_from in [
                ([], None),
                (None, None),
                (["1"], None),
                ([1.0], None),
                ([True], None),
                ([-1], None),
                ([2**63], None),
                ([1, 1], None),
                ([10**30], None),
                (list(range(1001)), None),
                ({"1": 1}, None),
                ([1], 3),
                ([1], ["a"]),
                ([1], "a\0b"),
                ([1], "\ud800"),
            ]
        ),
    ],
    ids=lambda text: ascii(text[:60]),
)
def test_seeds_of_any_content_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / runs.SEEDS).write_text(text)
    with pytest.raises(ModelError, match=r"seeds\.json: cannot be read") as caught:
        runs.read_seeds(tmp_path)
    one_line(caught.value)


def test_no_changed_seeds_crash_the_reader(tmp_path: Path) -> None:
    source = random.Random(8)
    for _ in range(COUNT):
        seeds = {"seeds": [1, 2, 3], "init_from": "model", "best": 1, "dev": {"mean": 1.0}, "results": []}
        change_json(seeds, source)
        (tmp_path / runs.SEEDS).write_text(json.dumps(seeds))
        try:
            found, init_from = runs.read_seeds(tmp_path)
        except ModelError as error:
            one_line(error)
        else:
            assert all(0 <= seed < 2**63 for seed in found)
            assert init_from is None or isinstance(init_from, Path)


def test_no_changed_records_lead_to_results_that_are_not_valid_json(run: Path) -> None:
    source = random.Random(9)
    lines = [json.loads(line) for line in (run / records.METRICS).read_text().splitlines()]
    assert len(read_result(run, 1).history) == 12
    refused = 0
    for number in range(COUNT):
        found = copy.deepcopy(lines)
        if number % 3:
            change_json(found, source)
        text = "".join(json.dumps(line) + "\n" for line in found)
        if number % 3 == 0:
            text = text.replace(
                source.choice(("0.", "true", '"dev"', "{", "1", '"epoch"')), source.choice(("1e999", "NaN", "[", ""))
            )
        (run / records.METRICS).write_text(text)
        try:
            result = read_result(run, 1)
        except ModelError as error:
            one_line(error)
            refused += 1
        else:
            results = runs.ExperimentResult(run, (1,), None, (result,))
            json.dumps(results.to_json(), allow_nan=False)
            assert str(results)
    assert refused > COUNT // 3


def test_the_files_of_a_run_are_read_only_if_regular_and_of_limited_size(run: Path) -> None:
    for name, read in ((records.COUNTS, records.read_counts), (records.METRICS, records.read_metrics)):
        os.truncate(run / name, 20 << 30)
        with pytest.raises(StorageError, match=rf"{name} has 21474836480 bytes; at most"):
            read(run)
        (run / name).unlink()
        os.mkfifo(run / name)
        with pytest.raises(StorageError, match=rf"{name} is not a regular file"):
            read(run)


def test_a_recipe_of_20_gigabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    os.truncate(tmp_path / "recipe.yaml", 20 << 30)
    with pytest.raises(ConfigError, match="expected at most 10000 bytes, found more"):
        load(str(tmp_path / "recipe.yaml"))


def test_a_recipe_that_the_model_could_not_store_is_refused_before_training(tiny_config: Config) -> None:
    weights = ", ".join(f"T{number}: 1.5" for number in range(800))
    settings = changed(tiny_config, f"model.head.tag_weights={{{weights}}}")
    assert len(dump(settings)) > 10_000
    with pytest.raises(
        ConfigError, match="the recipe as the model stores it: expected at most 10000 bytes, found more"
    ):
        models.build_model(settings, [Sentence(("a",), tags=(f"T{number}",)) for number in range(800)])


def test_special_entries_are_the_first_of_the_vocabularies(tiny_config: Config) -> None:
    model = models.build_model(tiny_config, [Sentence(("a",), tags=("X",))])
    assert model.words.items[:2] == model.characters.items[:2] == SPECIAL


def test_a_character_table_of_gigabytes_is_not_computed(tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.build_model(tiny_config, [Sentence(("a",), tags=("X",))])
    assert scorer_choice.can_cache(model, torch.device("cpu"))
    monkeypatch.setattr(scorer_choice, "_CHARACTER_TABLE_BYTES", 8 * 8 * 3 * 3 - 1)  # features, kernel and characters
    assert not scorer_choice.can_cache(model, torch.device("cpu"))
    (sentence,) = Tagger(model, torch.device("cpu"), workers=1).tag(["a b"])
    assert sentence.tags == ("X", "X")
