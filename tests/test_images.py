"""Images from files: what is read is what is in the file, and what cannot be read is named."""

import io
import itertools
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import skcnn
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor, images
from skcnn._decoding import Reading
from skcnn.images import FolderWarning, ImageError, ImageReader, load_folder, read_images

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 1 << 16, (24, 40)).astype(np.uint16)
DEEP[0, 0], DEEP[0, 1] = 0, 65535


def file_of(image, kind="PNG", **options):
    """The bytes of a file."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def read(source, size=(24, 40), **parameters):
    return Reading.of(size, **parameters).read(source)


# -- the pixels of one file


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "ICO", "WEBP"])
def test_every_format_is_found_by_its_content(kind, tmp_path):
    options = {"WEBP": {"lossless": True}, "ICO": {"sizes": [(40, 24)]}}.get(kind, {})
    if kind == "TGA":  # which has no signature: its ending counts
        (tmp_path / "photo.tga").write_bytes(file_of(PHOTO, kind))
        assert_array_equal(read(tmp_path / "photo.tga"), PHOTO)
        with pytest.raises(ImageError, match="not an image of a known format"):
            read(file_of(PHOTO, kind))
    else:
        (tmp_path / "photo.jpg").write_bytes(file_of(PHOTO, kind, **options))
        assert_array_equal(read(tmp_path / "photo.jpg"), PHOTO)


def test_what_an_image_may_be(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(file_of(PHOTO))
    with path.open("rb") as file, Image.open(path) as opened:
        sources = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), file, opened, PHOTO]
        for source in [*sources, *sources]:  # an open file is read from its beginning, however often
            assert_array_equal(read(source), PHOTO)
        assert_array_equal(read_images(sources, (24, 40)), [PHOTO] * len(sources))
    grey = PHOTO[..., 0]
    for source in (grey, grey[..., None]):
        assert_array_equal(read(source, color="grey")[..., 0], grey)
    assert_array_equal(read(grey > 99, color="grey")[..., 0], np.where(grey > 99, 255, 0))


def test_colours():
    grey = file_of(PHOTO[..., 0])
    assert_array_equal(read(grey), np.repeat(PHOTO[..., :1], 3, axis=2))
    assert_array_equal(read(grey, color="grey"), PHOTO[..., :1])
    assert_array_equal(read(grey, color="keep"), PHOTO[..., :1])
    luminance = PHOTO @ [0.299, 0.587, 0.114]
    assert np.abs(read(file_of(PHOTO), color="grey")[..., 0] - luminance).max() <= 1
    assert read(file_of(PHOTO), color="keep").shape == (24, 40, 3)
    palette = Image.new("P", (40, 24), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    assert (read(file_of(palette)) == [0, 0, 255]).all()
    assert (read(file_of(Image.new("1", (40, 24), 1))) == 255).all()
    printed = read(file_of(Image.new("CMYK", (40, 24), (0, 255, 255, 0)), "JPEG"))
    assert (np.abs(printed.astype(int) - [255, 0, 0]) < 8).all()


def test_transparency():
    alpha = RNG.integers(0, 256, (24, 40, 1), dtype=np.uint8)
    cut = file_of(np.concatenate([PHOTO, alpha], axis=2))
    for background, colour in (("white", (255, 255, 255)), ((10, 200, 30), (10, 200, 30)), ("#ff8000", (255, 128, 0))):
        expected = (PHOTO * (alpha / 255.0) + np.array(colour) * (1 - alpha / 255.0)).round()
        assert np.abs(read(cut, background=background) - expected).max() <= 1
    assert_array_equal(read(cut, color="keep"), np.concatenate([PHOTO, alpha], axis=2))
    assert read(file_of(Image.new("LA", (40, 24))), color="keep").shape == (24, 40, 2)
    palette = Image.new("P", (40, 24), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    for clear in (
        file_of(palette, transparency=1),
        file_of(Image.new("LA", (40, 24))),
        file_of(palette, "GIF", transparency=1),
    ):
        assert (read(clear) == 255).all()
        assert (read(clear, background="black", color="grey") == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_stay_as_they_are(kind):
    file = file_of(DEEP, kind)
    found = read(file, color="grey")
    assert found.dtype == np.uint16
    assert_array_equal(found[..., 0], DEEP)
    assert_array_equal(read(file), np.repeat(DEEP[..., None], 3, axis=2))
    assert_array_equal(read(DEEP, color="keep")[..., 0], DEEP)
    assert_array_equal(read(file, color="grey", dtype="uint8")[..., 0], np.rint(DEEP / 257).astype(np.uint8))
    assert_array_equal(read(file_of(PHOTO), dtype="uint16"), PHOTO.astype(np.uint16) * 257)
    shrunk = read(file, size=(12, 20), resize="stretch", color="grey")
    assert shrunk.dtype == np.uint16
    assert abs(shrunk.mean() - DEEP.mean()) < 1000
    assert (read(file, size=(24, 60), color="grey")[:, 0] == 65535).all()  # the background, white


def test_images_of_eight_and_of_sixteen_bits_are_brought_to_the_same_scale():
    for files in itertools.permutations([file_of(PHOTO[..., 0]), file_of(DEEP), file_of(PHOTO[..., 1])]):
        found = read_images(files, (24, 40), color="grey")
        assert found.dtype == np.uint16
        for image, file in zip(found, files, strict=True):
            assert_array_equal(image, read(file, color="grey", dtype="uint16"))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_cameras_that_were_not_held_upright(turn, kind):
    upright = np.full((24, 40), 30, np.uint8)
    upright[:8, :8], upright[:8, 32:] = 250, 150  # two corners tell all turns apart
    back = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }
    told = Image.Exif()
    told[0x0112] = turn
    file = file_of(np.ascontiguousarray(back[turn](upright)), kind, exif=told)
    found = read(file, color="grey")[..., 0]
    assert np.abs(found.astype(int) - upright).mean() < (1 if kind == "PNG" else 8)


def test_damaged_exif_data_leaves_an_image_as_it_is():
    unknown = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0"  # a turn of number 99
    for damaged in (b"Exif\0\0" + b"\xff" * 40, b"Exif\0\0" + unknown):
        assert read(file_of(PHOTO, "JPEG", exif=damaged)).shape == (24, 40, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(kind):
    frames = [Image.new("RGB", (40, 24), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (read(file) == [255, 0, 0]).all()


def test_padding_shows_the_whole_image_in_the_middle():
    found = read(file_of(PHOTO), size=(40, 40), background=(1, 2, 3))
    assert_array_equal(found[8:32], PHOTO)
    assert (found[:8] == [1, 2, 3]).all()
    assert (found[32:] == [1, 2, 3]).all()
    assert_array_equal(read(file_of(PHOTO), size=(24, 50), color="grey")[:, :5], np.full((24, 5, 1), 255))
    kept = read(np.dstack([PHOTO, PHOTO[..., 0]]), size=(40, 40), color="keep")
    assert (kept[:8] == 0).all()  # nothing is there: transparent


def test_cropping_cuts_from_the_middle():
    assert_array_equal(read(file_of(PHOTO), size=(24, 24), resize="crop"), PHOTO[:, 8:32])
    assert_array_equal(read(file_of(PHOTO), size=(12, 40), resize="crop"), PHOTO[6:18])


def test_stretching_fills_the_size():
    halves = np.repeat(np.array([[0, 255]], np.uint8), 20, axis=1).repeat(24, axis=0)
    found = read(halves, size=(60, 10), resize="stretch", color="grey")[..., 0]
    assert (found[:, :4] == 0).all()
    assert (found[:, 6:] == 255).all()


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_shrunk_images_are_means_of_what_they_stand_for(resize):
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = read(board, size=(32, 32), resize=resize, color="grey")
    assert np.abs(found.astype(int) - 127).max() <= 1  # the nearest pixel would be black or white
    ramp = np.linspace(0, 255, 320).astype(np.uint8)[None].repeat(320, axis=0)
    expected = ramp.reshape(320, 32, 10).mean(axis=2)[::10]
    found = read(ramp, size=(32, 32), resize=resize, color="grey")[..., 0]
    assert np.abs(found[:, 1:-1] - expected[:, 1:-1]).max() <= 1


def test_large_jpeg_files_are_decoded_at_a_fraction_of_their_size():
    smooth = Image.fromarray(PHOTO).resize((1600, 960), Image.Resampling.BICUBIC)
    file = file_of(smooth, "JPEG", quality=95)
    for parameters in ({}, {"resize": "crop"}, {"resize": "stretch"}, {"color": "grey"}):
        fast = read(file, size=(50, 60), **parameters)
        with Image.open(io.BytesIO(file)) as opened:
            slow = read(np.asarray(opened), size=(50, 60), **parameters)
        assert np.abs(fast.astype(int) - slow).mean() < 1.5


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (500, 1), (3, 2)])
@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_tiny_and_thin_images(width, height, resize):
    found = read(np.full((height, width), 7, np.uint8), size=(16, 20), resize=resize, color="grey", background="black")
    assert found.shape == (16, 20, 1)
    assert 7 in found


# -- what cannot be read


def chunk(kind, content):
    """A part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side=20_000):
    """A PNG file of a few bytes that unfolds to many pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BAD = {
    "empty": (b"", "it is empty"),
    "text": (b"no image", "not an image of a known format"),
    "truncated": (file_of(PHOTO)[:-200], "it is damaged"),
    "truncated JPEG": (file_of(PHOTO, "JPEG")[:-200], "it is damaged"),
    "header alone": (file_of(PHOTO)[:40], "it is damaged|not an image"),
    "bomb": (bomb(), "too many pixels|more than the"),
    "program": (file_of(PHOTO, "EPS"), "not an image of a known format"),
    "floats": (file_of(Image.fromarray(PHOTO[..., 0].astype(np.float32)), "TIFF"), "floating-point numbers"),
    "32 bits": (file_of(Image.fromarray(np.full((8, 8), 70_000, np.int32)), "TIFF"), "integers of more than 16 bits"),
    "negative": (file_of(Image.fromarray(np.full((8, 8), -1, np.int32)), "TIFF"), "integers of more than 16 bits"),
    "photo of a phone": (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF.*pillow-heif"),
    "number": (3.5, "expected a path.*got 3.5"),
    "missing value": (float("nan"), "expected a path.*got nan"),
    "nothing": (None, "expected a path.*got None"),
    "array of floats": (np.zeros((4, 4)), r"got shape \(4, 4\) of float64"),
    "row": (np.zeros(64, np.uint8), r"got shape \(64,\) of uint8"),
    "batch": (np.zeros((2, 8, 8, 3), np.uint8), r"got shape \(2, 8, 8, 3\)"),
    "many channels": (np.zeros((8, 8, 5), np.uint8), r"got shape \(8, 8, 5\)"),
    "no pixels": (np.zeros((0, 8), np.uint8), r"got shape \(0, 8\)"),
    "no file": ("missing.png", "no such file"),
    "null": ("a\0b.png", "it is damaged"),
    "folder": (os.curdir, "it is not a file"),
    "device": (os.devnull, "it is not a file|it is empty"),
}


@pytest.mark.parametrize(("source", "reason"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_an_error_with_the_reason(source, reason):
    with pytest.raises(ImageError, match=reason):
        read(source)
    good = file_of(PHOTO)
    with pytest.raises(ImageError, match=r"cannot be read.*on_error='skip'"):
        read_images([good, source, good], (8, 8))
    found, kept = read_images([good, source, good], (8, 8), on_error="skip")
    assert len(found) == 2
    assert_array_equal(kept, [0, 2])


def test_pixels_are_counted_before_they_are_decoded(monkeypatch):
    reading = Reading.of(8)
    assert reading.read(file_of(PHOTO), max_pixels=24 * 40).shape == (8, 8, 3)
    with pytest.raises(ImageError, match="40 x 24 pixels, more than the limit of 959"):
        reading.read(file_of(PHOTO), max_pixels=959)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageError, match=r"more than the limit of 500|exceeds limit of 500"):
        reading.read(file_of(PHOTO))


def test_the_message_names_the_first_files():
    names = [f"missing{i}.png" for i in range(9)]
    with pytest.raises(ImageError) as raised:
        read_images([PHOTO, *names], 8)
    assert str(raised.value).startswith(
        "'missing0.png' cannot be read: there is no such file (nor can 'missing1.png', "
    )
    assert "'missing5.png' and 3 more)" in str(raised.value)
    with pytest.raises(ImageError, match=r"Image 1 cannot be read: it is empty \(nor can image 2\)"):
        read_images([PHOTO, b"", b""], 8)
    again = pickle.loads(pickle.dumps(raised.value))  # as processes of joblib send it
    assert str(again) == str(raised.value)


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ("a.png", TypeError, r"paths is a single image, 'a.png'.*\[paths\]"),
        (Path("a.png"), TypeError, "single image"),
        (b"abc", TypeError, "single image"),
        (Image.new("L", (4, 4)), TypeError, "single image"),
        (3, TypeError, "paths must be a list"),
        ([], ValueError, "paths is empty"),
        (np.array([["a", "b"]]), ValueError, r"paths has shape \(1, 2\). Expected one column"),
    ],
)
def test_what_are_no_images(paths, error, message):
    with pytest.raises(error, match=message):
        read_images(paths, 8)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 0}, r"size must be \(height, width\).*got 0"),
        ({"size": (8, 8, 3)}, "size must be"),
        ({"size": "large"}, "size must be"),
        ({"size": (8.0, 8)}, "size must be"),
        ({"resize": "fit"}, "resize must be 'pad', 'crop' or 'stretch', got 'fit'"),
        ({"color": "gray"}, "color must be 'RGB', 'grey' or 'keep', got 'gray'"),
        ({"dtype": np.uint8}, "dtype must be 'auto', 'uint8' or 'uint16'"),
        ({"background": "whitish"}, "background='whitish' is not the name of a colour"),
        ({"background": (0, 0, 256)}, "background must be the name of a colour"),
        ({"background": 255}, "background must be"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip', got 'ignore'"),
    ],
)
def test_parameters_without_a_meaning(parameters, message):
    with pytest.raises(ValueError, match=message):
        read_images([PHOTO], **{"size": 8} | parameters)
    if "on_error" not in parameters:
        with pytest.raises(ValueError, match=message):
            ImageReader(**{"size": 8} | parameters).fit([PHOTO])


def test_images_of_other_channels_need_a_colour():
    source = io.BytesIO(file_of(PHOTO[..., 0]))
    source.name = "b.png"
    with pytest.raises(ValueError, match=r"color='keep' needs .* 'b.png' has 1, the images before it have 3"):
        read_images([PHOTO, source], 8, color="keep")


def test_without_pillow_the_message_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    for call in (
        lambda: read_images([PHOTO], 8),
        lambda: load_folder(tmp_path, 8),
        lambda: ImageReader(8).fit([PHOTO]),
        lambda: Reading.of(8).read(PHOTO),
    ):
        with pytest.raises(ImportError, match=r"pip install 'skcnn\[images\]'"):
            call()


# -- a fuzzer


def seeds():
    """Small files of many kinds."""
    photo, grey = Image.fromarray(PHOTO[:9, :11]), Image.fromarray(PHOTO[:9, :11, 0])
    told = Image.Exif()
    told[0x0112] = 6
    yield from (
        file_of(photo, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "PCX", "SGI")
    )
    yield from (file_of(grey, kind) for kind in ("PNG", "JPEG", "TIFF", "MSP" if grey.mode == "1" else "PPM"))
    yield file_of(photo, "JPEG", exif=told, progressive=True)
    yield file_of(photo.convert("CMYK"), "JPEG")
    yield file_of(photo.convert("P"), "PNG", transparency=bytes(range(20)))
    yield file_of(photo.convert("RGBA"), "PNG", exif=told)
    yield file_of(photo.convert("RGBA"), "TIFF", compression="tiff_lzw")
    yield file_of(photo, "GIF", save_all=True, append_images=[grey.convert("RGB")])
    yield file_of(DEEP[:9, :11], "PNG")
    yield file_of(DEEP[:9, :11], "TIFF")
    yield file_of(photo, "DDS")
    yield b"#define w_width 8\n#define w_height 2\nstatic char w_bits[] = {0x01, 0x02};\n"


def mutated(content, rng):
    """Bytes changed, cut off, repeated or put in."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(0, max(1, len(found))))
        match int(rng.integers(5)):
            case 0 if found:
                found[at % len(found)] = int(rng.integers(256))
            case 1:
                del found[at:]
            case 2:
                found[at:at] = rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8).tobytes()
            case 3:
                del found[at : at + int(rng.integers(1, 9))]
            case _:
                found[at : at + 4] = [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"][int(rng.integers(3))]
    return bytes(found)


def fuzz(times, seed):
    """Read damaged files: each is an image of the right form, or an `ImageError`."""
    rng, files = np.random.default_rng(seed), list(seeds())
    readings = [
        Reading.of((7, 5), resize=resize, color=color)
        for resize, color in itertools.product(("pad", "crop", "stretch"), ("RGB", "grey", "keep"))
    ]
    outcomes = {True: 0, False: 0}
    for number in range(times):
        content, reading = mutated(files[number % len(files)], rng), readings[int(rng.integers(len(readings)))]
        try:
            found = reading.read(content, max_pixels=1_000_000)
        except ImageError:
            outcomes[False] += 1
        else:
            assert found.shape[:2] == (7, 5)
            assert found.shape[2] in {"RGB": (3,), "grey": (1,), "keep": (1, 2, 3, 4)}[reading.color]
            assert found.dtype in (np.uint8, np.uint16)
            outcomes[True] += 1
    return outcomes


@pytest.mark.filterwarnings("ignore:::PIL")
def test_a_fuzzer_finds_nothing_but_images_and_errors():
    outcomes = fuzz(1500, seed=0)
    assert min(outcomes.values()) > 150  # both happen


# -- a folder


@pytest.fixture
def photos(tmp_path):
    """Two classes of files of several kinds, and what else lies in such folders."""
    root = tmp_path / "photos"
    for name, colour in (("bee", "yellow"), ("ant", "black")):
        (root / name).mkdir(parents=True)
        for number, ending in enumerate(("png", "jpg", "gif")):
            Image.new("RGB", (30 + number, 20), colour).save(root / name / f"{number}.{ending}")
    (root / ".DS_Store").write_bytes(b"\0\1")
    (root / "ant" / ".hidden.png").write_bytes(b"\0\1")
    (root / "ant" / "notes.txt").write_text("not an image")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "0.png").write_bytes(b"\0\1")
    return root


