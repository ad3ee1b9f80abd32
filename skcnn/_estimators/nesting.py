"""Nested parameter names: ``optimizer__momentum`` and ``layers__conv1__filters``, for searches and ``set_params``.

scikit-learn sets a nested parameter by changing the object that has it. Descriptions are immutable, so they are
replaced here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

from sklearn.base import BaseEstimator

from ..augmentation import Augmentation, augmentation_names
from ..description import Description, resolve
from ..initializers import Initializer
from ..layers import Activation, Layer
from ..layers.sequence import layer_names
from ..losses import Loss
from ..optimizers import Optimizer
from ..schedules import Schedule

PARAMETER_KINDS: dict[str, type[Description]] = {
    "activation": Activation,
    "augmentation": Augmentation,
    "loss": Loss,
    "optimizer": Optimizer,
    "output_initializer": Initializer,
    "schedule": Schedule,
}
LISTS: dict[str, Callable[[Any], list[str]]] = {"layers": layer_names, "augmentation": augmentation_names}


class NestedParameters(BaseEstimator):
    """Base class with nested parameters, such as those inside the layers and the optimizer."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of this estimator.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include nested parameters, such as ``optimizer__beta_1`` and ``layers__conv1__filters``.

        Returns
        -------
        dict
            Values of the parameters by name.
        """
        params = super().get_params(deep=deep)
        for parameter, names_of in LISTS.items() if deep else ():
            held = params.get(parameter)  # a subclass may lack the parameter
            if isinstance(held, (list, tuple)):
                for name, member in zip(names_of(held), held, strict=True):
                    params |= _fields(f"{parameter}__{name}", member)
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator, including nested parameters.

        A name such as "adam" is replaced by its object first, so that ``set_params(optimizer__beta_1=0.8)`` works.
        Objects that are replaced in a call are replaced before their nested parameters are set. Layers are found by
        the names that they have before the call.

        Parameters
        ----------
        **params : dict
            Values of the parameters by name.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a name does not exist. The message lists the names that do.
        """
        own = self.get_params(deep=False)
        nested = {key: value for key, value in params.items() if "__" in key and key.partition("__")[0] in own}
        super().set_params(**{key: value for key, value in params.items() if key not in nested})
        for parameter, changes in _grouped(nested).items():
            setattr(self, parameter, self._changed(parameter, changes))
        return self

    def _changed(self, parameter: str, changes: dict[str, Any]) -> Any:
        """Return the value of a parameter with changes of its nested parameters, given by their current names."""
        held = getattr(self, parameter)
        if parameter in LISTS and isinstance(held, (list, tuple)):
            return _with_members(parameter, held, changes)
        if parameter in PARAMETER_KINDS:
            return _replaced(_described(held, PARAMETER_KINDS[parameter], parameter), changes)
        if hasattr(held, "set_params"):  # an estimator, as a parameter of a subclass
            return held.set_params(**changes)
        key = f"{parameter}__{next(iter(changes))}"
        if parameter == "layers" and held is None:
            raise ValueError(
                f"{key!r} cannot be set: layers is None, so the network is built from conv_filters,"
                " kernel_size and similar parameters. Set these, or pass layers."
            )
        raise ValueError(f"{key!r} cannot be set: {parameter} has no parameters of its own.")


def _grouped(changes: dict[str, Any], names: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Return changes, from paths to values, grouped by the first name of the path.

    In each group, the paths lack this name, and the path of the object itself is "". ``names`` are first names that
    contain a "__".
    """
    grouped: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        first = path.partition("__")[0]
        name = next((name for name in names if path == name or path.startswith(f"{name}__")), first)
        grouped.setdefault(name, {})[path[len(name) + 2 :]] = value
    return grouped


def _with_members(parameter: str, members: Any, changes: dict[str, Any]) -> Any:
    """Return a list with some members replaced, or their fields set. Names refer to the members before the changes."""
    names, changed = LISTS[parameter](members), list(members)
    for name, inside in _grouped(changes).items():
        if name not in names:
            what = "layer" if parameter == "layers" else parameter
            raise ValueError(f"{parameter} has no {what} {name!r}. The names are: {', '.join(names)}.")
        position = names.index(name)
        changed[position] = _renewed(changed[position], inside, name, PARAMETER_KINDS.get(parameter))
    return type(members)(changed)


def _renewed(held: Any, changes: dict[str, Any], name: str, kind: type[Description] | None = None) -> Any:
    """Return an object with changes: replaced first, if the path "" is among them, and then with fields set."""
    held = changes.get("", held)
    fields = {path: value for path, value in changes.items() if path}
    return _replaced(_described(held, kind, name), fields) if fields else held


def _described(held: Any, kind: type[Description] | None, name: str) -> Description:
    """Return the object of a parameter, resolved if it is a name. Its fields are not checked yet."""
    if isinstance(held, Description):
        return held
    if kind is None:
        raise TypeError(f"{name} must be a layer, got {held!r}.")
    return resolve(kind, held, name)


def _fields(prefix: str, layer: Any) -> dict[str, Any]:
    """Return the nested parameters of a layer and of the layers inside it."""
    if not isinstance(layer, Description):
        return {}
    found = {f"{prefix}__{field}": value for field, value in layer.get_params().items()}
    for name, inner in _inner(layer).items():
        found |= _fields(f"{prefix}__{name}", inner)
    return found


def _inner(held: Description) -> dict[str, Any]:
    """Return the layers inside another layer, by their names in nested parameters."""
    return {name.replace(".", "__"): layer for name, layer in held.inner().items()} if isinstance(held, Layer) else {}


def _kind_of_field(field: str) -> type[Description] | None:
    """Return the kind of object that a name in this field stands for, or None if it stands for none."""
    return Initializer if field.endswith("_initializer") else PARAMETER_KINDS.get(field)


def _replaced(held: Description, changes: dict[str, Any]) -> Description:
    """Return a description with changes of its fields, of fields inside them, and of the layers inside it."""
    own = held.get_params()
    # Fields are replaced before the fields inside them are set.
    held = held.replaced(**{path: value for path, value in changes.items() if path in own})
    deeper = {path: value for path, value in changes.items() if path not in own}
    inside = _inner(held)
    for name, inner in _grouped(deeper, inside).items():
        if name in inside:
            assert isinstance(held, Layer)
            position = list(inside).index(name)  # by position, because a layer of another class changes the names
            held = held.with_inner(list(held.inner())[position], _renewed(inside[name], inner, name))
        elif name in own and "" not in inner:
            held = held.replaced(**{name: _with_fields(held, name, inner)})
        elif inside and "" not in inner:
            raise ValueError(f"{type(held).__name__} has no layer {name!r}. Its layers are: {', '.join(inside)}.")
        else:
            path = next(path for path in deeper if path == name or path.startswith(f"{name}__"))
            held.replaced(**{path: deeper[path]})  # raises the error for a parameter that does not exist
    return held


def _with_fields(owner: Description, field: str, changes: dict[str, Any]) -> Description:
    """Return the object in a field of a description, resolved if it is a name, with its fields set."""
    held, kind = owner.get_params()[field], _kind_of_field(field)
    if not isinstance(held, Description) and not (isinstance(held, str) and kind is not None):
        path = f"{field}__{next(iter(changes))}"
        raise ValueError(f"{type(owner).__name__} has no parameter {path!r}: its {field} is {held!r}.")
    return _replaced(_described(held, kind, field), changes)
