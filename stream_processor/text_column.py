"""Columns of text as a list of the distinct texts and a number for each row. Pure.

Thousands of rows have the same text: as numbers they are compared, joined and written to Parquet, which keeps them so,
without a copy of the text for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def split_texts(column: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Of each row the position of its text, -1 where it has none; the texts."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode()
    index = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return index.astype(np.int64), encoded.dictionary.to_pylist()


def build_texts(texts: Sequence[str], code: NDArray[Any]) -> pa.Array:
    """Of each row the text with its code; -1: none. Equal texts become one, those of no row are left out."""
    present, index = rank(code)
    own = {text: number for number, text in enumerate(dict.fromkeys(texts[each] for each in present if each >= 0))}
    number = np.array([own[texts[each]] if each >= 0 else -1 for each in present], np.int32)[index]
    return pa.DictionaryArray.from_arrays(pa.array(number, mask=number < 0), pa.array(list(own), pa.string()))


def rank(column: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The distinct numbers of a column in order, and of each row the position of its number (np.unique, by hashing)."""
    encoded = pa.array(column).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    order = np.argsort(distinct)
    place = np.empty(len(distinct), np.int64)
    place[order] = np.arange(len(distinct))
    return distinct[order], place[encoded.indices.to_numpy()]
