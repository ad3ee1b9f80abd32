"""Reading of image files: from a folder, from a list of paths, or as the first step of a pipeline.

Pillow decodes the files. Install it with ``pip install 'skcnn[images]'``. Formats are recognized by the content of a
file, and all formats that Pillow reads are supported.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ._arrays.elementwise import Array
from ._decoding import ANONYMOUS, ImageError, Reading, UnknownContentError, import_pillow, name_of, sources_of
from ._engine.files import whole_file
from ._engine.parallel import thread_count
from ._estimators.validation import DocumentationLink
from ._version import __version__

__all__ = ["FolderWarning", "ImageError", "ImageReader", "load_folder", "read_images"]

SHARE = 8  # files per task of a thread
MANY = 1000  # least number of files for which progress is shown by default
SHOWN = 5  # most names of files in a message
SECONDS = 0.2  # between two updates of the progress line
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
SEAL = b"\nskcnn images 1\n"

Size = int | tuple[int, int]
Colour = str | tuple[int, int, int]


class FolderWarning(UserWarning):
    """Warning that a folder of images probably has an unintended layout.

    The folder has only one class folder, or its class folders are called "train" and "test".
    """


def load_folder(
    path: str | os.PathLike[str],
    size: Size,
    *,
    resize: Literal["pad", "crop", "stretch"] = "pad",
    color: Literal["RGB", "grey", "keep"] = "RGB",
    background: Colour = "white",
    dtype: Literal["auto", "uint8", "uint16"] = "auto",
    categories: Sequence[str] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    out: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    verbose: bool | None = None,
) -> Bunch:
    """Load the images of a folder, with one class for each subfolder.

    Class folders are searched at any depth. Formats are recognized by the content of a file, and all formats that
    Pillow reads are supported. Files are sorted by name. Hidden files and folders are ignored.

    Parameters
    ----------
    path : str or path-like
        Folder of images. Its subfolders are the classes, for example ``photos/cat/1.jpg``. Images in a folder without
        subfolders have no classes.
    size : int or (int, int)
        Height and width of the returned images, in pixels. One number stands for both.
    resize : {"pad", "crop", "stretch"}, default="pad"
        Method to change the shape of an image to `size`. See `ImageReader`.
    color : {"RGB", "grey", "keep"}, default="RGB"
        Channels of the returned images. See `ImageReader`.
    background : str or (int, int, int), default="white"
        Background colour of padded and transparent images. See `ImageReader`.
    dtype : {"auto", "uint8", "uint16"}, default="auto"
        Depth of the returned images. See `ImageReader`.
    categories : sequence of str, default=None
        Names of the class folders to load, in the order of `target_names`. If None, all are loaded, sorted by name. If
        a test folder lacks some classes, pass the `target_names` of the training folder.
    on_error : {"raise", "skip"}, default="raise"
        Handling of images that cannot be read. "raise" raises an error. "skip" omits these images and lists them in
        `skipped`.
    out : str or path-like, default=None
        Path of a ``.npy`` file for the images, if they do not fit in memory. `images` is then a read-only memory map.
        The file is written if it does not exist, or if files in the folder or parameters have changed.
    n_jobs : int, default=None
        Number of threads for decoding. If None, it is the number of threads that BLAS may use.
    verbose : bool, default=None
        Whether to show the progress. If None, it is shown in a terminal or notebook for 1,000 files or more.

    Returns
    -------
    Bunch
        Dictionary whose keys are also attributes:

        images : ndarray (n, h, w, c)
            Images, in uint8 or uint16.
        target : ndarray (n,)
            Class index of each image. Missing for a folder without subfolders.
        target_names : ndarray (n_classes,)
            Names of the classes. Use ``target_names[target]`` for labels as text. Missing for a folder without
            subfolders.
        filenames : ndarray (n,)
            Paths of the files.
        skipped : list of (str, str)
            Path and reason for each omitted file: files that are not images, files outside the class folders and, with
            ``on_error="skip"``, images that cannot be read.

    Raises
    ------
    ImageError
        If an image cannot be read, and `on_error` is "raise".
    FileNotFoundError, NotADirectoryError
        If `path` is not a folder.
    ValueError
        If there is no image, a parameter is invalid, or `out` is a file that was not written by `load_folder`.
    ImportError
        If Pillow is not installed.

    Warns
    -----
    FolderWarning
        If there is only one class, or the classes are called "train" and "test".

    See Also
    --------
    read_images : Reads images from a list or a column of paths.
    ImageReader : Reads images as a step of a pipeline.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from skcnn.images import load_folder
    >>> photos = tempfile.TemporaryDirectory()
    >>> for colour in ("red", "blue"):
    ...     folder = pathlib.Path(photos.name, colour)
    ...     folder.mkdir()
    ...     Image.new("RGB", (90, 60), colour).save(folder / "1.jpg")
    >>> data = load_folder(photos.name, (32, 32))
    >>> data.images.shape, data.target_names[data.target]
    ((2, 32, 32, 3), array(['blue', 'red'], dtype='<U4'))
    >>> photos.cleanup()
    """
    import_pillow()
    reading = Reading.of(size, resize=resize, color=color, background=background, dtype=dtype)
    _check_on_error(on_error)
    cache = None if out is None else Path(out)
    folder = _Folder(os.fspath(path), categories, cache)
    if cache is None:
        store = _Store(len(folder.files))
        failures = _read(folder.files, reading, store, n_jobs, verbose)
        return folder.bunch(failures, on_error, lambda: store.images)
    made_from = {"skcnn": __version__, "reading": asdict(reading), "files": folder.checksum()}
    cached = _failures_of(cache, made_from)
    if cached is None:
        with whole_file(cache) as file:
            store = _Store(len(folder.files), file)
            cached = _read(folder.files, reading, store, n_jobs, verbose)
            folder.check(cached, on_error)  # before the temporary file is renamed
            store.seal(made_from, cached)
    return folder.bunch(cached, on_error, lambda: np.load(cache, mmap_mode="r"))


def read_images(
    paths: Any,
    size: Size,
    *,
    resize: Literal["pad", "crop", "stretch"] = "pad",
    color: Literal["RGB", "grey", "keep"] = "RGB",
    background: Colour = "white",
    dtype: Literal["auto", "uint8", "uint16"] = "auto",
    on_error: Literal["raise", "skip"] = "raise",
    n_jobs: int | None = None,
    verbose: bool | None = None,
) -> Any:
    """Read images from paths, bytes, open files, PIL images or arrays.

    Parameters
    ----------
    paths : list, array-like (n,) or (n, 1), or column of a table
        Images to read. Each is a path, bytes, an open binary file, a PIL image, or an array (h, w) or (h, w, c) of
        uint8, bool or, with one channel, uint16. The images may have different sizes.
    size : int or (int, int)
        Height and width of the returned images, in pixels. One number stands for both.
    resize, color, background, dtype
        Parameters of `ImageReader`, with the same meaning and defaults.
    on_error : {"raise", "skip"}, default="raise"
        Handling of images that cannot be read. "raise" raises an error. "skip" omits these images, and also returns the
        positions of the others.
    n_jobs : int, default=None
        Number of threads for decoding. If None, it is the number of threads that BLAS may use.
    verbose : bool, default=None
        Whether to show the progress. If None, it is shown in a terminal or notebook for 1,000 images or more.

    Returns
    -------
    images : ndarray (n, h, w, c)
        Images, in uint8 or uint16.
    kept : ndarray (n,)
        Positions of these images in `paths`. Returned only with ``on_error="skip"``. The matching targets are
        ``y[kept]``.

    Raises
    ------
    ImageError
        If an image cannot be read and `on_error` is "raise", or if no image can be read.
    TypeError, ValueError
        If `paths` is a single image or empty, or a parameter is invalid.
    ImportError
        If Pillow is not installed.

    See Also
    --------
    load_folder : Loads all images of a folder.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.images import read_images
    >>> large, small = np.zeros((300, 400), np.uint8), np.zeros((50, 40, 3), np.uint8)
    >>> read_images([large, small], (64, 64)).shape
    (2, 64, 64, 3)
    >>> images, kept = read_images([large, b"no image", small], (64, 64), on_error="skip")
    >>> kept
    array([0, 2])
    """
    import_pillow()
    reading = Reading.of(size, resize=resize, color=color, background=background, dtype=dtype)
    _check_on_error(on_error)
    sources = sources_of(paths, "paths")
    store = _Store(len(sources))
    failures = _read(sources, reading, store, n_jobs, verbose)
    if failures and (on_error == "raise" or len(failures) == len(sources)):
        raise _summary(failures, "Correct the paths, or pass on_error='skip' to omit such images")
    kept = np.array([i for i in range(len(sources)) if i not in failures])
    return store.images if on_error == "raise" else (store.images, kept)


class ImageReader(  # type: ignore[call-arg]
    DocumentationLink, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Transformer from paths to images, for the first step of a pipeline.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the returned images, in pixels. One number stands for both.
    resize : {"pad", "crop", "stretch"}, default="pad"
        Method to change the shape of an image to `size`. "pad" shows the whole image, centred on the background. "crop"
        shows the largest central part with the right aspect ratio. "stretch" changes the aspect ratio.
    color : {"RGB", "grey", "keep"}, default="RGB"
        Channels of the returned images. "RGB" gives three channels and "grey" one. "keep" gives the channels of the
        files, which must be the same for all files. Only "keep" preserves transparency, as the last channel.
    background : str or (int, int, int), default="white"
        Background colour of padded and transparent images: a name, a code such as ``"#ff8800"``, or (red, green, blue)
        from 0 to 255.
    dtype : {"auto", "uint8", "uint16"}, default="auto"
        Depth of the returned images. "auto" is uint16 if there are 16-bit grey images, and uint8 otherwise. Images of a
        different depth are scaled from 0 ... 255 to 0 ... 65535 or vice versa.
    n_jobs : int, default=None
        Number of threads for decoding. If None, it is the number of threads that BLAS may use.
    verbose : bool, default=None
        Whether to show the progress. If None, it is shown in a terminal or notebook for 1,000 images or more.

    Attributes
    ----------
    dtype_ : str
        Depth of the images in ``fit``, "uint8" or "uint16". ``transform`` returns the same depth.
    channels_ : int
        Number of channels of the images in ``fit``.

    See Also
    --------
    load_folder : Loads all images of a folder, with their classes.
    read_images : Reads images without a transformer.

    Notes
    -----
    - Images are rotated according to their EXIF data. Only the first frame of an animation is read. Palettes and CMYK
      are converted to RGB.
    - Each pixel of a reduced image is a mean over all original pixels in its area, which avoids jagged edges. JPEG
      files of at least four times the required size are decoded at a fraction of their size.
    - Images with more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` raise an error before they are decoded.
    - EPS files raise an error, because Pillow runs an external program to decode them.
    - A transformer cannot omit rows, so an image that cannot be read raises an error. Use `read_images` or
      `load_folder` to omit such images.
    - The cache of ``Pipeline(memory=...)`` depends on the paths only. It is not updated when a file changes.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from sklearn.pipeline import make_pipeline
    >>> from skcnn import CNNClassifier
    >>> from skcnn.images import ImageReader
    >>> photos = tempfile.TemporaryDirectory()
    >>> paths = [f"{photos.name}/{number}.png" for number in range(20)]
    >>> for number, path in enumerate(paths):
    ...     Image.new("RGB", (40 + number, 50), "red" if number % 2 else "blue").save(path)
    >>> y = ["blue", "red"] * 10
    >>> model = make_pipeline(ImageReader((16, 16)), CNNClassifier((4,), batch_size=5, random_state=0))
    >>> model.fit(paths, y).score(paths, y)
    1.0
    >>> photos.cleanup()
    """

    dtype_: Literal["uint8", "uint16"]
    channels_: int

    def __init__(
        self,
        size: Size,
        *,
        resize: Literal["pad", "crop", "stretch"] = "pad",
        color: Literal["RGB", "grey", "keep"] = "RGB",
        background: Colour = "white",
        dtype: Literal["auto", "uint8", "uint16"] = "auto",
        n_jobs: int | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.size = size
        self.resize = resize
        self.color = color
        self.background = background
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the depth and the number of channels of the images.

        Parameters
        ----------
        X : list, array-like (n,) or (n, 1), or column of a table
            Images to read, in any format of `read_images`.
        y : None
            Ignored.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        ImageError
            If an image cannot be read.
        TypeError, ValueError
            If X is a single image or empty, or a parameter is invalid.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Array:
        """Read images and store their depth and number of channels. It equals `fit` followed by `transform`."""
        images = self._read(X, self.dtype)
        self.dtype_, self.channels_ = images.dtype.name, images.shape[3]  # type: ignore[assignment]
        return images

    def transform(self, X: Any) -> Array:
        """Read images.

        Parameters
        ----------
        X : list, array-like (n,) or (n, 1), or column of a table
            Images to read, in any format of `read_images`.

        Returns
        -------
        ndarray (n, h, w, c)
            Images, in the depth of `fit`.

        Raises
        ------
        ImageError
            If an image cannot be read.
        TypeError, ValueError
            If X is a single image or empty, or the number of channels differs from `fit`.
        """
        check_is_fitted(self)
        images = self._read(X, self.dtype_)
        if images.shape[3] != self.channels_:
            raise ValueError(
                f"The images have {images.shape[3]} channels, but ImageReader was fitted to {self.channels_}. Pass"
                " color='RGB' or 'grey' to convert all images to the same number of channels."
            )
        return images

    def set_output(self, *, transform: Any = None) -> Self:
        """Return self without any effect, because images are always arrays."""
        return self

    def _read(self, X: Any, dtype: Any) -> Array:
        import_pillow()
        reading = Reading.of(self.size, resize=self.resize, color=self.color, background=self.background, dtype=dtype)
        sources = sources_of(X)
        store = _Store(len(sources))
        if failures := _read(sources, reading, store, self.n_jobs, self.verbose):
            raise _summary(failures, "To omit such images, use read_images(..., on_error='skip')")
        return store.images

    @property
    def _n_features_out(self) -> int:
        height, width = Reading.of(self.size).size
        return height * width * self.channels_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")


def _summary(failures: dict[int, ImageError], advice: str) -> ImageError:
    """Return one error for all images that cannot be read."""
    (row, first), *others = failures.items()
    name = first.name if first.name != ANONYMOUS else f"Image {row}"
    more = ", ".join(error.name if error.name != ANONYMOUS else f"image {i}" for i, error in others[:SHOWN])
    left = f" and {len(others) - SHOWN:,} more" if len(others) > SHOWN else ""
    also = f" (nor can {more}{left})" if others else ""
    return ImageError(name, f"{first.reason}{also}. {advice}")


# -- reading several images


class _Store:
    """Growing sequence of images of one shape and dtype, in memory or in a file in the format of `numpy.save`."""

    def __init__(self, rows: int, file: IO[bytes] | None = None) -> None:
        self._rows = rows
        self._file = file
        self._array: Array | None = None
        self.count = 0
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.uint8)

    @property
    def images(self) -> Array:
        """All added images, (n, h, w, c)."""
        assert self._array is not None
        return self._array[: self.count]

    def add(self, image: Array) -> None:
        """Append an image of the same shape and dtype as the previous images."""
        if not self.count:
            self.shape, self.dtype = image.shape, image.dtype
            if self._file is None:
                self._array = np.empty((self._rows, *self.shape), self.dtype)
            else:
                self._write_header(self._rows)
        if self._array is not None:
            self._array[self.count] = image
        elif self._file is not None:
            self._file.write(image.tobytes())
        self.count += 1

    def clear(self) -> None:
        """Remove all images."""
        self.count = 0
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def seal(self, made_from: dict[str, Any], failures: dict[int, ImageError]) -> None:
        """Complete the file: append the origin of the images, and write their number into the header."""
        assert self._file is not None
        failed = [
            [i, error.name, error.reason, isinstance(error, UnknownContentError)] for i, error in failures.items()
        ]
        text = json.dumps({"made_from": made_from, "failed": failed}).encode()
        self._file.write(text + len(text).to_bytes(8, "little") + SEAL)
        self._file.seek(0)
        self._write_header(self.count)

    def _write_header(self, rows: int) -> None:
        # NumPy pads the header so that the first dimension can grow. Both headers have the same length.
        about = {"descr": self.dtype.str, "fortran_order": False, "shape": (rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, about)  # type: ignore[arg-type]


def _read(
    sources: Sequence[Any], reading: Reading, store: _Store, n_jobs: int | None, verbose: bool | None
) -> dict[int, ImageError]:
    """Read images into a store; return a dictionary of position -> error for images that cannot be read."""
    failures = {}
    with closing(_decoded(sources, reading, n_jobs, verbose)) as images:
        for i, found in enumerate(images):
            if isinstance(found, ImageError):
                failures[i] = found
            elif not store.count or (found.shape, found.dtype) == (store.shape, store.dtype):
                store.add(found)
            elif found.shape != store.shape:
                raise ValueError(
                    f"color='keep' needs images with equal numbers of channels: {name_of(sources[i])} has"
                    f" {found.shape[2]}, the images before it have {store.shape[2]}. Pass color='RGB' or 'grey'."
                )
            else:
                break  # 8 and 16 bits are mixed, so read all images again with 16
        else:
            return failures
    store.clear()
    return _read(sources, replace(reading, dtype="uint16"), store, n_jobs, verbose)


def _decoded(
    sources: Sequence[Any], reading: Reading, n_jobs: int | None, verbose: bool | None
) -> Generator[Array | ImageError]:
    """Yield each image, or its error, in order. Threads decode a few images in advance."""

    def read(start: int) -> list[Array | ImageError]:
        return [_attempt(source, reading) for source in sources[start : start + SHARE]]

    def take() -> list[Array | ImageError]:
        found = waiting.popleft().result()
        show(len(found))
        return found

    starts = range(0, len(sources), SHARE)
    threads = max(1, min(thread_count(n_jobs), len(starts)))
    waiting: deque[Future[list[Array | ImageError]]] = deque()
    with ThreadPoolExecutor(threads) as pool, _progress(len(sources), verbose) as show:
        for start in starts:
            waiting.append(pool.submit(read, start))
            if len(waiting) > 2 * threads:
                yield from take()
        while waiting:
            yield from take()


def _attempt(source: Any, reading: Reading) -> Array | ImageError:
    try:
        return reading.read(source)
    except ImageError as error:
        return error


@contextmanager
def _progress(total: int, verbose: bool | None) -> Iterator[Callable[[int], None]]:
    """Provide a function that counts finished images and shows the progress in one line."""
    is_watched = sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    shows = total >= MANY and is_watched if verbose is None else verbose
    done, last = 0, -SECONDS

    def show(more: int) -> None:
        nonlocal done, last
        done += more
        if shows and (done == total or time.monotonic() - last > SECONDS):
            sys.stderr.write(f"\rReading images: {done:,} of {total:,}")
            sys.stderr.flush()
            last = time.monotonic()

    try:
        yield show
    finally:
        if shows:
            sys.stderr.write("\n")


# -- reading a folder


class _Folder:
    """Files of a folder, in order, with the class folder of each."""

    def __init__(self, root: str, categories: Sequence[str] | None, cache: Path | None) -> None:
        if not os.path.isdir(root):
            if os.path.exists(root):
                raise NotADirectoryError(f"{root!r} is a file. Expected a folder of images; use read_images for files.")
            raise FileNotFoundError(f"There is no folder {root!r}.")
        self.root = root
        self.skipped: list[tuple[str, str]] = []
        self._closed: list[ImageError] = []  # folders without read permission
        self._cache = cache
        self._chosen = categories is not None
        strays, folders = self._entries(root)
        if isinstance(categories, str) or (categories is not None and not set(categories) <= set(folders)):
            raise ValueError(f"categories must be names of folders in {root!r}, {_names(folders)}, got {categories!r}.")
        found = {
            name: list(self._below(folders[name], (_identity(root),)))
            for name in (folders if categories is None else map(str, categories))
        }
        below = [file for files in found.values() for file in files]
        has_classes = self._chosen or (
            bool(below) and (any(map(_is_named_as_image, below)) or not any(map(_is_named_as_image, strays)))
        )
        self.categories = list(found) if has_classes else None
        self.files = below if has_classes else strays
        self._classes = np.repeat(np.arange(len(found)), [len(files) for files in found.values()])
        if has_classes:
            self.skipped += [(file, "it is in none of the class folders") for file in strays]

    def _entries(self, folder: str) -> tuple[list[str], dict[str, str]]:
        """Return the paths of the files of a folder, and a dictionary of name -> path of its subfolders.

        Hidden files and folders are excluded.
        """
        files, folders = [], {}
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            reason = str(error.strerror).lower()
            self.skipped.append((folder, reason))
            self._closed.append(ImageError(repr(folder), reason))
            return [], {}
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path)):
                folders[entry.name] = entry.path
            elif not self._is_cache(entry):
                files.append(entry.path)
        return files, folders

    def _below(self, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
        """Yield the files of a folder and its subfolders. Links to a folder ``above`` are not followed."""
        if (own := _identity(folder)) not in above:
            files, folders = self._entries(folder)
            yield from files
            for deeper in folders.values():
                yield from self._below(deeper, (*above, own))

    def _is_cache(self, entry: os.DirEntry[str]) -> bool:
        """Return whether a file is the ``out`` file itself."""
        if self._cache is None or entry.name != self._cache.name:
            return False
        return os.path.realpath(entry.path) == os.path.realpath(self._cache)

    def checksum(self) -> str:
        """Return a checksum that changes if a file is added, removed, renamed or modified."""
        states = [(os.path.relpath(file, self.root), *_state(file)) for file in self.files]
        return hashlib.sha256(json.dumps([self.categories, states]).encode()).hexdigest()

    def check(self, failures: dict[int, ImageError], on_error: str) -> None:
        """Raise an error if images cannot be read and ``on_error`` is "raise", or if there are no images."""
        bad = [error for i, error in failures.items() if not self._is_other(i, error)] + self._closed
        if bad and on_error == "raise":
            raise _summary(dict(enumerate(bad)), "Remove such files, or omit them with on_error='skip'")
        if len(failures) == len(self.files):
            skipped = [*self.skipped, *((error.name, error.reason) for error in failures.values())]
            reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:SHOWN])
            raise ValueError(f"There is no image in {self.root!r}" + (f" ({reasons})." if reasons else "."))

    def _is_other(self, i: int, error: ImageError) -> bool:
        """Return whether neither the content nor the name of a file indicates an image."""
        return isinstance(error, UnknownContentError) and not _is_named_as_image(self.files[i])

    def bunch(self, failures: dict[int, ImageError], on_error: str, images: Callable[[], Array]) -> Bunch:
        """Return the result of `load_folder`."""
        self.check(failures, on_error)
        kept = np.delete(np.arange(len(self.files)), list(failures))
        skipped = sorted([*self.skipped, *((self.files[i], error.reason) for i, error in failures.items())])
        found = Bunch(images=images(), filenames=np.array(self.files)[kept], skipped=skipped)
        if self.categories is not None:
            classes = self._classes[kept]
            names = np.array(self.categories)
            if not self._chosen:
                used, classes = np.unique(classes, return_inverse=True)
                found.skipped += [
                    (os.path.join(self.root, name), "there is no image in this folder")
                    for i, name in enumerate(self.categories)
                    if i not in used
                ]
                names = names[used]
                self._warn_of(names.tolist())
            found.target, found.target_names = classes, names
        return found

    def _warn_of(self, names: list[str]) -> None:
        problem = ""
        if len(names) == 1:
            problem = f"has only one class folder, {names[0]!r}, but a classifier needs two or more"
        elif {name.lower() for name in names} <= PARTS:
            problem = f"has the class folders {_names(names)}, which look like parts of a data set"
        if problem:
            inner = os.path.join(self.root, names[0])
            warnings.warn(
                f"{self.root!r} {problem}. If the classes are the folders inside it, load {inner!r}.",
                FolderWarning,
                stacklevel=4,
            )


