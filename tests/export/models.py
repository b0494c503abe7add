"""Exports in memory, for tests."""

from dataclasses import replace

from tagger.data.calibration import Calibration
from tagger.data.sentence import Sentence
from tagger.export.onnx import OnnxTagger, builder, exporter
from tagger.model import TaggerModel
from tests.tagging import models


def export_in_memory(model: TaggerModel, *, batch_tokens: int = 4096, quantize: bool = False) -> OnnxTagger:
    """Returns the tagger of a model's graph, without the comparison that an export makes."""
    data = builder.build_graph(model, quantize=quantize)
    return OnnxTagger.from_contents(data, exporter.describe_preprocessing(model).to_bytes(), batch_tokens=batch_tokens)


def calibrated(model: TaggerModel, temperature: float, **types: float) -> TaggerModel:
    """Returns a model with temperatures."""
    return replace(model, calibration=Calibration(temperature, types))


def documents() -> list[Sentence]:
    """Returns sentences of 1 to 40 words, three to a document, the second without words."""
    drawn = models.sentences(45)
    lengths = [1, 1, 2, *map(len, drawn[3:])]
    cut = [sentence.tokens[:length] for sentence, length in zip(drawn, lengths, strict=True)]
    return [
        Sentence(tokens if number != 1 else (), document=number // 3, line=number) for number, tokens in enumerate(cut)
    ]
