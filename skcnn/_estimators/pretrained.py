"""Fine-tuning: layers, weights and standardization that a fit copies from a pretrained network."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from .._arrays.elementwise import Array
from .._engine.model import Model
from .._engine.network import Network

LEFT_OUT = "left out"  # `pretrained` of an estimator from a pickle or a file, which contain its own network only


def pretrained_model(given: Any, kind: type) -> Model:
    """Return the model of the parameter `pretrained`, which must be a fitted estimator of ``kind``, or a frozen one."""
    if isinstance(given, str):
        raise ValueError(
            f"pretrained={given!r}: a pickle or a file of a fitted estimator does not contain the network that it was"
            " fine-tuned from. Set pretrained to that network to fit again, or warm_start=True to train further."
        )
    held = given.estimator if isinstance(given, FrozenEstimator) else given
    if not isinstance(held, kind):
        raise TypeError(
            "pretrained must be a fitted CNNClassifier or CNNRegressor, or FrozenEstimator of one, got"
            f" {given!r}. from_onnx and set_weights return such an estimator."
        )
    if not hasattr(held, "_model"):
        raise NotFittedError(
            f"pretrained={given!r} is not fitted, so it has no weights to start from. Fit it first. In the grid of"
            " a search, use FrozenEstimator(estimator), because a search clones the values of its grid."
        )
    return held._model


def source_of(estimator: Any, network: Network, kind: type) -> Model | None:
    """Return the model that an estimator is fine-tuned from, or None.

    A ValueError is raised for parameters that do not fit ``network``.
    """
    if estimator.pretrained is None and estimator.freeze is not None:
        raise ValueError(
            f"freeze={estimator.freeze!r} would keep random numbers: there is no pretrained network. Set pretrained,"
            " or freeze=None."
        )
    if estimator.pretrained is None and estimator.freeze_statistics:
        raise ValueError(
            "freeze_statistics=True would keep the initial statistics of batch normalization: there is no pretrained"
            " network. Set pretrained, or freeze_statistics=False."
        )
    check_freeze(estimator.freeze, network)
    return None if estimator.pretrained is None else pretrained_model(estimator.pretrained, kind)


def hidden_layers(estimator: Any, kind: type) -> list[Any]:
    """Return the hidden layers of the network that an estimator is fine-tuned from."""
    if estimator.pretrained == LEFT_OUT and hasattr(estimator, "_model"):
        return list(estimator._model.network.hidden)
    return list(pretrained_model(estimator.pretrained, kind).network.hidden)


def check_freeze(freeze: str | None, network: Network) -> None:
    """Raise a ValueError unless ``freeze`` is None or the name of a hidden layer."""
    names = network.names[:-1]
    if freeze is None or freeze in names:
        return
    outer = freeze.partition(".")[0]
    near = [outer] if outer in names else difflib.get_close_matches(freeze, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"freeze={freeze!r} must be the name of the last frozen layer, a hidden layer that is not inside another"
        f" layer.{hint} The names are: {', '.join(names)}."
    )


def take_over(
    source: Model, network: Network, weights: Array, state: Array, freeze: str | None, freeze_statistics: bool
) -> list[str]:
    """Copy the arrays of a pretrained network to the vectors of a new one, by their names, except the output layer.

    The names of the copied arrays are returned.
    """
    kept = {
        name: view
        for layout, vector in ((source.network.weights, source.weights), (source.network.state, source.state))
        for name, view in layout.views(vector).items()
        if not name.startswith("output.")
    }
    views = network.weights.views(weights) | network.state.views(state)
    found = [name for name in views if name in kept]
    if kept and not found:
        raise ValueError(
            "The layers and the pretrained network have no name of an array in common. The pretrained network has:"
            f" {', '.join(kept)}. Omit layers to use the layers of the pretrained network."
        )
    frozen = set() if freeze is None else set(network.names[: network.names.index(freeze) + 1])
    for name, view in views.items():
        if name not in kept:
            if name.partition(".")[0] in frozen:
                raise ValueError(
                    f"freeze={freeze!r} freezes {name!r}, which the pretrained network does not have, so it would keep"
                    " its random numbers."
                )
            if freeze_statistics and name.endswith((".running_mean", ".running_variance")):
                raise ValueError(
                    f"freeze_statistics=True would keep the initial numbers of {name!r}, which the pretrained network"
                    " does not have. Set freeze_statistics=False."
                )
        elif kept[name].shape != view.shape:
            raise ValueError(_misfit(name, kept[name].shape, view.shape, source.network, network))
        else:
            np.copyto(view, kept[name])
    return found


def _misfit(name: str, there: tuple[int, ...], here: tuple[int, ...], source: Network, network: Network) -> str:
    message = f"The pretrained network has {name!r} of shape {there}, but the network to be trained needs {here}."
    before, now = source.input_shape, network.input_shape
    if before[2] != now[2]:
        grey = (
            " np.repeat(X, 3, axis=-1) converts grey images to three channels." if (now[2], before[2]) == (1, 3) else ""
        )
        return f"{message} Its images have {before[2]} channels, and the images in X have {now[2]}.{grey}"
    if before != now and network.hidden == source.hidden:
        return (
            f"{message} Its images have shape {before}, and the images in X have shape {now}. Use images of its shape,"
            " or layers that end with GlobalAvgPool2D, whose arrays do not depend on the size of an image."
        )
    return (
        f"{message} Use a layer of the same size as in the pretrained network. To train a new layer instead, move it so"
        " that its name changes."
    )


def sharing(estimator: Any) -> Any:
    """Return the estimator in a form whose clone shares the pretrained network.

    A clone of the pretrained network itself would have no weights.
    """
    given = vars(estimator).get("pretrained")
    if given is None or isinstance(given, (str, FrozenEstimator)):
        return estimator
    shell = object.__new__(type(estimator))
    shell.__dict__.update(vars(estimator), pretrained=FrozenEstimator(given))
    return shell


def shared(estimator: Any, clone: Any) -> Any:
    """Return the clone, with the pretrained network of the estimator."""
    if "pretrained" in vars(estimator):
        clone.pretrained = estimator.pretrained
    return clone


def saved_parameters(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters for a file or a pickle of the fitted estimator, without the pretrained network."""
    return params if params.get("pretrained") is None else params | {"pretrained": LEFT_OUT}
