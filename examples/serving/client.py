"""Ask the server of ``app.py``: send digits, and show what it answers.

``python client.py http://127.0.0.1:8000`` asks the server at that address.
"""

import json
import sys
from io import BytesIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np


def ask(url, content):
    """POST bytes to a server: the status, and its answer."""
    try:
        with urlopen(Request(f"{url}/predict", data=content, method="POST"), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def as_bytes(images):
    """An array as `numpy.save` writes it."""
    file = BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()


if __name__ == "__main__":
    from sklearn.datasets import load_digits

    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    digits = load_digits()
    images = (digits.images[:10] * (255 / 16)).astype("uint8")
    status, answer = ask(url, as_bytes(images))
    print(f"status {status}")
    for truth, prediction in zip(digits.target, answer["predictions"], strict=False):
        sure = prediction["probabilities"][prediction["class"]]
        print(f"a {truth} is taken for a {prediction['class']} ({sure:.0%})")
    print("and bytes that are no image:", *ask(url, b"no image"))
