"""Images from files: how they are best brought to one size, and how long a file takes.

    python benchmarks/images.py                 # both tables
    python benchmarks/images.py --seeds 10
    python benchmarks/images.py --seeds 0 --files 100000 --kinds "PNG, 64 x 64" --rounds 1    # times of many files

The first table trains one small network on images that were padded, cropped or stretched, with several seeds. Its
images are shapes that are drawn here, and the photos of ``insects`` in the folder that the environment variable
``SKCNN_DATA`` names, if they are there.

The second table reads files into one array, and gives microseconds per file: `skcnn.images.load_folder`, a loop with
Pillow alone, and torchvision's ``ImageFolder`` if it is installed. All resize to 64 x 64 pixels with a filter against
aliasing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.images import load_folder
from skcnn.layers import BatchNorm, Conv2D, GlobalMaxPool2D, MaxPool2D, ReLU

SIZE = 64, 64
SMALL = 48, 48  # of what is learnt from
SHAPES = "circle", "ellipse", "square", "rectangle", "triangle"
WAYS: dict[str, dict[str, Any]] = {
    "pad, white": {"resize": "pad"},
    "pad, grey": {"resize": "pad", "background": (128, 128, 128)},
    "pad, black": {"resize": "pad", "background": "black"},
    "crop": {"resize": "crop"},
    "stretch": {"resize": "stretch"},
}


def draw(name: str, rng: np.random.Generator, least: int = 60, most: int = 400) -> Image.Image:
    """A picture of a dark shape on a bright ground: any size and proportions, any place."""
    width, height = rng.integers(least, most + 1, 2).tolist()
    ground, ink = rng.integers(140, 256, 3), rng.integers(0, 110, 3)
    picture = Image.new("RGB", (width, height), tuple(ground.tolist()))
    a = rng.uniform(0.25, 0.45) * min(width, height)
    b = a * rng.uniform(0.4, 0.6) if name in ("ellipse", "rectangle") else a
    a, b = (a, b) if rng.random() < 0.5 else (b, a)
    x, y = rng.uniform(a, width - a), rng.uniform(b, height - b)
    pen, box = ImageDraw.Draw(picture), (x - a, y - b, x + a, y + b)
    colour = tuple(ink.tolist())
    if name in ("circle", "ellipse"):
        pen.ellipse(box, fill=colour)
    elif name == "triangle":
        pen.polygon([(x, y - b), (x + a, y + b), (x - a, y + b)], fill=colour)
    else:
        pen.rectangle(box, fill=colour)
    return picture


def draw_folder(folder: Path, count: int, seed: int = 0) -> Path:
    """Pictures of shapes in a folder for each."""
    rng = np.random.default_rng(seed)
    for name in SHAPES:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            draw(name, rng).save(folder / name / f"{number:04d}.png")
    return folder


# -- how images are brought to one size


def network(epochs: int, seed: int) -> CNNClassifier:
    """Four blocks, and the largest of what is left of the image."""
    blocks = [[Conv2D(filters, use_bias=False), BatchNorm(), ReLU(), MaxPool2D()] for filters in (16, 32, 32, 64)]
    layers = [*(layer for block in blocks for layer in block), GlobalMaxPool2D()]
    recipe = {"augmentation": "random_flip", "learning_rate": 0.003, "schedule": "one_cycle", "batch_size": 32}
    return CNNClassifier(layers=layers, max_iter=epochs, random_state=seed, **recipe)


def accuracy(images: Any, y: Any, epochs: int, seed: int) -> float:
    """On a quarter of the images that is set aside."""
    X, X_test, y, y_test = train_test_split(images, y, test_size=0.25, stratify=y, random_state=seed)
    return float(network(epochs, seed).fit(X, y).score(X_test, y_test))


def resize_table(folders: dict[str, Path], seeds: int, epochs: int) -> None:
    """Print the mean accuracy and standard deviation over the seeds, for each way and folder, in markdown."""
    print("| | " + " | ".join(folders) + " |", "|---" * (1 + len(folders)) + "|", sep="\n")
    for way, parameters in WAYS.items():
        row = [way]
        for folder in folders.values():
            data = load_folder(folder, SMALL, **parameters)
            found = [accuracy(data.images, data.target, epochs, seed) for seed in range(seeds)]
            row.append(f"{np.mean(found):.3f} ± {np.std(found, ddof=min(1, seeds - 1)):.3f}")
        print("| " + " | ".join(row) + " |", flush=True)


# -- how long a file takes


def with_skcnn(folder: Path) -> Any:
    """Padded, on all threads."""
    return load_folder(folder, SIZE).images


def with_one_thread(folder: Path) -> Any:
    """Padded, on one thread."""
    return load_folder(folder, SIZE, n_jobs=1).images


def with_pillow(folder: Path) -> Any:
    """A loop as one writes it: stretched."""
    images = []
    for path in sorted(folder.glob("*/*")):
        with Image.open(path) as file:
            images.append(np.asarray(file.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR)))
    return np.stack(images)


def with_torchvision(folder: Path) -> Any:
    """The data set, with its transforms: stretched."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Resize

    data = ImageFolder(str(folder), transform=Resize(SIZE))
    return np.stack([np.asarray(image) for image, _ in data])


