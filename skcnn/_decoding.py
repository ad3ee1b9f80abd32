"""Decoding of single images to arrays of a given size, identical in training and in serving.

Pillow decodes the images. It is imported when the first image is read.
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
WIDER = 257  # 255 * 257 = 65535, so that white remains white

# EPS runs an external program, WMF exists only on Windows, and Pillow recognizes the others but cannot decode them.
REFUSED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
HEIF = b"ftypheic", b"ftypheix", b"ftypmif1"
ORIENTATION = 0x0112  # tag in EXIF data
TURNS = (
    None, None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"
)  # fmt: skip
ASIDE = 5  # from this orientation on, width and height are exchanged
ANONYMOUS = "The image"
SPARE = 2  # a JPEG file is decoded at a reduced size of at least this multiple of the required size


class ImageError(ValueError):
    """Error for an image that cannot be read.

    Attributes
    ----------
    name : str
        Name of the image in the message.
    reason : str
        Reason why it cannot be read.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} cannot be read: {self.reason}."


class UnknownContentError(ImageError):
    """Error for a file that cannot be opened, or whose format is not supported."""


def import_pillow() -> Any:
    """Return ``PIL.Image``; raise an ImportError with an install command if Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            "Reading image files requires Pillow. Run pip install 'skcnn[images]' or pip install pillow."
        ) from None
    return Image


@dataclass(frozen=True)
class Reading:
    """Checked parameters of `skcnn.images.ImageReader`, which documents them."""

    size: tuple[int, int]
    resize: str = "pad"
    color: str = "RGB"
    background: str | tuple[int, int, int] = "white"
    dtype: str = "auto"

    @staticmethod
    def of(size: Any, **parameters: Any) -> Reading:
        """Check parameters and build a `Reading`; raise a ValueError that names an invalid parameter."""
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
        """Read one image.

        Parameters
        ----------
        source : str, path-like, bytes, binary file, PIL image or ndarray
            Image to read. A str is a path. An array is (h, w) or (h, w, c), in uint8, bool or, with one channel,
            uint16.
        max_pixels : int, default=None
            Maximum number of pixels to decode. If None, it is Pillow's limit, ``PIL.Image.MAX_IMAGE_PIXELS``.

        Returns
        -------
        ndarray (h, w, c)
            Image, in uint8 or uint16.

        Raises
        ------
        ImageError
            If the image cannot be read, for any reason.
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
        except Exception as error:  # decoders of damaged bytes raise any error, even SyntaxError and RecursionError
            kind = UnknownContentError if isinstance(error, OSError) and error.errno else ImageError
            raise kind(name_of(source), _reason(error, Image)) from None

    def _array(self, image: Any, is_ours: bool, fill: Array, max_pixels: float, Image: Any) -> Array:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError("", f"it has {width} x {height} pixels, more than the limit of {max_pixels:,}")
        turn = _turn(image)
        if is_ours and image.format in ("JPEG", "MPO"):  # decode at a fraction of its size to save time
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
        """Return the scaled size (width, height) of an image, and the box of the scaled part or None for all."""
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
        # A mean over the area of each pixel has no negative weights, so results stay in range.
        inner, box = self._geometry(*image.size)
        if inner == image.size:
            return image
        return image.resize(inner, Image.Resampling.BILINEAR, box=box)

    def _coloured(self, image: Any, fill: Array, Image: Any) -> Any:
        """Convert an image to the requested colours, without transparency except for ``color="keep"``."""
        if image.mode == "F":
            raise ImageError("", "it contains floating-point numbers, whose range is unknown; use 8 or 16 bits")
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
        """Read a 16-bit grey image, which Pillow can scale only as floating-point numbers."""
        pixels = np.asarray(image)
        if pixels.dtype.itemsize > 2 and not 0 <= pixels.min() <= pixels.max() < 1 << 16:
            raise ImageError("", "it contains integers of more than 16 bits")
        pixels = np.asarray(self._resized(Image.fromarray(pixels.astype(np.float32)), Image))
        pixels = np.rint(pixels).astype(np.uint16)
        return self._placed(np.stack([pixels] * 3, axis=2) if self.color == "RGB" else pixels, fill)

    def _placed(self, pixels: Array, fill: Array) -> Array:
        """Centre pixels (h, w) or (h, w, c) on the background, in the requested dtype."""
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if self.dtype == "uint16" and pixels.dtype == np.uint8:
            pixels = pixels.astype(np.uint16) * WIDER
        elif self.dtype == "uint8" and pixels.dtype == np.uint16:
            pixels = ((pixels.astype(np.uint32) + WIDER // 2) // WIDER).astype(np.uint8)
        height, width, channels = pixels.shape
        if (height, width) == self.size:
            return pixels
        colour = {1: fill[3:], 3: fill[:3]}.get(
            channels, np.zeros(channels, np.uint8)
        )  # with alpha, the background is transparent
        found = np.empty((*self.size, channels), pixels.dtype)
        found[...] = colour.astype(pixels.dtype) * (WIDER if pixels.dtype == np.uint16 else 1)
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        found[top : top + height, left : left + width] = pixels
        return found


@cache
def _fill(background: str | tuple[int, int, int]) -> Array:
    """Return the background colour as (red, green, blue, grey)."""
    try:
        colour = import_pillow().new("RGB", (1, 1), background)
    except ValueError:
        raise ValueError(f"background={background!r} is not the name of a colour.") from None
    return np.array([*colour.getpixel((0, 0)), colour.convert("L").getpixel((0, 0))], np.uint8)


@cache
def _formats(ending: str, registered: int) -> list[str]:
    """Return the formats to try for a file name.

    A format without a signature is tried only for its own endings. ``registered`` is the number of known formats, which
    invalidates the cache.
    """
    Image = import_pillow()
    by_name = Image.registered_extensions().get(ending)
    return [name for name, (_, accept) in Image.OPEN.items() if name not in REFUSED and (accept or name == by_name)]


def is_path(source: Any) -> bool:
    """Return whether ``source`` is a path."""
    return isinstance(source, (str, os.PathLike))


def is_source(value: Any) -> bool:
    """Return whether ``value`` is a single image to decode: a path, bytes, an open file or a PIL image."""
    is_image = hasattr(value, "getexif") and hasattr(value, "mode")
    return is_path(value) or isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "read") or is_image


def sources_of(X: Any, name: str = "X") -> list[Any]:
    """Return the images in a list, an array or a column of a table as a list."""
    if is_source(X):
        raise TypeError(f"{name} is a single image, {X!r:.60}. Expected a list of images, such as [{name}].")
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
    """Return the name of an image in messages."""
    found: Any = source if is_path(source) else getattr(source, "name", None) or getattr(source, "filename", None)
    # File names may contain characters that cannot be printed. The repr of a str is always printable.
    return repr(str(os.fspath(found))) if is_path(found) and found != "" else ANONYMOUS


@contextmanager
def _opened(source: Any, Image: Any) -> Iterator[tuple[Any, bool]]:
    """Open an image; provide the PIL image before decoding, and whether it was created here."""
    if isinstance(source, np.ndarray):
        yield _of_array(source, Image), False
    elif isinstance(source, Image.Image):
        yield source, False
    elif is_path(source):
        if not stat.S_ISREG(os.stat(source).st_mode):  # reading a pipe could block
            raise UnknownContentError("", "it is not a file")
        with open(source, "rb") as file, _identified(file, source, Image) as image:
            yield image, True
    elif is_source(source):
        stream = source if hasattr(source, "read") else BytesIO(source)
        with _identified(stream, getattr(source, "name", ""), Image) as image:
            yield image, True
    else:
        raise ImageError("", f"expected a path, bytes, an open file, a PIL image or an array, got {source!r:.60}")


def _identified(file: Any, name: Any, Image: Any) -> Any:
    """Open the image in a file. Formats are recognized by content, or by file name if they have no signature."""
    Image.init()
    ending = os.path.splitext(name)[1].lower() if is_path(name) else ""
    if ending not in Image.EXTENSION:  # there are many HEIF brands
        ending = ""
    try:
        return Image.open(file, formats=_formats(ending, len(Image.OPEN)))
    except Image.UnidentifiedImageError:
        file.seek(0)
        start = file.read(12)
    if start[4:] in HEIF:
        raise ImageError("", "it is a HEIF file; install pillow-heif and call its register_heif_opener()")
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
    """Return the EXIF orientation of an image, or 1 (upright) if EXIF data is missing or damaged."""
    try:
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn < len(TURNS) else 1


def _reason(error: Exception, Image: Any) -> str:
    """Return the reason of an error, for a message."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it has too many pixels ({error})".rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    said = str(error).strip().rstrip(".")
    return f"it is damaged ({said or type(error).__name__})"
