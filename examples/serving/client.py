"""Send image files to the server of ``app.py``, and print its answers.

``python client.py http://127.0.0.1:8000 photo.jpg drawing.png`` sends two files to the server at this address. Without
files, the client sends ten digits.
"""

import json
import sys
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np


def ask(url, content, **headers):
    """Send bytes to a server, and return the status and the answer."""
    try:
        with urlopen(Request(f"{url}/predict", data=content, headers=headers, method="POST"), timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def as_bytes(images):
    """Return an array in the format of `numpy.save`."""
    file = BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()


def best(answer, count=5):
    """Return the most probable classes of the first image in an answer, with their probabilities."""
    found = answer["predictions"][0]["probabilities"]
    return sorted(found.items(), key=lambda item: -item[1])[:count]


if __name__ == "__main__":
    url, *files = sys.argv[1:] or ["http://127.0.0.1:8000"]
    for file in files:
        status, answer = ask(url, Path(file).read_bytes())
        said = "  ".join(f"{name}: {p:.3f}" for name, p in best(answer)) if status == 200 else answer["error"]
        print(f"{file}: {said}")
    if not files:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images[:10] * (255 / 16)).astype("uint8")
        status, answer = ask(url, as_bytes(images))
        print(f"status {status}")
        for truth, prediction in zip(digits.target, answer["predictions"], strict=False):
            sure = prediction["probabilities"][prediction["class"]]
            print(f"a {truth} is predicted as {prediction['class']} ({sure:.0%})")
        print("bytes that are not an image:", *ask(url, b"not an image"))
