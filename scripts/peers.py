"""Other toolkits, trained on the same data and asked for the same spans; each runs with a Python of its own.

`peer_process` starts this file, which loads a toolkit and answers calls as `benchmark_systems.serve` describes. It
imports the standard library alone until a toolkit is used.
"""

import gzip
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark_systems import Process, Result, measure_seconds, serve, speed

Tagged = tuple[list[str], list[str]]
"""Tokens and tags of a sentence, in IOB2."""
Spans = list[list[list[Any]]]
"""For each sentence type, start and end of each span."""


class Peer:
    """A toolkit in a folder that holds `data.json`: the tagged sentences of each part, such as train and dev.

    Args:
        folder: the folder of the data and of the trained model.
        vectors: a text table of word vectors, plain or .gz.
    """

    ready: Result = {}  # noqa: RUF012

    def __init__(self, folder: str, vectors: str) -> None:
        self.folder, self.vectors = Path(folder), Path(vectors)
        self.data: dict[str, list[Tagged]] = json.loads((self.folder / "data.json").read_text())

    def prepare(self) -> Result:
        """Converts data and vectors, which is not part of the training time."""
        return {}

    def train(self) -> Result:
        """Trains until the toolkit's own rule stops; `value` is the time in seconds."""
        return {"value": measure_seconds(self._train)}

    def load(self) -> Result:
        """Loads the model that was best on the dev data; `value` is its size on disk in bytes."""
        path = self._load()
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return {"value": sum(file.stat().st_size for file in files)}

    def predict(self, part: str, limit: int | None = None) -> Result:
        """Tags the first sentences of a part of the data: tokens per second, and the predicted spans."""
        sentences = [tokens for tokens, _ in self.data[part][:limit]]
        start = time.perf_counter()
        spans = self._tag(sentences)
        return speed(sum(map(len, sentences)), time.perf_counter() - start) | {"spans": spans}

    def _train(self) -> None:
        raise NotImplementedError

    def _load(self) -> Path:
        """Loads the model and returns its file or folder."""
        raise NotImplementedError

    def _tag(self, sentences: Sequence[list[str]]) -> Spans:
        raise NotImplementedError


class SpaCy(Peer):
    """NER of `spacy init config` with static vectors and gold tokens."""

    optimize = "efficiency"

    def prepare(self) -> Result:
        """Writes the vectors, the config and the data as spaCy reads them."""
        import spacy
        from spacy.cli.init_config import init_config
        from spacy.tokens import Doc, DocBin, Span
        from spacy.training.initialize import convert_vectors

        blank = spacy.blank("en")
        is_cased = any(word != word.lower() for word, _ in read_vectors(self.vectors))
        convert_vectors(blank, self.vectors, truncate=0, prune=-1, attr="ORTH" if is_cased else "LOWER")
        blank.to_disk(self.folder / "vectors")
        config = init_config(lang="en", pipeline=["ner"], optimize=self.optimize, gpu=False)
        config["components"]["tok2vec"]["model"]["embed"]["include_static_vectors"] = True
        config["paths"]["vectors"] = str(self.folder / "vectors")
        for part in ("train", "dev"):
            docs = DocBin()
            for tokens, tags in self.data[part]:
                doc = Doc(blank.vocab, words=tokens, sent_starts=[True] + [False] * (len(tokens) - 1))
                doc.ents = [Span(doc, start, end, label=kind) for kind, start, end in spans_of(tags)]
                docs.add(doc)
            docs.to_disk(self.folder / f"{part}.spacy")
            config["paths"][part] = str(self.folder / f"{part}.spacy")
            config["corpora"][part]["gold_preproc"] = True
        config.to_disk(self.folder / "config.cfg")
        return {}

    def _train(self) -> None:
        from spacy.cli.train import train

        train(self.folder / "config.cfg", self.folder / "model")

    def _load(self) -> Path:
        import spacy

        path = self.folder / "model" / "model-best"
        self._pipeline = spacy.load(path)
        return path

    def _tag(self, sentences: Sequence[list[str]]) -> Spans:
        from spacy.tokens import Doc

        docs = self._pipeline.pipe(Doc(self._pipeline.vocab, words=tokens) for tokens in sentences)
        return [[[ent.label_, ent.start, ent.end] for ent in doc.ents] for doc in docs]


