"""The served example: uploads of all kinds by a real client, and a reason for each that is wrong."""

import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

import skcnn
import skcnn.runtime
from skcnn.images import ImageReader

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

Image = pytest.importorskip("PIL.Image")
FOLDER = Path(__file__).parents[1] / "examples" / "serving"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(FOLDER.parents[1]), "PYTHONWARNINGS": "error"}


def module(name):
    """A script of the served example, imported."""
    spec = util.spec_from_file_location(name, FOLDER / f"{name}.py")
    found = util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


client = module("client")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server that runs, and the pipeline whose file it has loaded."""
    directory = tmp_path_factory.mktemp("serving")
    command = [sys.executable, str(FOLDER / "train.py"), "digits.skcnn"]
    done = subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert float(re.search(r"accuracy on the test images ([\d.]+)", done.stdout)[1]) > 0.97
    command = [sys.executable, str(FOLDER / "app.py"), "digits.skcnn", "0"]
    with subprocess.Popen(
        command, cwd=directory, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            url = re.search(r"http://[\d.]+:\d+", server.stdout.readline())[0]
            yield url, skcnn.load(directory / "digits.skcnn")
        finally:
            server.terminate()
            assert "Traceback" not in server.communicate()[1]  # whatever the tests have sent


@pytest.fixture(scope="module")
def images():
    return (load_digits().images[:40] * (255 / 16)).astype(np.uint8)


def file_of(image, kind="PNG", **options):
    """The bytes of a file."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def photo(image, size=(320, 240), mode="RGB"):
    """A large picture of a digit."""
    return Image.fromarray(image).resize(size, Image.Resampling.NEAREST).convert(mode)


def probabilities(answer):
    return [list(prediction["probabilities"].values()) for prediction in answer["predictions"]]


# -- what is served


def test_arrays(served, images):
    url, model = served
    status, answer = client.ask(url, client.as_bytes(images))
    assert status == 200
    assert_array_equal(probabilities(answer), model.predict_proba(images))
    assert [prediction["class"] for prediction in answer["predictions"]] == [*map(str, model.predict(images))]
    status, answer = client.ask(url, client.as_bytes(images[3]))
    assert_array_equal(probabilities(answer), model.predict_proba(images[3:4]))


def uploads(image):
    """Files of one digit in many formats, colours and sizes."""
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        yield file_of(photo(image), kind)
    yield file_of(photo(image, (8, 8), "L"))
    yield file_of(photo(image, (3000, 2000)), "JPEG")
    yield file_of(photo(image, mode="RGBA"), "PNG")
    yield file_of(photo(image, mode="P"), "PNG")
    yield file_of(photo(image, mode="CMYK"), "JPEG")
    yield file_of(photo(image, (31, 400), "1"), "PNG")
    yield file_of(image.astype(np.uint16) * 257, "PNG")
    told = Image.Exif()
    told[0x0112] = 6
    yield file_of(photo(image).rotate(90, expand=True), "JPEG", exif=told)
    yield file_of(photo(image), "GIF", save_all=True, append_images=[photo(255 - image)])


def test_files_of_any_format_and_size_are_prepared_as_in_training(served, images, tmp_path):
    url, model = served
    for number, content in enumerate(uploads(images[7])):
        status, answer = client.ask(url, content)
        assert status == 200
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert_array_equal(probabilities(answer), model.predict_proba([path]))
    status, answer = client.ask(url, file_of(photo(images[7], (8, 8), "L")))
    assert_array_equal(probabilities(answer), model.predict_proba(images[7:8]))
    assert client.best(answer)[0][0] == str(model.predict(images[7:8])[0])
    assert len(client.best(answer)) == 5


