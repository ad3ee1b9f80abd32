"""Images in the forms in which they come: one by one in a column or a list, and in another shape than was fitted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._arrays.elementwise import Array

SHOWN = 5  # row numbers in a message
READ = (
    "skcnn.images.read_images(paths, size=(h, w)), or skcnn.images.ImageReader(size=(h, w)) as the first step of a"
    " pipeline"
)
KINDS = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
# (channels that were fitted, channels that came) -> code that makes the first of the second
CHANNELS = {
    (3, 4): "{}[..., :3]",
    (1, 2): "{}[..., :1]",
    (1, 3): "{}.mean(axis=-1)",
    (1, 4): "{}[..., :3].mean(axis=-1)",
    (3, 1): "np.repeat({}, 3, axis=-1)",
}


def stacked(X: Any, name: str = "X") -> Any:
    """Images that came one by one as one array (n, h, w) or (n, h, w, c); anything else stays what it is.

    They may be in a list, another sequence, an object array, a Series or a table of one column, as arrays, tensors or
    images of Pillow.

    Raises
    ------
    TypeError
        If there is something else than images: paths, pairs of an image and its class, a single image of Pillow.
    ValueError
        If an image is missing, or the images are of different sizes.
    """
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"{name} is {str(X)!r}, and not images. If it is a folder of images, read it with"
            " skcnn.images.load_folder(path, size=(h, w))."
        )
    if _is_picture(X):
        raise TypeError(
            f"{name} is a single image of Pillow, {X.width} pixels wide and {X.height} high. Give [{name}]."
        )
    if isinstance(X, Iterator):
        raise TypeError(f"{name} is an iterator ({type(X).__name__}), which can be read only once. Give list({name}).")
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
    """Whether X has to be read to know what it is: objects, or a container that NumPy does not describe."""
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if isinstance(kind, str) and kind:
        return kind in "OSU" and getattr(X, "ndim", 0) <= 2
    if hasattr(X, "columns"):
        return any(_is_nested(dtype) for dtype in getattr(X, "dtypes", ()))
    if isinstance(X, Sequence) or hasattr(X, "to_numpy"):
        return True
    return hasattr(X, "__len__") and hasattr(type(X), "__getitem__") and not hasattr(X, "keys")


def _is_nested(dtype: Any) -> bool:
    """Whether a column of a table holds objects: of pandas, or lists, arrays, text or objects of polars."""
    kind = getattr(dtype, "kind", None)
    return kind == "O" if kind is not None else str(dtype).startswith(("Array", "List", "Object", "String"))


def _is_picture(X: Any) -> bool:
    """Whether this is an image of Pillow, which is not imported for it."""
    return hasattr(X, "getbands") and hasattr(X, "convert")


def _check_pictures(items: Any, name: str) -> None:
    """Refuse images of Pillow whose numbers are those of a palette."""
    for row, item in enumerate(items):
        if getattr(item, "mode", None) in ("P", "PA"):
            raise ValueError(
                f"{name} holds an image with a palette in row {row}, whose numbers are no colours. Give"
                f' [image.convert("RGB") for image in {name}].'
            )


def _stack(items: list[Any], name: str) -> Array:
    """Single images as one array."""
    missing = [row for row, item in enumerate(items) if is_missing(item)]
    if missing:
        raise ValueError(
            f"{name} has no image in {rows_of(missing)}: there is {items[missing[0]]}. Leave these rows out of X and y."
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
    """A single image as an array of numbers; None for what is none."""
    if isinstance(item, (str, bytes, os.PathLike)):
        return None
    try:
        array = np.asarray(item)
        if array.dtype == object and array.ndim == 1:  # of rows, as the nested lists of Arrow are
            rows = [row for row in map(_as_array, array) if row is not None]
            array = np.stack(rows) if len(rows) == len(array) else array
    except ValueError:
        return None
    return array if array.dtype.kind in "buif" else None


def _no_image(item: Any, row: int, name: str) -> str:
    if isinstance(item, (str, os.PathLike)):
        return f"{name} holds text or paths, as {str(item)!r} in row {row}, and not images. Paths are read by {READ}."
    if isinstance(item, bytes):
        return f"{name} holds bytes in row {row}, and not images. Files of images are read by {READ}."
    if isinstance(item, tuple):
        return f"{name} holds a tuple in row {row}. If that is an image and its class, give X and y apart."
    return (
        f"{name} holds a {type(item).__name__} in row {row}, which is no image. Give arrays (h, w) or (h, w, c), or"
        " images of Pillow."
    )


def _different(shapes: dict[tuple[int, ...], list[int]], name: str) -> str:
    """What to say of images of several shapes."""
    listed = [f"{shape} in {rows_of(rows)}" for shape, rows in list(shapes.items())[:SHOWN]]
    more = f" and {len(shapes) - SHOWN} more" if len(shapes) > SHOWN else ""
    if len({shape[:2] for shape in shapes}) == 1:
        return (
            f"{name} holds images with different channels: {', '.join(listed)}{more}. Give all of them the same, for"
            f' example [np.asarray(PIL.Image.fromarray(image).convert("RGB")) for image in {name}].'
        )
    return f"{name} holds images of different sizes: {', '.join(listed)}{more}. Bring them to one size: {READ}, do."


def _refuse_columns(array: Array, X: Any, name: str) -> None:
    """Refuse a table that has a column of images among others."""
    if array.ndim != 2 or not len(array) or not hasattr(X, "columns"):
        return
    for column, item in zip(X.columns, array[0], strict=True):
        found = _as_array(item)
        if found is not None and found.ndim > 1:
            raise ValueError(
                f"{name} has {array.shape[1]} columns, of which {column!r} holds images. Give that column alone:"
                f" {name}[{column!r}]."
            )


def is_missing(value: Any) -> bool:
    """Whether this is None, NaN or pandas's NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def rows_of(rows: Sequence[int]) -> str:
    """row 3; rows 3, 5; rows 0, 1, 2, 3, 4 and 12 more."""
    shown = ", ".join(str(row) for row in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def as_code(X: Any, name: str) -> str:
    """An expression that makes an array of what was given under a name."""
    if isinstance(X, np.ndarray):
        return f"np.stack({name}.ravel())" if X.dtype == object else name
    if hasattr(X, "columns"):
        return f"np.stack({name}[{X.columns[0]!r}])" if len(X.columns) == 1 else f"np.asarray({name})"
    return f"np.asarray({name})" if hasattr(X, "__dlpack__") else f"np.stack({name})"


def cure(X: Any, shape: tuple[int, ...], wanted: tuple[int, ...], name: str) -> str:
    """A sentence on how X of a shape becomes images of the ``wanted`` shape (h, w, c); "" where none is known."""
    h, w, c = wanted
    one = f"{name}[np.newaxis]" if isinstance(X, np.ndarray) else f"[{name}]"
    if shape in forms(wanted):
        return f" This is one image: for a batch of it, give {one}."
    code = as_code(X, name)
    if shape[:2] == (h, w) and (len(shape) == 2 or (len(shape) == 3 and shape[2] in KINDS)):
        return f" This is one image.{_channels((1, *shape), c, f'{code}[np.newaxis]')}"
    if len(shape) == 2:
        label = " Is the label among the columns?" if shape[1] == h * w * c + 1 else ""
        return f" Rows are flattened images of shape {wanted}.{label}"
    if len(shape) not in (3, 4):
        return ""
    said, image = "", shape[1:]
    if len(shape) == 3 and c > 1 and shape[2] == c:
        said, image = f" If this is one image, give {one}.", shape
    if len(image) == 3 and image[0] == c and image[2] not in KINDS:
        said, image = f" The channels come first: give {code}.transpose(0, 2, 3, 1).", (*image[1:], c)
    if image[:2] == (w, h) and h != w:
        said += f" Height and width are the other way round: give {code}.swapaxes(1, 2)."
    elif image[:2] != (h, w):
        said += f" Resize the images to {h} x {w}: skcnn.images.read_images(paths, size=({h}, {w})) does."
    return said + _channels((1, *image), c, code)


def forms(wanted: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes in which an image (h, w, c) may come."""
    h, w, c = wanted
    return [(h, w, c), (h * w * c,), *([(h, w)] if c == 1 else [])]


def _channels(shape: tuple[int, ...], fitted: int, code: str) -> str:
    """A sentence on images (n, h, w, c) or (n, h, w) of other channels than were fitted, with the code for them."""
    came = shape[3] if len(shape) == 4 else 1
    if came == fitted:
        return ""
    known = CHANNELS.get((fitted, came), "").format(code if len(shape) == 4 else f"{code}[..., np.newaxis]")
    first, second = (KINDS.get(count, f"of {count} channels") for count in (came, fitted))
    return f" They are {first}, and the images of the fit are {second}" + (f": give {known}." if known else ".")


def check_range(images: Array, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError for images that hold numbers beyond the range of the precision of the network."""
    largest = np.abs(images).max()
    if largest > np.finfo(dtype).max:
        raise ValueError(
            f"Images hold {largest:.3g}: too large for {dtype}, in which the network computes. Divide the images, or"
            " fit with dtype='float64'."
        )
