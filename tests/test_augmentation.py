"""Augmentation: each against plain loops or scipy, what all of them promise, and what training makes of it."""

import itertools
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
from cases import AUGMENTATIONS
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.special import expit, log_softmax
from sklearn.base import clone

import skcnn.augmentation
from skcnn import CNNClassifier
from skcnn._arrays.warp import PIXELS, affine, as_dtype, translate
from skcnn._engine.data import Data
from skcnn._engine.passes import _Shard
from skcnn.augmentation import (
    Augmentation,
    ColorJitter,
    CutMix,
    Cutout,
    GaussianNoise,
    Mixing,
    Mixture,
    MixUp,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
    RandomZoom,
    Rows,
    affine_maps,
    augmentation_names,
    augmented,
    splitmix64,
)
from skcnn.description import description, registered
from skcnn.layers import Conv2D, Dropout, Flatten, ReLU
from skcnn.losses import Loss

augmentations = pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=repr)
DOCS = Path(__file__).parents[1] / "docs"
DTYPES = ["u1", "?", "i2", ">i4", "i8", "f2", "f4", ">f4", "f8"]
FILLS = [0.0, 7.0, "nearest", "reflect", "mirror"]
# Modes of scipy. Numbers are "grid-constant", which interpolates to the outside.
SCIPY = {"nearest": "nearest", "reflect": "reflect", "mirror": "mirror"}


def rng(seed=0):
    return np.random.default_rng(seed)


def photos(n=6, h=9, w=7, c=3, dtype=np.uint8, seed=1):
    return rng(seed).integers(0, 256, (n, h, w, c)).astype(dtype)


# -- what all of them promise


@augmentations
@pytest.mark.parametrize("dtype", DTYPES)
def test_shape_and_dtype_are_kept_and_the_images_are_not_written_to(augmentation, dtype):
    images = photos(dtype=dtype)
    images.flags.writeable = False
    out = augmentation.augment(images, rng())
    assert out.shape == images.shape
    assert out.dtype == images.dtype


@augmentations
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 12, 1), (5, 1, 2), (4, 6, 3), (3, 4, 5)])
def test_every_shape_of_image_is_taken(augmentation, shape):
    for n in (1, 2, 5):
        assert augmentation.augment(rng().normal(size=(n, *shape)), rng()).shape == (n, *shape)


@augmentations
def test_same_seeds_give_the_same_images_and_other_seeds_others(augmentation):
    images = photos(n=8)
    first, again, other = (augmentation.augment(images, rng(seed)) for seed in (3, 3, 4))
    assert_array_equal(first, again)
    assert (first != other).any()


@augmentations
def test_each_image_is_changed_in_its_own_way(augmentation):
    images = np.repeat(photos(n=1, h=12, w=12), 12, axis=0)
    images[1::2] = 255 - images[::2]  # what is mixed must differ
    alike = augmentation.augment(images, rng())[::2].reshape(6, -1)
    assert len(np.unique(alike, axis=0)) > 1


@augmentations
def test_floats_and_bytes_give_the_same_images_but_for_rounding(augmentation):
    images = photos()
    whole, real = augmentation.augment(images, rng()), augmentation.augment(images.astype(np.float32), rng())
    assert_allclose(whole, np.clip(real, 0, 255), atol=0.5 + 1e-3)


@augmentations
def test_single_precision_equals_double(augmentation):
    if isinstance(augmentation, GaussianNoise):
        pytest.skip("the generator's normal numbers differ between precisions")
    images = photos()
    single, double = (augmentation.augment(images.astype(dtype), rng()) for dtype in (np.float32, np.float64))
    assert_allclose(single, double, atol=2e-2)


@augmentations
def test_description_is_a_value(augmentation):
    again = eval(repr(augmentation), vars(skcnn.augmentation))
    assert again == augmentation
    assert hash(again) == hash(augmentation)
    assert pickle.loads(pickle.dumps(augmentation)) == augmentation
    assert clone(augmentation, safe=False) is augmentation
    augmentation.check()


def test_every_augmentation_has_a_name_that_says_its_class():
    inside = {name: cls for name, cls in registered(Augmentation).items() if cls.__module__ == "skcnn.augmentation"}
    assert set(inside.values()) == {type(augmentation) for augmentation in AUGMENTATIONS}
    assert all(name.replace("_", "") == cls.__name__.lower() for name, cls in inside.items())


