"""Nested parameter names: ``optimizer__momentum`` and ``layers__conv1__filters``, for searches and ``set_params``.

scikit-learn sets a nested parameter by changing the object that holds it. Descriptions never change, so that here
they are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from sklearn.base import BaseEstimator

from .augmentation import Augmentation, augmentation_names
from .description import Description, resolve
from .layers import Activation, Layer
from .layers.sequence import layer_names
from .losses import Loss
from .optimizers import Optimizer
from .schedules import Schedule

KINDS: dict[str, type[Description]] = {
    "activation": Activation,
    "augmentation": Augmentation,
    "loss": Loss,
    "optimizer": Optimizer,
    "schedule": Schedule,
}
LISTS: dict[str, Callable[[Any], list[str]]] = {"layers": layer_names, "augmentation": augmentation_names}


class NestedParameters(BaseEstimator):
    """The part of an estimator that knows of the parameters of its descriptions."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this estimator.

        Parameters
        ----------
        deep : bool, default=True
            Whether those of its descriptions are given too, as ``optimizer__beta_1`` and ``layers__conv1__filters``.

        Returns
        -------
        dict
            Name -> value.
        """
        params = super().get_params(deep=deep)
        for parameter, names_of in LISTS.items() if deep else ():
            held = params[parameter]
            if isinstance(held, (list, tuple)):
                for name, member in zip(names_of(held), held, strict=True):
                    params |= _fields(f"{parameter}__{name}", member)
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator, nested ones too.

        A name in place of an object is resolved first: ``set_params(optimizer__beta_1=0.8)`` works on "adam".

        Parameters
        ----------
        **params : dict
            Name -> value.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a name that does not exist, with those that do.
        """
        own = self.get_params(deep=False)
        nested = {key: value for key, value in params.items() if "__" in key and key.partition("__")[0] in own}
        super().set_params(**{key: value for key, value in params.items() if key not in nested})
        for key, value in sorted(nested.items(), key=lambda item: item[0].count("__")):  # objects before their fields
            parameter, _, path = key.partition("__")
            if parameter == "layers":
                self.layers = self._with_layer(path, value)
            elif parameter in LISTS and isinstance(getattr(self, parameter), (list, tuple)):
                setattr(self, parameter, self._with_member(parameter, path, value))
            elif parameter in KINDS:
                held = resolve(KINDS[parameter], getattr(self, parameter), parameter)
                setattr(self, parameter, _replaced(held, path, value))
            else:
                raise ValueError(f"{key!r} cannot be set: {parameter} holds no parameters of its own.")
        return self

    def _with_layer(self, path: str, value: Any) -> Any:
        """The layers with one field of one of them set."""
        if self.layers is None:
            raise ValueError(
                f"'layers__{path}' cannot be set: layers is None, so the network is built from conv_filters,"
                " kernel_size and the other knobs. Set those, or give layers."
            )
        return self._with_member("layers", path, value)

    def _with_member(self, parameter: str, path: str, value: Any) -> Any:
        """A list with one of its members replaced, or one field of it set."""
        members = getattr(self, parameter)
        name, _, field = path.partition("__")
        names = LISTS[parameter](members)
        if name not in names:
            what = "layer" if parameter == "layers" else parameter
            raise ValueError(f"{parameter} has no {what} {name!r}. Its names are: {', '.join(names)}.")
        position = names.index(name)
        if field:
            held = members[position]
            held = resolve(KINDS[parameter], held, name) if parameter in KINDS else held
            value = _replaced(held, field, value)
        return type(members)([*members[:position], value, *members[position + 1 :]])


def _fields(prefix: str, layer: Any) -> dict[str, Any]:
    """The nested parameters of a layer, and of those that it holds."""
    if not isinstance(layer, Description):
        return {}
    found = {f"{prefix}__{field}": value for field, value in layer.get_params().items()}
    for name, inner in _inner(layer).items():
        found |= _fields(f"{prefix}__{name}", inner)
    return found


def _inner(held: Description) -> dict[str, Any]:
    """Name, as it stands in nested names -> layer, of the layers that another one holds."""
    return {name.replace(".", "__"): layer for name, layer in held.inner().items()} if isinstance(held, Layer) else {}


def _replaced(held: Description, path: str, value: Any) -> Description:
    """A description with one field set, or a field of a field, or a layer that it holds."""
    inside = _inner(held)
    for number, (name, layer) in enumerate(inside.items()):
        if path == name or path.startswith(f"{name}__"):
            assert isinstance(held, Layer)
            changed: Any = value if path == name else _replaced(layer, path[len(name) + 2 :], value)
            return held.with_inner(list(held.inner())[number], changed)
    field, _, deeper = path.partition("__")
    if not deeper:
        return held.replaced(**{field: value})
    inner = held.get_params().get(field)
    if inside and field not in held.get_params():
        raise ValueError(f"{type(held).__name__} has no layer {field!r}. Its layers are: {', '.join(inside)}.")
    if not isinstance(inner, Description):
        raise ValueError(f"{type(held).__name__} has no parameter {path!r}: its {field} is {inner!r}.")
    return held.replaced(**{field: _replaced(inner, deeper, value)})