def short(names, root):
    return [os.path.relpath(name, root).replace(os.sep, "/") for name in names]


ALL = ["ant/0.png", "ant/1.jpg", "ant/2.gif", "bee/0.png", "bee/1.jpg", "bee/2.gif"]


def test_subfolders_are_classes(photos):
    data = load_folder(photos, (20, 32))
    assert data.images.shape == (6, 20, 32, 3)
    assert data.images.dtype == np.uint8
    assert_array_equal(data.target, [0, 0, 0, 1, 1, 1])
    assert_array_equal(data.target_names[data.target], ["ant"] * 3 + ["bee"] * 3)
    assert short(data.filenames, photos) == ALL
    assert data.skipped == [(str(photos / "ant" / "notes.txt"), "it is not an image of a known format")]
    assert (data.images[1, :, 1:-1] < 10).all()
    assert_array_equal(data.images, read_images(data.filenames, (20, 32)))
    assert load_folder(str(photos), 16, n_jobs=3).images.shape == (6, 16, 16, 3)


def test_a_folder_without_subfolders_has_no_classes(photos):
    data = load_folder(photos / "ant", 16)
    assert len(data.images) == 3
    assert "target" not in data
    assert "target_names" not in data
    (photos / "ant" / "notes").mkdir()
    (photos / "ant" / "notes" / "more.txt").write_text("nothing")
    assert "target" not in load_folder(photos / "ant", 16)