@pytest.mark.parametrize(
    "augmentation",
    [
        RandomFlip(horizontal=1), RandomFlip(alternate=None), RandomCrop(-1), RandomCrop(1.5), RandomCrop((1, 2, 3)),
        RandomCrop(fill="wrap"), RandomShift(1.5), RandomShift((0.1,)), RandomShift(fill=np.nan),
        RandomAffine(degrees=-1), RandomAffine(zoom=1),
        RandomAffine(shear=90), RandomAffine(shift="a"), RandomRotation(181), RandomRotation(fill=None),
        RandomZoom(1.0), GaussianNoise(-0.1), ColorJitter(-1), ColorJitter(hue=0.6), Cutout(2), Cutout(fill="nearest"),
        MixUp(0), CutMix(-1),
    ],
    ids=repr,
)  # fmt: skip
def test_fields_without_a_meaning_are_refused(augmentation):
    with pytest.raises(ValueError, match=r"must be .*, got "):
        augmentation.check()


# -- moving and bending


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_translate_moves_each_image_as_scipy_does(fill, dtype):
    images = photos(dtype=dtype)
    down, right = np.array([0, 1, -2, 3, -9, 0]), np.array([0, -1, 2, 7, 1, -3])
    for image, moved, a, b in zip(images, translate(images, down, right, fill), down, right, strict=True):
        mode = {"mode": SCIPY.get(fill, "constant"), "cval": fill if isinstance(fill, float) else 0.0}
        assert_array_equal(moved, ndimage.shift(image, (a, b, 0), order=0, **mode))


@pytest.mark.parametrize(("fill", "mode"), [("mirror", "reflect"), ("nearest", "replicate"), (7.0, "constant")])
def test_crops_are_windows_of_the_image_that_pytorch_pads(fill, mode):
    torch = pytest.importorskip("torch")
    image = photos(n=1, dtype=np.float64)
    crops = RandomCrop((2, 3), fill=fill).augment(np.repeat(image, 300, axis=0), rng())
    value = fill if mode == "constant" else None
    padded = torch.nn.functional.pad(torch.tensor(image.transpose(0, 3, 1, 2)), (3, 3, 2, 2), mode, value)
    windows = padded.unfold(2, 9, 1).unfold(3, 7, 1).permute(0, 2, 3, 4, 5, 1).reshape(-1, 9, 7, 3).numpy()
    assert {crop.tobytes() for crop in crops} == {window.tobytes() for window in windows}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", [(9, 7, 3), (4, 5, 1), (6, 6, 17), (1, 8, 2), (8, 1, 2)])
def test_affine_equals_scipy_image_by_image(fill, shape):
    n, (h, w, c) = 5, shape
    images = rng(2).normal(size=(n, *shape))
    draws = rng(3).uniform(-1, 1, (5, n))
    maps = affine_maps(3 * draws[0], draws[1], 1 + 0.5 * draws[2], (draws[3:] * 4).T)
    found = affine(images, maps, fill)
    mode = {"mode": SCIPY.get(fill, "grid-constant"), "cval": fill if isinstance(fill, float) else 0.0}
    centre = np.array([h - 1, w - 1]) / 2
    for image, matrix, bent in zip(images, maps, found, strict=True):
        offset = centre + matrix[:, 2] - matrix[:, :2] @ centre
        for channel in range(c):
            expected = ndimage.affine_transform(image[..., channel], matrix[:, :2], offset, order=1, **mode)
            assert_allclose(bent[..., channel], expected, atol=1e-10)


def maps_of(n, angle=0.0, slant=0.0, zoom=1.0, shift=(0.0, 0.0)):
    return affine_maps(*(np.full(n, v) for v in (angle, slant, zoom)), np.tile(shift, (n, 1)).astype(float))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
@pytest.mark.parametrize("size", [7, 8])
def test_quarter_turns_are_those_of_numpy(fill, dtype, size):
    images = photos(h=size, w=size, dtype=dtype)
    for turns in range(-2, 3):
        turned = affine(images, maps_of(6, angle=turns * np.pi / 2), fill)
        assert_allclose(turned, np.rot90(images, turns, (1, 2)), atol=0 if dtype == "u1" else 1e-2)


def test_nothing_drawn_is_nothing_changed_to_the_bit():
    images = rng().normal(size=(4, 5, 6, 3))
    assert_array_equal(affine(images, maps_of(4), 0.0), images)
    for still in (RandomAffine(0, shift=0, zoom=0), RandomRotation(0), RandomZoom(0), RandomShift(0), RandomCrop(0)):
        assert_array_equal(still.augment(images, rng()), images)
    for still in (ColorJitter(0, contrast=0, saturation=0), GaussianNoise(0), Cutout(0), RandomFlip(horizontal=False)):
        assert_allclose(still.augment(images, rng()), images, rtol=1e-14)