def _names(names: Any) -> str:
    """Return the first names, for a message."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return ", ".join(map(repr, listed[:SHOWN])) + more if listed else "which has no folders"


def _is_named_as_image(file: str) -> bool:
    return os.path.splitext(file)[1].lower() in import_pillow().registered_extensions()


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _state(file: str) -> tuple[int, int]:
    """Return size and modification time of a file, or -1 for both if it no longer exists.

    Reading such a file reports the error.
    """
    try:
        found = os.stat(file)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _failures_of(cache: Path, made_from: dict[str, Any]) -> dict[int, ImageError] | None:
    """Return the errors recorded in a cache file, or None if the cache is missing or outdated."""
    try:
        with cache.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(SEAL) - 8))
            end = file.read()
            length = int.from_bytes(end[:8], "little")
            if end[8:] != SEAL or length > size:
                raise ValueError(
                    f"out={str(cache)!r} is a file that load_folder has not written. Choose another name or remove it."
                )
            file.seek(-len(end) - length, os.SEEK_END)
            sealed = json.loads(file.read(length))
    except FileNotFoundError:
        return None
    if sealed["made_from"] != json.loads(json.dumps(made_from)):
        return None
    kinds = {True: UnknownContentError, False: ImageError}
    return {i: kinds[is_other](name, reason) for i, name, reason, is_other in sealed["failed"]}
