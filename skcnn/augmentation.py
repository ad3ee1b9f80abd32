"""Augmentation: random changes of the training images, different in every epoch."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from ._arrays.elementwise import Array
from ._arrays.warp import PADDING, affine, as_dtype, translate, working_dtype
from .description import Description, description, is_count, is_real, numbered, refuse_class, resolve

__all__ = [
    "Augmentation",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "GaussianNoise",
    "MixUp",
    "Mixing",
    "Mixture",
    "RandomAffine",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomShift",
    "RandomZoom",
    "Rows",
]

LUMINANCE = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue, from ITU-R BT.601
Range = float | tuple[float, float]
Fill = float | str


class Augmentation(Description):
    """Base of all augmentations.

    To write an augmentation, define its fields and `augment`. The method receives a batch, and should draw separate
    random numbers for each image.
    """

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        """Return randomly changed copies of the images.

        Parameters
        ----------
        images : ndarray (n, h, w, c)
            Images in the dtype passed to ``fit``, for example 8-bit integers. They must not be modified.
        rng : Generator
            Source of all random numbers. The result depends on nothing else except the images.

        Returns
        -------
        ndarray (n, h, w, c)
            Changed images, with the same shape and dtype.
        """
        raise NotImplementedError

    def augment_rows(self, images: Array, rng: np.random.Generator, rows: Rows) -> Array:
        """Return changed copies of the images, which may also depend on their rows in X and on the epoch.

        A fit calls this method. By default it returns the result of `augment`. Override it if the views of an image in
        different epochs should not be independent of each other.

        Parameters
        ----------
        images : ndarray (n, h, w, c)
            Images, as in `augment`.
        rng : Generator
            Source of random numbers, which differ between epochs and batches.
        rows : Rows
            Rows of the images, epoch and seed.

        Returns
        -------
        ndarray (n, h, w, c)
            Changed images, with the same shape and dtype.
        """
        return self.augment(images, rng)


class Mixing(Augmentation):
    """Base of the augmentations that mix each image and its target with another image of the batch and its target."""

    def mix(self, images: Array, rng: np.random.Generator) -> tuple[Array, Mixture]:
        """Return mixed images (n, h, w, c), and the partner and share of each image."""
        raise NotImplementedError

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        return self.mix(images, rng)[0]


class Mixture(NamedTuple):
    """Partners and shares of the mixed images of a batch."""

    partner: Array  # (n,) index of the other image
    share: Array  # (n,) share of the image itself, from 0 to 1


class Rows(NamedTuple):
    """Rows of X in a batch, the epoch in which they are used, and the seed of the fit.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import Rows
    >>> first, second = (Rows(np.array([7, 0, 2]), epoch, seed=0) for epoch in (0, 1))
    >>> first.draw(10), second.draw(10)
    (array([0, 5, 9]), array([0, 5, 9]))
    """

    numbers: Array  # (n,) positions in X
    epoch: int  # number of completed epochs, including the epochs of earlier calls of `partial_fit`
    seed: int

    def draw(self, k: int) -> Array:
        """Return a random integer (n,) from 0 to k - 1 for each row, which is the same in all epochs of a fit."""
        return (splitmix64(self.seed, self.numbers) % np.uint64(k)).astype(int)


def splitmix64(seed: int, numbers: Array) -> Array:
    """Return the random 64-bit integers (n,) at positions ``numbers`` (n,), from 0, of the generator SplitMix64.

    G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17 with the
    constants of variant 13.
    """
    z = np.uint64(seed) + (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def resolve_augmentations(value: object, parameter: str = "augmentation") -> tuple[Augmentation, ...]:
    """Return a tuple of augmentations from None, an augmentation, a name, or a list of these."""
    if value is None:
        return ()
    members = value if isinstance(value, (list, tuple)) else [value]
    where = [f"{parameter}[{i}]" for i in range(len(members))] if members is value else [parameter]
    found = tuple(resolve(Augmentation, member, place) for member, place in zip(members, where, strict=True))
    mixing = [member for member in found if isinstance(member, Mixing)]
    if len(mixing) > 1:
        raise ValueError(
            f"{parameter} mixes images twice, by {mixing[0]!r} and {mixing[1]!r}. A target can be mixed only once."
            " Remove one of them."
        )
    return found


def refuse_classes(value: object, parameter: str = "augmentation") -> None:
    """Raise a TypeError if ``value`` is a class instead of an object, or a list that contains one."""
    for member in value if isinstance(value, (list, tuple)) else [value]:
        refuse_class(member, parameter)


def augmentation_names(members: Any) -> list[str]:
    """Return names such as random_flip1 and random_crop1, used in nested parameter names."""
    return numbered(member if isinstance(member, str) else _stem(type(member)) for member in members)


def _stem(cls: type) -> str:
    return getattr(cls, "name", "") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def augmented(
    augmentations: tuple[Augmentation, ...], images: Array, rng: np.random.Generator, rows: Rows
) -> tuple[Array, Mixture | None]:
    """Apply augmentations in order; return images (n, h, w, c), and their mixture or None if nothing mixes."""
    mixture = None
    for augmentation in augmentations:
        before = images.shape, images.dtype
        if isinstance(augmentation, Mixing):
            images, mixture = augmentation.mix(images, rng)
        else:
            images = augmentation.augment_rows(images, rng, rows)
        after = np.shape(images), getattr(images, "dtype", type(images).__name__)
        if after != before:
            raise ValueError(
                f"{augmentation!r} must return images of the same shape and dtype as its input. It got {before[0]} of"
                f" {before[1]} and returned {after[0]} of {after[1]}."
            )
    return images, mixture


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, (tuple, list)) else (value, value)


def _are_shares(value: Any, high: float = 1.0) -> bool:
    """Return whether ``value`` is a number from 0 to ``high``, or a pair of such numbers."""
    if isinstance(value, (tuple, list)) and len(value) != 2:
        return False
    return all(is_real(v, 0, high) for v in _pair(value))


def _require_fill(augmentation: Any) -> None:
    fill = augmentation.fill
    valid = fill in PADDING if isinstance(fill, str) else is_real(fill, -np.inf)
    augmentation._require("fill", valid, "a number, 'nearest', 'reflect' or 'mirror'")


def _whole_steps(rng: np.random.Generator, most: int, n: int) -> Array:
    """Draw ``n`` integers from -most to most."""
    return rng.integers(-most, most + 1, n)


@description
class RandomFlip(Augmentation):
    """Random mirroring.

    Parameters
    ----------
    horizontal : bool, default=True
        Whether to exchange left and right with probability 1/2.
    vertical : bool, default=False
        Whether to exchange top and bottom with probability 1/2, independently of ``horizontal``.
    alternate : bool, default=False
        Whether each image is flipped in every other epoch, after a random choice in the first epoch. With both axes,
        each image has its four views in turn. Calls of ``partial_fit`` count as epochs, so pass all rows in each call.

    Notes
    -----
    y[i, j] = x[i, w - 1 - j], or x[h - 1 - i, j]. A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification
    with deep convolutional neural networks", NIPS 2012, section 4.1. With ``alternate``, any two epochs in succession
    contain both views of every image: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498,
    section 3.6.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import RandomFlip
    >>> images = np.array([[1, 2, 3]] * 4).reshape(4, 1, 3, 1)
    >>> RandomFlip().augment(images, np.random.default_rng(7))[:, 0, :, 0]
    array([[3, 2, 1],
           [1, 2, 3],
           [3, 2, 1],
           [1, 2, 3]])
    """

    horizontal: bool = True
    vertical: bool = False
    alternate: bool = False

    name = "random_flip"

    def check(self) -> None:
        for field in ("horizontal", "vertical", "alternate"):
            self._require(field, isinstance(getattr(self, field), (bool, np.bool)), "True or False")

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        return self._flipped(images, rng.random((2, len(images))) < 0.5)

    def augment_rows(self, images: Array, rng: np.random.Generator, rows: Rows) -> Array:
        if not self.alternate:
            return self.augment(images, rng)
        # A binary digit of a view's number says for each axis whether it is reversed.
        views = 2 ** (int(self.horizontal) + int(self.vertical))
        view = (rows.draw(views) + rows.epoch) % views
        return self._flipped(images, np.stack([view >> int(self.horizontal), view]) % 2 == 1)

    def _flipped(self, images: Array, choice: Array) -> Array:
        """Return copies, reversed along an axis where ``choice`` (2, n) of the vertical and horizontal axis is True."""
        out = images.copy()
        for wanted, chosen, axis in zip((self.vertical, self.horizontal), choice, (1, 2), strict=True):
            if wanted:
                out[chosen] = np.flip(out[chosen], axis)
        return out


@description
class RandomCrop(Augmentation):
    """Random crop of the original size from the padded image.

    Parameters
    ----------
    padding : int or (int, int), default=4
        Width of the border in pixels, 0 or more. A pair sets (top and bottom, left and right) separately.
    fill : float, "nearest", "reflect" or "mirror", default=0.0
        Value of the border. "nearest" repeats the nearest pixel. "reflect" mirrors the image at its edge. "mirror" does
        so without repeating the pixels at the edge.

    Notes
    -----
    y[i, j] = x[i - a, j - b], with a and b drawn from -padding ... padding. C.-Y. Lee, S. Xie, P. Gallagher, Z. Zhang
    and Z. Tu, "Deeply-supervised nets", AISTATS 2015, and K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning
    for image recognition", CVPR 2016, section 4.2, who pad images of 32 x 32 by 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import RandomCrop
    >>> image = np.arange(1, 10).reshape(1, 3, 3, 1)
    >>> RandomCrop(1).augment(image, np.random.default_rng(9))[0, :, :, 0]
    array([[0, 1, 2],
           [0, 4, 5],
           [0, 7, 8]])
    """

    padding: int | tuple[int, int] = 4
    fill: Fill = 0.0

    name = "random_crop"

    def check(self) -> None:
        pair = isinstance(self.padding, (tuple, list))
        valid = (not pair or len(self.padding) == 2) and all(is_count(v, 0) for v in _pair(self.padding))  # type: ignore[arg-type]
        self._require("padding", valid, "an int of 0 or more, or a pair of them")
        _require_fill(self)

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        down, right = (_whole_steps(rng, most, len(images)) for most in _pair(self.padding))
        return translate(images, down, right, self.fill)


@description
class RandomShift(Augmentation):
    """Random shift by whole pixels.

    Parameters
    ----------
    shift : float or (float, float), default=0.1
        Maximum shift, as a share of height and width from 0 to 1, rounded to pixels. A pair sets the shares of height
        and width separately.
    fill : float, "nearest", "reflect" or "mirror", default=0.0
        Value of the pixels shifted in. "nearest" repeats the nearest pixel. "reflect" mirrors the image at its edge.
        "mirror" does so without repeating the pixels at the edge.

    Notes
    -----
    y[i, j] = x[i - a, j - b], with integers a from -shift * h ... shift * h and b from -shift * w ... shift * w. P.
    Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural networks applied to visual document
    analysis", ICDAR 2003, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import RandomShift
    >>> image = np.arange(1, 6).reshape(1, 1, 5, 1)
    >>> RandomShift(0.4, fill="nearest").augment(image, np.random.default_rng(4)).ravel()
    array([1, 1, 2, 3, 4])
    """

    shift: Range = 0.1
    fill: Fill = 0.0

    name = "random_shift"

    def check(self) -> None:
        self._require("shift", _are_shares(self.shift), "a number from 0 to 1, or a pair of them")
        _require_fill(self)

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        most = [round(share * size) for share, size in zip(_pair(self.shift), images.shape[1:3], strict=True)]
        down, right = (_whole_steps(rng, steps, len(images)) for steps in most)
        return translate(images, down, right, self.fill)


@description
class RandomAffine(Augmentation):
    """Random rotation, shear, zoom and shift, combined in one interpolation.

    Parameters
    ----------
    degrees : float, default=10.0
        Maximum angle of the rotation in either direction, in degrees from 0 to 180.
    shift : float or (float, float), default=0.1
        Maximum shift, as a share of height and width from 0 to 1. A pair sets the shares of height and width
        separately.
    zoom : float, default=0.1
        Maximum change of size, 0 or more and less than 1. Images are enlarged by factors from 1 - zoom to 1 + zoom.
    shear : float, default=0.0
        Maximum angle by which vertical lines are slanted, in degrees, 0 or more and less than 90.
    fill : float, "nearest", "reflect" or "mirror", default=0.0
        Value of the pixels outside the image. "nearest" repeats the nearest pixel. "reflect" mirrors the image at its
        edge. "mirror" does so without repeating the pixels at the edge.

    Notes
    -----
    y(p) = x(A (p - t)) for positions p relative to the centre. With the angle a, the slant s and the zoom z,
    A = ((cos a, sin a), (-sin a, cos a)) ((1, 0), (tan s, 1)) / z. Values between pixels are interpolated bilinearly,
    with the equations of `scipy.ndimage.affine_transform` for ``order=1`` and its modes "grid-constant", "nearest",
    "reflect" and "mirror". P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural networks
    applied to visual document analysis", ICDAR 2003, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import RandomAffine
    >>> image = np.eye(4).reshape(1, 4, 4, 1)
    >>> still = RandomAffine(degrees=0, shift=0, zoom=0).augment(image, np.random.default_rng(0))
    >>> bool((still == image).all())
    True
    """

    degrees: float = 10.0
    shift: Range = 0.1
    zoom: float = 0.1
    shear: float = 0.0
    fill: Fill = 0.0

    name = "random_affine"

    def check(self) -> None:
        self._require("degrees", is_real(self.degrees, 0, 180), "a number from 0 to 180")
        self._require("shift", _are_shares(self.shift), "a number from 0 to 1, or a pair of them")
        self._require("zoom", is_real(self.zoom, 0, 1, open_high=True), "a number of 0 or more and less than 1")
        self._require("shear", is_real(self.shear, 0, 90, open_high=True), "a number of 0 or more and less than 90")
        _require_fill(self)

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        n, h, w, _ = images.shape
        draws = rng.uniform(-1, 1, (5, n))
        angle, slant = np.radians(self.degrees) * draws[0], np.radians(self.shear) * draws[1]
        shift = draws[2:4].T * (np.array(_pair(self.shift)) * (h, w))
        return affine(images, affine_maps(angle, slant, 1 + self.zoom * draws[4], shift), self.fill)


def affine_maps(angle: Array, slant: Array, zoom: Array, shift: Array) -> Array:
    """Return affine maps (n, 2, 3) from output to input positions.

    ``angle``, ``slant`` (n,) are in radians, ``zoom`` (n,) are factors and ``shift`` (n, 2) are in pixels.
    """
    cos, sin, tan = np.cos(angle), np.sin(angle), np.tan(slant)
    maps = np.empty((len(angle), 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = cos + sin * tan, sin
    maps[:, 1, 0], maps[:, 1, 1] = cos * tan - sin, cos
    maps[:, :, :2] /= zoom[:, None, None]
    maps[:, :, 2] = -(maps[:, :, :2] @ shift[:, :, None])[:, :, 0]
    return maps


@description
class RandomRotation(Augmentation):
    """Random rotation around the centre of the image.

    Parameters
    ----------
    degrees : float, default=10.0
        Maximum angle in either direction, in degrees from 0 to 180.
    fill : float, "nearest", "reflect" or "mirror", default=0.0
        Value of the pixels outside the image. "nearest" repeats the nearest pixel. "reflect" mirrors the image at its
        edge. "mirror" does so without repeating the pixels at the edge.

    Notes
    -----
    It equals `RandomAffine` with rotation only. P. Simard, D. Steinkraus and J. Platt, "Best practices for
    convolutional neural networks applied to visual document analysis", ICDAR 2003, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import RandomRotation
    >>> image = np.full((1, 5, 5, 1), 7, np.uint8)
    >>> turned = RandomRotation(45, fill="nearest").augment(image, np.random.default_rng(0))
    >>> bool((turned == image).all())
    True
    """

    degrees: float = 10.0
    fill: Fill = 0.0

    name = "random_rotation"

    def check(self) -> None:
        self._require("degrees", is_real(self.degrees, 0, 180), "a number from 0 to 180")
        _require_fill(self)

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        return RandomAffine(self.degrees, shift=0.0, zoom=0.0, fill=self.fill).augment(images, rng)


@description
class RandomZoom(Augmentation):
    """Random enlargement or reduction around the centre of the image.

    Parameters
    ----------
    zoom : float, default=0.1
        Maximum change of size, 0 or more and less than 1. Images are enlarged by factors from 1 - zoom to 1 + zoom.
    fill : float, "nearest", "reflect" or "mirror", default=0.0
        Value of the pixels outside the image. "nearest" repeats the nearest pixel. "reflect" mirrors the image at its
        edge. "mirror" does so without repeating the pixels at the edge.

    Notes
    -----
    It equals `RandomAffine` with zoom only. P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional
    neural networks applied to visual document analysis", ICDAR 2003, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import RandomZoom
    >>> image = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> zoomed = RandomZoom(0.5).augment(image, np.random.default_rng(0))
    >>> zoomed[0, 1, 1, 0] == image[0, 1, 1, 0]  # the centre stays
    np.True_
    """

    zoom: float = 0.1
    fill: Fill = 0.0

    name = "random_zoom"

    def check(self) -> None:
        self._require("zoom", is_real(self.zoom, 0, 1, open_high=True), "a number of 0 or more and less than 1")
        _require_fill(self)

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        return RandomAffine(0.0, shift=0.0, zoom=self.zoom, fill=self.fill).augment(images, rng)


@description
class GaussianNoise(Augmentation):
    """Addition of normally distributed noise to each pixel.

    Parameters
    ----------
    std : float, default=0.1
        Standard deviation of the noise, 0 or more, relative to the standard deviation of the image. It therefore has
        the same effect for pixels from 0 to 255 and for pixels from 0 to 1.

    Notes
    -----
    y = x + std * sd(x) * e, with e from N(0, 1). C. Bishop, "Training with noise is equivalent to Tikhonov
    regularization", Neural Computation 7, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import GaussianNoise
    >>> image = np.linspace(0, 1, 10_000).reshape(1, 100, 100, 1)
    >>> noise = GaussianNoise(0.5).augment(image, np.random.default_rng(0)) - image
    >>> round(noise.std() / image.std(), 2)
    np.float64(0.5)
    """

    std: float = 0.1

    name = "gaussian_noise"

    def check(self) -> None:
        self._require("std", is_real(self.std, 0), "a number of 0 or more")

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        kind = working_dtype(images.dtype)
        x = images.astype(kind)
        noise = rng.standard_normal(images.shape, dtype=kind)
        noise *= (self.std * x.std(axis=(1, 2, 3), keepdims=True)).astype(kind)
        noise += x
        return as_dtype(noise, images.dtype)


@description
class ColorJitter(Augmentation):
    """Random change of brightness, contrast, saturation and hue.

    Parameters
    ----------
    brightness : float, default=0.2
        Maximum change of brightness, 0 or more. Pixels are multiplied by factors from 1 - brightness to 1 + brightness,
        but not below 0.
    contrast : float, default=0.2
        Maximum change of contrast, 0 or more. Differences from the mean grey of the image are multiplied by factors
        from 1 - contrast to 1 + contrast, but not below 0.
    saturation : float, default=0.2
        Maximum change of saturation, 0 or more. Differences from the grey of each pixel are multiplied by factors from
        1 - saturation to 1 + saturation, but not below 0. It applies only to images with three channels.
    hue : float, default=0.0
        Maximum rotation of the colours around the grey axis, in turns from 0 to 0.5. It applies only to images with
        three channels.

    Notes
    -----
    Let b, k and s be the factors, R the rotation and g the grey of the pixel x'. Then y = R (g + s (x' - g)), where
    x' = m + k (b x - m) and m is the mean grey of b x. This is one affine map of the colours of an image. P. Haeberli,
    "Matrix operations for image processing", 1993; A. Howard, "Some improvements on deep convolutional neural network
    based image classification", arXiv:1312.5402.

    Integer images are rounded and clipped once, after the map. Float images are not clipped, because their valid range
    is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import ColorJitter
    >>> grey = np.full((1, 2, 2, 3), 100, np.uint8)
    >>> jitter = ColorJitter(brightness=0, contrast=0.5, saturation=0.5, hue=0.5)
    >>> bool((jitter.augment(grey, np.random.default_rng(0)) == grey).all())  # uniform grey is unaffected
    True
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0

    name = "color_jitter"

    def check(self) -> None:
        for field in ("brightness", "contrast", "saturation"):
            self._require(field, is_real(getattr(self, field), 0), "a number of 0 or more")
        self._require("hue", is_real(self.hue, 0, 0.5), "a number from 0 to 0.5")

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        n, h, w, c = images.shape
        draws = rng.uniform(-1, 1, (4, n))
        amounts = self.brightness, self.contrast, self.saturation
        b, k, s = (np.maximum(0, 1 + amount * draw) for amount, draw in zip(amounts, draws, strict=False))
        kind = working_dtype(images.dtype)
        x = images.reshape(n, h * w, c).astype(kind)
        grey = LUMINANCE if c == 3 else np.full(c, 1 / c)
        m = b * (x.mean(axis=1, dtype=np.float64) @ grey)
        if c == 3:
            x = x @ (_colours(s, 2 * np.pi * self.hue * draws[3]) * (k * b)[:, None, None]).astype(kind)
        else:
            x *= (k * b).astype(kind)[:, None, None]
        x += ((1 - k) * m).astype(kind)[:, None, None]
        return as_dtype(x, images.dtype).reshape(images.shape)