class AccurateSpaCy(SpaCy):
    """The same with the settings for accuracy."""

    optimize = "accuracy"


class Flair(Peer):
    """SequenceTagger with WordEmbeddings, a BiLSTM-CRF, trained with the defaults of ModelTrainer."""

    has_characters = False

    def prepare(self) -> Result:
        """Builds the embeddings from the vectors."""
        import numpy as np
        import torch
        from flair.data import Dictionary
        from flair.embeddings import CharacterEmbeddings, StackedEmbeddings, WordEmbeddings

        table = dict(read_vectors(self.vectors))
        matrix = np.array([numbers.split(" ") for numbers in table.values()], np.float32)
        vocab = {word: index for index, word in enumerate(table)}
        words = WordEmbeddings(None, vocab=vocab, embedding_length=matrix.shape[1], name="table")
        words.embedding.weight.data[:-1] = torch.from_numpy(matrix)
        characters = Dictionary()
        for character in sorted({*itertools.chain(*itertools.chain(*(tokens for tokens, _ in self.data["train"])))}):
            characters.add_item(character)
        embeddings = [words, CharacterEmbeddings(characters)] if self.has_characters else [words]
        self._embeddings = StackedEmbeddings(embeddings)
        return {}

    def _train(self) -> None:
        from flair.data import Corpus, Sentence
        from flair.datasets import FlairDatapointDataset
        from flair.models import SequenceTagger
        from flair.trainers import ModelTrainer

        parts: dict[str, Any] = {"train": [], "dev": []}
        for part, sentences in parts.items():
            for tokens, tags in self.data[part]:
                sentence = Sentence(tokens)
                for kind, first, last in spans_of(tags):
                    sentence[first:last].add_label("ner", kind)
                sentences.append(sentence)
        corpus = Corpus(*map(FlairDatapointDataset, parts.values()), sample_missing_splits=False)
        model = SequenceTagger(self._embeddings, corpus.make_label_dictionary("ner", add_unk=False), "ner")
        ModelTrainer(model, corpus).train(self.folder / "model", save_final_model=False)

    def _load(self) -> Path:
        from flair.models import SequenceTagger

        path = self.folder / "model" / "best-model.pt"
        self._model = SequenceTagger.load(path)
        return path

    def _tag(self, sentences: Sequence[list[str]]) -> Spans:
        from flair.data import Sentence

        tagged = [Sentence(tokens) for tokens in sentences]
        self._model.predict(tagged, label_name="predicted", mini_batch_size=128)
        return [
            [[span.tag, span[0].idx - 1, span[-1].idx] for span in sentence.get_spans("predicted")]
            for sentence in tagged
        ]


class FlairWithCharacters(Flair):
    """The same with CharacterEmbeddings, as in Lample et al. (2016)."""

    has_characters = True


class CrfSuite(Peer):
    """A linear-chain CRF of CRFsuite over words, affixes and shapes of a token and its neighbours; no vectors."""

    def _train(self) -> None:
        import pycrfsuite

        trainer = pycrfsuite.Trainer(verbose=False)
        for tokens, tags in self.data["train"]:
            trainer.append(token_features(tokens), tags)
        trainer.set_params({"c1": 0.1, "c2": 0.01, "max_iterations": 200, "feature.possible_transitions": True})
        trainer.train(str(self.folder / "model.crfsuite"))

    def _load(self) -> Path:
        import pycrfsuite

        path = self.folder / "model.crfsuite"
        self._tagger = pycrfsuite.Tagger()
        self._tagger.open(str(path))
        return path

    def _tag(self, sentences: Sequence[list[str]]) -> Spans:
        return [spans_of(self._tagger.tag(token_features(tokens))) for tokens in sentences]


PEERS: dict[str, type[Peer]] = {
    "spacy": SpaCy,
    "spacy-accuracy": AccurateSpaCy,
    "flair": Flair,
    "flair-characters": FlairWithCharacters,
    "crfsuite": CrfSuite,
}


