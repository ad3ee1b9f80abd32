"""Augmentation: images changed at random while training, so that no two epochs see the same."""

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
]

LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601
Range = float | tuple[float, float]
Fill = float | str


class Augmentation(Description):
    """Base of all augmentations.

    To write one, give it fields and `augment`. It works on a batch, but draws for each image separately.
    """

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        """Images (n, h, w, c), changed at random.

        Parameters
        ----------
        images : ndarray (n, h, w, c)
            In the dtype in which the user gave them, which may be 8-bit integers. Never written to.
        rng : Generator
            The only source of randomness: what comes out follows from it and the images.

        Returns
        -------
        ndarray (n, h, w, c)
            Of the same shape and dtype.
        """
        raise NotImplementedError


class Mixing(Augmentation):
    """Base of the augmentations that mix each image with another one of the batch, and their targets alike."""

    def mix(self, images: Array, rng: np.random.Generator) -> tuple[Array, Mixture]:
        """Images as for `augment`, and of what they are mixed."""
        raise NotImplementedError

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        return self.mix(images, rng)[0]


class Mixture(NamedTuple):
    """Partners and shares of the images of a batch that are mixed."""

    partner: Array  # (n,) the number of the other image
    share: Array  # (n,) how much is left of the image itself, from 0 to 1


def resolve_augmentations(value: object, parameter: str = "augmentation") -> tuple[Augmentation, ...]:
    """Return the augmentations to apply, in order, from None, one of them, its name, or a list."""
    if value is None:
        return ()
    members = value if isinstance(value, (list, tuple)) else [value]
    where = [f"{parameter}[{i}]" for i in range(len(members))] if members is value else [parameter]
    found = tuple(resolve(Augmentation, member, place) for member, place in zip(members, where, strict=True))
    mixing = [member for member in found if isinstance(member, Mixing)]
    if len(mixing) > 1:
        raise ValueError(
            f"{parameter} mixes images twice, by {mixing[0]!r} and {mixing[1]!r}: a target can be mixed once only."
            " Leave one of them out."
        )
    return found


def refuse_classes(value: object, parameter: str = "augmentation") -> None:
    """Raise a TypeError where a class stands in place of an augmentation, in a list too."""
    for member in value if isinstance(value, (list, tuple)) else [value]:
        refuse_class(member, parameter)


def augmentation_names(members: Any) -> list[str]:
    """random_flip1, random_crop1, ...: how the members of a list are called in nested search names."""
    return numbered(member if isinstance(member, str) else _stem(type(member)) for member in members)


def _stem(cls: type) -> str:
    return getattr(cls, "name", "") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def augmented(
    augmentations: tuple[Augmentation, ...], images: Array, rng: np.random.Generator
) -> tuple[Array, Mixture | None]:
    """Images (n, h, w, c) through augmentations in turn, and of what they are mixed, if they are."""
    mixture = None
    for augmentation in augmentations:
        before = images.shape, images.dtype
        if isinstance(augmentation, Mixing):
            images, mixture = augmentation.mix(images, rng)
        else:
            images = augmentation.augment(images, rng)
        after = np.shape(images), getattr(images, "dtype", type(images).__name__)
        if after != before:
            raise ValueError(
                f"{augmentation!r} must return images of the shape and dtype that it gets: it got {before[0]} of"
                f" {before[1]} and returned {after[0]} of {after[1]}."
            )
    return images, mixture


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, (tuple, list)) else (value, value)


def _are_shares(value: Any, high: float = 1.0) -> bool:
    """Whether ``value`` is a number from 0 to ``high``, or a pair of them."""
    if isinstance(value, (tuple, list)) and len(value) != 2:
        return False
    return all(is_real(v, 0, high) for v in _pair(value))


def _require_fill(augmentation: Any) -> None:
    fill = augmentation.fill
    valid = fill in PADDING if isinstance(fill, str) else is_real(fill, -np.inf)
    augmentation._require("fill", valid, "a number, 'nearest' or 'reflect'")


def _whole_steps(rng: np.random.Generator, most: int, n: int) -> Array:
    """Whole numbers from -most to most."""
    return rng.integers(-most, most + 1, n)


