"""Serve a model: a function from the bytes of an image to an answer, a server around it, and a page for a browser.

The server needs Python's standard library, skcnn and Pillow. The model comes from `skcnn.runtime`, so that
scikit-learn is not imported. ``python app.py digits.skcnn 8000`` starts it, and http://127.0.0.1:8000 is the page.

``POST /predict`` takes one image file in any format that Pillow reads and of any size, as the body of the request or as
the file of a form (``multipart/form-data``), and answers in JSON. It also takes an array of one or several images as
``numpy.save`` writes it. ``GET /health`` answers when the model is loaded. `application` makes a WSGI application,
which any other server can run too.
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

LONGEST = 20 << 20  # bytes of a request: the photo of a telephone has 3 to 12 MB
PIXELS = 50_000_000  # of an image: decoded, each takes three or four bytes
SECONDS = 30  # that a client may be silent
PAGE = Path(__file__).with_name("page.html")

# Decoding takes the memory of all pixels of an image. A hundred clients may send one at once; they wait for their turn.
decoding = BoundedSemaphore(os.cpu_count() or 1)


# %%
# The function. Bytes and pixels are counted before anything is decoded: a picture of a few bytes can unfold to
# gigabytes, and an array can hold a pickle.
def predict(model, content):
    """The bytes of an image file or an array -> the model's answer for each image, as JSON can hold it."""
    names = [str(name) for name in model.classes_]
    found = model.predict_proba(images_of(model, content))
    if not np.isfinite(found).all():  # JSON has no NaN
        raise ValueError("The numbers of the image are too large.")
    return [
        {"class": names[row.argmax()], "probabilities": dict(zip(names, row.tolist(), strict=True))} for row in found
    ]


def images_of(model, content):
    """Bytes -> images (n, h, w, c), prepared as for training; a ValueError with the reason for anything else."""
    if content.startswith(b"\x93NUMPY"):
        try:
            images = np.load(BytesIO(content), allow_pickle=False)
        except Exception:  # damaged bytes make NumPy raise anything
            raise ValueError("The array cannot be read: expected one as numpy.save writes it.") from None
        if images.dtype.kind not in "buif":  # the model would open strings as paths of files on the server
            raise ValueError(f"The array must contain numbers, got {images.dtype}.")
        h, w, c = model.input_shape_
        return images.reshape(1, h, w, c) if images.shape in ((h, w), (h, w, c)) else images
    if model.reader is None:
        raise ValueError("Expected an array as numpy.save writes it: the model was saved without an ImageReader.")
    with decoding:
        return model.reader.read(content, max_pixels=PIXELS)[np.newaxis]


def file_of(content_type, body):
    """The file in the body of a request: all of it, or the first file of a form."""
    if not content_type.startswith("multipart/form-data"):
        return body
    if boundary := re.search(r'boundary="?([^";]+)', content_type):
        for part in body.split(b"--" + boundary[1].encode()):
            head, _, content = part.partition(b"\r\n\r\n")
            if b"filename=" in head:
                return content.removesuffix(b"\r\n")
    raise ValueError("The form contains no file.")


# %%
# The same as a WSGI application. Predictions are re-entrant: one model serves all threads.
def application(model):
    """A WSGI application around a model; an error for a model that cannot answer."""
    try:
        model.predict_proba(np.zeros((1, *model.input_shape_)))
    except AttributeError as error:  # a regressor, or a loss such as hinge
        raise ValueError(f"The server answers with probabilities. {error}") from None
    if model.reader is not None:
        model.reader.read(np.zeros((1, 1), np.uint8))  # an ImportError without Pillow

    def answer(environ):
        """The status of a request, and what is said."""
        if environ["PATH_INFO"] == "/health":
            return "200 OK", {"model": repr(model)}
        if environ["PATH_INFO"] != "/predict":
            return "404 Not Found", {"error": "There are GET / for a page, POST /predict and GET /health."}
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
    """Read what is not wanted: a client that is still sending does not hear the answer."""
    try:
        while length > 0 and (part := stream.read(min(length, 1 << 20))):
            length -= len(part)
    except OSError:  # it has stopped
        pass


# %%
# The server: a thread for each request.
class Server(ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread for each request."""

    daemon_threads = True
    request_queue_size = 128  # clients that may knock at the same moment

    def handle_error(self, request, client_address):
        """Let a client go that has left or fallen silent; anything else is a mistake to be seen."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    timeout = SECONDS

    def log_message(self, *arguments):
        pass


def serve(model, port=8000, host="127.0.0.1"):
    """A server for a model; port 0 is any that is free."""
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