def test_images_outside_of_the_class_folders_are_listed(photos):
    Image.new("RGB", (8, 8)).save(photos / "stray.png")
    data = load_folder(photos, 16)
    assert len(data.images) == 6
    assert (str(photos / "stray.png"), "it is in none of the class folders") in data.skipped


def test_an_image_without_an_ending_is_an_image(photos):
    (photos / "ant" / "0.png").rename(photos / "ant" / "00")
    (photos / "bee" / "1.jpg").rename(photos / "bee" / "1.text")
    assert len(load_folder(photos, 16).images) == 6


def test_deeper_folders_belong_to_their_class(photos):
    (photos / "ant" / "b" / "c").mkdir(parents=True)
    (photos / "ant" / "2.gif").rename(photos / "ant" / "b" / "c" / "2.gif")
    data = load_folder(photos, 16)
    assert short(data.filenames, photos)[:3] == ["ant/0.png", "ant/1.jpg", "ant/b/c/2.gif"]
    assert_array_equal(data.target, [0, 0, 0, 1, 1, 1])


def test_corrupt_files(photos):
    (photos / "ant" / "corrupt.jpg").write_bytes(file_of(PHOTO, "JPEG")[:300])
    (photos / "bee" / "text.png").write_text("no image, but called one")
    with pytest.raises(ImageError, match=r"corrupt.jpg' cannot be read: it is damaged.*text.png.*on_error='skip'"):
        load_folder(photos, 16)
    data = load_folder(photos, 16, on_error="skip")
    assert short(data.filenames, photos) == ALL
    assert_array_equal(data.target, [0, 0, 0, 1, 1, 1])
    assert short([name for name, _ in data.skipped], photos) == ["ant/corrupt.jpg", "ant/notes.txt", "bee/text.png"]


