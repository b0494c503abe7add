"""Export of models to ONNX, and a tagger that runs an exported model without torch."""
