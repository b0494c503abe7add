"""A builder of ONNX graphs: the only code that uses the onnx library."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagger.errors import ConfigError

Array = NDArray[Any]
Value = str | Array | np.float32 | int | float
"""The name of a value in the graph, or a constant, whose type is int64 or float64 if it is a number of Python."""

OPSET = 17
IR_VERSION = 8
_MAX_CONSTANT_BYTES = (1 << 31) - (1 << 24)
"""Protobuf writes less than 2 GiB; the rest is for nodes."""
_CONTRIBUTED = "com.microsoft"
_CONTRIBUTED_OPERATORS = ("DynamicQuantizeLSTM",)


class Port(NamedTuple):
    """An input or an output of a graph.

    Attributes:
        name: its name.
        dtype: the numpy type of its elements.
        shape: its dimensions, by number or by letter.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def check_library() -> None:
    """Raises ConfigError if the onnx library is not installed."""
    if find_spec("onnx") is None:
        raise ConfigError("an export to ONNX needs onnx: pip install 'bilstm-crf-tagger[onnx]'")


class Graph:
    """A graph under construction. Nodes of a subgraph read the values of the graphs around it by name.

    Args:
        parent: the graph that holds a node whose subgraph this is; None for the main graph.
    """

    def __init__(self, parent: "Graph | None" = None) -> None:
        import onnx

        self._onnx = onnx
        self._parent = parent
        self._numbers: Iterator[int] = parent._numbers if parent else itertools.count()
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._constant_bytes = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = parent._constants if parent else {}

    def constant(self, value: Array | np.float32 | int | float) -> str:
        """Returns the name of a constant, which equal constants share.

        Raises:
            ConfigError: the graph is larger than an ONNX file can be.
        """
        array = np.ascontiguousarray(value)
        array = array.reshape(np.shape(value))  # `ascontiguousarray` gives a number one dimension
        key = str(array.dtype), array.shape, array.tobytes()
        if key not in self._constants:
            name = self._constants[key] = f"constant_{next(self._numbers)}"
            main = self
            while main._parent is not None:
                main = main._parent
            main._constant_bytes += array.nbytes
            if main._constant_bytes > _MAX_CONSTANT_BYTES:
                raise ConfigError(
                    "a model whose graph has more than 2 GB cannot be exported to ONNX; train one with fewer or shorter"
                    " word vectors"
                )
            main._initializers.append(self._onnx.numpy_helper.from_array(array, name))
        return self._constants[key]

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> str:
        """Adds a node and returns the name of its only output."""
        return self.add_node(operator, 1, *inputs, **attributes)[0]

    def add_node(self, operator: str, output_count: int, *inputs: Value, **attributes: Any) -> list[str]:
        """Adds a node and returns the names of its outputs; the name of an input that is left out is empty."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        outputs = [f"{operator.lower()}_{next(self._numbers)}" for _ in range(output_count)]
        domain = _CONTRIBUTED if operator in _CONTRIBUTED_OPERATORS else ""
        self._nodes.append(self._onnx.helper.make_node(operator, names, outputs, domain=domain, **attributes))
        return outputs

    def cast(self, value: str, dtype: str) -> str:
        """Adds a conversion to a numpy type and returns the name of the result."""
        return self.add("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def loop(
        self,
        count: str,
        states: Sequence[str],
        body: Callable[["Graph", str, list[str]], tuple[Sequence[str], Sequence[str]]],
    ) -> tuple[list[str], list[str]]:
        """Adds a loop and returns the final states, and the rows that its iterations return, stacked.

        ONNX Runtime loses the shape of the rows if there is no iteration, so there must be at least one.

        Args:
            count: the number of iterations, at least 1.
            states: the initial states, in float64.
            body: adds the nodes of an iteration to its graph, given the graph, the number of the iteration and the
                states; returns the new states and the rows. States are float64; rows may have any type.
        """
        inner = Graph(self)
        names = [f"loop_{next(self._numbers)}" for _ in range(2 + len(states))]
        number, condition, *inputs = names
        new, rows = body(inner, number, inputs)
        helper, types = self._onnx.helper, self._onnx.TensorProto
        outputs = [inner.add("Identity", condition), *(inner.add("Identity", name) for name in (*new, *rows))]
        subgraph = helper.make_graph(
            inner._nodes,
            "iteration",
            [
                helper.make_tensor_value_info(number, types.INT64, []),
                helper.make_tensor_value_info(condition, types.BOOL, []),
                *(self._untyped(name) for name in inputs),
            ],
            [self._untyped(name) for name in outputs],
        )
        results = self.add_node("Loop", len(outputs) - 1, count, "", *states, body=subgraph)
        return results[: len(states)], results[len(states) :]

    def branch(
        self, condition: str, then: Callable[["Graph"], Sequence[str]], otherwise: Callable[["Graph"], Sequence[str]]
    ) -> list[str]:
        """Adds two alternatives and returns the values of the one that a condition selects."""
        branches = {}
        for key, build in (("then_branch", then), ("else_branch", otherwise)):
            inner = Graph(self)
            outputs = [inner.add("Identity", name) for name in build(inner)]
            infos = [self._untyped(name) for name in outputs]
            branches[key] = self._onnx.helper.make_graph(inner._nodes, key, [], infos)
        return self.add_node("If", len(outputs), condition, **branches)

    def to_bytes(self, inputs: Sequence[Port], outputs: Mapping[Port, str]) -> bytes:
        """Returns the graph as a checked ONNX file; each output has the name of its value."""
        helper = self._onnx.helper
        for port, value in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [port.name]))
        graph = helper.make_graph(
            self._nodes,
            "tagger",
            [self._describe(port) for port in inputs],
            [self._describe(port) for port in outputs],
            self._initializers,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_CONTRIBUTED, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tagger")
        self._onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _untyped(self, name: str) -> Any:
        """Returns a value of a subgraph, whose type follows from the node that holds the subgraph."""
        return self._onnx.ValueInfoProto(name=name)

    def _describe(self, port: Port) -> Any:
        types = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
        return self._onnx.helper.make_tensor_value_info(port.name, types, list(port.shape))