def test_a_file_that_vanishes_before_it_is_read(photos, monkeypatch):
    list_files = images._Folder.__init__

    def removing(self, *arguments):
        list_files(self, *arguments)
        (photos / "bee" / "0.png").unlink(missing_ok=True)

    monkeypatch.setattr(images._Folder, "__init__", removing)
    with pytest.raises(ImageError, match=r"0.png' cannot be read: there is no such file"):
        load_folder(photos, 16)
    Image.new("RGB", (8, 8)).save(photos / "bee" / "0.png")
    data = load_folder(photos, 16, on_error="skip")
    assert (str(photos / "bee" / "0.png"), "there is no such file") in data.skipped
    assert len(data.images) == len(data.target) == 5


def test_a_folder_that_may_not_be_looked_into(photos, monkeypatch):
    scan = os.scandir

    def guarded(folder):
        if os.path.basename(folder) == "bee":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(ImageError, match=r"bee' cannot be read: permission denied"):
        load_folder(photos, 16)
    with pytest.warns(FolderWarning, match="only one class folder"):
        data = load_folder(photos, 16, on_error="skip")
    assert (str(photos / "bee"), "permission denied") in data.skipped


def test_folders_without_images(tmp_path, photos):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        load_folder(tmp_path / "nowhere", 16)
    with pytest.raises(NotADirectoryError, match=r"0.png' is a file.*read_images"):
        load_folder(photos / "ant" / "0.png", 16)
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"There is no image in '.*empty'\.$"):
        load_folder(tmp_path / "empty", 16)
    (tmp_path / "empty" / "inner" / "a.txt").write_text("text")
    with pytest.raises(ValueError, match=r"There is no image in '.*empty' \(.*a.txt.*: it is not an image"):
        load_folder(tmp_path / "empty", 16)
    (photos / "cat").mkdir()
    data = load_folder(photos, 16)
    assert data.target_names.tolist() == ["ant", "bee"]
    assert (str(photos / "cat"), "there is no image in this folder") in data.skipped


