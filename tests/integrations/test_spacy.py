"""The spaCy component: the spans of `tagger tag`, other tokenizers, existing entities, and pipelines on disk."""

import json
import pickle
import random
import subprocess
import sys
import tomllib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

spacy = pytest.importorskip("spacy")

import tagger  # noqa: E402
from tagger import model_dir  # noqa: E402
from tagger.data.calibration import Calibration  # noqa: E402
from tagger.errors import ConfigError, ModelError  # noqa: E402
from tagger.integrations import spacy as integration  # noqa: E402
from tests.tagging.models import make_model  # noqa: E402

NAME = "bilstm_crf_tagger"
WORDS = ("Ada", "lives", "in", "New", "York", "Dr.", "Oslo-based", "can't", "e.g.", "3.5", "😀", "שלום", "ba1", "U.S.")
GAPS = (" ", " ", " ", " ", "  ", "\n", " \n ", "\n\n", "\t", "\u00a0", "\u2028", ". ", "! ", "?\n", ", ", "")
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Models of random weights: one of spans that reads documents, one of plain tags, one of parts of speech."""
    folder = tmp_path_factory.mktemp("models")
    built = {
        "spans": make_model(types=("LOC", "PER"), spread=1.0, document_context={"output_dim": 6}),
        "tags": make_model(plain=3),
    }
    for name, model in built.items():
        model_dir.save(model, folder / name, {}, card=b"# Mine\n")
    return {name: str(folder / name) for name in built}


@pytest.fixture
def make(models: dict[str, str]) -> Make:
    """Returns a pipeline with the component."""

    def build(model: str = "spans", *, nlp: Any = None, name: str = NAME, **settings: Any) -> Any:
        nlp = nlp or integration.create_blank()
        nlp.add_pipe(NAME, name, config={"model": models[model], "device": "cpu", "workers": 1, **settings})
        return nlp

    return build


def texts(count: int, seed: int = 0) -> list[str]:
    """Returns texts of several lines, with white space and punctuation of many kinds."""
    source = random.Random(seed)
    result = []
    for _ in range(count):
        parts = [source.choice(WORDS) + source.choice(GAPS) for _ in range(source.randint(0, 10))]
        result.append(source.choice(("", " ", "\n", "\ufeff")) + "".join(parts))
    return result


def spans(doc: Any) -> list[tuple[str, int, int, float]]:
    return [(each.label_, each.start_char, each.end_char, each._.probability) for each in doc.ents]


def test_spans_tokens_and_sentences_of_a_thousand_texts_are_those_of_raw_text(
    make: Make, models: dict[str, str], tmp_path: Path
) -> None:
    generated = texts(1000)
    loaded = tagger.load(models["spans"], device="cpu")
    docs = list(make().pipe(generated, batch_size=64))
    count = 0
    for doc, document, text in zip(docs, loaded.tag_text(generated, probabilities=True), generated, strict=True):
        assert doc.text == text
        expected = [(span.type, span.start_char, span.end_char) for span in document.spans]
        assert [span[:3] for span in spans(doc)] == expected
        assert [span[3] for span in spans(doc)] == pytest.approx(
            [span.probability for span in document.spans], abs=1e-5
        )
        sentences = [[token.text for token in sent if token.text.strip("\ufeff").strip()] for sent in doc.sents]
        assert [each for each in sentences if each] == [list(sentence.tokens) for sentence in document.sentences]
        count += len(expected)
    assert count > 1000


def test_spans_of_a_text_are_those_of_the_command(make: Make, models: dict[str, str], tmp_path: Path) -> None:
    text = "".join(texts(40, seed=2)).replace("\ufeff", "")
    (tmp_path / "a.txt").write_text(text, newline="")
    output = BytesIO()
    tagger.tag_files(models["spans"], tmp_path / "a.txt", device="cpu", streams=(BytesIO(), output))
    rows = [json.loads(line) for line in output.getvalue().splitlines()]
    expected = [(span["type"], span["start"], span["end"]) for row in rows for span in row["spans"]]
    assert [span[:3] for span in spans(make()(text))] == expected


def test_a_pipe_gives_what_single_calls_give_at_any_batch_size(make: Make) -> None:
    nlp, some = make(), texts(15, seed=1)
    single = [spans(nlp(text)) for text in some]
    for size in (1, 7, 1000):
        piped = [spans(doc) for doc in nlp.pipe(some, batch_size=size)]
        for first, second in zip(piped, single, strict=True):
            assert [span[:3] for span in first] == [span[:3] for span in second]
            assert [span[3] for span in first] == pytest.approx([span[3] for span in second], abs=1e-5)


def test_a_pipe_reads_no_more_than_a_batch_ahead(make: Make) -> None:
    component = make().get_pipe(NAME)
    nlp, read = spacy.blank("en"), []

    def stream() -> Any:
        for number in range(20):
            read.append(number)
            yield nlp(f"Ada {number} lives in Oslo.")

    next(component.pipe(stream(), batch_size=5))
    assert len(read) == 5


def test_the_tokens_of_any_tokenizer_are_tagged_as_they_are(make: Make, models: dict[str, str]) -> None:
    nlp = make(nlp=spacy.blank("en"))
    doc = nlp("Oslo-based Ada \n\n lives\tin New  York. Grace, too!")
    assert "-" in [token.text for token in doc]  # our own tokenizer splits no hyphens
    loaded = tagger.load(models["spans"], device="cpu")
    sentences = [
        ["Oslo", "-", "based", "Ada"],
        ["lives", "in", "New", "York", "."],
        ["Grace", ",", "too", "!"],
    ]
    tagged = loaded.tag([tagger.Sentence(tuple(tokens)) for tokens in sentences], probabilities=True)
    words = [token.i for token in doc if not token.is_space]
    firsts = [0, 4, 9]
    expected = [
        (span.type, words[first + span.start], words[first + span.end - 1] + 1)
        for first, sentence in zip(firsts, tagged, strict=True)
        for span in sentence.spans
    ]
    assert [(span.label_, span.start, span.end) for span in doc.ents] == expected
    probabilities = [token._.probability for token in doc if not token.is_space]
    assert probabilities == pytest.approx([value for sentence in tagged for value in sentence.probabilities], abs=1e-5)
    assert all(token._.probability is None for token in doc if token.is_space)


def test_sentences_of_an_earlier_component_are_kept(make: Make, models: dict[str, str]) -> None:
    nlp = spacy.blank("en")

    @spacy.Language.component("test_every_two_tokens")
    def split(doc: Any) -> Any:
        for token in doc:
            token.is_sent_start = token.i % 2 == 0
        return doc

    nlp.add_pipe("test_every_two_tokens")
    doc = make(nlp=nlp)("Ada lives in New York . Ada")
    loaded = tagger.load(models["spans"], device="cpu")
    pairs = [("Ada", "lives"), ("in", "New"), ("York", "."), ("Ada",)]
    tagged = loaded.tag([tagger.Sentence(pair) for pair in pairs])
    assert [entity.label_ for entity in doc.ents] == [span.type for sentence in tagged for span in sentence.spans]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "Ada", "\ufeff", " Ada", "\ud800 Ada"])
def test_short_and_blank_texts_are_tagged(text: str, make: Make) -> None:
    nlp = make()
    assert nlp(text).text == text.replace("\ud800", "\ufffd")
    assert [doc.text for doc in nlp.pipe([text, text])] == [text.replace("\ud800", "\ufffd")] * 2


def test_earlier_entities_stay_unless_they_are_to_be_overwritten(make: Make) -> None:
    text = "Ada Oslo Ada Oslo Ada Oslo Ada Oslo"
    plain = make()(text)
    assert plain.ents
    first = plain.ents[0]

    def annotated(overwrite: bool) -> Any:
        nlp = integration.create_blank()
        ruler = nlp.add_pipe("entity_ruler")
        ruler.add_patterns([{"label": "RULE", "pattern": first.text}])
        return make(nlp=nlp, overwrite_ents=overwrite)(text)

    kept = annotated(overwrite=False)
    ruled = [entity for entity in kept.ents if entity.label_ == "RULE"]
    assert ruled[0].start == first.start
    assert all(entity._.probability is None for entity in ruled)
    replaced = annotated(overwrite=True)
    assert [span for span in spans(replaced) if span[0] != "RULE"] == spans(plain)


def test_several_components_work_in_one_pipeline(make: Make) -> None:
    doc = make("tags", nlp=make(), name="second")("Ada lives in Oslo .")
    assert [token.tag_ for token in doc] == [token.tag_ for token in make("tags")("Ada lives in Oslo .")]
    assert [span[:3] for span in spans(doc)] == [span[:3] for span in spans(make()("Ada lives in Oslo ."))]


def test_plain_tags_become_tags_or_parts_of_speech(make: Make, tmp_path: Path) -> None:
    doc = make("tags")("Ada  lives.")
    assert {token.tag_ for token in doc} <= {"T0", "T1", "T2", "_SP"}
    assert [token.tag_ == "_SP" for token in doc] == [token.is_space for token in doc]
    sentence = tagger.Sentence(("Ada",), tags=("NOUN",))
    from tagger.config import Config
    from tagger.model import build_model

    model_dir.save(build_model(Config(), [sentence, tagger.Sentence(("is",), tags=("VERB",))]), tmp_path / "pos", {})
    nlp = integration.create_blank()
    component = nlp.add_pipe(NAME, config={"model": str(tmp_path / "pos")})
    assert component.target == "pos"
    assert {token.pos_ for token in nlp("Ada  is")} <= {"NOUN", "VERB", "SPACE"}
    assert component.labels == ("NOUN", "VERB")


@pytest.mark.parametrize(
    ("model", "wanted", "message"),
    [
        ("spans", "tag", "the model finds spans; omit it or set it to 'ents'"),
        ("tags", "ents", "the model has plain tags; set it to 'tag' or 'pos'"),
        ("tags", "pos", "spaCy has no parts of speech T0, T1, T2; set it to 'tag'"),
    ],
)
def test_a_target_that_does_not_fit_the_model_is_one_line(model: str, wanted: str, message: str, make: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        make(model, annotate=wanted)("Ada")


def test_thresholds_and_precisions_leave_out_spans(make: Make, tmp_path: Path, models: dict[str, str]) -> None:
    text = " ".join(["Ada lives in Oslo ba1 Ce2 DI3 ."] * 5)
    everything = spans(make()(text))
    middle = sorted(span[3] for span in everything)[len(everything) // 2]
    kept = spans(make(threshold=middle)(text))
    assert 0 < len(kept) < len(everything)
    assert kept == [span for span in everything if span[3] >= middle]
    without = make(threshold=middle, probabilities=False)(text)
    assert [span[:3] for span in spans(without)] == [span[:3] for span in kept]
    assert all(span[3] is None for span in spans(without))
    counts = {"PER": ((0.0, 1000, 1000),), "LOC": ((0.0, 1000, 10),)}
    model_dir.add_calibration(Path(models["spans"]), Calibration(thresholds=counts), tmp_path / "calibrated")
    nlp = integration.create_blank()
    nlp.add_pipe(NAME, config={"model": str(tmp_path / "calibrated"), "precision": 0.9})
    assert {span[0] for span in spans(nlp(text))} == {"PER"}


def test_a_pipeline_on_disk_holds_the_model_and_loads_without_the_first_one(
    make: Make, models: dict[str, str], tmp_path: Path
) -> None:
    model_dir.copy(Path(models["spans"]), tmp_path / "original")
    nlp = integration.create_blank()
    nlp.add_pipe(NAME, config={"model": str(tmp_path / "original"), "device": "cpu"})
    expected = spans(nlp("Ada lives in Oslo ."))
    for _ in range(2):  # the second time, the directory exists
        nlp.to_disk(tmp_path / "pipeline")
    for path in (tmp_path / "original").iterdir():
        path.unlink()
    (tmp_path / "original").rmdir()
    loaded = spacy.load(tmp_path / "pipeline")
    assert spans(loaded("Ada lives in Oslo .")) == expected
    stored = tmp_path / "pipeline" / NAME
    assert (stored / "README.md").read_bytes() == b"# Mine\n"
    assert tagger.load(stored, device="cpu").span_types == ("LOC", "PER")
    weights = bytearray((stored / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (stored / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="is corrupt: its sha256 differs"):
        spacy.load(tmp_path / "pipeline")


def test_a_directory_that_is_no_model_is_not_replaced(make: Make, tmp_path: Path) -> None:
    (tmp_path / "pipeline" / NAME).mkdir(parents=True)
    (tmp_path / "pipeline" / NAME / "notes.txt").write_text("mine")
    with pytest.raises(tagger.TaggerError, match="exists and was not made by this tool"):
        make().to_disk(tmp_path / "pipeline")
    assert (tmp_path / "pipeline" / NAME / "notes.txt").read_text() == "mine"


def test_bytes_and_pickles_hold_the_model(make: Make) -> None:
    nlp = make()
    expected = spans(nlp("Ada lives in Oslo ."))
    data = nlp.to_bytes()
    other = integration.create_blank()
    other.add_pipe(NAME)
    assert spans(other.from_bytes(data)("Ada lives in Oslo .")) == expected
    assert b"pickle" not in data
    component = pickle.loads(pickle.dumps(nlp.get_pipe(NAME)))  # noqa: S301  # spaCy pickles components for processes
    assert spans(component(other.make_doc("Ada lives in Oslo ."))) == expected


def test_changed_bytes_are_refused(make: Make) -> None:
    component = make().get_pipe(NAME)
    data = component.to_bytes()
    with pytest.raises(ModelError, match="is corrupt"):
        component.from_bytes(data.replace(b"hidden_size: 12", b"hidden_size: 13"))


def test_a_component_without_a_model_or_with_a_wrong_one_is_one_line(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe(NAME)
    with pytest.raises(ConfigError, match=r"has no model; pass one: nlp\.add_pipe"):
        nlp("Ada")
    nlp.add_pipe(NAME, name="wrong", config={"model": str(tmp_path / "missing")})
    with pytest.raises(ModelError, match="no such model directory"):
        nlp.get_pipe("wrong").initialize(list)


def test_nlp_evaluate_scores_entities_and_tags(make: Make) -> None:
    from spacy.training import Example

    nlp = make()
    docs = [nlp(text) for text in texts(20, seed=3) if text.strip()]
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    scores = nlp.evaluate(examples)
    assert scores["ents_f"] == 1.0
    assert set(scores["ents_per_type"]) == {"LOC", "PER"}
    tags = make("tags")
    doc = tags("Ada lives in Oslo .")
    assert tags.evaluate([Example(tags.make_doc(doc.text), doc)])["tag_acc"] == 1.0


def test_newlines_can_be_white_space(make: Make, models: dict[str, str]) -> None:
    text = "Ada lives in New\nYork and Grace .\n\nOslo is far ."
    expected = tagger.load(models["spans"], device="cpu").tag_text(text, newline="space")
    doc = make(nlp=spacy.blank("en"), newline="space")(text)
    assert [span[:3] for span in spans(doc)] == [(span.type, span.start_char, span.end_char) for span in expected.spans]
    nlp = make(nlp=integration.create_blank(newline="space"))
    assert len(list(nlp(text).sents)) == len(expected.sentences) == 2


def test_the_wheel_registers_the_component_and_the_tokenizer() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for group, name in (("spacy_factories", NAME), ("spacy_tokenizers", integration.TOKENIZER)):
        module, _, function = project["entry-points"][group][name].partition(":")
        assert module == "tagger.integrations.spacy"
        assert callable(getattr(integration, function))


def test_without_torch_spacy_works_and_the_component_is_refused_in_one_line() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import spacy\n"
        "nlp = spacy.blank('en')\n"
        "print('tagger.integrations.spacy' in sys.modules, [token.text for token in nlp('Ada ran.')])\n"
        "from tagger.errors import ConfigError\n"
        "try:\n"
        f"    nlp.add_pipe({NAME!r}, config={{'model': 'model'}})\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "True ['Ada', 'ran', '.']",
        f"the component {NAME} needs torch; run `pip install torch`",
    ]