def test_whole_shifts_of_the_plane_are_those_by_pixels():
    images = photos()
    moved = affine(images, maps_of(6, shift=(2, -3)), 5.0)
    assert_array_equal(moved, translate(images, np.full(6, 2), np.full(6, -3), 5.0))


def test_a_batch_is_bent_in_parts_as_its_images_are():
    images, angles = photos(n=11, h=99, w=120), np.linspace(-1, 1, 11)
    assert images[..., 0].size > 1.5 * PIXELS > 3 * images[0, ..., 0].size, "several parts of several images"
    maps = affine_maps(angles, angles / 3, 1 + angles / 4, np.stack([angles, -angles], axis=1))
    alone = [affine(images[i : i + 1], maps[i : i + 1], 5.0) for i in range(11)]
    assert_array_equal(affine(images, maps, 5.0), np.concatenate(alone))


def test_zoom_enlarges():
    images = np.zeros((1, 9, 9, 1))
    images[0, 4, 2:7] = 1.0  # a line of 5 pixels
    twice, half = (affine(images, maps_of(1, zoom=zoom), 0.0)[0, 4, :, 0] for zoom in (2.0, 0.5))
    assert_array_equal(twice, np.ones(9))
    assert_array_equal(half, [0, 0, 0, 1, 1, 1, 0, 0, 0])


def test_shear_slants_upright_lines_and_leaves_level_ones():
    images = np.zeros((1, 5, 7, 1))
    images[0, :, 3] = 1.0
    slanted = affine(images, maps_of(1, slant=np.pi / 4), 0.0)[0, :, :, 0]
    assert_allclose(slanted, np.eye(5, 7, 1)[:, ::-1], atol=1e-12)


@pytest.mark.parametrize(
    ("augmentation", "most"),
    [(RandomShift((0.25, 0.5)), (2, 3)), (RandomCrop((1, 4)), (1, 4)), (RandomCrop(2), (2, 2))],
    ids=repr,
)
def test_shifts_and_crops_reach_every_offset_alike(augmentation, most):
    images = photos(n=4000, h=8, w=6, c=1)
    moved = augmentation.augment(images, rng())
    offsets = list(itertools.product(*(range(-m, m + 1) for m in most)))
    counts = []
    for down, right in offsets:
        there = translate(images, np.full(4000, down), np.full(4000, right), 0.0)
        counts.append((moved == there).all(axis=(1, 2, 3)).sum())
    assert sum(counts) == 4000
    expected = 4000 / len(offsets)
    assert np.sum((np.array(counts) - expected) ** 2 / expected) < 2 * len(offsets) + 20  # chi squared


@pytest.mark.parametrize(
    ("augmentation", "angle", "zoom", "shift", "slant"),
    [
        (RandomRotation(20), 20, 0, (0, 0), 0),
        (RandomZoom(0.3), 0, 0.3, (0, 0), 0),
        (RandomAffine(15, shift=(0.2, 0.1), zoom=0.25, shear=10), 15, 0.25, (2, 2), 10),
    ],
    ids=repr,
)
def test_angles_zooms_and_shifts_fill_their_ranges(monkeypatch, augmentation, angle, zoom, shift, slant):
    seen = []
    monkeypatch.setattr(skcnn.augmentation, "affine_maps", lambda *drawn: seen.extend(drawn) or affine_maps(*drawn))
    augmentation.augment(np.zeros((1000, 10, 20, 1), np.float32), rng())
    most = [np.radians(angle), np.radians(slant), zoom, *shift]
    for drawn, high in zip([seen[0], seen[1], seen[2] - 1, *seen[3].T], most, strict=True):
        assert drawn.max() <= high
        assert drawn.min() >= -high
        assert np.abs(np.quantile(drawn, [0, 0.25, 0.5, 0.75, 1]) - high * np.linspace(-1, 1, 5)).max() <= 0.1 * high


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_flips_come_by_chance_and_undo_themselves(horizontal, vertical):
    images = photos(n=400)
    flip = RandomFlip(horizontal, vertical=vertical)
    out = flip.augment(images, rng())
    assert_array_equal(flip.augment(out, rng()), images)
    options = [images[:, ::a, ::b] for a in ((1, -1) if vertical else (1,)) for b in ((1, -1) if horizontal else (1,))]
    matches = [(out == option).all(axis=(1, 2, 3)).sum() for option in options]
    assert sum(matches) == 400
    assert min(matches) > 400 / len(options) * 0.7