def test_a_folder_with_one_class_is_probably_a_mistake(photos):
    with pytest.warns(FolderWarning, match=r"only one class folder, 'photos'.*load '.*photos'"):
        data = load_folder(photos.parent, 16)
    assert data.target_names.tolist() == ["photos"]
    assert len(data.images) == 6
    load_folder(photos.parent, 16, categories=["photos"])  # silent: somebody means it
    (photos / "ant").rename(photos / "train")
    (photos / "bee").rename(photos / "Test")
    with pytest.warns(FolderWarning, match=r"class folders 'Test', 'train'.*parts of a data set"):
        load_folder(photos, 16)
    (photos / "Test").rename(photos / "express train")
    load_folder(photos, 16)  # silent: one of the two is a class


def test_categories(photos):
    train = load_folder(photos, 16, categories=["bee", "ant"])
    assert train.target_names.tolist() == ["bee", "ant"]
    assert short(train.filenames, photos) == ALL[3:] + ALL[:3]
    for file in (photos / "ant").glob("[0-9]*"):
        file.unlink()
    test = load_folder(photos, 16, categories=["ant", "bee"])
    assert test.target_names.tolist() == ["ant", "bee"]
    assert_array_equal(test.target, [1, 1, 1])
    for wrong in (["cat"], "ant"):
        with pytest.raises(ValueError, match=r"categories must be names of folders in .*'ant', 'bee'"):
            load_folder(photos, 16, categories=wrong)


