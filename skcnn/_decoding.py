"""One image as an array of a given size: the same arithmetic in training and in serving.

Pillow decodes. It is imported when the first image is read.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np

from ._arrays.elementwise import Array
from .description import is_count

RESIZES = "pad", "crop", "stretch"
COLORS = "RGB", "grey", "keep"
DTYPES = "auto", "uint8", "uint16"
WIDER = 257  # 255 * 257 = 65535: white stays white

# EPS starts another program, WMF exists on Windows only, and the others are recognized by Pillow but not decoded.
REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
HEIF = b"ftypheic", b"ftypheix", b"ftypmif1"
ORIENTATION = 0x0112  # in EXIF data
TURNS = (
    None, None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"
)  # fmt: skip
ASIDE = 5  # from here on, width and height change places
ANONYMOUS = "The image"
SPARE = 2  # a JPEG file is decoded at a reduced size of at least so many times the size that is asked for


class ImageError(ValueError):
    """An image that cannot be read.

    Attributes
    ----------
    name : str
        The file, as it is shown in the message.
    reason : str
        What is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} cannot be read: {self.reason}."


class UnknownContentError(ImageError):
    """A file that cannot be opened, or whose content is none of the formats that are read."""


def import_pillow() -> Any:
    """``PIL.Image``; an ImportError that says how to install it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            "Image files are read by Pillow: pip install 'skcnn[images]', or pip install pillow."
        ) from None
    return Image


@dataclass(frozen=True)
class Reading:
    """How images are read: the parameters of `skcnn.images.ImageReader`, which has their documentation."""

    size: tuple[int, int]
    resize: str = "pad"
    color: str = "RGB"
    background: str | tuple[int, int, int] = "white"
    dtype: str = "auto"

    @staticmethod
    def of(size: Any, **parameters: Any) -> Reading:
        """Checked parameters; a ValueError names the one that has no meaning."""
        pair = (size, size) if is_count(size) else size
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(is_count(side) for side in pair):
            raise ValueError(f"size must be (height, width) in pixels, such as (64, 64), got {size!r}.")
        for name, known in (("resize", RESIZES), ("color", COLORS), ("dtype", DTYPES)):
            value = parameters.get(name, known[0])
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name} must be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, got {value!r}.")
        background = parameters.get("background", "white")
        if isinstance(background, list):
            parameters["background"] = background = tuple(background)
        is_triple = isinstance(background, tuple) and len(background) == 3
        if not isinstance(background, str) and not (
            is_triple and all(is_count(part, 0) and part <= 255 for part in background)
        ):
            raise ValueError(
                "background must be the name of a colour, such as 'white' or '#ff8800', or (red, green, blue) from 0 to"
                f" 255, got {background!r}."
            )
        return Reading((int(pair[0]), int(pair[1])), **parameters)

    def read(self, source: Any, *, max_pixels: int | None = None) -> Array:
        """One image as an array.

        Parameters
        ----------
        source : str, path-like, bytes, binary file, PIL image or ndarray
            The image. A str is a path. An array is (h, w) or (h, w, c), in uint8, bool or, with one channel, uint16.
        max_pixels : int, default=None
            The most pixels that are decoded. None is Pillow's own limit, ``PIL.Image.MAX_IMAGE_PIXELS``.

        Returns
        -------
        ndarray (h, w, c)
            In uint8, or uint16.

        Raises
        ------
        ImageError
            If it cannot be read, whatever is wrong with it.
        ImportError
            If Pillow is not installed.
        """
        Image = import_pillow()
        fill = _fill(self.background)
        try:
            with _opened(source, Image) as (image, is_ours):
                return self._array(image, is_ours, fill, max_pixels or Image.MAX_IMAGE_PIXELS or math.inf, Image)
        except ImageError as error:
            raise type(error)(name_of(source), error.reason) from None
        except Exception as error:  # damaged bytes make decoders raise anything, a SyntaxError or a RecursionError too
            kind = UnknownContentError if isinstance(error, OSError) and error.errno else ImageError
            raise kind(name_of(source), _reason(error, Image)) from None

    def _array(self, image: Any, is_ours: bool, fill: Array, max_pixels: float, Image: Any) -> Array:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError("", f"it has {width} x {height} pixels, more than the {max_pixels:,} that are read")
        turn = _turn(image)
        if is_ours and image.format in ("JPEG", "MPO"):  # decoded at a fraction of its size, which takes less time
            inner, _ = self._geometry(*(image.size[::-1] if turn >= ASIDE else image.size))
            wanted = tuple(SPARE * side for side in inner)
            image.draft(None, wanted[::-1] if turn >= ASIDE else wanted)
        if name := TURNS[turn]:
            image = image.transpose(Image.Transpose[name])
        if image.mode.startswith("I"):
            return self._deep(image, fill, Image)
        image = self._coloured(image, fill, Image)
        return self._placed(np.asarray(self._resized(image, Image)), fill)

    def _geometry(self, width: int, height: int) -> tuple[tuple[int, int], tuple[float, ...] | None]:
        """The size (width, height) to which an image is scaled, and the part of the image that is; None is all."""
        h, w = self.size
        if self.resize == "stretch":
            return (w, h), None
        if self.resize == "pad":
            scale = min(w / width, h / height)
            return (max(1, min(w, round(width * scale))), max(1, min(h, round(height * scale)))), None
        scale = max(w / width, h / height)
        across, down = min(width, w / scale), min(height, h / scale)
        left, top = (width - across) / 2, (height - down) / 2
        return (w, h), (left, top, left + across, top + down)

    def _resized(self, image: Any, Image: Any) -> Any:
        # Each pixel is a mean of all that it stands for, with weights that are not negative: nothing overshoots.
        inner, box = self._geometry(*image.size)
        if inner == image.size:
            return image
        return image.resize(inner, Image.Resampling.BILINEAR, box=box)

    def _coloured(self, image: Any, fill: Array, Image: Any) -> Any:
        """In the colours that are asked for, without transparency unless the file's own channels are kept."""
        if image.mode == "F":
            raise ImageError("", "it holds floating-point numbers, and only 8 or 16 bits have a known range")
        is_grey = image.mode in ("1", "L", "LA", "La")
        is_transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
        if self.color == "keep":
            return image.convert(("L" if is_grey else "RGB") + "A" * is_transparent)
        if is_transparent:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (*fill[:3].tolist(), 255)), image)
        mode = "L" if self.color == "grey" else "RGB"
        return image if image.mode == mode else image.convert(mode)

    def _deep(self, image: Any, fill: Array, Image: Any) -> Array:
        """Grey with 16 bits, which Pillow scales as floating-point numbers only."""
        pixels = np.asarray(image)
        if pixels.dtype.itemsize > 2 and not 0 <= pixels.min() <= pixels.max() < 1 << 16:
            raise ImageError("", "it holds integers beyond 16 bits")
        pixels = np.asarray(self._resized(Image.fromarray(pixels.astype(np.float32)), Image))
        pixels = np.rint(pixels).astype(np.uint16)
        return self._placed(np.stack([pixels] * 3, axis=2) if self.color == "RGB" else pixels, fill)

    def _placed(self, pixels: Array, fill: Array) -> Array:
        """Pixels (h, w) or (h, w, c) in the middle of the background, in the dtype that is asked for."""
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if self.dtype == "uint16" and pixels.dtype == np.uint8:
            pixels = pixels.astype(np.uint16) * WIDER
        elif self.dtype == "uint8" and pixels.dtype == np.uint16:
            pixels = ((pixels.astype(np.uint32) + WIDER // 2) // WIDER).astype(np.uint8)
        height, width, channels = pixels.shape
        if (height, width) == self.size:
            return pixels
        colour = {1: fill[3:], 3: fill[:3]}.get(channels, np.zeros(channels, np.uint8))  # with alpha: nothing there
        found = np.empty((*self.size, channels), pixels.dtype)
        found[...] = colour.astype(pixels.dtype) * (WIDER if pixels.dtype == np.uint16 else 1)
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        found[top : top + height, left : left + width] = pixels
        return found


@cache
def _fill(background: str | tuple[int, int, int]) -> Array:
    """The colour of the background: red, green, blue, and grey."""
    try:
        colour = import_pillow().new("RGB", (1, 1), background)
    except ValueError:
        raise ValueError(f"background={background!r} is not the name of a colour.") from None
    return np.array([*colour.getpixel((0, 0)), colour.convert("L").getpixel((0, 0))], np.uint8)


@cache
def _formats(ending: str, registered: int) -> list[str]:
    """The formats to look for in a file, of as many as are registered: without a signature, its ending counts."""
    Image = import_pillow()
    by_name = Image.registered_extensions().get(ending)
    return [name for name, (_, accept) in Image.OPEN.items() if name not in REFUSED and (accept or name == by_name)]


def is_path(source: Any) -> bool:
    """Whether this names a file."""
    return isinstance(source, (str, os.PathLike))


def is_source(value: Any) -> bool:
    """Whether this is one image that may be decoded: a path, bytes, an open file or an image of Pillow's."""
    is_image = hasattr(value, "getexif") and hasattr(value, "mode")
    return is_path(value) or isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "read") or is_image


def sources_of(X: Any, name: str = "X") -> list[Any]:
    """The images of a list, an array or a column of a table, one by one."""
    if is_source(X):
        raise TypeError(f"{name} is a single image, {X!r:.60}. Expected several: write [{name}] for a list of it.")
    column = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(column, np.ndarray) and column.dtype.kind in "OUT":
        if column.ndim != 1 and column.shape[1:] != (1,):
            raise ValueError(f"{name} has shape {column.shape}. Expected one column of paths, (n,) or (n, 1).")
        column = column.ravel()
    if not isinstance(column, Iterable):
        raise TypeError(f"{name} must be a list, an array or a column of images, got {X!r:.60}.")
    found = list(column)
    if not found:
        raise ValueError(f"{name} is empty. Expected at least one image.")
    return found


def name_of(source: Any) -> str:
    """How messages call an image."""
    found: Any = source if is_path(source) else getattr(source, "name", None) or getattr(source, "filename", None)
    # Names of files may hold what cannot be printed: the repr of a str can.
    return repr(str(os.fspath(found))) if is_path(found) and found != "" else ANONYMOUS


@contextmanager
def _opened(source: Any, Image: Any) -> Iterator[tuple[Any, bool]]:
    """An image of Pillow's, not decoded yet, and whether nobody else has it."""
    if isinstance(source, np.ndarray):
        yield _of_array(source, Image), False
    elif isinstance(source, Image.Image):
        yield source, False
    elif is_path(source):
        if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would be waited for
            raise UnknownContentError("", "it is not a file")
        with open(source, "rb") as file, _identified(file, source, Image) as image:
            yield image, True
    elif is_source(source):
        stream = source if hasattr(source, "read") else BytesIO(source)
        with _identified(stream, getattr(source, "name", ""), Image) as image:
            yield image, True
    else:
        raise ImageError("", f"it is no path, no bytes, no open file, no PIL image and no array, but {source!r:.60}")


def _identified(file: Any, name: Any, Image: Any) -> Any:
    """The image of a file by its content, and by its name where a format has no signature."""
    Image.init()
    ending = os.path.splitext(name)[1].lower() if is_path(name) else ""
    if ending not in Image.EXTENSION:  # there are many others
        ending = ""
    try:
        return Image.open(file, formats=_formats(ending, len(Image.OPEN)))
    except Image.UnidentifiedImageError:
        file.seek(0)
        start = file.read(12)
    if start[4:] in HEIF:
        raise ImageError("", "it is a HEIF file, for which pillow-heif and its register_heif_opener() are needed")
    raise UnknownContentError("", "it is not an image of a known format" if start else "it is empty")


def _of_array(pixels: Array, Image: Any) -> Any:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kinds = {"bool": (1,), "uint8": (1, 2, 3, 4), "uint16": (1,)}
    if pixels.ndim not in (2, 3) or channels not in kinds.get(pixels.dtype.name, ()) or not pixels.size:
        raise ImageError(
            "",
            f"expected an array (h, w), or (h, w, c) with up to four channels, of uint8, or of uint16 with one channel,"
            f" got shape {pixels.shape} of {pixels.dtype}",
        )
    pixels = pixels.reshape(pixels.shape[:2]) if channels == 1 else pixels
    return Image.fromarray(pixels * np.uint8(255) if pixels.dtype == bool else np.ascontiguousarray(pixels))


def _turn(image: Any) -> int:
    """How the camera was held, as EXIF tells it; 1 for upright, and where EXIF is missing or damaged."""
    try:
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn < len(TURNS) else 1


def _reason(error: Exception, Image: Any) -> str:
    """What is wrong, for a message."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it has too many pixels ({error})".rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    said = str(error).strip().rstrip(".")
    return f"it is damaged ({said or type(error).__name__})"
