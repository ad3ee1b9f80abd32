"""Time of augmenting a batch in comparison with training on it: the network N2, 64 images of 32 x 32 x 3.

    python benchmarks/augmentation.py [--threads 2] [--rounds 10]

Each augmentation loads batches with the engine, on the threads that would train on them. All figures include the time
of loading unaugmented batches. Training and the augmentations take turns, and the script prints medians. The machine
must be otherwise idle.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from contenders import STEP_IMAGES, _skcnn_classifier, _skcnn_model, batches, random_images, skcnn_step, timed
from networks import NETWORKS
from threadpoolctl import threadpool_limits

from skcnn._arrays.elementwise import ufunc_settings
from skcnn._engine.data import Data
from skcnn._engine.parallel import Team, one_blas_thread
from skcnn._engine.passes import Passes, Work
from skcnn._engine.progress import Fit, Progress
from skcnn.augmentation import Augmentation, ColorJitter, Cutout, RandomCrop, RandomFlip
from skcnn.description import registered

NET, BATCH = "N2", 64
TURN = 5  # repetitions of each contender in a round
USUAL = (RandomCrop(), RandomFlip(), ColorJitter(), Cutout(0.5))  # what colour images are often trained with


def loading(members: tuple[Augmentation, ...], images: Any, y: Any) -> Callable[[int], list[float]]:
    """Loads batches of images, augmented."""
    network = NETWORKS[NET]
    model = _skcnn_model(network)
    recipe = _skcnn_classifier(network).set_params(augmentation=list(members) or None)._recipe()
    data = Data(images, np.arange(len(images)), y, np.ones(len(images)), y)
    work, batch = Work.of(model, data, recipe), batches(BATCH)
    team = Team(min(recipe.threads, work.shards))
    passes = Passes(Fit(model, Progress.begin(model, recipe, seed=0)), work, recipe, team)
    shards = passes.recorded(BATCH).shards

    def load() -> None:
        rows = next(batch)
        team.run([partial(passes._load, shard, rows, 0) for shard in shards])

    def measure(repetitions: int) -> list[float]:
        with one_blas_thread, ufunc_settings(), team:
            return timed(load, repetitions)

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()

    images, y = random_images(NETWORKS[NET], STEP_IMAGES)
    pixels = np.clip(images * 60 + 128, 0, 255).astype(np.uint8)
    inside = {name: cls() for name, cls in registered(Augmentation).items() if cls.__module__ == "skcnn.augmentation"}
    lists = {"none": (), **{name: (member,) for name, member in inside.items()}, "crop, flip, jitter, cutout": USUAL}
    with threadpool_limits(arguments.threads):
        step = skcnn_step(NETWORKS[NET], BATCH)
        contenders = {name: [loading(members, x, y) for x in (pixels, images)] for name, members in lists.items()}
        seconds: dict[str, list[list[float]]] = {name: [[], []] for name in contenders}
        steps: list[float] = []
        for _ in range(arguments.rounds):
            steps += step(TURN)
            for name, kinds in contenders.items():
                for found, measure in zip(seconds[name], kinds, strict=True):
                    found += measure(TURN)
    training = median(steps) * 1000
    print(f"a training step of {NET} on {BATCH} images: {training:.2f} ms, {arguments.threads} threads")
    print(f"{'augmentation, ms (share of the step)':40} {'uint8':>16} {'float32':>16}")
    for name, found in seconds.items():
        cells = [f"{median(kind) * 1000:.2f} ({median(kind) * 1000 / training:4.0%})" for kind in found]
        print(f"{name:40} {cells[0]:>16} {cells[1]:>16}")


if __name__ == "__main__":
    main()