@pytest.mark.parametrize("name", ["été", "изображения", "画像", "صور", "a b'c\"d", "\N{SNAKE}"])
def test_names_in_any_script(photos, name):
    (photos / "ant").rename(photos / name)
    (photos / name / "0.png").rename(photos / name / f"{name[::-1]}.png")
    data = load_folder(photos, 16)
    assert name in data.target_names
    assert any(file.endswith(f"{name[::-1]}.png") for file in data.filenames)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text(photos):
    with open(os.fsencode(photos / "ant") + b"/\xff.png", "wb") as file:
        file.write(b"damaged")
    with pytest.raises(ImageError, match=r"xff|udcff") as raised:
        load_folder(photos, 16)
    str(raised.value).encode()  # can be printed
    data = load_folder(photos, 16, on_error="skip", out=photos / "cache.npy")
    assert len(data.images) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_symbolic_links(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "elsewhere" / "a.png")
    (photos / "cat").symlink_to(tmp_path / "elsewhere")
    (photos / "ant" / "3.png").symlink_to(photos / "ant" / "0.png")
    (photos / "ant" / "round").symlink_to(photos)  # to a folder that it lies in
    (photos / "ant" / "self").symlink_to(photos / "ant" / "self")
    data = load_folder(photos, 16)
    found = [name for name in short(data.filenames, photos) if "round" not in name]
    assert found == [*ALL[:3], "ant/3.png", *ALL[3:], "cat/a.png"]
    assert len(data.filenames) == len(found)
    (photos / "ant" / "4.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match=r"4.png' cannot be read: there is no such file"):
        load_folder(photos, 16)
    assert len(load_folder(photos, 16, on_error="skip").images) == 8


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_waited_for(photos):
    os.mkfifo(photos / "ant" / "pipe.png")
    with pytest.raises(ImageError, match="it is not a file"):
        load_folder(photos, 16)


def test_the_progress_is_shown_when_asked_for(photos, capsys):
    load_folder(photos, 16)
    assert capsys.readouterr() == ("", "")
    load_folder(photos, 16, verbose=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith("\rReading images: 7 of 7\n")


# -- larger than memory


def test_a_cache_is_written_once(photos, tmp_path, monkeypatch):
    out = tmp_path / "cache.npy"
    plain = load_folder(photos, 16)
    first = load_folder(photos, 16, out=out)
    assert isinstance(first.images, np.memmap)
    assert not first.images.flags.writeable
    assert_array_equal(first.images, plain.images)
    assert_array_equal(np.load(out), plain.images)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["cache.npy"]
    monkeypatch.setattr(images, "_read", None)  # nothing is read again
    second = load_folder(photos, 16, out=out)
    for name in ("images", "target", "target_names", "filenames", "skipped"):
        assert_array_equal(second[name], plain[name])


def test_a_cache_follows_files_and_parameters(photos, tmp_path):
    out = tmp_path / "cache.npy"
    load_folder(photos, 16, out=out)
    assert load_folder(photos, 8, out=out).images.shape == (6, 8, 8, 3)
    assert load_folder(photos, 8, out=out, color="grey").images.shape == (6, 8, 8, 1)
    Image.new("RGB", (31, 21), "red").save(photos / "ant" / "3.png")
    assert len(load_folder(photos, 8, out=out).images) == 7
    Image.new("RGB", (30, 20), "blue").save(photos / "ant" / "3.png")
    assert (load_folder(photos, 8, out=out).images[3, 4] == [0, 0, 255]).all()
    (photos / "ant").rename(photos / "zebra")
    assert load_folder(photos, 8, out=out).target_names.tolist() == ["bee", "zebra"]
    assert load_folder(photos, 8, out=out, categories=["zebra"]).images.shape[0] == 4


def test_a_cache_remembers_what_was_skipped(photos, tmp_path):
    out = photos / "cache.npy"  # among the images, where it is none of them
    (photos / "ant" / "corrupt.jpg").write_bytes(b"\xff\xd8\xff")
    for _ in range(2):
        with pytest.raises(ImageError, match=r"corrupt.jpg"):
            load_folder(photos, 16, out=out)
        assert not out.exists()
    plain = load_folder(photos, 16, on_error="skip")
    for _ in range(2):
        data = load_folder(photos, 16, out=out, on_error="skip")
        assert_array_equal(data.images, plain.images)
        assert data.skipped == plain.skipped
        with pytest.raises(ImageError, match=r"corrupt.jpg"):
            load_folder(photos, 16, out=out)


def test_a_cache_of_eight_and_sixteen_bits(photos, tmp_path):
    Image.fromarray(DEEP).save(photos / "bee" / "9.png")
    data = load_folder(photos, 16, color="grey", out=tmp_path / "cache.npy")
    assert data.images.dtype == np.uint16
    assert_array_equal(data.images, load_folder(photos, 16, color="grey").images)


def test_a_file_of_somebody_else_is_not_overwritten(photos, tmp_path):
    out = tmp_path / "mine.npy"
    for content in (b"", b"short", file_of(PHOTO)):
        out.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine.npy' is a file that load_folder has not written"):
            load_folder(photos, 16, out=out)
        assert out.read_bytes() == content
    load_folder(photos, 16, out=tmp_path / "cache.npy")
    half = (tmp_path / "cache.npy").read_bytes()[:-5]
    out.write_bytes(half)
    with pytest.raises(ValueError, match="has not written"):
        load_folder(photos, 16, out=out)


def test_a_network_learns_from_a_cache(photos, tmp_path):
    data = load_folder(photos, 16, out=tmp_path / "cache.npy")
    network = CNNClassifier((4,), max_iter=8, random_state=0)
    y = data.target_names[data.target]
    expected = clone(network).fit(np.asarray(data.images), y).predict_proba(data.images)
    assert_array_equal(network.fit(data.images, y).predict_proba(data.images), expected)


# -- the first step of a pipeline


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files of red and blue images of different sizes, and their classes."""
    folder = tmp_path_factory.mktemp("paths")
    rng = np.random.default_rng(0)
    names = [str(folder / f"{i:02d}.png") for i in range(24)]
    for i, name in enumerate(names):
        Image.new("RGB", tuple(rng.integers(10, 40, 2)), ("red", "blue")[i % 2]).save(name)
    return names, np.array(["red", "blue"] * 12)


def network(**parameters):
    small = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "batch_size": 8, "learning_rate": 0.01, "max_iter": 20}
    return CNNClassifier(random_state=0, **small | parameters)


FORMS = {
    "list": list,
    "paths": lambda paths: [Path(path) for path in paths],
    "array": np.array,
    "objects": lambda paths: np.array(paths, dtype=object),
    "column": lambda paths: np.array(paths)[:, None],
    "Series": pd.Series,
    "DataFrame": lambda paths: pd.DataFrame({"path": paths}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_pipeline_learns_from_paths(paths, form):
    names, y = paths
    X = form(names)
    model = make_pipeline(ImageReader((12, 12)), network())
    assert cross_val_score(model, X, y, cv=3).mean() > 0.9
    model.fit(X, y)
    read = read_images(names, (12, 12))
    expected = network().fit(read, y)
    assert_array_equal(model.predict_proba(X), expected.predict_proba(read))
    assert_array_equal(model.predict([Path(names[0]).read_bytes()]), ["red"])


def test_the_size_is_a_hyperparameter(paths, tmp_path):
    names, y = paths
    model = Pipeline([("read", ImageReader(8)), ("cnn", network())], memory=str(tmp_path))
    grid = {"read__size": [8, (12, 10)], "read__resize": ["pad", "crop"]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(names, y)
    assert search.best_score_ > 0.8
    assert len(search.cv_results_["params"]) == 4
    assert list((tmp_path / "joblib").rglob("*.pkl"))
    assert search.predict(names[:2]).tolist() == ["red", "blue"]


@pytest.mark.parametrize("column", ["path", ["path"]])
def test_a_column_of_paths_beside_others(paths, column):
    names, y = paths
    table = pd.DataFrame({"path": names, "age": np.arange(24.0)})
    looks = make_pipeline(ImageReader(12), CNNFeatures(network(), layer="dense1"))
    columns = make_column_transformer((looks, column), (StandardScaler(), ["age"])).set_output(transform="pandas")
    model = make_pipeline(columns, LogisticRegression()).fit(table, y)
    assert model.score(table, y) == 1
    assert columns.transform(table).shape == (24, 9)
    assert columns.get_feature_names_out()[-2:].tolist() == ["pipeline__cnnfeatures7", "standardscaler__age"]


def test_a_regressor_of_paths(paths):
    names, y = paths
    model = make_pipeline(ImageReader(12), CNNRegressor((4,), max_iter=30, random_state=0))
    assert model.fit(names, (y == "red") * 1.0).score(names, (y == "red") * 1.0) > 0.8


def test_what_was_fitted_decides_the_depth_and_the_channels():
    shallow = ImageReader((24, 40), color="grey").fit([PHOTO])
    assert (shallow.dtype_, shallow.channels_) == ("uint8", 1)
    found = shallow.transform([DEEP])
    assert found.dtype == np.uint8
    assert_array_equal(found[0, ..., 0], np.rint(DEEP / 257))
    deep = ImageReader((24, 40), color="grey").fit([PHOTO, DEEP])
    assert deep.dtype_ == "uint16"
    assert deep.transform([PHOTO]).dtype == np.uint16
    kept = ImageReader(8, color="keep").fit([PHOTO])
    with pytest.raises(ValueError, match="have 1 channels, but ImageReader was fitted to 3"):
        kept.transform([PHOTO[..., 0]])


def test_a_validation_set_of_paths(paths):
    names, y = paths
    with config_context(enable_metadata_routing=True):
        routed = network(max_iter=2).set_fit_request(X_val=True, y_val=True)
        model = Pipeline([("read", ImageReader(8)), ("cnn", routed)], transform_input=["X_val"])
        model.fit(names[:16], y[:16], X_val=names[16:], y_val=y[16:])
    assert model[-1].best_validation_score_ == model.score(names[16:], y[16:])


def test_a_transformer_cannot_leave_out_rows(paths):
    with pytest.raises(ImageError, match=r"'missing.png' cannot be read.*read_images\(..., on_error='skip'\)"):
        ImageReader(8).fit_transform([*paths[0], "missing.png"])


CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_mixin_order,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_checks_of_scikit_learn_that_need_no_data(check):
    check("ImageReader", ImageReader(8))


def test_fitting_changes_no_parameter_and_transforming_nothing(paths):
    reader = ImageReader([8, 10], n_jobs=1)
    before = reader.get_params()
    with pytest.raises(Exception, match="not fitted"):
        reader.transform(paths[0])
    assert reader.fit(paths[0]) is reader
    assert reader.get_params() == before
    state = pickle.dumps(reader)
    assert_array_equal(reader.transform(paths[0]), ImageReader([8, 10]).fit_transform(paths[0]))
    assert pickle.dumps(reader) == state
    assert len(reader.get_feature_names_out()) == 8 * 10 * 3
    assert_array_equal(pickle.loads(state).transform(paths[0]), reader.transform(paths[0]))


def test_a_pipeline_goes_through_skops(paths):
    skops = pytest.importorskip("skops.io")
    names, y = paths
    model = make_pipeline(ImageReader(12, background=(1, 2, 3)), network()).fit(names, y)
    loaded = skops.loads(skops.dumps(model), trusted=skcnn.SKOPS_TRUSTED)
    assert_array_equal(loaded.predict_proba(names), model.predict_proba(names))


def test_many_threads_read_the_same(paths):
    found = [read_images(paths[0] * 9, 12, n_jobs=n_jobs) for n_jobs in (1, 2, 7)]
    for other in found[1:]:
        assert_array_equal(other, found[0])


def test_the_module_imports_without_pillow():
    code = "import sys; sys.modules['PIL'] = None; import skcnn.images, skcnn.runtime; print('done')"
    root = str(Path(skcnn.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