READERS: dict[str, Callable[[Path], Any]] = {
    "`load_folder`": with_skcnn,
    "`load_folder`, `n_jobs=1`": with_one_thread,
    "a loop with Pillow": with_pillow,
    "`torchvision.datasets.ImageFolder`": with_torchvision,
}
KINDS = {
    "PNG, 64 x 64": ("png", (64, 64)),
    "JPEG, 320 x 240": ("jpg", (320, 240)),
    "JPEG, 1600 x 1200": ("jpg", (1600, 1200)),
}
DIFFERENT = 200  # files of a kind that are not copies


def textured(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A picture with as much detail as a photo."""
    coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_files(folder: Path, kind: str, count: int) -> Path:
    """Two class folders of files, if they are not there yet."""
    ending, size = KINDS[kind]
    folder = folder / f"{count}_{size[0]}"
    rng = np.random.default_rng(0)
    contents = []
    for number in range(count):
        path = folder / f"{number % 2}" / f"{number:06d}.{ending}"
        if path.exists():
            break
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < DIFFERENT:
            textured(size, rng).save(path)
            contents.append(path.read_bytes())
        else:
            path.write_bytes(contents[number % DIFFERENT])
    return folder


def time_table(folders: dict[str, Path], rounds: int) -> str:
    """Microseconds per file, the best of some rounds, in markdown."""
    head = ["| microseconds per file | " + " | ".join(folders) + " |", "|---" * (1 + len(folders)) + "|"]
    rows = [
        f"| {name} | " + " | ".join(best(read, folder, rounds) for folder in folders.values()) + " |"
        for name, read in READERS.items()
    ]
    return "\n".join([*head, *rows])


def best(read: Callable[[Path], Any], folder: Path, rounds: int) -> str:
    """Microseconds per file, or a dash for a library that is not installed, or not for this version of PyTorch."""
    times = []
    try:
        with tempfile.TemporaryDirectory() as small:
            read(draw_folder(Path(small, "shapes"), 1))  # imports what it needs
        for _ in range(rounds):
            begin = time.perf_counter()
            count = len(read(folder))
            times.append((time.perf_counter() - begin) / count)
    except (ImportError, RuntimeError):
        return "-"
    return f"{1e6 * min(times):,.0f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables, or one."""
    parser = argparse.ArgumentParser(description="Images from files.")
    parser.add_argument("--seeds", type=int, default=5, help="of each fit; 0 leaves the first table out")
    parser.add_argument("--epochs", type=int, default=40, help="of each fit")
    parser.add_argument("--files", type=int, default=2000, help="of each kind; 0 leaves the second table out")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of files")
    parser.add_argument("--rounds", type=int, default=3, help="in which the files are read; the best counts")
    parser.add_argument("--keep", type=Path, help="a folder in which the files stay for the next run")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as root:
        if arguments.seeds:
            folders = {"shapes": draw_folder(Path(root, "shapes"), 80)}
            photos = Path(os.environ.get("SKCNN_DATA", "."), "insects")
            if photos.is_dir():
                folders["insects"] = photos
            resize_table(folders, arguments.seeds, arguments.epochs)
        if arguments.files:
            kept = arguments.keep or Path(root)
            files = {kind: write_files(kept, kind, arguments.files) for kind in arguments.kinds}
            print(time_table(files, arguments.rounds))


if __name__ == "__main__":
    main()