def peer_process(python: str, name: str, folder: Path, vectors: Path) -> Process:
    """Starts a peer with the Python that has its toolkit; its log is `NAME.log` in the folder."""
    setup = {"folder": str(folder.resolve()), "vectors": str(vectors.resolve())}
    return Process(python, name, log=folder / f"{name}.log", script=Path(__file__), **setup)


def token_features(tokens: Sequence[str]) -> list[list[str]]:
    """Returns the features of each token for a CRF without vectors: itself and two neighbours on each side.

    >>> token_features(["Rio", "."])[1][-2:]
    ['+1:end', '+2:end']
    """
    described = [
        [word.lower(), word[-3:], word[-2:], word[:3], word[:2], _shape(word)] if word else [] for word in tokens
    ]
    rows = []
    for index in range(len(tokens)):
        row = ["bias"]
        for offset in (0, -1, -2, 1, 2):
            position = index + offset
            if 0 <= position < len(tokens):
                row += [f"{offset:+}:{number}={value}" for number, value in enumerate(described[position])]
            else:
                row.append(f"{offset:+}:end")
        rows.append(row)
    return rows


def _shape(word: str) -> str:
    """Returns the word with letters and digits replaced by their kinds, runs shortened to one."""
    kinds = ("X" if c.isupper() else "x" if c.islower() else "0" if c.isdigit() else c for c in word)
    return "".join(kind for kind, _ in itertools.groupby(kinds))


def run_command(*arguments: str) -> str:
    """Runs a command of this toolkit; returns its standard output."""
    done = subprocess.run([sys.executable, "-m", "tagger", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"tagger {arguments[0]} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def predict_spans(model: Path, path: Path) -> Spans:
    """Returns the spans that a model of this toolkit finds in a file in columns."""
    lines = run_command("tag", str(path), "--model", str(model), "--from", "columns", "--to", "jsonl").splitlines()
    return [[[span["type"], span["start"], span["end"]] for span in json.loads(line)["spans"]] for line in lines]


def spans_of(tags: Sequence[str]) -> list[list[Any]]:
    """Returns type, start and end of the spans of tags in IOB2.

    >>> spans_of(["B-LOC", "I-LOC", "B-LOC", "O", "I-PER"])
    [['LOC', 0, 2], ['LOC', 2, 3], ['PER', 4, 5]]
    """
    spans: list[list[Any]] = []
    for index, tag in enumerate(tags):
        if tag == "O":
            continue
        if tag.startswith("I-") and spans and spans[-1][2] == index and spans[-1][0] == tag[2:]:
            spans[-1][2] = index + 1
        else:
            spans.append([tag[2:], index, index + 1])
    return spans


def f1(gold: Spans, predicted: Spans) -> float:
    """Returns the F1 of spans over all sentences, in percent."""
    sets = [({*map(tuple, one)}, {*map(tuple, other)}) for one, other in zip(gold, predicted, strict=True)]
    correct = sum(len(one & other) for one, other in sets)
    return 200 * correct / max(1, sum(len(one) + len(other) for one, other in sets))


def read_documents(path: Path) -> list[list[Tagged]]:
    """Returns the documents of a file in columns; needs this toolkit."""
    from tagger.data import reader, schemes
    from tagger.data.formats import Layout

    documents: dict[int, list[Tagged]] = {}
    for sentence in reader.read_sentences(path, input_format="columns", layout=Layout(), tagged=True):
        if sentence.tokens:
            tags = schemes.spans_to_tags(schemes.tags_to_spans(sentence.tags), len(sentence), "IOB2")
            documents.setdefault(sentence.document, []).append((list(sentence.tokens), list(tags)))
    return list(documents.values())


def draw(documents: Sequence[list[Tagged]], size: int, seed: int) -> list[list[Tagged]]:
    """Returns shuffled documents with `size` sentences in total; the last document may be truncated."""
    drawn: list[list[Tagged]] = []
    for document in random.Random(seed).sample(documents, len(documents)):
        if size > 0:
            drawn.append(document[:size])
            size -= len(document)
    return drawn


def read_vectors(path: Path) -> Iterator[tuple[str, str]]:
    """Yields the words of a text table and their numbers; a header line is skipped."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            word, _, numbers = line.rstrip("\n ").partition(" ")
            if " " in numbers:
                yield word, numbers


if __name__ == "__main__":
    serve(PEERS)
