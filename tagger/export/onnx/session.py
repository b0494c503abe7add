"""Runs a graph: the only code that uses onnxruntime."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from numpy.typing import NDArray

from tagger.errors import ConfigError, ModelError

Array = NDArray[Any]


def check_library() -> None:
    """Raises ConfigError if onnxruntime is not installed."""
    if find_spec("onnxruntime") is None:
        raise ConfigError("a model in ONNX needs onnxruntime: pip install 'bilstm-crf-tagger[onnx]'")


class GraphSession:
    """A loaded graph, which several threads may run.

    Args:
        data: the content of an ONNX file.
        name: its name in messages.
        threads: number of threads for each operator.

    Attributes:
        inputs: the names of the inputs.
        outputs: the names of the outputs.

    Raises:
        ConfigError: onnxruntime is not installed.
        ModelError: ONNX Runtime cannot load the graph.
    """

    def __init__(self, data: bytes | bytearray, name: str, *, threads: int = 1) -> None:
        check_library()
        import onnxruntime  # loads slowly

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._name = name
        try:
            self._session: Any = onnxruntime.InferenceSession(bytes(data), options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has an exception of its own for each kind of fault
            raise ModelError(f"{name}: ONNX Runtime cannot load it: {_first_line(error)}") from error
        self.inputs = tuple(port.name for port in self._session.get_inputs())
        self.outputs = tuple(port.name for port in self._session.get_outputs())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Returns the outputs by name.

        Raises:
            ModelError: ONNX Runtime cannot compute them.
        """
        try:
            values = self._session.run(None, inputs)
        except Exception as error:
            raise ModelError(f"{self._name}: ONNX Runtime cannot run it: {_first_line(error)}") from error
        return dict(zip(self.outputs, values, strict=True))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
