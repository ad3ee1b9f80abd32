"""Ask the server of ``app.py``: send image files, and show what it answers.

``python client.py http://127.0.0.1:8000 photo.jpg drawing.png`` sends these files to the server at that address, and
without files digits.
"""

import json
import sys
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np


def ask(url, content, **headers):
    """POST bytes to a server: the status, and its answer."""
    try:
        with urlopen(Request(f"{url}/predict", data=content, headers=headers, method="POST"), timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def as_bytes(images):
    """An array as `numpy.save` writes it."""
    file = BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()


def best(answer, count=5):
    """The most probable classes of an answer's first image, with their probabilities."""
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
        print("and bytes that are no image:", *ask(url, b"no image"))