# -- views that depend on the row and the epoch


def test_random_numbers_of_rows_are_those_of_the_published_generator():
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    numbers = splitmix64(1234567, np.arange(5))
    assert numbers.tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821
    ]  # fmt: skip
    assert_array_equal(Rows(np.array([4, 1, 1]), 7, 1234567).draw(1000), [821, 973, 973])


def marked(n):
    """Images of 4 x 4 pixels that show their row, and which way they are turned."""
    return 16 * np.arange(n)[:, None, None] + np.arange(16.0).reshape(4, 4)


def views_of(key, epochs):
    """For each epoch, a dictionary of row -> (flipped vertically, flipped horizontally), from what a `Recorder` saw."""
    images = np.concatenate([batch for batch, _ in SEEN.pop(key)])[..., 0]
    for part in np.split(images, epochs):
        rows = part.min(axis=(1, 2)) // 16
        turned = zip(part[:, 0, 0] > part[:, 3, 0], part[:, 0, 0] > part[:, 0, 3], strict=True)
        yield dict(zip(rows.astype(int).tolist(), turned, strict=True))


WAYS = {
    "whole": {},
    "in order": {"shuffle": False, "batch_size": 60},
    "threads": {"n_jobs": 3, "batch_size": 40},
    "validation": {"early_stopping": True, "validation_fraction": 0.3},
    "frozen": {"freeze": "conv1", "pretrained": "another fit"},
}


@pytest.mark.parametrize("way", [*WAYS, "weights", "partial_fit", "warm_start"])
def test_alternating_flips_depend_on_the_row_and_the_epoch_alone(way):
    X, y, flip = marked(60), np.arange(60) % 2, [RandomFlip(alternate=True), Recorder("views")]
    given = small(augmentation=flip, max_iter=4, batch_size=16)
    given.fit(X, y)
    expected = list(views_of("views", 4))
    assert 15 < sum(view[1] for view in expected[0].values()) < 45
    model = given.set_params(**WAYS.get(way, {}))
    if way == "frozen":
        model.set_params(pretrained=small(max_iter=1).fit(X, y))
    if way == "partial_fit":
        model = clone(given)
        for _ in range(4):
            model = pickle.loads(pickle.dumps(model.partial_fit(X, y, classes=[0, 1])))
    elif way == "warm_start":
        model = clone(given).set_params(warm_start=True, max_iter=1).fit(X, y).set_params(max_iter=3).fit(X, y)
    else:
        model.fit(X, y, sample_weight=np.arange(60) % 3 if way == "weights" else None)
    found = list(views_of("views", 4))
    used = set(found[0])
    assert len(used) == {"validation": 42, "weights": 40}.get(way, 60)
    for epoch, views in enumerate(found):
        assert views == {row: view for row, view in expected[epoch].items() if row in used}
        assert all(views[row] == (False, found[0][row][1] ^ (epoch % 2 == 1)) for row in used)


def test_another_seed_alternates_from_another_choice():
    X, y, first = marked(60), np.arange(60) % 2, []
    for seed in (0, 1):
        small(augmentation=[RandomFlip(alternate=True), Recorder("seeds")], random_state=seed, max_iter=1).fit(X, y)
        first += views_of("seeds", 1)
    assert 15 < sum(first[0][row] != first[1][row] for row in range(60)) < 45


