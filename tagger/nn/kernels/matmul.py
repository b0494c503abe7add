"""Matrix multiplication on a CPU in which each result row is bit-identical in every batch.

BLAS libraries choose the order of additions by the number of rows. Here each element is one sum in a fixed order, by
fused multiply-add, so that a sentence has the same scores in every batch.

Shapes in this module: N rows, D inner dimension, W columns, P panels of 16 columns, W16 columns padded to whole panels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from tagger.nn.kernels.compiling import compiled, elementwise

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

_LANES = 8  # floats per vector; LLVM splits or joins vectors for processors with another vector size
PANEL = 2 * _LANES  # columns computed together
_ROWS = 6  # rows computed together: their 6 x 2 sums fit in 16 registers beside the operands
_BLOCK = 16 * _ROWS  # rows multiplied with all panels before the next rows: they stay in the cache
_BYTES = 4
_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, _LANES)


def _tile(rows: int) -> Callable[..., None]:
    """Returns the kernel that multiplies `rows` rows by one panel, with all sums in registers."""

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply_tile(_: Any, inputs: Any, row_step: Any, panel: Any, depth: Any, out: Any, out_step: Any) -> Any:
        def generate(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
            _write_tile(builder, rows, _TileArguments(*arguments))
            return context.get_dummy_value()

        return types.void(*6 * (types.intp,)), generate

    return multiply_tile  # type: ignore[no-any-return]


class _TileArguments(NamedTuple):
    """The LLVM values of a tile's arguments: addresses are integers, steps count floats."""

    inputs: Any
    row_step: Any
    panel: Any
    depth: Any
    out: Any
    out_step: Any


def _write_tile(builder: Any, rows: int, arguments: _TileArguments) -> None:
    """Writes the LLVM code of a tile."""
    fused = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, 3 * [_VECTOR]), f"llvm.fmuladd.v{_LANES}f32"
    )
    inputs, panel, out = (
        builder.inttoptr(address, _FLOAT.as_pointer()) for address in (arguments.inputs, arguments.panel, arguments.out)
    )
    starts = [builder.gep(inputs, [builder.mul(arguments.row_step, _INDEX(row))]) for row in range(rows)]
    before, loop = builder.block, builder.append_basic_block("depth")
    after = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    position = builder.phi(_INDEX)
    sums = [builder.phi(_VECTOR) for _ in range(2 * rows)]
    columns = builder.mul(position, _INDEX(PANEL))
    weights = [builder.load(_vector_at(builder, panel, columns, half), align=_BYTES) for half in (0, 1)]
    added = []
    for row, start in enumerate(starts):
        number = builder.load(builder.gep(start, [position]))
        spread = builder.insert_element(_VECTOR(ir.Undefined), number, ir.IntType(32)(0))
        spread = builder.shuffle_vector(spread, _VECTOR(ir.Undefined), ir.VectorType(ir.IntType(32), _LANES)(None))
        added += [builder.call(fused, [spread, weights[half], sums[2 * row + half]]) for half in (0, 1)]
    following = builder.add(position, _INDEX(1))
    for value, initial, updated in zip([position, *sums], [_INDEX(0), *sums], [following, *added], strict=True):
        value.add_incoming(initial if value is position else _VECTOR(None), before)
        value.add_incoming(updated, loop)
    builder.cbranch(builder.icmp_signed("<", following, arguments.depth), loop, after)
    builder.position_at_end(after)
    for row in range(rows):
        for half in (0, 1):
            target = _vector_at(builder, out, builder.mul(arguments.out_step, _INDEX(row)), half)
            builder.store(added[2 * row + half], target, align=_BYTES)


def _vector_at(builder: Any, start: Any, offset: Any, half: int) -> Any:
    address = builder.gep(start, [builder.add(offset, _INDEX(half * _LANES))])
    return builder.bitcast(address, _VECTOR.as_pointer())


_tile_6, _tile_5, _tile_4, _tile_3, _tile_2, _tile_1 = (_tile(rows) for rows in (6, 5, 4, 3, 2, 1))


@compiled()
def pack(weight: Floats) -> Floats:  # pragma: no cover
    """Returns (P, D, 16) a matrix (D, W) as panels of 16 columns, the last one padded with 0."""
    depth, columns = weight.shape
    panels = np.zeros((-(-columns // PANEL), depth, PANEL), np.float32)
    if weight.strides[0] < weight.strides[1]:  # read in memory order
        for column in range(columns):
            for row in range(depth):
                panels[column // PANEL, row, column % PANEL] = weight[row, column]
    else:
        for row in range(depth):
            for column in range(columns):
                panels[column // PANEL, row, column % PANEL] = weight[row, column]
    return panels


@compiled()
def multiply_into(inputs: Floats, count: int, panels: Floats, out: Floats) -> None:  # pragma: no cover
    """Multiplies the first `count` rows of `inputs` (N, D) by a packed matrix and writes the result to `out` (N, W16).

    Each row of both arrays must be contiguous. `out` must have at least the columns of the panels.
    """
    for first in range(0, count, _BLOCK):
        _multiply_block(inputs[first:], min(_BLOCK, count - first), panels, out[first:])


@compiled()
def _multiply_block(inputs: Floats, count: int, panels: Floats, out: Floats) -> None:  # pragma: no cover
    depth = panels.shape[1]
    step, out_step = inputs.strides[0] // _BYTES, out.strides[0] // _BYTES
    whole = count - count % _ROWS
    rest = count - whole
    last = inputs.ctypes.data + whole * inputs.strides[0]
    for number in range(len(panels)):
        panel = panels.ctypes.data + number * depth * PANEL * _BYTES
        target = out.ctypes.data + number * PANEL * _BYTES
        for row in range(0, whole, _ROWS):
            source = inputs.ctypes.data + row * inputs.strides[0]
            _tile_6(source, step, panel, depth, target + row * out.strides[0], out_step)
        target += whole * out.strides[0]
        if rest == 5:
            _tile_5(last, step, panel, depth, target, out_step)
        elif rest == 4:
            _tile_4(last, step, panel, depth, target, out_step)
        elif rest == 3:
            _tile_3(last, step, panel, depth, target, out_step)
        elif rest == 2:
            _tile_2(last, step, panel, depth, target, out_step)
        elif rest == 1:
            _tile_1(last, step, panel, depth, target, out_step)


def multiply(inputs: Floats, panels: Floats) -> Floats:
    """Returns (N, W16) the product of a matrix (N, D) and a packed matrix (P, D, 16); 0 if D is 0."""
    if not panels.shape[1]:  # the kernels read at least one row of a panel
        return np.zeros((len(inputs), len(panels) * PANEL), np.float32)
    out = np.empty((len(inputs), len(panels) * PANEL), np.float32)
    multiply_into(np.ascontiguousarray(inputs), len(inputs), panels, out)
    return out


@elementwise
def add_into(total: Floats, values: Floats) -> None:  # pragma: no cover
    """Adds values (N,) to `total` in place."""
    for index in range(len(total)):
        total[index] += values[index]
