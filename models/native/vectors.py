"""Vectors of 16 floats in LLVM's language, of which it makes AVX-512, AVX2 or NEON.

Each helper emits the instructions of the formula in its docstring. `b` builds them; x, y and z are vectors (16,) of
float32, `address` a whole number. Nothing here lets LLVM reorder additions: an output has the same bits on every
processor with fused multiply-add.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
F32, HALF = ir.FloatType(), ir.HalfType()
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
VF32, VI32 = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
# IR values and builders have no types of their own
Value = Any
Builder = Any


def constant(kind: Value, number: float) -> Value:
    """Return the vector of type `kind` with `number` in each lane."""
    return ir.Constant(kind, [number] * kind.count)


def lanes(numbers: list[int]) -> Value:
    """Return the mask that picks these lanes of two vectors side by side."""
    return ir.Constant(ir.VectorType(I32, len(numbers)), numbers)


def zero(b: Builder) -> Value:
    """Return a variable (16,), which begins with zeros and becomes a register."""
    return cgutils.alloca_once_value(b, constant(VF32, 0.0))


def pointer(b: Builder, address: Value, kind: Value, index: Value) -> Value:
    """Return address + index * sizeof(kind), as a pointer."""
    return b.gep(b.inttoptr(address, kind.as_pointer()), [index])


def load(b: Builder, address: Value, index: Value, kind: Value, *, of: Value) -> Value:
    """Return the vector of type `kind` at the element `index` of type `of`; it may lie at any multiple of that type."""
    loaded = b.load(b.bitcast(pointer(b, address, of, index), kind.as_pointer()))
    loaded.align = 1 if of is I8 else 2 if of is I16 else 4
    return loaded


def load_floats(b: Builder, address: Value, index: Value) -> Value:
    """Return floats[index : index + 16]."""
    return load(b, address, index, VF32, of=F32)


def store_floats(b: Builder, value: Value, address: Value, index: Value) -> None:
    """Assign floats[index : index + 16] = value."""
    b.store(value, b.bitcast(pointer(b, address, F32, index), VF32.as_pointer())).align = 4


def splat(b: Builder, number: Value) -> Value:
    """Return the vector with the float `number` in each lane."""
    undefined = ir.Constant(VF32, ir.Undefined)
    return b.shuffle_vector(b.insert_element(undefined, number, I32(0)), undefined, lanes([0] * LANES))


def fma(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """Return x * y + z, rounded once."""
    name = "llvm.fma.v16f32" if x.type == VF32 else "llvm.fma.f32"
    function = cgutils.get_or_insert_function(b.module, ir.FunctionType(x.type, [x.type] * 3), name)
    return b.call(function, [x, y, z])


def widened(b: Builder, kind: Value, address: Value, index: Value) -> Value:
    """Return the weights (16,) from element `index` on as floats: int8, bfloat16 (as uint16) or float32."""
    if kind == types.int8:
        return b.sitofp(b.sext(load(b, address, index, ir.VectorType(I8, LANES), of=I8), VI32), VF32)
    if kind == types.uint16:
        # bfloat16 is the upper half of a float32
        bits = b.zext(load(b, address, index, ir.VectorType(I16, LANES), of=I16), VI32)
        return b.bitcast(b.shl(bits, constant(VI32, 16)), VF32)
    return load_floats(b, address, index)


def sum_vector(b: Builder, vectors: list[Value]) -> Value:
    """Return the vector whose lane i is the sum of the lanes of vectors[i], for up to 16 vectors.

    A sum is made by halving: lanes 0-7 + 8-15, of those 0-3 + 4-7 and so on, whatever the other vectors are. Two
    vectors share each addition: of x and y, [x0 x1] and [y0 y1], it is of [x0 y1] and [x1 y0].
    """
    owners = [[i] * LANES for i in range(len(vectors))]
    width = LANES // 2
    while width:
        added, whose = [], []
        for i in range(0, len(vectors), 2):
            j = min(i + 1, len(vectors) - 1)
            # of each part of 2 * width lanes, the first half is of x, the second of y
            own = [lane + (LANES if lane // width % 2 else 0) for lane in range(LANES)]
            other = [LANES + lane - width if lane // width % 2 else lane + width for lane in range(LANES)]
            parts = (b.shuffle_vector(vectors[i], vectors[j], lanes(half)) for half in (own, other))
            added.append(b.fadd(*parts))
            whose.append([(owners[j] if lane // width % 2 else owners[i])[lane] for lane in range(LANES)])
        vectors, owners, width = added, whose, width // 2
    # one vector is left, which has each sum at least once
    order = [owners[0].index(i) if i in owners[0] else 0 for i in range(LANES)]
    return b.shuffle_vector(vectors[0], ir.Constant(VF32, ir.Undefined), lanes(order))


def sums(b: Builder, vectors: list[Value]) -> list[Value]:
    """Return the sum of the lanes of each of up to 16 vectors, as `sum_vector` adds them."""
    total = sum_vector(b, vectors)
    return [b.extract_element(total, I32(i)) for i in range(len(vectors))]


def loop(b: Builder, start: Value, stop: Value, step: int) -> Any:
    """Return the context of a loop over range(start, stop, step), which gives (index, count)."""
    return cgutils.for_range_slice(b, start, stop, I64(step), intp=I64)


@intrinsic
def float_bits(typing: Any, bits: Any) -> Any:
    """Return the float32 with these bits (int32)."""
    return types.float32(types.int32), lambda context, b, signature, given: b.bitcast(given[0], F32)


@intrinsic
def bits_of(typing: Any, number: Any) -> Any:
    """Return the bits of a float32 (int32)."""
    return types.int32(types.float32), lambda context, b, signature, given: b.bitcast(given[0], I32)


@intrinsic
def pointer_to_floats(typing: Any, address: Any) -> Any:
    """Return a pointer to float32 for an address."""
    kind = types.CPointer(types.float32)
    return kind(types.int64), lambda context, b, signature, given: b.inttoptr(given[0], F32.as_pointer())


@intrinsic
def weight_at(typing: Any, kind: Any, address: Any, index: Any) -> Any:
    """Return the element `index` of weights at `address`, whose type is that of the array `kind`, as a float."""

    def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
        _, address, index = given
        if kind.dtype == types.int8:
            return b.sitofp(b.sext(b.load(pointer(b, address, I8, index)), I32), F32)
        if kind.dtype == types.uint16:
            return b.bitcast(b.shl(b.zext(b.load(pointer(b, address, I16, index)), I32), I32(16)), F32)
        return b.load(pointer(b, address, F32, index))

    return types.float32(kind, types.int64, types.int64), generate
