"""The tagger that runs an exported model, with numpy and onnxruntime alone.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from tagger.data import schemes
from tagger.data.batch_order import batch_limit, split_into_batches
from tagger.data.calibration import find_threshold, scale_log_odds
from tagger.data.document_context import number_passages
from tagger.data.sentence import Sentence, Span
from tagger.errors import ConfigError, ModelError
from tagger.export.onnx import files, ports
from tagger.export.onnx.inputs import EncodedSentences
from tagger.export.onnx.preprocessing import Preprocessing
from tagger.export.onnx.session import Array, GraphSession
from tagger.tagging.pools import build_sentence_pools
from tagger.tagging.sentence_tagger import PrecisionLog, SentenceTagger, Stream

BATCH_TOKENS = 4096
_MAX_PAIRS = 1 << 24
"""Pairs of tags in a step of the largest batch."""


@dataclass(frozen=True)
class _Options:
    """What to compute besides tags.

    Attributes:
        probabilities: whether tags and spans get their probability.
        thresholds: by type, the least probability of spans; other types have no spans. None removes no spans.
    """

    probabilities: bool
    thresholds: Mapping[str, float] | None

    @property
    def needs_probabilities(self) -> bool:
        return self.probabilities or self.thresholds is not None

    def keeps(self, span: Span) -> bool:
        assert self.thresholds is not None
        return span.type in self.thresholds and _probability(span) >= self.thresholds[span.type]


class OnnxTagger(SentenceTagger):
    """Tags sentences with a model that `tagger export` wrote; several threads may use it.

        from tagger.export.onnx import OnnxTagger

        tagger = OnnxTagger("onnx/")
        sentence = tagger.tag(["Ada lives in Oslo ."], probabilities=True)[0]

    It imports no torch; `tag_text` needs spaCy, which imports torch where torch is installed. The result equals that of
    the PyTorch model, except for sentences longer than the limit of `tagger tag`: this tagger does not split them into
    windows. The graph has the best tags only, so `nbest` must be 0.

    Args:
        directory: the directory that `tagger export` wrote.
        batch_tokens: maximum number of tokens in a batch, padding included; a longer sentence is a batch by itself.
        threads: number of threads for each operator; for single sentences 1 is fastest.

    Raises:
        ConfigError: onnxruntime is not installed.
        ModelError: the directory is missing, damaged or no export.
        ValueError: a number is below 1.
    """

    def __init__(self, directory: str | Path, *, batch_tokens: int = BATCH_TOKENS, threads: int = 1) -> None:
        path = Path(directory)
        graph, preprocessing = files.read(path)
        self._set_up(graph, preprocessing, str(path), batch_tokens=batch_tokens, threads=threads)

    @classmethod
    def from_contents(
        cls, graph: bytes, preprocessing: bytes, *, batch_tokens: int = BATCH_TOKENS, threads: int = 1
    ) -> "OnnxTagger":
        """Returns the tagger of an export whose files are in memory."""
        tagger = cls.__new__(cls)
        tagger._set_up(graph, preprocessing, "the export", batch_tokens=batch_tokens, threads=threads)
        return tagger

    def _set_up(
        self, graph: bytes | bytearray, preprocessing: bytes, name: str, *, batch_tokens: int, threads: int
    ) -> None:
        for key, limit in (("batch_tokens", batch_tokens), ("threads", threads)):
            if limit < 1:
                raise ValueError(f"{key} must be at least 1, got {limit}")
        self._preprocessing = Preprocessing.from_bytes(preprocessing, f"{name}/{files.PREPROCESSING}")
        self._session = GraphSession(graph, f"{name}/{files.GRAPH}", threads=threads)
        if set(self._session.inputs) != set(self._preprocessing.inputs):
            raise ModelError(f"{name}: the inputs of {files.GRAPH} are not those of {files.PREPROCESSING}")
        self._name, self._tag_ids = name, {tag: number for number, tag in enumerate(self.tags)}
        self._is_untyped = self.span_types == (schemes.UNTYPED,)
        self._limit = batch_limit(max_sentences=max(1, _MAX_PAIRS // len(self.tags) ** 2), max_tokens=batch_tokens)
        self._has_passages = ports.CONTEXT_INDEX in self._preprocessing.inputs
        self._precision_log = PrecisionLog()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, in the order of their ids."""
        return self._preprocessing.tags

    @property
    def span_types(self) -> tuple[str, ...]:
        """The types of the spans that the model finds, sorted; none for plain tags."""
        return tuple(sorted({schemes.split(tag)[1] for tag in self.tags} - {""})) if self._preprocessing.scheme else ()

    @property
    def uses_document_context(self) -> bool:
        """Whether the tags of a sentence depend on the other sentences of its document."""
        return self._has_passages

    @property
    def default_language(self) -> str:
        """The ISO code of the language of texts if none is given."""
        return self._preprocessing.language

    @property
    def trained_tokenizer(self) -> str | None:
        """The tokenizer of the texts that the model was trained on; None if it was trained on tokens."""
        return self._preprocessing.tokenizer

    def open_stream(
        self, *, probabilities: bool, threshold: float | None, precision: float | None, nbest: int
    ) -> Stream:
        """Returns a function that tags a stream of sentences; the options are those of `tag`."""
        options = self._build_options(probabilities, threshold, precision, nbest)
        return partial(self._stream, options=options)

    def _build_options(
        self, probabilities: bool, threshold: float | None, precision: float | None, nbest: int
    ) -> _Options:
        """Returns options for the decoding.

        Raises:
            ConfigError: an option does not fit the model.
        """
        if nbest:
            raise ConfigError("an exported model has the best tags only, no n-best; use `tagger.load` for `nbest`")
        for name, value in (("threshold", threshold), ("precision", precision)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"`{name}` must be from 0 to 1, got {value}")
            if value is not None and self._preprocessing.scheme is None:
                raise ConfigError(f"a {name} removes spans; the model's tags are plain")
        if threshold is not None:
            if precision is not None:
                raise ConfigError("`precision` selects a threshold for each type; omit `threshold` or `precision`")
            return _Options(probabilities, dict.fromkeys(self.span_types, threshold))
        return _Options(probabilities, None if precision is None else self._find_thresholds(precision))

    def _find_thresholds(self, precision: float) -> dict[str, float]:
        """Returns the threshold of each type with this precision.

        Raises:
            ConfigError: the model is not calibrated.
        """
        steps = self._preprocessing.thresholds
        if not steps:
            raise ConfigError(
                "`precision` needs a calibrated model; run `tagger calibrate` with annotated data, and export it again"
            )
        selected = {name: find_threshold(steps.get(name, ()), precision) for name in self.span_types}
        self._precision_log.add(precision, [name for name, threshold in selected.items() if threshold is None])
        return {name: threshold for name, threshold in selected.items() if threshold is not None}

    def _stream(self, sentences: Iterable[Sentence], options: _Options) -> Iterator[Sentence]:
        """Yields the sentences with tags, in their order."""
        for pool in build_sentence_pools(sentences, by_passage=self._has_passages):
            yield from self._tag_pool(pool, options)

    def _tag_pool(self, pool: Sequence[Sentence], options: _Options) -> list[Sentence]:
        """Returns the sentences of a pool with tags; sentences without tokens stay as they are."""
        filled = [position for position, sentence in enumerate(pool) if sentence.tokens]
        if not filled:
            return list(pool)
        passages = number_passages(pool) if self._has_passages else range(len(pool))
        encoded = EncodedSentences(
            self._preprocessing,
            [pool[position].tokens for position in filled],
            [passages[position] for position in filled],
        )
        order = sorted(range(len(filled)), key=encoded.lengths.__getitem__, reverse=True)
        tagged = list(pool)
        for batch in split_into_batches(order, encoded.lengths, self._limit):
            outputs = self._session.run(encoded.build_inputs(batch, probabilities=options.needs_probabilities))
            if not np.isfinite(outputs[ports.SCORE]).all():
                raise ModelError(f"{self._name}: the model's scores are not finite")
            for row, number in enumerate(batch):
                rows = {name: values[row] for name, values in outputs.items() if len(values)}
                tagged[filled[number]] = self._add_tags(pool[filled[number]], rows, options)
        return tagged

    def _add_tags(self, sentence: Sentence, outputs: dict[str, Array], options: _Options) -> Sentence:
        """Returns a sentence with tags, given its row of the outputs of the graph."""
        length = len(sentence)
        ids = outputs[ports.PATH][:length].tolist()
        tags = tuple([self.tags[number] for number in ids])
        scheme = self._preprocessing.scheme
        spans = schemes.tags_to_spans(tags) if scheme else ()
        if options.needs_probabilities and spans:
            spans = self._add_probabilities(spans, outputs[ports.SPAN_PROBABILITIES])
        if scheme and options.thresholds is not None:
            spans = tuple(filter(options.keeps, spans))
            tags = schemes.spans_to_tags(spans, length, scheme)
            ids = [self._tag_ids[tag] for tag in tags]
        probabilities: tuple[float, ...] = ()
        if options.needs_probabilities:
            values = outputs[ports.MARGINALS][np.arange(length), ids].tolist()
            for span in spans:
                values[span.start : span.end] = [_probability(span)] * (span.end - span.start)
            probabilities = tuple(values)
        return Sentence(
            sentence.tokens,
            tags=schemes.without_type(tags) if self._is_untyped else tags,
            spans=spans,
            document=sentence.document,
            line=sentence.line,
            raw=sentence.raw,
            offsets=sentence.offsets,
            source=sentence.source,
            probabilities=probabilities,
        )

    def _add_probabilities(self, spans: Sequence[Span], values: Array) -> tuple[Span, ...]:
        """Returns spans with their probabilities, given those (T,) at the last token of each span."""
        probabilities = values[[span.end - 1 for span in spans]]
        by_type = self._preprocessing.type_temperatures
        if by_type:
            probabilities = scale_log_odds(probabilities, np.array([by_type.get(span.type, 1.0) for span in spans]))
        return tuple(
            replace(span, probability=value) for span, value in zip(spans, probabilities.tolist(), strict=True)
        )


def _probability(span: Span) -> float:
    assert span.probability is not None
    return span.probability