def form(content, boundary="boundary"):
    """A form as a browser sends it."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n'
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="é.png"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def test_files_in_forms(served, images):
    url, model = served
    content = file_of(images[5])
    for boundary in ("boundary", '"a b"'):
        kind = f"multipart/form-data; boundary={boundary}"
        status, answer = client.ask(url, form(content, boundary.strip('"')), **{"Content-Type": kind})
        assert status == 200
        assert_array_equal(probabilities(answer), model.predict_proba(images[5:6]))
    for kind in ("multipart/form-data", "multipart/form-data; boundary=other"):
        status, answer = client.ask(url, form(content), **{"Content-Type": kind})
        assert (status, answer) == (400, {"error": "The form contains no file."})


def test_the_command_sends_files(served, images, tmp_path):
    url, model = served
    (tmp_path / "digit.jpg").write_bytes(file_of(photo(images[2]), "JPEG"))
    (tmp_path / "wrong.jpg").write_bytes(b"no image")
    command = [sys.executable, str(FOLDER / "client.py"), url, "digit.jpg", "wrong.jpg"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"digit.jpg: {model.predict([tmp_path / 'digit.jpg'])[0]}: ")
    assert second == "wrong.jpg: The image cannot be read: it is not an image of a known format."


def test_a_hundred_uploads_at_once_are_all_answered(served, images):
    url, model = served
    large = [file_of(photo(image, (1200, 900)), "JPEG") for image in images[:10]]
    expected = np.concatenate([model.predict_proba([content]) for content in large])
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda number: client.ask(url, large[number % 10]), range(100)))
    assert [status for status, _ in answers] == [200] * 100
    found = np.concatenate([probabilities(answer) for _, answer in answers])
    assert_array_equal(found, np.tile(expected, (10, 1)))


def test_the_page(served):
    with urlopen(f"{served[0]}/", timeout=30) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        page = answer.read().decode()
    assert 'fetch("predict"' in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from elsewhere
    with urlopen(f"{served[0]}/health", timeout=30) as answer:
        assert json.load(answer) == {"model": "<CNNClassifier for images of (8, 8, 1), 10 classes, from files>"}


# -- what is refused


def array_file(header):
    """An array file with a header of one's own, and no data."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def chunk(kind, content):
    """A part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def wrong(images):
    """Bytes that are no images."""
    whole = client.as_bytes(images)
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}]), allow_pickle=True)
    yield from (b"", b"no image", b"<svg></svg>", b"%PDF-1.7", whole[:-9], whole[:30], pickled.getvalue())
    yield from (client.as_bytes(images[:, :5]), client.as_bytes(images / np.nan), client.as_bytes(images.astype("U")))
    yield array_file("{'descr': '<f8', 'fortran_order': False, 'shape': (8, 8")
    yield array_file(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**70},)}}")
    yield array_file("-" * 5_000 + "1")
    start = b"\x89PNG\r\n\x1a\n"
    yield start + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)) + chunk(b"IDAT", b"")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    yield start + header + chunk(b"IDAT", zlib.compress(bytes(8 * 9))[:6]) + b"\0\0\0\5" + b"\xff" * 24
    yield from (file_of(photo(images[0]))[:-200], file_of(photo(images[0]), "JPEG")[:400], file_of(images[0], "EPS"))
    yield file_of(Image.fromarray(images[0].astype(np.float32)), "TIFF")


def test_wrong_uploads_are_answered_with_a_sentence(served, images):
    for content in wrong(images):
        status, answer = client.ask(served[0], content)
        assert status == 400
        assert set(answer) == {"error"}
        assert re.fullmatch(r"[A-Z].*\.", answer["error"])


def test_a_client_names_no_files_on_the_server(served, images, tmp_path):
    (tmp_path / "secret.png").write_bytes(file_of(images[0]))
    for paths in ([str(tmp_path / "secret.png")], [[str(tmp_path / "secret.png")]]):
        status, answer = client.ask(served[0], client.as_bytes(np.array(paths)))
        assert status == 400
        assert answer["error"].startswith("The array must contain numbers, got <U")


def test_pixels_are_limited_before_they_are_decoded(served):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8_000, 7_000, 8, 0, 0, 0, 0))
    status, answer = client.ask(served[0], b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))
    assert status == 400
    assert "8000 x 7000 pixels, more than the limit of 50,000,000" in answer["error"]


def test_bytes_are_limited(served):
    status, answer = client.ask(served[0], bytes((20 << 20) + 1))
    assert (status, answer) == (413, {"error": "Send 20 MB at most."})


def test_other_requests(served):
    url, _ = served
    assert client.ask(f"{url}/elsewhere", b"")[0] == 404
    host, port = url.removeprefix("http://").split(":")
    for length in ("", "Content-Length: many\r\n", "Content-Length: -1\r\n", "Content-Length: ²\r\n"):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"POST /predict HTTP/1.0\r\n{length}\r\n".encode("latin-1"))
            assert b"411 Length Required" in connection.makefile("rb").readline()
    with socket.create_connection((host, int(port)), timeout=30) as connection:  # who leaves in the middle
        connection.sendall(b"POST /predict HTTP/1.0\r\nContent-Length: 1000\r\n\r\nhalf")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /predict HTTP/1.0\r\n\r\n")
        assert b"405 Method Not Allowed" in connection.makefile("rb").readline()


def environ_of(content, **more):
    given = {"PATH_INFO": "/predict", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(content))}
    return given | {"wsgi.input": io.BytesIO(content)} | more


def answered(application, environ):
    statuses = []
    body = b"".join(application(environ, lambda status, headers: statuses.append(status)))
    return statuses[0], json.loads(body)


class Small:
    """What is served, without a network."""

    input_shape_ = (8, 8, 1)
    classes_ = np.arange(3)
    reader = None

    def predict_proba(self, X):
        return np.full((len(X), 3), np.nan)


def test_a_served_answer_has_no_nan(images):
    said = answered(module("app").application(Small()), environ_of(client.as_bytes(images)))
    assert said == ("400 Bad Request", {"error": "The numbers of the image are too large."})


def test_a_client_that_falls_silent():
    class Silent:
        def read(self, length):
            raise TimeoutError

    for length, status in ((10, "408 Request Timeout"), (1 << 40, "413 Content Too Large")):
        environ = environ_of(b"", CONTENT_LENGTH=str(length)) | {"wsgi.input": Silent()}
        assert answered(module("app").application(Small()), environ)[0] == status


def test_a_model_without_a_reader_takes_arrays(images, tmp_path):
    skcnn.save(skcnn.CNNClassifier((2,), max_iter=1).fit(images, np.arange(40) % 3), tmp_path / "model.skcnn")
    application = module("app").application(skcnn.runtime.load(tmp_path / "model.skcnn"))
    assert answered(application, environ_of(client.as_bytes(images)))[0] == "200 OK"
    status, said = answered(application, environ_of(file_of(images[0])))
    assert status == "400 Bad Request"
    assert "the model was saved without an ImageReader" in said["error"]


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (skcnn.CNNClassifier((2,), loss="hinge", max_iter=1), "provides no probabilities"),
        (skcnn.CNNRegressor((2,), max_iter=1), "A CNNRegressor has no predict_proba"),
    ],
)
def test_a_model_without_probabilities_is_not_served(tmp_path, images, estimator, reason):
    skcnn.save(estimator.fit(images, np.arange(40) % 3), tmp_path / "model.skcnn")
    with pytest.raises(ValueError, match=f"The server answers with probabilities.*{reason}"):
        module("app").application(skcnn.runtime.load(tmp_path / "model.skcnn"))


def test_without_pillow_a_model_that_reads_files_is_not_served(tmp_path, images, monkeypatch):
    model = make_pipeline(ImageReader(8, color="grey"), skcnn.CNNClassifier((2,), max_iter=1))
    skcnn.save(model.fit(images, np.arange(40) % 3), tmp_path / "model.skcnn")
    served = skcnn.runtime.load(tmp_path / "model.skcnn")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        module("app").application(served)


def test_a_server_starts_without_scikit_learn():
    code = "import sys, app; print({'sklearn', 'joblib', 'pandas', 'scipy', 'PIL'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=FOLDER, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# -- the file behind it


@pytest.fixture(scope="module")
def pipeline(images):
    model = make_pipeline(
        ImageReader((8, 10), color="grey", background=(9, 9, 9)), skcnn.CNNClassifier((2,), max_iter=1)
    )
    return model.fit(images, np.arange(40) % 3)


@pytest.mark.parametrize("kind", [skcnn.CNNClassifier, skcnn.CNNRegressor])
def test_a_pipeline_that_is_loaded_is_the_one_that_was_saved(kind, images, tmp_path):
    reader = ImageReader([10, 8], resize="crop", color="grey", background=[1, 2, 3], n_jobs=1)
    model = make_pipeline(
        reader, kind((2,), max_iter=1, random_state=0), verbose=False, memory=str(tmp_path / "memory")
    )
    model.steps = [("read", model[0]), ("cnn", model[1])]
    files = [file_of(photo(image)) for image in images]
    model.fit(files, np.arange(40) % 3)
    skcnn.save(model, tmp_path / "model.skcnn")
    loaded, served = skcnn.load(tmp_path / "model.skcnn"), skcnn.runtime.load(tmp_path / "model.skcnn")
    assert [name for name, _ in loaded.steps] == ["read", "cnn"]
    assert repr(loaded[0]) == repr(reader)
    assert loaded.memory is None
    for method in ("predict", "predict_proba") if kind is skcnn.CNNClassifier else ("predict",):
        expected = getattr(model, method)(files)
        assert_array_equal(getattr(loaded, method)(files), expected)
        assert_array_equal(getattr(served, method)(files), expected)
    assert_array_equal(served.predict(np.array([io.BytesIO(files[0])], dtype=object)), model.predict(files[:1]))
    with pytest.raises(TypeError, match="X is a single image"):
        served.predict(files[0])
    with pytest.raises(ValueError, match=r"'missing.png' cannot be read: there is no such file"):
        served.predict(["missing.png"])
    skcnn.save(loaded, tmp_path / "again.skcnn")
    assert (tmp_path / "again.skcnn").read_bytes() == (tmp_path / "model.skcnn").read_bytes()


def test_a_pipeline_that_is_not_fitted(tmp_path):
    skcnn.save(make_pipeline(ImageReader(8), skcnn.CNNClassifier()), tmp_path / "new.skcnn")
    assert repr(skcnn.load(tmp_path / "new.skcnn")) == repr(make_pipeline(ImageReader(8), skcnn.CNNClassifier()))
    with pytest.raises(ValueError, match="it is not fitted"):
        skcnn.runtime.load(tmp_path / "new.skcnn")


def test_other_pipelines_have_no_form_in_a_file(tmp_path):
    for steps in (
        [ImageReader(8)],
        [skcnn.CNNClassifier()],
        [ImageReader(8), skcnn.CNNFeatures(skcnn.CNNClassifier())],
    ):
        with pytest.raises(TypeError, match=r"save takes a pipeline of an ImageReader and a .*joblib"):
            skcnn.save(make_pipeline(*steps), tmp_path / "model.skcnn")
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_reader_says_so_of_files(images, tmp_path):
    skcnn.save(skcnn.CNNClassifier((2,), max_iter=1).fit(images, np.arange(40) % 3), tmp_path / "model.skcnn")
    for X in (["a.png"], np.array(["a.png"]), [b"content"]):
        with pytest.raises(TypeError, match=r"ImageReader\(.*as the first step of a pipeline"):
            skcnn.runtime.load(tmp_path / "model.skcnn").predict(X)


def test_older_versions_refuse_a_pipeline_and_read_a_network(pipeline, tmp_path):
    skcnn.save(pipeline, tmp_path / "pipeline.skcnn")
    skcnn.save(pipeline[-1], tmp_path / "network.skcnn")
    for name, number in (("pipeline", b'"format": 2'), ("network", b'"format": 1')):
        assert number in (tmp_path / f"{name}.skcnn").read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": [8, 9]}, "reads images that do not fit its network"),
        ({"size": [8, 10, 1]}, "size must be"),
        ({"size": None}, "size must be"),
        ({"size": [1 << 40, 1 << 40]}, "do not fit its network"),
        ({"channels_": 3}, "do not fit its network"),
        ({"channels_": "1"}, "do not fit its network"),
        ({"dtype_": "auto"}, "do not fit its network"),
        ({"dtype_": "float64"}, "dtype must be"),
        ({"resize": "bend"}, "resize must be"),
        ({"color": 7}, "color must be"),
        ({"background": [1, 2]}, "background must be"),
        (None, "cannot be loaded|does not contain a model"),
    ],
)
def test_a_file_whose_reader_does_not_fit_is_refused(change, reason, pipeline, tmp_path):
    path = tmp_path / "model.skcnn"
    skcnn.save(pipeline, path)
    content = path.read_bytes()
    length = int.from_bytes(content[12:20], "little")
    header = json.loads(content[20 : 20 + length])
    told = header["reader"]["dict"]
    if change is None:
        header["reader"] = [1, 2]
    else:
        header["reader"] = {"dict": [[key, change.get(key, value)] for key, value in told]}
    text = json.dumps(header).encode()
    text += b" " * (-(20 + len(text)) % 64)
    path.write_bytes(content[:12] + len(text).to_bytes(8, "little") + text + content[20 + length :])
    for load in (skcnn.load, skcnn.runtime.load):
        with pytest.raises(ValueError, match=reason):
            load(path)
