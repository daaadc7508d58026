"""Memory below what Numba offers: telling the processor what will be read soon, and copying eight bytes at once."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """``prefetch(array, index)``: bring the cache line of ``array[index]`` closer.

    Nothing happens for an index outside the array.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        builder.call(function, [address, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


def _copy_eight(typing_context: Any, to: Any, place: Any, source: Any, begin: Any) -> Any:
    """``copy_eight(to, place, source, begin)``: ``to[place:place+8] = source[begin:begin+8]`` for uint8 arrays.

    Nothing is checked: both arrays must be that long.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        eight = ir.IntType(64).as_pointer()
        places = []
        for array, index in ((0, 1), (2, 3)):
            data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            places.append(builder.bitcast(builder.gep(data, [arguments[index]]), eight))
        value = builder.load(places[1], align=1)
        builder.store(value, places[0], align=1)
        return context.get_dummy_value()

    return types.void(to, place, source, begin), generate


prefetch: Any = intrinsic(_prefetch)
copy_eight: Any = intrinsic(_copy_eight)
