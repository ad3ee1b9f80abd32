"""Serve a model: a function that classifies the bytes of an image, an HTTP server, and a page for a browser.

The server needs Python's standard library, skcnn and Pillow. It loads the model with `skcnn.runtime`, so scikit-learn
is not imported. Start it with ``python app.py digits.skcnn 8000``. The page is then at http://127.0.0.1:8000.

``POST /predict`` accepts one image file of any size, in any format that Pillow reads, and answers in JSON. The file is
the body of the request, or a file in a form (``multipart/form-data``). The request may also contain an array of one or
more images in the format of ``numpy.save``. ``GET /health`` answers as soon as the model is loaded. `application`
returns a WSGI application, which you can run in other servers too.
"""

import json
import os
import re
import sys
from io import BytesIO
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np

import skcnn.runtime

LONGEST = 20 << 20  # largest request in bytes; a photo from a phone has 3 to 12 MB
PIXELS = 50_000_000  # largest image in pixels, each of which takes three or four bytes after decoding
SECONDS = 30  # time after which a silent client is disconnected
PAGE = Path(__file__).with_name("page.html")

# Decoding needs memory for all pixels of an image, so the number of images that are decoded at a time is limited.
decoding = BoundedSemaphore(os.cpu_count() or 1)


# %%
# The function. Bytes and pixels are counted before decoding, because an image file of a few bytes may decode to
# gigabytes. Arrays are read without pickles, because a pickle can run code.
def predict(model, content):
    """Return the model's answer for each image in the bytes of an image file or an array, as values for JSON."""
    names = [str(name) for name in model.classes_]
    found = model.predict_proba(images_of(model, content))
    if not np.isfinite(found).all():  # JSON has no NaN
        raise ValueError("The numbers of the image are too large.")
    return [
        {"class": names[row.argmax()], "probabilities": dict(zip(names, row.tolist(), strict=True))} for row in found
    ]


def images_of(model, content):
    """Return images (n, h, w, c), prepared as in training, from bytes, or raise a ValueError with the reason."""
    if content.startswith(b"\x93NUMPY"):
        try:
            images = np.load(BytesIO(content), allow_pickle=False)
        except Exception:  # NumPy raises many kinds of errors for damaged bytes
            raise ValueError("The array cannot be read. Expected the format of numpy.save.") from None
        if images.dtype.kind not in "buif":  # the model would open strings as paths of files on the server
            raise ValueError(f"The array must contain numbers, got {images.dtype}.")
        h, w, c = model.input_shape_
        return images.reshape(1, h, w, c) if images.shape in ((h, w), (h, w, c)) else images
    if model.reader is None:
        raise ValueError("Expected an array in the format of numpy.save: the model was saved without an ImageReader.")
    with decoding:
        return model.reader.read(content, max_pixels=PIXELS)[np.newaxis]


def file_of(content_type, body):
    """Return the file in the body of a request, which is the whole body or the first file in a form."""
    if not content_type.startswith("multipart/form-data"):
        return body
    if boundary := re.search(r'boundary="?([^";]+)', content_type):
        for part in body.split(b"--" + boundary[1].encode()):
            head, _, content = part.partition(b"\r\n\r\n")
            if b"filename=" in head:
                return content.removesuffix(b"\r\n")
    raise ValueError("The form contains no file.")


# %%
# The WSGI application. Predictions are thread-safe, so all threads use one model.
def application(model):
    """Return a WSGI application for a model, or raise an error if the model cannot predict probabilities."""
    try:
        model.predict_proba(np.zeros((1, *model.input_shape_)))
    except AttributeError as error:  # a regressor, or a loss such as hinge
        raise ValueError(f"The server answers with probabilities. {error}") from None
    if model.reader is not None:
        model.reader.read(np.zeros((1, 1), np.uint8))  # raises an ImportError now if Pillow is missing

    def answer(environ):
        """Return the status and the answer for a request."""
        if environ["PATH_INFO"] == "/health":
            return "200 OK", {"model": repr(model)}
        if environ["PATH_INFO"] != "/predict":
            return "404 Not Found", {"error": "Use GET / for the page, POST /predict or GET /health."}
        if environ["REQUEST_METHOD"] != "POST":
            return "405 Method Not Allowed", {"error": "Send an image by POST."}
        length = environ.get("CONTENT_LENGTH") or ""
        if not (length.isascii() and length.isdigit()):
            return "411 Length Required", {"error": "Send the header Content-Length."}
        length = int(length)
        if length > LONGEST:
            discard(environ["wsgi.input"], min(length, 4 * LONGEST))
            return "413 Content Too Large", {"error": f"Send {LONGEST >> 20} MB at most."}
        try:
            body = environ["wsgi.input"].read(length)
        except OSError:
            return "408 Request Timeout", {"error": "The image did not arrive in time."}
        try:
            return "200 OK", {"predictions": predict(model, file_of(environ.get("CONTENT_TYPE") or "", body))}
        except (TypeError, ValueError) as error:
            return "400 Bad Request", {"error": str(error)}

    def respond(environ, start_response):
        if environ["PATH_INFO"] == "/" and environ["REQUEST_METHOD"] == "GET":
            status, kind, body = "200 OK", "text/html; charset=utf-8", PAGE.read_bytes()
        else:
            status, said = answer(environ)
            kind, body = "application/json", json.dumps(said, allow_nan=False).encode()
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return respond


def discard(stream, length):
    """Read and drop the body of a request, because clients often read the answer only after sending everything."""
    try:
        while length > 0 and (part := stream.read(min(length, 1 << 20))):
            length -= len(part)
    except OSError:  # the client has disconnected
        pass


# %%
# The server, with a thread for each request.
class Server(ThreadingMixIn, WSGIServer):
    """WSGI server with a thread for each request."""

    daemon_threads = True
    request_queue_size = 128  # clients that may connect at the same moment

    def handle_error(self, request, client_address):
        """Ignore clients that have disconnected or are silent, and print other errors."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Quiet(WSGIRequestHandler):
    """Request handler that does not log requests."""

    timeout = SECONDS

    def log_message(self, *arguments):
        pass


def serve(model, port=8000, host="127.0.0.1"):
    """Return a server for a model. Port 0 selects a free port."""
    return make_server(host, port, application(model), server_class=Server, handler_class=Quiet)


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else "digits.skcnn"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
    with serve(skcnn.runtime.load(path), port) as server:
        print(f"{path} is served at http://{server.server_address[0]}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