def _colours(saturation: Array, turn: Array) -> Array:
    """Return matrices (n, 3, 3) that change the saturation of RGB pixels, then rotate them around the grey axis."""
    s, cos, sin = (v[:, None, None] for v in (saturation, np.cos(turn), np.sin(turn)))
    saturate = s * np.eye(3) + (1 - s) * np.outer(LUMINANCE, np.ones(3))
    grey = np.full((3, 3), 1 / 3)
    across = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]) / np.sqrt(3)
    return saturate @ (grey + cos * (np.eye(3) - grey) + sin * across)


def _boxes(rng: np.random.Generator, shape: tuple[int, ...], heights: Array, widths: Array) -> Array:
    """Return masks (n, h, w) of rectangles with random centres, clipped at the edges of the image.

    ``heights`` and ``widths`` (n,) are in pixels.
    """
    n, h, w, _ = shape
    inside = []
    for length, size in ((h, heights), (w, widths)):
        start = rng.integers(0, length, n) - size // 2
        pixel = np.arange(length)
        inside.append((pixel >= start[:, None]) & (pixel < (start + size)[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


@description
class Cutout(Augmentation):
    """Random rectangle of each image replaced by a constant.

    Parameters
    ----------
    size : float or (float, float), default=0.25
        Size of the rectangle, as a share of height and width from 0 to 1. A pair sets the shares of height and width
        separately. The centre is a random pixel, and the rectangle is clipped at the edges of the image.
    fill : float or "mean", default="mean"
        Value inside the rectangle. "mean" is the mean of each channel of the image.

    Notes
    -----
    T. DeVries and G. Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv:1708.04552.
    On images of 32 x 32 pixels, they cover 16 x 16 pixels (a size of 0.5) for 10 classes, and 8 x 8 pixels (0.25) for
    100 classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import Cutout
    >>> image = np.full((1, 4, 4, 1), 9)
    >>> Cutout(0.5, fill=0).augment(image, np.random.default_rng(1))[0, :, :, 0]
    array([[9, 0, 0, 9],
           [9, 0, 0, 9],
           [9, 9, 9, 9],
           [9, 9, 9, 9]])
    """

    size: Range = 0.25
    fill: Fill = "mean"

    name = "cutout"

    def check(self) -> None:
        self._require("size", _are_shares(self.size), "a number from 0 to 1, or a pair of them")
        valid = self.fill == "mean" if isinstance(self.fill, str) else is_real(self.fill, -np.inf)
        self._require("fill", valid, "a number or 'mean'")

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        n, h, w, c = images.shape
        sizes = np.rint(np.array(_pair(self.size)) * (h, w)).astype(int)
        covered = _boxes(rng, images.shape, *sizes[:, None])
        values = images.mean(axis=(1, 2), dtype=np.float64) if self.fill == "mean" else np.full((n, c), self.fill)
        out = images.copy()
        out[covered] = as_dtype(values, images.dtype)[covered.nonzero()[0]]
        return out


@description
class MixUp(Mixing):
    """Weighted mean of each image with another image of the batch, and of their targets.

    Parameters
    ----------
    alpha : float, default=0.2
        Parameter of the distribution Beta(alpha, alpha) of the shares, above 0. The larger it is, the closer the shares
        are to 1/2.

    Notes
    -----
    y = s x1 + (1 - s) x2, with the target s t1 + (1 - s) t2 and the sample weight s w1 + (1 - s) w2. Each image has a
    separate share s. H. Zhang, M. Cisse, Y. Dauphin and D. Lopez-Paz, "mixup: beyond empirical risk minimization",
    ICLR 2018.

    In classification, the loss is s loss(t1) + (1 - s) loss(t2). For `LogLoss`, this equals the loss of the mixed
    target.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import MixUp
    >>> images = np.array([0.0, 1.0]).reshape(2, 1, 1, 1)
    >>> mixed, mixture = MixUp(1.0).mix(images, np.random.default_rng(4))
    >>> mixture.partner
    array([1, 0])
    >>> bool(np.allclose(mixed.ravel(), [1 - mixture.share[0], mixture.share[1]]))
    True
    """

    alpha: float = 0.2

    name = "mixup"

    def check(self) -> None:
        self._require("alpha", is_real(self.alpha, 0, open_low=True), "a number above 0")

    def mix(self, images: Array, rng: np.random.Generator) -> tuple[Array, Mixture]:
        partner = rng.permutation(len(images))
        share = rng.beta(self.alpha, self.alpha, len(images))
        x = images.astype(working_dtype(images.dtype))
        other = x[partner]
        x -= other
        x *= share.astype(x.dtype)[:, None, None, None]
        x += other
        return as_dtype(x, images.dtype), Mixture(partner, share)


@description
class CutMix(Mixing):
    """Rectangle of each image replaced by the same rectangle of another image of the batch, with mixed targets.

    Parameters
    ----------
    alpha : float, default=1.0
        Parameter of the distribution Beta(alpha, alpha) of the share of the image outside the rectangle, above 0. The
        default is uniform. The share increases if the rectangle is clipped at the edges.

    Notes
    -----
    Inside the rectangle y = x2, and outside it y = x1. The sides of the rectangle are sqrt(1 - s) times the sides of
    the image, and its centre is a random pixel. The target is s' t1 + (1 - s') t2, where s' is the share of the pixels
    outside the rectangle. Targets, losses and sample weights are mixed as in `MixUp`. S. Yun, D. Han, S. Oh, S. Chun,
    J. Choe and Y. Yoo, "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV
    2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import CutMix
    >>> images = np.array([0, 1]).repeat(16).reshape(2, 4, 4, 1)
    >>> mixed, mixture = CutMix().mix(images, np.random.default_rng(4))
    >>> mixture.partner
    array([1, 0])
    >>> bool(np.allclose(mixed.mean(axis=(1, 2, 3)), [1 - mixture.share[0], mixture.share[1]]))
    True
    """

    alpha: float = 1.0

    name = "cutmix"

    def check(self) -> None:
        self._require("alpha", is_real(self.alpha, 0, open_low=True), "a number above 0")

    def mix(self, images: Array, rng: np.random.Generator) -> tuple[Array, Mixture]:
        n, h, w, _ = images.shape
        partner = rng.permutation(n)
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha, n))
        heights, widths = (np.rint(side * size).astype(int) for size in (h, w))
        replaced = _boxes(rng, images.shape, heights, widths)
        image, row, column = replaced.nonzero()
        out = images.copy()
        out[image, row, column] = images[partner[image], row, column]
        return out, Mixture(partner, 1 - replaced.mean(axis=(1, 2)))
