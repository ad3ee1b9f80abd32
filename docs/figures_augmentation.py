"""Draw the pictures of augmentation.md, from images that come with scikit-learn.

Run it from the root of a checkout: ``python docs/figures_augmentation.py``. It needs matplotlib.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from skcnn.augmentation import (
    Augmentation,
    ColorJitter,
    CutMix,
    Cutout,
    GaussianNoise,
    MixUp,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
    RandomZoom,
    Rows,
    augmented,
)

IMAGES = Path(__file__).parent / "images"
GAP, LABEL = 4, 240  # pixels between two images, and beside the first ones
SEED = 47  # of those with which most images are mixed with one of the other kind
PHOTOS: list[tuple[Augmentation, ...]] = [
    (),
    (RandomFlip(vertical=True),),
    (RandomCrop(6),),
    (RandomShift(0.2, fill="reflect"),),
    (RandomRotation(30, fill="nearest"),),
    (RandomZoom(0.4),),
    (RandomAffine(20, zoom=0.2, shear=20),),
    (GaussianNoise(0.5),),
    (ColorJitter(0.4, contrast=0.4, saturation=0.8, hue=0.1),),
    (Cutout(0.5),),
    (MixUp(1.0),),
    (CutMix(),),
    (RandomCrop(4), RandomFlip(), ColorJitter(), Cutout()),
]
DIGITS: list[tuple[Augmentation, ...]] = [
    (),
    (RandomShift(0.15),),
    (RandomAffine(12, shift=0.05, zoom=0.1, shear=8),),
    (RandomAffine(12, shift=0.05, zoom=0.1, shear=8), GaussianNoise(0.3), Cutout(0.25, fill=0)),
]


def photos(columns: int) -> Any:
    """A flower and a roof in turn, 40 x 40 pixels, in 8 bits."""
    squares = []
    for name, top, left, side in (("flower.jpg", 60, 150, 320), ("china.jpg", 80, 60, 320)):
        cut = load_sample_image(name)[top : top + side, left : left + side]
        squares.append(cut.reshape(40, side // 40, 40, side // 40, 3).mean(axis=(1, 3)).round().astype(np.uint8))
    return np.stack([squares[i % 2] for i in range(columns)])


def digits(columns: int) -> Any:
    """Digits of 8 x 8 pixels, each made of 3 x 3, in the shades of grey from 0 to 255."""
    small = load_digits().images[:columns, :, :, None]
    return (small * (255 / 16)).round().astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)


def draw(name: str, images: Any, rows: list[tuple[Augmentation, ...]], scale: int) -> None:
    """One row for each list of augmentations, one column for each image."""
    cell = images.shape[1] * scale + GAP
    height, width = len(rows) * cell + GAP, LABEL + len(images) * cell
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for row, members in enumerate(rows):
        rows_of_x = Rows(np.arange(len(images)), epoch=0, seed=SEED)
        changed, _ = augmented(members, images, np.random.default_rng([SEED, row]), rows_of_x)
        for column, image in enumerate(changed):
            large = np.broadcast_to(image.repeat(scale, axis=0).repeat(scale, axis=1), (cell - GAP, cell - GAP, 3))
            top, left = GAP + row * cell, LABEL + column * cell
            canvas[top : top + cell - GAP, left : left + cell - GAP] = large
        text = "\n".join(map(wrapped, members)) or "as given"
        place = {"ha": "right", "va": "center", "fontsize": 8, "family": "monospace"}
        figure.text((LABEL - 10) / width, 1 - (row + 0.5) * cell / height, text, **place)
    figure.figimage(canvas, zorder=-1)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    picture = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(IMAGES / name, optimize=True)


def wrapped(augmentation: Augmentation) -> str:
    """A repr in lines that fit beside the images."""
    text, lines = repr(augmentation), [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > 32:
            lines.append("  ")
        lines[-1] += f" {word}" if lines[-1].strip() else word
    return "\n".join(lines)


if __name__ == "__main__":
    draw("augmentation.png", photos(7), PHOTOS, scale=2)
    draw("augmentation_digits.png", digits(9), DIGITS, scale=3)