@description
class RandomFlip(Augmentation):
    """Mirror each image with probability 1/2.

    Parameters
    ----------
    horizontal : bool, default=True
        Whether left and right are exchanged, with probability 1/2.
    vertical : bool, default=False
        Whether top and bottom are, with probability 1/2 and independently.

    Notes
    -----
    y[i, j] = x[i, w - 1 - j], or x[h - 1 - i, j]. A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification
    with deep convolutional neural networks", NIPS 2012, section 4.1.

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

    name = "random_flip"

    def check(self) -> None:
        for field in ("horizontal", "vertical"):
            self._require(field, isinstance(getattr(self, field), (bool, np.bool)), "True or False")

    def augment(self, images: Array, rng: np.random.Generator) -> Array:
        out = images.copy()
        chances = rng.random((2, len(images))) < 0.5
        for wanted, chosen, axis in zip((self.vertical, self.horizontal), chances, (1, 2), strict=True):
            if wanted:
                out[chosen] = np.flip(out[chosen], axis)
        return out


@description
class RandomCrop(Augmentation):
    """Put a border around each image and cut out a window of its old size, somewhere.

    Parameters
    ----------
    padding : int or (int, int), default=4
        Width of the border in pixels: for all sides, or at top and bottom, and at left and right.
    fill : float, "nearest" or "reflect", default=0.0
        What the border consists of: a number, the nearest pixel of the image, or the image mirrored at its edge.

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
    """Move each image by whole pixels, up or down and to a side.

    Parameters
    ----------
    shift : float or (float, float), default=0.1
        The largest shift, as a share of the height and of the width, or a pair of shares; rounded to pixels.
    fill : float, "nearest" or "reflect", default=0.0
        What comes in: a number, the nearest pixel of the image, or the image mirrored at its edge.

    Notes
    -----
    y[i, j] = x[i - a, j - b], with whole a drawn from -shift * h ... shift * h, and b alike. P. Simard, D. Steinkraus
    and J. Platt, "Best practices for convolutional neural networks applied to visual document analysis", ICDAR 2003,
    section 2.

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
    """Turn, shear, enlarge and move each image, in one interpolation.

    Parameters
    ----------
    degrees : float, default=10.0
        The largest angle by which an image is turned, in either direction.
    shift : float or (float, float), default=0.1
        The largest shift, as a share of the height and of the width, or a pair of shares.
    zoom : float, default=0.1
        An image becomes 1 - zoom to 1 + zoom times as large.
    shear : float, default=0.0
        The largest angle by which upright lines are slanted, in degrees.
    fill : float, "nearest" or "reflect", default=0.0
        What lies outside the image: a number, its nearest pixel, or the image mirrored at its edge.

    Notes
    -----
    y(p) = x(A (p - t)), for positions p from the centre; with the angle a, the slant s and the zoom z,
    A = ((cos a, sin a), (-sin a, cos a)) ((1, 0), (tan s, 1)) / z. Between pixels x is interpolated bilinearly, by the
    equations of `scipy.ndimage.affine_transform` with ``order=1`` and its modes "grid-constant", "nearest" and
    "reflect". P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural networks applied to
    visual document analysis", ICDAR 2003, section 2.

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
    """Where pixels come from, (n, 2, 3), for angles (n,), slants (n,), zooms (n,) and shifts (n, 2) in pixels."""
    cos, sin, tan = np.cos(angle), np.sin(angle), np.tan(slant)
    maps = np.empty((len(angle), 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = cos + sin * tan, sin
    maps[:, 1, 0], maps[:, 1, 1] = cos * tan - sin, cos
    maps[:, :, :2] /= zoom[:, None, None]
    maps[:, :, 2] = -(maps[:, :, :2] @ shift[:, :, None])[:, :, 0]
    return maps


@description
class RandomRotation(Augmentation):
    """Turn each image around its centre.

    Parameters
    ----------
    degrees : float, default=10.0
        The largest angle, in either direction.
    fill : float, "nearest" or "reflect", default=0.0
        What lies outside the image: a number, its nearest pixel, or the image mirrored at its edge.

    Notes
    -----
    `RandomAffine` with an angle alone. P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural
    networks applied to visual document analysis", ICDAR 2003, section 2.

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
    """Enlarge or shrink each image around its centre.

    Parameters
    ----------
    zoom : float, default=0.1
        An image becomes 1 - zoom to 1 + zoom times as large.
    fill : float, "nearest" or "reflect", default=0.0
        What lies outside the image: a number, its nearest pixel, or the image mirrored at its edge.

    Notes
    -----
    `RandomAffine` with a zoom alone. P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural
    networks applied to visual document analysis", ICDAR 2003, section 2.

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
    """Add normally distributed noise to each number.

    Parameters
    ----------
    std : float, default=0.1
        Its standard deviation, in units of that of the image's own numbers: 0.1 means as much for pixels from 0 to 255
        as for pixels from 0 to 1.

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
    """Change brightness, contrast, saturation and hue of each image.

    Parameters
    ----------
    brightness : float, default=0.2
        Pixels are multiplied by 1 - brightness to 1 + brightness, but never by less than 0.
    contrast : float, default=0.2
        How much differences from the image's mean grey may grow or shrink, alike.
    saturation : float, default=0.2
        How much differences from each pixel's grey may, alike. For images with three channels only.
    hue : float, default=0.0
        The largest turn of the colours around the axis of greys, in whole turns: at most 0.5. For images with three
        channels only.

    Notes
    -----
    With factors b, k and s, the turn R, and the grey g(x) of a pixel,
    y = R (g + s (x' - g)), where x' = m + k (b x - m) and m is the mean grey of b x. It is one affine map of an image's
    colours, and clipped once, at its end, to what integers can hold; floats are not clipped. P. Haeberli, "Matrix
    operations for image processing", 1993; A. Howard, "Some improvements on deep convolutional neural network based
    image classification", arXiv:1312.5402.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.augmentation import ColorJitter
    >>> grey = np.full((1, 2, 2, 3), 100, np.uint8)
    >>> jitter = ColorJitter(brightness=0, contrast=0.5, saturation=0.5, hue=0.5)
    >>> bool((jitter.augment(grey, np.random.default_rng(0)) == grey).all())  # nothing but grey: no contrast, no colour
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
    """Matrices (n, 3, 3) by which pixels are multiplied from the left: saturation, then a turn around the greys."""
    s, cos, sin = (v[:, None, None] for v in (saturation, np.cos(turn), np.sin(turn)))
    saturate = s * np.eye(3) + (1 - s) * np.outer(LUMINANCE, np.ones(3))
    grey = np.full((3, 3), 1 / 3)
    across = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]) / np.sqrt(3)
    return saturate @ (grey + cos * (np.eye(3) - grey) + sin * across)


def _boxes(rng: np.random.Generator, shape: tuple[int, ...], heights: Array, widths: Array) -> Array:
    """Where rectangles lie, (n, h, w), of so many pixels; their centres are anywhere, and the edges cut them."""
    n, h, w, _ = shape
    inside = []
    for length, size in ((h, heights), (w, widths)):
        start = rng.integers(0, length, n) - size // 2
        pixel = np.arange(length)
        inside.append((pixel >= start[:, None]) & (pixel < (start + size)[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


@description
class Cutout(Augmentation):
    """Cover a rectangle of each image.

    Parameters
    ----------
    size : float or (float, float), default=0.25
        Height and width of the rectangle, as shares of the image's, or a pair of shares. Its centre is anywhere in the
        image, and what lies outside is cut off.
    fill : float or "mean", default="mean"
        With what: a number, or the mean of each channel of the image.

    Notes
    -----
    T. DeVries and G. Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv:1708.04552.
    For images of 32 x 32 they cover 16 x 16 pixels (0.5) of 10 classes and 8 x 8 (0.25) of 100.

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
    """Blend each image with another one, and their targets alike.

    Parameters
    ----------
    alpha : float, default=0.2
        The shares are drawn from Beta(alpha, alpha): the larger, the closer to halves.

    Notes
    -----
    y = s x1 + (1 - s) x2, with the target s t1 + (1 - s) t2. H. Zhang, M. Cisse, Y. Dauphin and D. Lopez-Paz, "mixup:
    beyond empirical risk minimization", ICLR 2018. Here each image has a share of its own. For classification the
    loss is s times that for the first target plus 1 - s times that for the second, which for `LogLoss` is the same;
    rows weigh s w1 + (1 - s) w2.

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
    """Replace a rectangle of each image by that of another one, and mix their targets by its area.

    Parameters
    ----------
    alpha : float, default=1.0
        The share of the image that stays is drawn from Beta(alpha, alpha), before the edges cut the rectangle.

    Notes
    -----
    y = x2 in a rectangle of sqrt(1 - s) times the image's sides with its centre anywhere, and x1 elsewhere, with the
    target s' t1 + (1 - s') t2, where s' is the share of the pixels that are x1's. S. Yun, D. Han, S. Oh, S. Chun,
    J. Choe and Y. Yoo, "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV
    2019. Targets are mixed as by `MixUp`.

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
