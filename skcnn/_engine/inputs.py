"""Forms of input: images one by one in a column or a list, and images of another shape than in the fit."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._arrays.elementwise import Array

SHOWN = 5  # row numbers in a message
LETTERS = 80  # longest text that a message shows
READ = (
    "skcnn.images.read_images(paths, size=(h, w)), or skcnn.images.ImageReader(size=(h, w)) as the first step of a"
    " pipeline"
)
KINDS = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
# (channels in the fit, channels of X) -> code that converts X
CHANNELS = {
    (3, 4): "{}[..., :3]",
    (1, 2): "{}[..., :1]",
    (1, 3): "{}.mean(axis=-1)",
    (1, 4): "{}[..., :3].mean(axis=-1)",
    (3, 1): "np.repeat({}, 3, axis=-1)",
}


def stacked(X: Any, name: str = "X") -> Any:
    """Stack images that are given one by one into an array (n, h, w) or (n, h, w, c), and return other X as they are.

    The images may be arrays, tensors or images of Pillow. They may be in a list, another sequence, an object array, a
    Series or a table of one column.

    Raises
    ------
    TypeError
        If X contains other objects, such as paths or pairs of an image and its class, or is a single image of Pillow.
    ValueError
        If an image is missing, or if the images have different sizes.
    """
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"{name} is {str(X)!r}. Expected images. If it is a folder of images, read it with"
            " skcnn.images.load_folder(path, size=(h, w))."
        )
    if _is_picture(X):
        raise TypeError(
            f"{name} is a single image of Pillow, {X.width} pixels wide and {X.height} high. Pass [{name}]."
        )
    if isinstance(X, Iterator):
        raise TypeError(f"{name} is an iterator ({type(X).__name__}), which can be read only once. Pass list({name}).")
    if hasattr(X, "__dlpack__") and not isinstance(X, np.ndarray):
        return np.asarray(X)
    if not _may_be_one_by_one(X):
        return X
    try:
        array = np.asarray(X)
    except ValueError:  # arrays of different shapes
        return _stack(list(X), name)
    if array.dtype.kind not in "OSU":
        if array.size and _is_picture(next(iter(X))):
            _check_pictures(X, name)
        return X if array.ndim <= 2 and isinstance(X, (list, tuple)) else array
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        found = _stack(list(array.ravel()), name)
        return found if found.ndim > 1 else X
    _refuse_columns(array, X, name)
    return X


def _may_be_one_by_one(X: Any) -> bool:
    """Return whether X has objects, or is a container without a dtype, so that only its items show what it is."""
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if isinstance(kind, str) and kind:
        return kind in "OSU" and getattr(X, "ndim", 0) <= 2
    if hasattr(X, "columns"):
        return any(_is_nested(dtype) for dtype in getattr(X, "dtypes", ()))
    if isinstance(X, Sequence) or hasattr(X, "to_numpy"):
        return True
    return hasattr(X, "__len__") and hasattr(type(X), "__getitem__") and not hasattr(X, "keys")


def _is_nested(dtype: Any) -> bool:
    """Return whether a column of a table has objects (pandas), or lists, arrays, strings or objects (polars)."""
    kind = getattr(dtype, "kind", None)
    return kind == "O" if kind is not None else str(dtype).startswith(("Array", "List", "Object", "String"))


def _is_picture(X: Any) -> bool:
    """Return whether this is an image of Pillow. Pillow is optional, so it is recognized by its methods."""
    return hasattr(X, "getbands") and hasattr(X, "convert")


def _check_pictures(items: Any, name: str) -> None:
    """Raise a ValueError for images of Pillow whose numbers are indices of a palette."""
    for row, item in enumerate(items):
        if getattr(item, "mode", None) in ("P", "PA"):
            raise ValueError(
                f"{name} contains an image with a palette in row {row}. Its numbers are indices, not colours. Pass"
                f' [image.convert("RGB") for image in {name}].'
            )


def _stack(items: list[Any], name: str) -> Array:
    """Return single images as one array, or raise an error that names the rows that are not images of one shape."""
    missing = [row for row, item in enumerate(items) if is_missing(item)]
    if missing:
        raise ValueError(
            f"{name} has no image in {rows_of(missing)}, but {items[missing[0]]}. Leave these rows out of X and y."
        )
    _check_pictures(items, name)
    arrays = []
    for row, item in enumerate(items):
        array = _as_array(item)
        if array is None:
            raise TypeError(_no_image(item, row, name))
        arrays.append(array)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for row, array in enumerate(arrays):
        shapes.setdefault(array.shape, []).append(row)
    if len(shapes) > 1:
        raise ValueError(_different(shapes, name))
    return np.stack(arrays)


def _as_array(item: Any) -> Array | None:
    """Return a single image as an array of numbers, or None for any other object."""
    if isinstance(item, (str, bytes, os.PathLike)):
        return None
    try:
        array = np.asarray(item)
        if array.dtype == object and array.ndim == 1:  # an array of rows, to which Arrow converts nested lists
            rows = [row for row in map(_as_array, array) if row is not None]
            array = np.stack(rows) if len(rows) == len(array) else array
    except ValueError:
        return None
    return array if array.dtype.kind in "buif" else None


def _no_image(item: Any, row: int, name: str) -> str:
    """Return the message for an item that is not an image."""
    if isinstance(item, (str, os.PathLike)):
        shown = textwrap.shorten(str(item), LETTERS)
        return f"{name} contains text or paths instead of images: {shown!r} in row {row}. To read files, use {READ}."
    if isinstance(item, bytes):
        return f"{name} contains bytes in row {row} instead of an image. To read image files, use {READ}."
    if isinstance(item, tuple):
        return f"{name} contains a tuple in row {row}. If it is an image and its class, pass X and y separately."
    return (
        f"{name} contains a {type(item).__name__} in row {row}, which is not an image. Pass arrays (h, w) or"
        " (h, w, c), or images of Pillow."
    )


def _different(shapes: dict[tuple[int, ...], list[int]], name: str) -> str:
    """Return the message for images of several shapes."""
    listed = [f"{shape} in {rows_of(rows)}" for shape, rows in list(shapes.items())[:SHOWN]]
    more = f" and {len(shapes) - SHOWN} more" if len(shapes) > SHOWN else ""
    if len({shape[:2] for shape in shapes}) == 1:
        return (
            f"{name} contains images with different channels: {', '.join(listed)}{more}. Convert them to the same"
            f" channels: [image.convert('RGB') for image in {name}] for images of Pillow, or"
            " np.repeat(image[..., np.newaxis], 3, axis=-1) for a grey array among RGB arrays."
        )
    return (
        f"{name} contains images of different sizes: {', '.join(listed)}{more}. Resize them to one size, for example"
        f" with {READ}."
    )


def _refuse_columns(array: Array, X: Any, name: str) -> None:
    """Raise a ValueError for a table that has a column of images among other columns."""
    if array.ndim != 2 or not len(array) or not hasattr(X, "columns"):
        return
    for column, item in zip(X.columns, array[0], strict=True):
        found = _as_array(item)
        if found is not None and found.ndim > 1:
            raise ValueError(
                f"{name} has {array.shape[1]} columns, of which {column!r} contains images. Pass that column alone:"
                f" {name}[{column!r}]."
            )


def is_missing(value: Any) -> bool:
    """Return whether this is None, NaN or pandas's NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def rows_of(rows: Sequence[int]) -> str:
    """Return numbers of rows as text, such as "row 3", "rows 3, 5" or "rows 0, 1, 2, 3, 4 and 12 more"."""
    shown = ", ".join(str(row) for row in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def as_code(X: Any, name: str) -> str:
    """Return the code of an expression that converts X, called ``name``, to an array."""
    if isinstance(X, np.ndarray):
        return f"np.stack({name}.ravel())" if X.dtype == object else name
    if hasattr(X, "columns"):
        return f"np.stack({name}[{X.columns[0]!r}])" if len(X.columns) == 1 else f"np.asarray({name})"
    return f"np.asarray({name})" if hasattr(X, "__dlpack__") else f"np.stack({name})"


def cure(X: Any, shape: tuple[int, ...], wanted: tuple[int, ...], name: str) -> str:
    """Return a sentence on how to convert X of a shape to images of the ``wanted`` shape (h, w, c), or "".

    The text is empty if no conversion is known, and begins with a space otherwise.
    """
    h, w, c = wanted
    one = f"{name}[np.newaxis]" if isinstance(X, np.ndarray) else f"[{name}]"
    if shape in forms(wanted):
        return f" This is one image. For a batch of one image, pass {one}."
    code = as_code(X, name)
    if shape[:2] == (h, w) and (len(shape) == 2 or (len(shape) == 3 and shape[2] in KINDS)):
        return f" This is one image.{_channels((1, *shape), c, f'{code}[np.newaxis]')}"
    if len(shape) == 2:
        label = " Is the label among the columns?" if shape[1] == h * w * c + 1 else ""
        return f" Rows are flattened images of shape {wanted}.{label}"
    if len(shape) not in (3, 4):
        return ""
    if c > 1 and shape == (c, h, w):
        return f" If this is one image with channels first, pass {code}.transpose(1, 2, 0)[np.newaxis]."
    said, image = "", shape[1:]
    if len(shape) == 3 and c > 1 and shape[2] == c:
        said, image = f" If this is one image, pass {one}.", shape
    if len(image) == 3 and image[0] == c and image[2] not in KINDS:
        said, image = f" The channels come first: pass {code}.transpose(0, 2, 3, 1).", (*image[1:], c)
    if image[:2] == (w, h) and h != w:
        said += f" Height and width are swapped: pass {code}.swapaxes(1, 2)."
    elif image[:2] != (h, w):
        said += f" Resize the images to {h} x {w}, for example with skcnn.images.read_images(paths, size=({h}, {w}))."
    return said + _channels((1, *image), c, code)


def forms(wanted: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes that an image (h, w, c) may have in X."""
    h, w, c = wanted
    return [(h, w, c), (h * w * c,), *([(h, w)] if c == 1 else [])]


def _channels(shape: tuple[int, ...], fitted: int, code: str) -> str:
    """Return a sentence on images (n, h, w, c) or (n, h, w) with other channels than in the fit, with code to convert.

    The text is empty if the channels are the same.
    """
    given = shape[3] if len(shape) == 4 else 1
    if given == fitted:
        return ""
    known = CHANNELS.get((fitted, given), "").format(code if len(shape) == 4 else f"{code}[..., np.newaxis]")
    first, second = (KINDS.get(count, f"of {count} channels") for count in (given, fitted))
    return f" They are {first}, and the images of the fit are {second}" + (f": pass {known}." if known else ".")


def check_range(images: Array, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError for images with numbers beyond the range of the precision of the network."""
    largest = np.abs(images).max()
    if largest > np.finfo(dtype).max:
        raise ValueError(
            f"Images contain {largest:.3g}, which is too large for {dtype}, the precision of the network. Divide the"
            " images, or fit with dtype='float64'."
        )
