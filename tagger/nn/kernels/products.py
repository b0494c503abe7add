"""Matrix products for a CPU, each row of a result the same bit for bit whatever other rows are computed with it.

Libraries choose how to add up by the number of rows. Here every number of a product is one sum, taken in the order of
the depth with fused multiplication and addition, so that a sentence has the same scores in every batch.

Shapes in this module: N rows, D depth, W width, P panels of 16 columns, W16 the width filled up to whole panels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from tagger.nn.kernels.compiling import compiled, unit_wise

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

LANES = 8  # of a vector; where the machine's are of another width, LLVM puts them together or takes them apart
PANEL = 2 * LANES  # columns that are computed together
ROWS = 6  # rows that are computed together: 6 times 2 sums leave room in 16 registers for what is multiplied
BLOCK = 16 * ROWS  # rows that go with all panels before the next: they stay in the cache
_BYTES = 4
_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _tile(rows: int) -> Callable[..., None]:
    """Returns the kernel that multiplies so many rows with one panel, all sums in registers."""

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply_tile(_: Any, inputs: Any, row_step: Any, panel: Any, depth: Any, out: Any, out_step: Any) -> Any:
        def generate(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
            _write_tile(builder, rows, *arguments)
            return context.get_dummy_value()

        return types.void(*6 * (types.intp,)), generate

    return multiply_tile  # type: ignore[no-any-return]


def _write_tile(
    builder: Any, rows: int, inputs: Any, row_step: Any, panel: Any, depth: Any, out: Any, out_step: Any
) -> None:
    """Writes the LLVM code of a tile; addresses are numbers, steps count floats."""
    fused = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, 3 * [_VECTOR]), f"llvm.fmuladd.v{LANES}f32"
    )
    inputs, panel, out = (builder.inttoptr(address, _FLOAT.as_pointer()) for address in (inputs, panel, out))
    starts = [builder.gep(inputs, [builder.mul(row_step, _INDEX(row))]) for row in range(rows)]
    before, loop = builder.block, builder.append_basic_block("depth")
    after = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    place = builder.phi(_INDEX)
    sums = [builder.phi(_VECTOR) for _ in range(2 * rows)]
    columns = builder.mul(place, _INDEX(PANEL))
    weights = [builder.load(_vector_at(builder, panel, columns, half), align=_BYTES) for half in (0, 1)]
    added = []
    for row, start in enumerate(starts):
        number = builder.load(builder.gep(start, [place]))
        spread = builder.insert_element(_VECTOR(ir.Undefined), number, ir.IntType(32)(0))
        spread = builder.shuffle_vector(spread, _VECTOR(ir.Undefined), ir.VectorType(ir.IntType(32), LANES)(None))
        added += [builder.call(fused, [spread, weights[half], sums[2 * row + half]]) for half in (0, 1)]
    following = builder.add(place, _INDEX(1))
    for changing, first, then in zip([place, *sums], [_INDEX(0), *sums], [following, *added], strict=True):
        changing.add_incoming(first if changing is place else _VECTOR(None), before)
        changing.add_incoming(then, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    for row in range(rows):
        for half in (0, 1):
            target = _vector_at(builder, out, builder.mul(out_step, _INDEX(row)), half)
            builder.store(added[2 * row + half], target, align=_BYTES)


def _vector_at(builder: Any, start: Any, place: Any, half: int) -> Any:
    address = builder.gep(start, [builder.add(place, _INDEX(half * LANES))])
    return builder.bitcast(address, _VECTOR.as_pointer())


_six, _five, _four, _three, _two, _one = (_tile(rows) for rows in (6, 5, 4, 3, 2, 1))


@compiled()
def packed(weight: Floats) -> Floats:  # pragma: no cover
    """Returns (P, D, 16) a matrix (D, W) in panels of 16 columns, the last filled up with 0."""
    depth, width = weight.shape
    panels = np.zeros((-(-width // PANEL), depth, PANEL), np.float32)
    if weight.strides[0] < weight.strides[1]:  # read as it lies
        for column in range(width):
            for row in range(depth):
                panels[column // PANEL, row, column % PANEL] = weight[row, column]
    else:
        for row in range(depth):
            for column in range(width):
                panels[column // PANEL, row, column % PANEL] = weight[row, column]
    return panels


@compiled()
def multiply_into(inputs: Floats, count: int, panels: Floats, out: Floats) -> None:  # pragma: no cover
    """Writes the product of the first `count` rows (N, D) and a packed matrix into the rows of `out` (N, W16).

    The rows of both lie in one piece each; the columns of `out` are at least those of the panels.
    """
    for first in range(0, count, BLOCK):
        _multiply_block(inputs[first:], min(BLOCK, count - first), panels, out[first:])


@compiled()
def _multiply_block(inputs: Floats, count: int, panels: Floats, out: Floats) -> None:  # pragma: no cover
    depth = panels.shape[1]
    step, out_step = inputs.strides[0] // _BYTES, out.strides[0] // _BYTES
    whole = count - count % ROWS
    rest = count - whole
    last = inputs.ctypes.data + whole * inputs.strides[0]
    for number in range(len(panels)):
        panel = panels.ctypes.data + number * depth * PANEL * _BYTES
        target = out.ctypes.data + number * PANEL * _BYTES
        for row in range(0, whole, ROWS):
            source = inputs.ctypes.data + row * inputs.strides[0]
            _six(source, step, panel, depth, target + row * out.strides[0], out_step)
        target += whole * out.strides[0]
        if rest == 5:
            _five(last, step, panel, depth, target, out_step)
        elif rest == 4:
            _four(last, step, panel, depth, target, out_step)
        elif rest == 3:
            _three(last, step, panel, depth, target, out_step)
        elif rest == 2:
            _two(last, step, panel, depth, target, out_step)
        elif rest == 1:
            _one(last, step, panel, depth, target, out_step)


def product(inputs: Floats, panels: Floats) -> Floats:
    """Returns (N, W16) the product of rows (N, D) and a packed matrix (P, D, 16)."""
    out = np.empty((len(inputs), len(panels) * PANEL), np.float32)
    multiply_into(np.ascontiguousarray(inputs), len(inputs), panels, out)
    return out


@unit_wise
def add(total: Floats, part: Floats) -> None:  # pragma: no cover
    """Adds numbers (N,) to a total."""
    for unit in range(len(total)):
        total[unit] += part[unit]
