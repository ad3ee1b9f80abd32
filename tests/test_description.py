"""Descriptions: frozen, comparable, printable, registered."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from skcnn.description import Description, description, numbered, registered, resolve
from skcnn.layers import Conv2D, Layer, MaxPool2D
from skcnn.optimizers import SGD, Adam, Optimizer


@description
class Several(Description):
    """A description that holds a list."""

    parts: list
    size: int = 3


def test_fields_are_what_the_constructor_got():
    size = [3, 5]
    layer = Conv2D(np.int64(8), kernel_size=size)
    assert layer.kernel_size is size
    assert isinstance(layer.filters, np.int64)


def test_fields_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Conv2D(8).filters = 9


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv2D(8), "Conv2D(8)"),
        (
            Conv2D(filters=8, kernel_size=(3, 5), padding="valid"),
            "Conv2D(8, kernel_size=(3, 5), padding='valid')",
        ),
        (Conv2D(np.int64(8), use_bias=np.bool(False)), "Conv2D(8, use_bias=False)"),
        (MaxPool2D(), "MaxPool2D()"),
        (MaxPool2D(3, strides=2), "MaxPool2D(3, strides=2)"),
        (MaxPool2D(strides=2), "MaxPool2D(strides=2)"),
        (Several([1, 2]), "Several([1, 2])"),
    ],
)
def test_repr_shows_what_differs_from_the_default(layer, text):
    assert repr(layer) == text


def test_lists_compare_and_hash_as_tuples():
    assert Several([1, [2, 3]]) == Several((1, (2, 3)))
    assert hash(Several([1, [2, 3]])) == hash(Several((1, (2, 3))))
    assert Several([1]).parts == [1]


def test_descriptions_of_different_classes_differ():
    assert SGD() != Adam()
    assert Conv2D(8) != 8
    assert Conv2D(8) != Conv2D(9)
    assert len({Conv2D(8), Conv2D(8), Conv2D(9)}) == 2


def test_replaced_leaves_the_original():
    original = SGD(momentum=0.5)
    assert original.replaced(momentum=0.7) == SGD(momentum=0.7)
    assert original == SGD(momentum=0.5)
    with pytest.raises(ValueError, match=r"SGD has no parameter 'beta'. Its parameters are: momentum, nesterov"):
        original.replaced(beta=1)


def test_pickle_gives_an_equal_description():
    assert pickle.loads(pickle.dumps(Conv2D(8, kernel_size=(1, 3)))) == Conv2D(8, kernel_size=(1, 3))


def test_own_classes_are_registered_by_their_name():
    @description
    class Slow(Optimizer):
        """An optimizer from outside the package."""

        name = "slow"

    assert registered(Optimizer)["slow"] is Slow
    assert resolve(Optimizer, "slow", "optimizer") == Slow()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            "adamm",
            ValueError,
            r"optimizer='adamm' is not a known name. Did you mean 'adam'\? Known names: 'adadelta', 'adagrad', 'adam'",
        ),
        ("Adam", ValueError, r"Did you mean 'adam'"),
        ("zzz", ValueError, r"optimizer='zzz' is not a known name. Known names:"),
        (Adam, TypeError, r"optimizer=Adam is a class. Pass an object, Adam\(...\)"),
        (MaxPool2D(), TypeError, r"optimizer must be a name or an object of a Optimizer class, got MaxPool2D\(\)"),
        (
            SGD(momentum=2),
            ValueError,
            r"SGD\(2\): momentum must be a number of 0 or more and less than 1, got 2",
        ),
    ],
)
def test_resolve_explains_what_is_wrong(value, error, message):
    with pytest.raises(error, match=message):
        resolve(Optimizer, value, "optimizer")


@pytest.mark.parametrize(
    "layer",
    [
        Conv2D(0), Conv2D(2.5), Conv2D(True), Conv2D(8, kernel_size=0), Conv2D(8, kernel_size=(3, 3, 3)),
        Conv2D(8, strides=-1), Conv2D(8, padding="full"), Conv2D(8, padding=-1), Conv2D(8, dilation=0),
        Conv2D(8, groups=0), MaxPool2D(0), MaxPool2D(2, padding=2), MaxPool2D(2, strides=0),
    ],
    ids=repr,
)  # fmt: skip
def test_fields_without_a_meaning_are_refused(layer):
    with pytest.raises(ValueError, match=r"must be .*, got "):
        layer.check()


def test_names_are_numbered_by_kind():
    assert numbered(["conv", "relu", "conv", "dense"]) == ["conv1", "relu1", "conv2", "dense1"]


def test_a_layer_knows_its_fields_for_nested_search():
    assert MaxPool2D().get_params() == {"pool_size": 2, "strides": None, "padding": "valid"}
    assert issubclass(MaxPool2D, Layer)
