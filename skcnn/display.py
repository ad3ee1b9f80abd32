"""Displays in scikit-learn's manner: make one with ``from_estimator``, find its axes and figure as attributes.

They draw with matplotlib, which is imported when something is drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .classifier import CNNClassifier
from .estimators import BaseCNN
from .features import activations
from .functional.elementwise import Array
from .layers.conv import Conv2D
from .layers.pooling import GlobalAvgPool2D
from .validation import check_images, check_matplotlib_support

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 1.1  # inches of the side of a small picture


class _Display:
    """What the displays share: their axes and figure."""

    figure_: Figure
    ax_: Axes

    def _pyplot(self) -> Any:
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        return plt

    def _axes(self, ax: Any, size: tuple[float, float]) -> Any:
        if ax is None:
            _, ax = self._pyplot().subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        return ax

    def _grid(self, pictures: int, columns: int, title: str, extra: float = 0.0) -> list[Any]:
        """Axes for small pictures, without frames."""
        columns = min(columns, pictures)
        rows = math.ceil(pictures / columns)
        size = columns * TILE, rows * (TILE + extra) + 0.4
        self.figure_, grid = self._pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        self.figure_.suptitle(title, fontsize=10)
        self.axes_ = list(grid.flat)[:pictures]
        self.ax_ = self.axes_[0]
        return self.axes_


class HistoryDisplay(_Display):
    """Loss and validation score of each epoch.

    Parameters
    ----------
    history : dict of str -> list of float
        The ``history_`` of an estimator.
    score_name : str, default="validation score"
        Name of the score.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it was drawn; `score_ax_` is the axes of the score, or None without a validation set.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skcnn import CNNClassifier
    >>> from skcnn.display import HistoryDisplay
    >>> digits = load_digits()
    >>> classifier = CNNClassifier(max_iter=3, early_stopping=True).fit(digits.images, digits.target)
    >>> HistoryDisplay.from_estimator(classifier).ax_.get_xlabel()
    'epoch'
    >>> plt.close("all")
    """

    def __init__(self, history: dict[str, list[float]], *, score_name: str = "validation score") -> None:
        self.history = history
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: BaseCNN, *, ax: Any = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor
            Fitted.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        HistoryDisplay
        """
        check_is_fitted(estimator)
        name = "validation accuracy" if isinstance(estimator, CNNClassifier) else "validation $R^2$"
        return cls(estimator.history_, score_name=name).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to; a new figure by default.

        Returns
        -------
        HistoryDisplay
        """
        ax = self._axes(ax, (6.0, 3.6))
        epochs = np.arange(1, len(self.history["loss"]) + 1)
        ax.plot(epochs, self.history["loss"], color="tab:blue", label="training loss")
        ax.set(xlabel="epoch", ylabel="loss")
        ax.xaxis.get_major_locator().set_params(integer=True)
        self.score_ax_ = None
        scores = np.array(self.history["val_score"])
        if not np.isnan(scores).all():
            ax.plot(epochs, self.history["val_loss"], color="tab:orange", label="validation loss")
            self.score_ax_ = ax.twinx()
            self.score_ax_.plot(epochs, scores, color="tab:green", ls="--", label=self.score_name)
            self.score_ax_.set_ylabel(self.score_name)
            lines = [*ax.get_lines(), *self.score_ax_.get_lines()]
            ax.legend(lines, [line.get_label() for line in lines], frameon=False, loc="center right")
        else:
            ax.legend(frameon=False)
        return self


class FilterDisplay(_Display):
    """The kernels of a convolution as small pictures: red is positive, blue negative, or in colours.

    Parameters
    ----------
    kernel : ndarray (kh, kw, c, filters)
        As in ``parameters_``. Three channels are shown as colours if they are those of the image.
    layer : str, default=""
        Name of the layer, for the title.
    is_colour : bool, default=False
        Whether the channels are red, green and blue.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One for each filter.
    ax_, figure_ : matplotlib Axes and Figure
        The first of them, and the figure.
    """

    def __init__(self, kernel: Array, *, layer: str = "", is_colour: bool = False) -> None:
        self.kernel = kernel
        self.layer = layer
        self.is_colour = is_colour

    @classmethod
    def from_estimator(cls, estimator: BaseCNN, layer: str | None = None) -> Self:
        """Draw the filters of a convolution of a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor
            Fitted.
        layer : str, default=None
            Name of the convolution; the first one by default.

        Returns
        -------
        FilterDisplay

        Raises
        ------
        ValueError
            If there is no such convolution.
        """
        check_is_fitted(estimator)
        network = estimator._model.network
        found = [name for name, kind, _ in network.parts if isinstance(kind, Conv2D)]
        layer = found[0] if layer is None and found else layer
        if layer not in found:
            raise ValueError(f"layer={layer!r} is no convolution of the network: {', '.join(found) or 'it has none'}.")
        kernel = estimator.parameters_[f"{layer}.kernel"]
        is_colour = layer == network.names[0] and kernel.shape[2] == 3
        return cls(kernel, layer=layer, is_colour=is_colour).plot()

    def plot(self, *, max_filters: int = 64, columns: int = 8) -> Self:
        """Draw.

        Parameters
        ----------
        max_filters : int, default=64
            How many to show at most.
        columns : int, default=8
            Pictures in a row.

        Returns
        -------
        FilterDisplay
        """
        filters = self.kernel.shape[3]
        shown = min(filters, max_filters)
        what = "in colours" if self.is_colour else "mean over channels" if self.kernel.shape[2] > 1 else ""
        title = f"Filters of {self.layer or 'a convolution'}" + (f", {what}" if what else "")
        largest = np.abs(self.kernel).max() or 1.0
        for k, axes in enumerate(self._grid(shown, columns, title)):
            if self.is_colour:
                axes.imshow(0.5 + self.kernel[..., k] / (2 * largest))
            else:
                picture = self.kernel[..., k].mean(axis=2)
                limit = np.abs(self.kernel.mean(axis=2)).max() or 1.0
                axes.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
        return self


class ActivationDisplay(_Display):
    """What the channels of a layer make of one image.

    Parameters
    ----------
    maps : ndarray (h, w, channels)
        The layer's output for an image.
    image : ndarray (h, w, c)
        The image.
    layer : str, default=""
        Name of the layer, for the title.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One for the image, and one for each channel.
    ax_, figure_ : matplotlib Axes and Figure
        The first of them, and the figure.
    """

    def __init__(self, maps: Array, image: Array, *, layer: str = "") -> None:
        self.maps = maps
        self.image = image
        self.layer = layer

    @classmethod
    def from_estimator(cls, estimator: BaseCNN, image: Any, layer: str) -> Self:
        """Draw a layer's maps of an image.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor
            Fitted.
        image : array-like (h, w, c), (h, w) or (features,)
            One image.
        layer : str
            Name of a layer whose output is an image.

        Returns
        -------
        ActivationDisplay

        Raises
        ------
        ValueError
            If there is no such layer, or its output is flat.
        """
        check_is_fitted(estimator)
        batch = np.asarray(image)[None]
        maps = activations(estimator, batch, layer)
        if maps.ndim != 4:
            raise ValueError(f"layer={layer!r} has a flat output, {maps.shape[1]} numbers: there is nothing to map.")
        return cls(maps[0], check_images(estimator, batch, reset=False)[0], layer=layer).plot()

    def plot(self, *, max_channels: int = 31, columns: int = 8) -> Self:
        """Draw.

        Parameters
        ----------
        max_channels : int, default=31
            How many to show at most.
        columns : int, default=8
            Pictures in a row.

        Returns
        -------
        ActivationDisplay
        """
        shown = min(self.maps.shape[2], max_channels)
        first, *others = self._grid(shown + 1, columns, f"The image, and what {self.layer or 'a layer'} makes of it")
        _show(first, self.image)
        for k, axes in enumerate(others):
            axes.imshow(self.maps[..., k], cmap="viridis", vmin=self.maps.min(), vmax=self.maps.max())
        return self


class MisclassifiedDisplay(_Display):
    """The images that a classifier is wrong about, the most certain errors first.

    Parameters
    ----------
    images : ndarray (n, h, w, c)
        Images that were misclassified.
    truth, predicted : ndarray (n,)
        Their classes, and what they were taken for.
    probability : ndarray (n,)
        Of what they were taken for.
    of : int, default=None
        Number of images that were predicted, for the title.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One for each image.
    ax_, figure_ : matplotlib Axes and Figure
        The first of them, and the figure.
    """

    def __init__(
        self, images: Array, truth: Array, predicted: Array, probability: Array, *, of: int | None = None
    ) -> None:
        self.images = images
        self.truth = truth
        self.predicted = predicted
        self.probability = probability
        self.of = of

    @classmethod
    def from_estimator(cls, estimator: CNNClassifier, X: Any, y: Any, *, max_images: int = 24) -> Self:
        """Predict images and draw those that are misclassified.

        Parameters
        ----------
        estimator : CNNClassifier
            Fitted, for classes (not labels).
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        y : array-like (n,)
            Their classes.
        max_images : int, default=24
            How many to show at most.

        Returns
        -------
        MisclassifiedDisplay

        Raises
        ------
        ValueError
            If every image is classified correctly.
        """
        check_is_fitted(estimator)
        y = column_or_1d(y)
        p = estimator.predict_proba(X)
        predicted = estimator.classes_[p.argmax(axis=1)]
        wrong = np.flatnonzero(predicted != y)
        if not wrong.size:
            raise ValueError(f"All {len(y)} images are classified correctly: there is nothing to show.")
        wrong = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")]
        images = check_images(estimator, X, reset=False)[wrong]
        return cls(images, y[wrong], predicted[wrong], p[wrong].max(axis=1), of=len(y)).plot(max_images=max_images)

    def plot(self, *, max_images: int = 24, columns: int = 8) -> Self:
        """Draw.

        Parameters
        ----------
        max_images : int, default=24
            How many to show at most.
        columns : int, default=8
            Pictures in a row.

        Returns
        -------
        MisclassifiedDisplay
        """
        shown = min(len(self.images), max_images)
        whole = "" if self.of is None else f" of {self.of}"
        title = f"{len(self.images)}{whole} images misclassified" + (
            f", the {shown} most certain" * (shown < len(self.images))
        )
        for k, axes in enumerate(self._grid(shown, columns, title, extra=0.35)):
            _show(axes, self.images[k])
            told = f"{self.truth[k]} taken for {self.predicted[k]}\np = {self.probability[k]:.2f}"
            axes.set_title(told, fontsize=7)
        return self


class ClassActivationDisplay(_Display):
    """Where in an image a class was found: the last maps, weighted as the output layer weights them.

    For networks that end in ``GlobalAvgPool2D``. B. Zhou et al., "Learning deep features for discriminative
    localization", CVPR 2016.

    Parameters
    ----------
    evidence : ndarray (h, w)
        The map of a class: its mean, plus the output's bias, is the raw prediction.
    image : ndarray (h, w, c)
        The image.
    label : object, default=""
        The class, for the title.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where it was drawn.
    """

    def __init__(self, evidence: Array, image: Array, *, label: Any = "") -> None:
        self.evidence = evidence
        self.image = image
        self.label = label

    @classmethod
    def from_estimator(cls, estimator: CNNClassifier, image: Any, *, label: Any = None, ax: Any = None) -> Self:
        """Draw where the evidence for a class is.

        Parameters
        ----------
        estimator : CNNClassifier
            Fitted, with ``GlobalAvgPool2D`` as the last hidden layer.
        image : array-like (h, w, c), (h, w) or (features,)
            One image.
        label : object, default=None
            One of ``classes_``; the predicted one by default.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        ClassActivationDisplay

        Raises
        ------
        ValueError
            If the network does not end in ``GlobalAvgPool2D``, or the class is not known.
        """
        check_is_fitted(estimator)
        network = estimator._model.network
        if len(network.hidden) < 2 or not isinstance(network.hidden[-1], GlobalAvgPool2D):
            raise ValueError("A class activation map needs GlobalAvgPool2D() as the last hidden layer.")
        batch = np.asarray(image)[None]
        label = estimator.predict(batch)[0] if label is None else label
        place = np.flatnonzero(estimator.classes_ == label)
        if not place.size:
            raise ValueError(f"label={label!r} is not one of the classes {estimator.classes_.tolist()}.")
        kernel = estimator.parameters_["output.kernel"]
        binary = kernel.shape[1] == 1  # two classes share an output
        weights = kernel[:, 0] * (1 if place[0] else -1) if binary else kernel[:, place[0]]
        maps = activations(estimator, batch, network.names[-3])[0]
        picture = check_images(estimator, batch, reset=False)[0]
        return cls(maps @ weights, picture, label=label).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to; a new figure by default.

        Returns
        -------
        ClassActivationDisplay
        """
        ax = self._axes(ax, (3.4, 3.2))
        _show(ax, self.image)
        h, w = self.image.shape[:2]
        limit = np.abs(self.evidence).max() or 1.0
        shown = ax.imshow(
            self.evidence,
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            alpha=0.55,
            extent=(-0.5, w - 0.5, h - 0.5, -0.5),
            interpolation="bilinear",
        )
        self.figure_.colorbar(shown, ax=ax, label="evidence", shrink=0.8)
        ax.set_axis_off()
        ax.set_title(f"Where {self.label} is", fontsize=10)
        return self


def _show(axes: Any, image: Array) -> None:
    """An image (h, w, c): colours for three channels, else the first channel in grey."""
    if image.shape[2] == 3:
        low, high = image.min(), image.max()
        axes.imshow(image if image.dtype == np.uint8 else (image - low) / ((high - low) or 1.0))
    else:
        axes.imshow(image[..., 0], cmap="gray_r")