def test_both_axes_show_all_four_views_in_four_epochs():
    X, y = marked(60), np.arange(60) % 2
    for axes, count in (((True, True), 4), ((False, True), 2), ((False, False), 1)):
        small(augmentation=[RandomFlip(*axes, alternate=True), Recorder("axes")], max_iter=8).fit(X, y)
        found = list(views_of("axes", 8))
        for row in range(60):
            views = [views[row] for views in found]
            assert len(set(views[:count])) == count
            assert views == views[:count] * (8 // count)
        assert len({views[0] for views in found}) == len({views[row] for views in found[:1] for row in views}) == count


# -- numbers and colours


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_noise_is_normal_and_as_strong_as_the_image_is_varied(scale):
    images = scale * rng(1).uniform(size=(3, 60, 60, 3)) * np.array([0.1, 1, 5])[:, None, None, None]
    noise = GaussianNoise(0.3).augment(images, rng()) - images
    for image, added in zip(images, noise, strict=True):
        assert added.std() == pytest.approx(0.3 * image.std(), rel=0.03)
        assert abs(added.mean()) < 0.02 * image.std()
        kurtosis = np.mean((added / added.std()) ** 4)
        assert kurtosis == pytest.approx(3, abs=0.2)


def naive_jitter(pixels, b, k, s):
    """Brightness, contrast and saturation of one image (h, w, 3), one after the other, pixel by pixel."""
    weights = 0.299, 0.587, 0.114
    bright = pixels * b
    mean = np.mean([sum(w * v for w, v in zip(weights, pixel, strict=True)) for pixel in bright.reshape(-1, 3)])
    contrasted = k * bright + (1 - k) * mean
    grey = sum(w * contrasted[..., i] for i, w in enumerate(weights))
    return np.stack([s * contrasted[..., i] + (1 - s) * grey for i in range(3)], axis=-1)


def test_jitter_equals_its_steps_one_by_one():
    images = photos(dtype=np.float64)
    jitter = ColorJitter(0.3, contrast=0.4, saturation=1.5)
    draws = rng(5).uniform(-1, 1, (4, 6))
    found = jitter.augment(images, rng(5))
    for i, image in enumerate(images):
        factors = 1 + 0.3 * draws[0, i], 1 + 0.4 * draws[1, i], max(0, 1 + 1.5 * draws[2, i])
        assert_allclose(found[i], naive_jitter(image, *factors), atol=1e-9)


class FullTurns:
    """A generator that draws the largest turn for every image."""

    def uniform(self, low, high, shape):
        return np.full(shape, high)


def test_a_third_of_a_turn_exchanges_the_colours():
    images = photos()
    turned = ColorJitter(0, contrast=0, saturation=0, hue=1 / 3).augment(images, FullTurns())
    assert_array_equal(turned, np.roll(images, 1, axis=3))


def test_a_turn_keeps_the_mean_of_the_colours_and_the_distance_from_grey():
    images = photos(dtype=np.float64)
    turned = ColorJitter(0, contrast=0, saturation=0, hue=0.5).augment(images, rng())
    assert_allclose(turned.mean(axis=3), images.mean(axis=3), atol=1e-9)
    assert_allclose(turned.std(axis=3), images.std(axis=3), atol=1e-9)
    assert np.abs(turned - images).max() > 1


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_without_colours_have_brightness_and_contrast_only(channels):
    images = photos(c=channels, dtype=np.float64)
    draws = rng(5).uniform(-1, 1, (4, 6))
    for image, found, draw in zip(images, ColorJitter(hue=0.5).augment(images, rng(5)), draws.T, strict=True):
        b, k = 1 + 0.2 * draw[:2]
        assert_allclose(found, k * b * image + (1 - k) * b * image.mean(), atol=1e-9)


def test_integers_are_rounded_and_clipped():
    x = np.array([-3.0, -0.4, 0.5, 1.5, 254.6, 255.4, 300.0, 1e9])
    assert_array_equal(as_dtype(x.astype(np.float32), np.uint8), [0, 0, 0, 2, 255, 255, 255, 255])
    assert_array_equal(as_dtype(x, np.int8), [-3, 0, 0, 2, 127, 127, 127, 127])
    assert_array_equal(as_dtype(x, np.bool), [False, False, False, True, True, True, True, True])
    assert_array_equal(as_dtype(np.array([-1e30, 1e30]), np.int64) > 0, [False, True])
    bright = ColorJitter(1.0, contrast=0, saturation=0).augment(np.full((50, 2, 2, 3), 200, np.uint8), rng())
    assert (bright == 255).any()
    assert bright.min() < 100


# -- covering and mixing


@pytest.mark.parametrize(("size", "pixels"), [(0.5, (4, 3)), ((0.25, 1.0), (2, 6))])
def test_cutout_covers_one_rectangle_that_the_edges_cut(size, pixels):
    images = photos(n=300, h=8, w=6)
    out = Cutout(size).augment(images, rng())
    sizes = set()
    for image, covered in zip(images, out, strict=True):
        changed = np.argwhere((covered == np.rint(image.mean(axis=(0, 1)))).all(axis=2))
        (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
        expected = image.copy()
        expected[top : bottom + 1, left : right + 1] = np.rint(image.mean(axis=(0, 1)))
        assert_array_equal(covered, expected)
        sizes.add((int(bottom - top + 1), int(right - left + 1)))
    assert max(sizes) == pixels
    assert len(sizes) > 1


def test_mixup_blends_image_by_image_and_keeps_the_mean_of_pairs():
    images = rng(1).normal(size=(7, 3, 4, 2))
    mixed, (partner, share) = MixUp(0.7).mix(images, rng())
    assert sorted(partner) == list(range(7))
    for i in range(7):
        assert_allclose(mixed[i], share[i] * images[i] + (1 - share[i]) * images[partner[i]], rtol=1e-12)
    sums = images.sum(axis=(1, 2, 3))
    assert_allclose(mixed.sum(), share @ sums + (1 - share) @ sums[partner])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_beta_distributed(alpha):
    _, (_, share) = MixUp(alpha).mix(np.zeros((4000, 1, 1, 1)), rng())
    assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_cutmix_takes_each_pixel_from_one_image_and_counts_them():
    images = np.arange(50.0)[:, None, None, None] + np.zeros((50, 8, 6, 2))
    mixed, (partner, share) = CutMix().mix(images, rng())
    for i, image in enumerate(mixed):
        own = image == i
        assert (own | (image == partner[i])).all()
        if partner[i] != i:
            assert own.mean() == pytest.approx(share[i])
            rows, columns = (np.ptp(np.argwhere(~own)[:, axis]) + 1 if (~own).any() else 0 for axis in (0, 1))
            assert rows * columns == (~own[..., 0]).sum(), "one rectangle"
    assert 0.3 < share.mean() < 0.8
    assert share.max() > 0.95


# -- lists


def test_a_list_is_applied_in_order():
    images = photos(n=5)
    members = (Cutout(0.5, fill=0), RandomFlip(), MixUp())
    source, expected = rng(), images
    for member in members:
        expected = member.augment(expected, source)
    rows = Rows(np.arange(5), epoch=0, seed=0)
    out, mixture = augmented(members, images, rng(), rows)
    assert_array_equal(out, expected)
    assert len(mixture.share) == 5
    assert augmented((RandomFlip(),), images, rng(), rows)[1] is None


@description
class Careless(Augmentation):
    """Returns something else than it should."""

    how: str

    def augment(self, images, rng):
        return images / 255 if self.how == "dtype" else images[:, 1:]


@pytest.mark.parametrize(("how", "said"), [("dtype", "of float64"), ("shape", r"returned \(120, 7, 8, 1\)")])
def test_an_augmentation_that_returns_other_images_is_told_so(digits, how, said):
    images = digits[0].astype(np.uint8)
    model = small(augmentation=["random_flip", Careless(how)], batch_size=120)
    with pytest.raises(ValueError, match=rf"Careless\('{how}'\) must return images of the same shape.*{said}"):
        model.fit(images, digits[1])


# -- in training


def small(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0} | params
    )


def weights_of(model):
    return model._model.weights


EVERY = [RandomFlip(), RandomCrop(1), RandomRotation(), GaussianNoise(), ColorJitter(), Cutout(), MixUp()]


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_every_number_of_threads_gives_the_same_bits(n_jobs):
    X, y = photos(n=150, h=12, w=12), np.arange(150) % 3
    one, several = (small(augmentation=EVERY, batch_size=130, n_jobs=jobs).fit(X, y) for jobs in (1, n_jobs))
    assert_array_equal(weights_of(one), weights_of(several))
    assert one.loss_curve_ == several.loss_curve_


def test_every_seed_gives_its_own_images(digits):
    same, again, other = (small(augmentation="random_crop", random_state=s, max_iter=1).fit(*digits) for s in (0, 0, 1))
    assert_array_equal(weights_of(same), weights_of(again))
    assert (weights_of(same) != weights_of(other)).any()


@pytest.mark.parametrize("augmentation", [EVERY, "cutmix", ("random_shift", GaussianNoise(0.2))], ids=str)
def test_training_in_pieces_equals_training_in_one(digits, augmentation):
    X, y = digits
    layers = [Conv2D(4), ReLU(), Dropout(0.1), Flatten()]
    params = {"augmentation": augmentation, "layers": layers, "batch_size": 50}
    whole = small(**params).fit(X, y)
    pieces = small(**params)
    for _ in range(3):
        pieces.partial_fit(X, y, classes=np.arange(10))
        pieces = pickle.loads(pickle.dumps(pieces))
    assert_array_equal(weights_of(pieces), weights_of(whole))
    warm = small(**params, warm_start=True, max_iter=1).fit(X, y).set_params(max_iter=2).fit(X, y)
    assert_array_equal(weights_of(warm), weights_of(whole))


@description
class Recorder(Augmentation):
    """Notes what it gets; to two equal ones belongs one list."""

    key: str

    def augment(self, images, rng):
        SEEN.setdefault(self.key, []).append((images.copy(), rng.random()))
        return images


SEEN = {}


def test_each_batch_of_each_epoch_has_a_stream_of_its_own_and_the_images_as_given(tmp_path):
    X, y = photos(n=40, h=5, w=5), np.arange(40) % 2
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    small(augmentation=Recorder("streams"), batch_size=16, shuffle=False).fit(mapped, y)
    batches, draws = zip(*SEEN.pop("streams"), strict=True)
    assert len(set(draws)) == len(draws) >= 9
    assert all(type(batch) is np.ndarray and batch.dtype == np.uint8 for batch in batches)
    assert_array_equal(np.concatenate(batches[: len(batches) // 3]), X)


def test_only_training_sees_augmented_images(digits):
    X, y = digits
    model = small(augmentation=Recorder("training"), max_iter=2).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    rows = sum(len(images) for images, _ in SEEN["training"])
    assert rows == 2 * 80
    first = model.predict_proba(X)
    assert_array_equal(model.predict_proba(X), first)
    assert sum(len(images) for images, _ in SEEN.pop("training")) == rows


def test_an_augmentation_that_changes_nothing_trains_the_same_model(digits):
    plain, still = small().fit(*digits), small(augmentation=RandomCrop(0)).fit(*digits)
    assert_array_equal(weights_of(plain), weights_of(still))


def test_augmented_images_are_learnt_from_and_x_stays_as_it_was(digits):
    X, y = digits  # read-only
    before = X.copy()
    augmented, plain = (small(augmentation=a, max_iter=1, shuffle=False).fit(X, y) for a in (EVERY, None))
    assert (weights_of(augmented) != weights_of(plain)).any()
    assert_array_equal(X, before)


# -- mixed targets


@description
class FixedMix(Mixing):
    """Each image with the one after it, by known shares."""

    def mix(self, images, rng):
        partner = np.roll(np.arange(len(images)), -1)
        share = np.linspace(0.1, 1, len(images))
        return blend(images, partner, share), Mixture(partner, share)


def blend(x, partner, share):
    share = share.reshape(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * x[partner]


TARGETS = {
    "classes": lambda y: y % 4,
    "two classes": lambda y: y % 2,
    "labels": lambda y: np.stack([y % 2, y > 4, y > 7], axis=1).astype(int),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", TARGETS)
def test_the_loss_of_mixed_images_is_that_of_their_mixed_targets(digits, kind, weighted):
    """One batch of one shard: the loss of the second epoch is that of the first one's model."""
    X, y = digits[0][:20].astype(np.float64), TARGETS[kind](digits[1][:20])
    w = rng().uniform(0.5, 2, 20) if weighted else np.ones(20)
    w /= w.mean()
    model = small(batch_norm=False, augmentation=FixedMix(), alpha=0, learning_rate=0.05, shuffle=False, n_jobs=1)
    first = clone(model).set_params(max_iter=1).fit(X, y, sample_weight=w)
    second = model.set_params(max_iter=2).fit(X, y, sample_weight=w)
    partner, share = np.roll(np.arange(20), -1), np.linspace(0.1, 1, 20)
    raw = first.decision_function(blend(X, partner, share))
    if kind == "classes":
        losses = [-log_softmax(raw, axis=1)[np.arange(20), target] for target in (y, y[partner])]
    else:
        p = expit(raw.reshape(20, -1))
        losses = [-np.log(np.where(t.reshape(20, -1), p, 1 - p)).sum(axis=1) for t in (y, y[partner])]
    expected = np.mean(share * w * losses[0] + (1 - share) * w[partner] * losses[1])
    assert second.loss_curve_[1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", TARGETS)
def test_training_on_mixed_images_lowers_their_loss(digits, kind):
    X, y = digits[0], TARGETS[kind](digits[1])
    for augmentation in ("mixup", "cutmix"):
        model = small(augmentation=augmentation, max_iter=15, learning_rate=0.01, batch_size=40).fit(X, y)
        assert model.loss_ < 0.8 * model.loss_curve_[0]
        assert model.score(X, y) > 0.5  # of labels, all of a row must be right


def test_targets_of_a_regression_are_mixed_themselves():
    """A shard without room for second targets, as for losses of numbers."""
    images, numbers, w = rng().normal(size=(6, 3, 4, 2)), rng(1).normal(size=(6, 2)), rng(2).uniform(1, 2, 6)
    x = np.empty((4, 3, 4, 2))
    shard = _Shard(None, slice(4), x, x, np.empty((4, 2)), np.empty(4), np.empty(1), np.empty((4, 2)))
    rows = np.array([5, 0, 2, 3])
    shard.load_augmented(Data(images, np.arange(6), numbers, w, numbers), rows, (FixedMix(),), rng(), (0, 0))
    share, partner = np.linspace(0.1, 1, 4), np.array([1, 2, 3, 0])
    assert_allclose(shard.x, blend(images[rows], partner, share))
    own, other = share * w[rows], (1 - share) * w[rows][partner]
    assert_allclose(shard.weight, own + other)
    products = own[:, None] * numbers[rows] + other[:, None] * numbers[rows][partner]
    assert_allclose(shard.weight[:, None] * shard.target, products)


@description
class SquaredMargin(Loss):
    """Squared distance from -1 or 1: not linear in the label, so that a mixed label would not do."""

    def record(self, tape, raw, target):
        values, gradient = tape.scratch((len(raw),), np.float64), tape.scratch(raw.shape, np.float64)

        def margins(raw, target, values, gradient):
            signs = 2 * target - 1
            missing = np.maximum(0, 1 - signs * raw)
            np.sum(missing**2, axis=1, out=values)
            gradient[...] = -2 * signs * missing

        tape(margins, raw, target, values, gradient)
        return values, gradient


def test_labels_are_not_mixed_but_their_losses(digits):
    X, y = digits[0][:20].astype(np.float64), digits[1][:20] % 2
    options = {"batch_norm": False, "alpha": 0, "learning_rate": 0.05, "shuffle": False}
    model = small(loss=SquaredMargin(), augmentation=FixedMix(), **options)
    first = clone(model).set_params(max_iter=1).fit(X, y)
    partner, share = np.roll(np.arange(20), -1), np.linspace(0.1, 1, 20)
    raw = first.decision_function(blend(X, partner, share))
    losses = [np.maximum(0, 1 - (2 * t - 1) * raw) ** 2 for t in (y, y[partner])]
    expected = np.mean(share * losses[0] + (1 - share) * losses[1])
    assert model.set_params(max_iter=2).fit(X, y).loss_curve_[1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.usefixtures("small_shards")
def test_shards_of_a_batch_mix_among_themselves():
    X, y = photos(n=50, h=6, w=6), np.arange(50) % 3
    one, two = (small(augmentation=["random_flip", CutMix()], n_jobs=jobs).fit(X, y) for jobs in (1, 4))
    assert_array_equal(weights_of(one), weights_of(two))
    assert np.isfinite(one.loss_)


# -- by name


def test_nested_names_reach_one_augmentation_and_those_of_a_list():
    model = small(augmentation="random_rotation").set_params(augmentation__degrees=30)
    assert model.augmentation == RandomRotation(30)
    assert model.get_params()["augmentation__fill"] == 0.0
    model.set_params(augmentation=[RandomFlip(), "cutout", RandomFlip(vertical=True), Careless("dtype")])
    assert augmentation_names(model.augmentation) == ["random_flip1", "cutout1", "random_flip2", "careless1"]
    assert model.get_params()["augmentation__random_flip2__vertical"] is True
    model.set_params(augmentation__cutout1__size=0.5, augmentation__random_flip1=RandomShift())
    assert model.augmentation == [RandomShift(), Cutout(0.5), RandomFlip(vertical=True), Careless("dtype")]
    with pytest.raises(ValueError, match=r"augmentation has no augmentation 'mixup1'\. The names are: random_shift1, "):
        model.set_params(augmentation__mixup1__alpha=1.0)
    with pytest.raises(ValueError, match=r"Cutout has no parameter 'sides'\. Its parameters are: size, fill"):
        model.set_params(augmentation__cutout1__sides=1.0)


@pytest.mark.parametrize("augmentation", [RandomFlip, [RandomFlip]])
def test_a_class_in_place_of_an_object_is_told_so(digits, augmentation):
    with pytest.raises(TypeError, match=r"RandomFlip is a class. Pass an object, RandomFlip\(...\)"):
        small(augmentation=augmentation).fit(*digits)


# -- the documentation


def test_the_page_and_its_picture_show_every_augmentation():
    pytest.importorskip("matplotlib")
    figures = runpy.run_path(DOCS / "figures_augmentation.py")
    drawn = {type(member) for members in figures["PHOTOS"] for member in members}
    page = (DOCS / "augmentation.md").read_text(encoding="utf-8")
    for cls in {type(augmentation) for augmentation in AUGMENTATIONS}:
        assert cls in drawn
        fields = ", ".join(f"{field}={value!r}" for field, value in cls().get_params().items())
        assert f'| `{cls.__name__}({fields})` | `"{cls.name}"` |'.replace("'mean'", '"mean"') in page
