"""Ids of a file as engine numbers and texts, without a Python step per id where they are plain integers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opendt.models.workload import I64, task_numbers

# Those plain integers that fit int64 whatever their digits; longer ones go the slow way.
_SHORT_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"


def plain_texts(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Text ids of any Arrow text type as one string array; nulls become empty texts.

    Bytes that are not UTF-8 are replaced, since some writers leave out the mark that a column is text.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        try:
            array = array.cast(pa.string())
        except pa.ArrowInvalid:
            decoded = (None if value is None else value.decode("utf-8", "replace") for value in array.to_pylist())
            array = pa.array(list(decoded), pa.string())
    array = array.cast(pa.string())
    return array.fill_null("") if array.null_count else array


def text_numbers(texts: pa.Array) -> I64:
    """``task_numbers`` of a string array without nulls."""
    short = pc.match_substring_regex(texts, _SHORT_INTEGER)
    whole = pc.cast(pc.if_else(short, texts, "0"), pa.int64()).to_numpy()
    odd = ~short.to_numpy(zero_copy_only=False)
    if not odd.any():
        return np.array(whole)
    numbers = np.array(whole)
    numbers[odd] = task_numbers(texts.filter(pa.array(odd)).to_pylist())
    return numbers


def as_names(texts: pa.Array) -> NDArray[np.str_]:
    """A string array without nulls as a NumPy text array."""
    return texts.to_numpy(zero_copy_only=False).astype(np.str_)
