"""Export of models to ONNX, and a tagger that runs an exported model without torch."""

from tagger.export.onnx.runtime import OnnxTagger

__all__ = ["OnnxTagger"]
