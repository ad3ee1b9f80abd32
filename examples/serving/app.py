"""Serve a model: a function from the bytes of an image to an answer, and a server around it.

The server needs the standard library alone. The model comes from `skcnn.runtime`, so that scikit-learn is not
imported. ``python app.py digits.skcnn 8000`` starts it.

``POST /predict`` takes a PNG file of 8 bits (which needs Pillow), or an array of one image or several as ``numpy.save``
writes it, and answers in JSON. ``GET /health`` answers when the model is loaded. `application` makes a WSGI
application, which any other server can run too.
"""

import json
import sys
from io import BytesIO
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np

import skcnn.runtime

LONGEST = 1 << 20  # bytes of a request


# %%
# The function. What comes from outside is looked at before it is decoded: a picture of a few bytes can unfold to
# gigabytes, and an array can hold a pickle.
def predict(model, content):
    """The bytes of a PNG file or an array -> what the model says of each image, as JSON can hold it."""
    names = [str(name) for name in model.classes_]
    found = model.predict_proba(images_of(content, model.input_shape_))
    if not np.isfinite(found).all():  # JSON has no NaN
        raise ValueError("The numbers of the image are too large.")
    return [
        {"class": names[row.argmax()], "probabilities": dict(zip(names, row.tolist(), strict=True))} for row in found
    ]


def images_of(content, shape):
    """Bytes -> images (n, h, w, c); a ValueError for what are none."""
    h, w, c = shape
    try:
        if content.startswith(b"\x93NUMPY"):
            images = np.load(BytesIO(content), allow_pickle=False)
            return images.reshape(1, h, w, c) if images.shape in ((h, w), (h, w, c)) else images
        return picture_of(content, (w, h), "L" if c == 1 else "RGB").reshape(1, h, w, c)
    except Exception as error:  # damaged bytes make decoders raise anything, a SyntaxError or a RecursionError too
        reason = error if isinstance(error, ValueError) else "it cannot be read"
        wanted = f"a PNG file of {w} x {h} pixels, or an array as numpy.save writes it"
        raise ValueError(f"Expected {wanted}, but: {reason}.") from None


def picture_of(content, size, mode):
    """The pixels of a PNG file."""
    try:
        from PIL import Image
    except ImportError:
        raise ValueError("this server reads arrays only, for Pillow is not installed") from None
    with Image.open(BytesIO(content), formats=["PNG"]) as picture:
        if picture.size != size:  # known before anything is decoded
            raise ValueError(f"the picture has {picture.size[0]} x {picture.size[1]} pixels")
        if picture.mode.startswith("I"):  # Pillow would clip them to white
            raise ValueError("the picture has more than 8 bits")
        return np.asarray(picture.convert(mode))


# %%
# The same as a WSGI application. Predictions are re-entrant: one model serves all threads.
def application(model):
    """A WSGI application around a model; a ValueError for one that gives no probabilities."""
    try:
        model.predict_proba(np.zeros((1, *model.input_shape_)))
    except AttributeError as error:  # a regressor, or a loss such as hinge
        raise ValueError(f"The server answers with probabilities. {error}") from None

    def answer(environ):
        """The status of a request, and what is said."""
        if environ["PATH_INFO"] == "/health":
            return "200 OK", {"model": repr(model)}
        if environ["PATH_INFO"] != "/predict":
            return "404 Not Found", {"error": "There are POST /predict and GET /health."}
        if environ["REQUEST_METHOD"] != "POST":
            return "405 Method Not Allowed", {"error": "Send an image by POST."}
        try:
            length = int(environ.get("CONTENT_LENGTH") or -1)
        except ValueError:
            length = -1
        if length < 0:
            return "411 Length Required", {"error": "Send the header Content-Length."}
        if length > LONGEST:
            discard(environ["wsgi.input"], min(length, 64 * LONGEST))
            return "413 Content Too Large", {"error": f"Send {LONGEST} bytes at most."}
        try:
            return "200 OK", {"predictions": predict(model, environ["wsgi.input"].read(length))}
        except (TypeError, ValueError) as error:
            return "400 Bad Request", {"error": str(error)}

    def respond(environ, start_response):
        status, said = answer(environ)
        body = json.dumps(said, allow_nan=False).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return respond


def discard(stream, length):
    """Read what is not wanted: a client that is still sending does not hear the answer."""
    while length > 0 and (part := stream.read(min(length, LONGEST))):
        length -= len(part)


# %%
# The server: a thread for each request.
class Server(ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread for each request."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, *arguments):
        pass


def serve(model, port=8000, host="127.0.0.1"):
    """A server for a model; port 0 is any that is free."""
    return make_server(host, port, application(model), server_class=Server, handler_class=Quiet)


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else "digits.skcnn"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
    with serve(skcnn.runtime.load(path), port) as server:
        print(f"{path} is served at http://{server.server_address[0]}:{server.server_port}/predict", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
