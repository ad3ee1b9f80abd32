"""Displays in scikit-learn's manner: make one with ``from_estimator``, find its axes and figure as attributes.

They draw with matplotlib, which is imported when something is drawn. Images are shown as they are: three channels as
colours, one channel from black to white, where the smallest of the numbers shown is black and the largest white.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._arrays.elementwise import Array
from ._decoding import is_path, sources_of
from ._estimators.base import BaseCNN, check_fitted_network
from ._estimators.validation import check_images, check_matplotlib_support
from .classifier import CNNClassifier
from .description import is_count
from .features import activations
from .images import ImageReader
from .layers.conv import Conv2D
from .layers.pooling import GlobalAvgPool2D
from .saliency import default_target, input_gradient

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 1.1  # inches of the side of a small picture
LINE = 0.13  # inches of a line above it
CHARACTERS = 19  # of such a line


class _Display:
    """Base of the displays: axes and a figure."""

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

    @staticmethod
    def _counts(**counts: Any) -> None:
        """Refuse numbers of pictures that are none."""
        for name, value in counts.items():
            if not is_count(value):
                raise ValueError(f"{name} must be an int of 1 or more, got {value!r}.")

    def _grid(self, pictures: int, columns: int, title: str, lines: float = 0) -> list[Any]:
        """Axes for small pictures, without frames, with room for some lines above each."""
        rows = math.ceil(pictures / columns)
        columns = math.ceil(pictures / rows)
        size = max(columns * TILE, 0.085 * len(title)), rows * (TILE + lines * LINE) + 0.4
        self.figure_, grid = self._pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        self.figure_.suptitle(title, fontsize=10)
        self.axes_ = list(grid.flat)[:pictures]
        self.ax_ = self.axes_[0]
        return self.axes_

    def _pictures(self, images: Array, titles: Sequence[str], columns: int, title: str) -> None:
        """Small pictures with a text above each."""
        limits = _limits(images)
        grid = self._grid(len(images), columns, title, _lines(titles))
        for axes, image, text in zip(grid, images, titles, strict=True):
            _show(axes, image, limits)
            axes.set_title(text, fontsize=7)

    def _scale(self, shown: Any) -> None:
        """The scale of the colours, for all small pictures."""
        bar = self.figure_.colorbar(shown, ax=self.figure_.axes, aspect=25, pad=0.01, fraction=0.03)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_linewidth(0.5)


class ImagesDisplay(_Display):
    """A grid of images with their labels, to look at before training.

    Parameters
    ----------
    images : ndarray (n, h, w, c)
        The images to show.
    titles : sequence of str, default=None
        Text above each image.
    of : int, default=None
        Number of images that they were chosen from, for the title.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One for each image.
    ax_, figure_ : matplotlib Axes and Figure
        The first of them, and the figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skcnn.display import ImagesDisplay
    >>> digits = load_digits()
    >>> shown = ImagesDisplay.from_images(digits.images, digits.target, max_images=20, random_state=0)
    >>> [axes.get_title() for axes in shown.axes_][:4]
    ['0', '0', '1', '1']
    >>> plt.close("all")
    """

    def __init__(self, images: Array, titles: Sequence[str] | None = None, *, of: int | None = None) -> None:
        self.images = images
        self.titles = titles
        self.of = of

    @classmethod
    def from_images(
        cls,
        X: Any,
        y: Any = None,
        *,
        filenames: Any = None,
        max_images: int = 24,
        columns: int = 8,
        random_state: Any = None,
    ) -> Self:
        """Draw some of the images, chosen at random: as many of each class, sorted by class.

        Parameters
        ----------
        X : array-like (n, h, w, c) or (n, h, w)
            Images.
        y : array-like (n,) or (n, k), default=None
            Their classes, labels or targets.
        filenames : array-like (n,), default=None
            Paths of the images. The last part of each is shown.
        max_images : int, default=24
            How many to show at most.
        columns : int, default=8
            Pictures in a row.
        random_state : int, RandomState or None, default=None
            Chooses the images.

        Returns
        -------
        ImagesDisplay

        Raises
        ------
        ValueError
            If X holds no images, or the lengths differ.
        """
        images = X if isinstance(X, np.ndarray) else np.asarray(X)
        if images.ndim not in (3, 4) or not images.size:
            raise ValueError(f"X has shape {images.shape}. Expected images (n, h, w, c) or (n, h, w).")
        check_consistent_length(X, y, filenames)
        cls._counts(max_images=max_images, columns=columns)
        labels = None if y is None else np.asarray(y)
        chosen = _spread(len(images), labels, max_images, check_random_state(random_state))
        titles = ["" if labels is None else _wrapped(str(labels[k])) for k in chosen]
        if filenames is not None:
            titles = [_with_name(text, filenames[k]).lstrip("\n") for text, k in zip(titles, chosen, strict=True)]
        shown = images[chosen]
        return cls(shown if shown.ndim == 4 else shown[..., None], titles, of=len(images)).plot(columns=columns)

    def plot(self, *, columns: int = 8) -> Self:
        """Draw.

        Parameters
        ----------
        columns : int, default=8
            Pictures in a row.

        Returns
        -------
        ImagesDisplay
        """
        self._counts(columns=columns)
        n = len(self.images)
        whole = n if self.of is None else self.of
        titles = [""] * n if self.titles is None else list(self.titles)
        self._pictures(self.images, titles, columns, f"{n} of {whole} images" if n < whole else f"{n} images")
        return self


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
        check_fitted_network(estimator)
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
        own = ax is None
        ax = self._axes(ax, (6.0, 3.6))
        epochs = np.arange(1, len(self.history["loss"]) + 1)
        marker = "o" if len(epochs) == 1 else None  # a line through one point is not to be seen
        ax.plot(epochs, self.history["loss"], color="tab:blue", marker=marker, label="training loss")
        ax.set(xlabel="epoch", ylabel="loss")
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        self.score_ax_ = None
        scores = np.array(self.history["val_score"])
        if not np.isnan(scores).all():
            ax.plot(epochs, self.history["val_loss"], color="tab:orange", marker=marker, label="validation loss")
            self.score_ax_ = ax.twinx()
            style = {"color": "tab:green", "ls": "--", "marker": marker}
            self.score_ax_.plot(epochs, scores, **style, label=self.score_name)
            self.score_ax_.set_ylabel(self.score_name)
            lines = [*ax.get_lines(), *self.score_ax_.get_lines()]
            names = [line.get_label() for line in lines]
            if own:  # above the axes, for inside it would lie on one line or another
                self.figure_.legend(lines, names, frameon=False, loc="outside upper center", ncols=3)
            else:
                ax.legend(lines, names)
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
        check_fitted_network(estimator)
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
        self._counts(max_filters=max_filters, columns=columns)
        filters = self.kernel.shape[3]
        shown = min(filters, max_filters)
        what = "in colours" if self.is_colour else "mean over channels" if self.kernel.shape[2] > 1 else ""
        title = (
            f"Filters of {self.layer or 'a convolution'}"
            + (f", {what}" if what else "")
            + _shown_of_all(shown, filters)
        )
        pictures = self.kernel if self.is_colour else self.kernel.mean(axis=2)
        limit = np.abs(pictures).max() or 1.0
        for k, axes in enumerate(self._grid(shown, columns, title)):
            if self.is_colour:
                axes.imshow(0.5 + pictures[..., k] / (2 * limit))
            else:
                drawn = axes.imshow(pictures[..., k], cmap="RdBu_r", vmin=-limit, vmax=limit)
        if not self.is_colour:
            self._scale(drawn)
        return self


class ActivationDisplay(_Display):
    """Channels of a layer for one image.

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
            If there is no such layer, or its output is flat, or it is not one image.
        """
        check_fitted_network(estimator)
        batch = _alone(estimator, image)
        maps = activations(estimator, batch, layer)
        if maps.ndim != 4:
            raise ValueError(f"layer={layer!r} has a flat output, {maps.shape[1]} numbers: there is nothing to map.")
        return cls(maps[0], check_images(estimator, batch, reset=False)[0], layer=layer).plot()

    def plot(self, *, max_channels: int = 32, columns: int = 8) -> Self:
        """Draw.

        Parameters
        ----------
        max_channels : int, default=32
            How many to show at most.
        columns : int, default=8
            Pictures in a row.

        Returns
        -------
        ActivationDisplay
        """
        self._counts(max_channels=max_channels, columns=columns)
        channels = self.maps.shape[2]
        shown = min(channels, max_channels)
        title = f"The image, and what {self.layer or 'a layer'} makes of it" + _shown_of_all(shown, channels)
        first, *others = self._grid(shown + 1, columns, title)
        _show(first, self.image, _limits(self.image))
        for k, axes in enumerate(others):
            picture = self.maps[..., k]
            style = {"cmap": "viridis", "vmin": self.maps.min(), "vmax": self.maps.max(), "aspect": _aspect(picture)}
            drawn = axes.imshow(picture, **style)
        self._scale(drawn)
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
        Predicted probability of the predicted class; its raw prediction where the loss gives no probabilities.
    filenames : ndarray (n,), default=None
        Their files. The last part of each path is shown.
    of : int, default=None
        Number of images that were predicted, for the title.
    measure : str, default="p"
        Name of `probability` in the titles of the images.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One for each image.
    ax_, figure_ : matplotlib Axes and Figure
        The first of them, and the figure.
    """

    def __init__(
        self,
        images: Array,
        truth: Array,
        predicted: Array,
        probability: Array,
        *,
        filenames: Array | None = None,
        of: int | None = None,
        measure: str = "p",
    ) -> None:
        self.images = images
        self.truth = truth
        self.predicted = predicted
        self.probability = probability
        self.filenames = filenames
        self.of = of
        self.measure = measure

    @classmethod
    def from_estimator(
        cls, estimator: CNNClassifier | Pipeline, X: Any, y: Any, *, filenames: Any = None, max_images: int = 24
    ) -> Self:
        """Predict images and draw those that are misclassified.

        Parameters
        ----------
        estimator : CNNClassifier, or Pipeline that ends in one
            Fitted, for classes (not labels).
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or what the pipeline takes
            Images, or the paths of images for a pipeline that begins with an `ImageReader`.
        y : array-like (n,)
            Their classes.
        filenames : array-like (n,), default=None
            Paths of the images, to be shown above them. By default those in X, if there are any.
        max_images : int, default=24
            How many to show at most.

        Returns
        -------
        MisclassifiedDisplay

        Raises
        ------
        ValueError
            If every image is classified correctly, or X and y do not fit together.
        """
        if isinstance(estimator, Pipeline) and len(estimator) > 1:
            if filenames is None and isinstance(estimator[0], ImageReader) and all(map(is_path, sources_of(X))):
                filenames = sources_of(X)
            X, estimator = estimator[:-1].transform(X), estimator[-1]
        check_fitted_network(estimator, CNNClassifier)
        y = column_or_1d(y)
        check_consistent_length(X, y, filenames)
        has_probabilities = estimator._loss().has_probabilities
        raw = estimator.predict_proba(X) if has_probabilities else estimator.decision_function(X)
        p = np.stack([-raw, raw], axis=1) if raw.ndim == 1 else raw
        predicted = estimator.classes_[p.argmax(axis=1)]
        wrong = np.flatnonzero(predicted != y)
        if not wrong.size:
            raise ValueError(f"All {len(y)} images are classified correctly: there is nothing to show.")
        wrong = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")]
        images = check_images(estimator, X, reset=False)[wrong]
        names = None if filenames is None else np.array([os.fspath(name) for name in filenames])[wrong]
        certainty, measure = p[wrong].max(axis=1), "p" if has_probabilities else "raw"
        found = cls(images, y[wrong], predicted[wrong], certainty, filenames=names, of=len(y), measure=measure)
        return found.plot(max_images=max_images)

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
        self._counts(max_images=max_images, columns=columns)
        shown = min(len(self.images), max_images)
        whole = "" if self.of is None else f" of {self.of}"
        title = f"{len(self.images)}{whole} images misclassified" + (
            f", the {shown} most certain" * (shown < len(self.images))
        )
        told = [
            _with_name(
                _wrapped(f"{self.truth[k]} taken for {self.predicted[k]}")
                + f"\n{self.measure} = {self.probability[k]:.2f}",
                None if self.filenames is None else self.filenames[k],
            )
            for k in range(shown)
        ]
        self._pictures(self.images[:shown], told, columns, title)
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
            One of ``classes_``; that of the largest raw prediction by default.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        ClassActivationDisplay

        Raises
        ------
        ValueError
            If the network does not end in ``GlobalAvgPool2D``, or the class is not known, or it is not one image.
        """
        check_fitted_network(estimator, CNNClassifier)
        network = estimator._model.network
        if len(network.hidden) < 2 or not isinstance(network.hidden[-1], GlobalAvgPool2D):
            raise ValueError("A class activation map needs GlobalAvgPool2D() as the last hidden layer.")
        batch = _alone(estimator, image)
        label = default_target(estimator, check_images(estimator, batch, reset=False))[0] if label is None else label
        place = np.flatnonzero(estimator.classes_ == label) if np.ndim(label) == 0 else np.array([])
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
        grey = self.image.mean(axis=2)
        low, high = _limits(grey)
        # Faded, in grey: the only colours are those of the evidence, and they would not be seen on black.
        ax.imshow(grey, cmap="gray", vmin=2 * low - high, vmax=high, aspect=_aspect(self.image))
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
            aspect=_aspect(self.image),
        )
        bar: Any = self.figure_.colorbar(shown, ax=ax, label="evidence", shrink=0.8)
        bar.solids.set(alpha=1)
        ax.set_axis_off()
        ax.set_title(fill(f"Where {self.label} is", 28), fontsize=10)
        return self


class SaliencyDisplay(_Display):
    """Saliency map: the size of a prediction's gradient with respect to each pixel.

    Parameters
    ----------
    saliency : ndarray (n, h, w)
        The maps: for each pixel the largest absolute value of the gradient among its channels.
    images : ndarray (n, h, w, c)
        The images.
    titles : sequence of str, default=None
        What stands above each image.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Two for each image: its own, and that of its map.
    ax_, figure_ : matplotlib Axes and Figure
        The first of them, and the figure.

    See Also
    --------
    skcnn.saliency.input_gradient : The gradient itself, with its signs.

    Notes
    -----
    s[a, b] = max over k of abs(d f(x) / d x[a, b, k]). K. Simonyan, A. Vedaldi and A. Zisserman, "Deep inside
    convolutional networks: visualising image classification models and saliency maps", arXiv:1312.6034, section 3.1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skcnn import CNNClassifier
    >>> from skcnn.display import SaliencyDisplay
    >>> digits = load_digits()
    >>> classifier = CNNClassifier((8,), max_iter=2, random_state=0).fit(digits.images, digits.target)
    >>> SaliencyDisplay.from_estimator(classifier, digits.images[:4]).saliency.shape
    (4, 8, 8)
    >>> plt.close("all")
    """

    def __init__(self, saliency: Array, images: Array, *, titles: Sequence[str] | None = None) -> None:
        self.saliency = saliency
        self.images = images
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseCNN,
        X: Any,
        *,
        target: Any = None,
        n_samples: int = 1,
        noise: float = 0.1,
        random_state: Any = None,
        columns: int = 8,
    ) -> Self:
        """Differentiate what is predicted for images, and draw how much each pixel counts.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor
            Fitted.
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            A few images.
        target : object or array-like (n,), default=None
            The class or label, or number of the output, whose raw prediction is differentiated, as in
            `input_gradient`; what is predicted by default.
        n_samples : int, default=1
            With 2 or more, gradients are means over so many noisy copies of each image (SmoothGrad), and the maps
            less grainy.
        noise : float, default=0.1
            The noise's standard deviation, as a share of the image's range.
        random_state : int, RandomState or None, default=None
            Draws the noise.
        columns : int, default=8
            Images in a row.

        Returns
        -------
        SaliencyDisplay
        """
        check_fitted_network(estimator)
        images = check_images(estimator, X, reset=False)
        target = default_target(estimator, images) if target is None else target
        gradient = input_gradient(estimator, X, target, n_samples=n_samples, noise=noise, random_state=random_state)
        labels = np.broadcast_to(np.asarray(target), len(images))
        titles = [str(label) for label in labels] if isinstance(estimator, CNNClassifier) else None
        return cls(np.abs(gradient).max(axis=3), images, titles=titles).plot(columns=columns)

    def plot(self, *, columns: int = 8) -> Self:
        """Draw.

        Parameters
        ----------
        columns : int, default=8
            Images in a row.

        Returns
        -------
        SaliencyDisplay
        """
        self._counts(columns=columns)
        n = len(self.images)
        bands = math.ceil(n / columns)
        columns = math.ceil(n / bands)
        titles = [""] * n if self.titles is None else [_wrapped(title) for title in self.titles]
        title = "Which pixels the prediction depends on"
        grid = np.reshape(self._grid(2 * bands * columns, columns, title, _lines(titles) / 2), (bands, 2, columns))
        pairs = grid.transpose(0, 2, 1).reshape(-1, 2)[:n]
        limits = _limits(self.images)
        for (upper, lower), image, text, size in zip(pairs, self.images, titles, self.saliency, strict=True):
            _show(upper, image, limits)
            upper.set_title(text, fontsize=7)
            lower.imshow(size, cmap="inferno", vmin=0, aspect=_aspect(size))
        self.axes_ = list(pairs.flat)
        return self


def _spread(n: int, labels: Array | None, count: int, random_state: Any) -> Array:
    """Positions of some of n images: as many of each class as there can be, class by class."""
    order = random_state.permutation(n)
    if labels is None or labels.ndim > 1:
        return np.sort(order[:count])
    kinds = np.unique(labels, return_inverse=True)[1][order]
    place = np.empty(n, int)  # of each image among those of its class
    for kind in range(kinds.max() + 1):
        place[kinds == kind] = np.arange(np.sum(kinds == kind))
    first = np.argsort(place, kind="stable")[:count]
    return order[first[np.argsort(kinds[first], kind="stable")]]


def _alone(estimator: BaseCNN, image: Any) -> Any:
    """One image as a batch."""
    batch = image.to_frame().T if hasattr(image, "to_frame") else np.asarray(image)[None]  # a row of a DataFrame
    h, w, c = estimator.input_shape_
    forms = [(h, w, c), *([(h, w)] if c == 1 else []), (h * w * c,)]
    if batch.shape[1:] not in forms:
        wanted = " or ".join(map(str, forms))
        raise ValueError(
            f"image has shape {batch.shape[1:]}. Expected one image, {wanted}; of a batch X, that is X[0]."
        )
    return batch


def _limits(images: Array) -> tuple[float, float]:
    """The numbers that are black and white in all of these images."""
    return float(images.min()), float(images.max())


def _show(axes: Any, image: Array, limits: tuple[float, float]) -> None:
    """An image (h, w, c): colours for three channels, with or without transparency, else the first channel in grey."""
    low, high = limits
    if image.shape[2] in (3, 4):
        colours = image[..., :3]
        if image.dtype != np.uint8:
            colours = (colours - low) / ((high - low) or 1.0)
        axes.imshow(colours, aspect=_aspect(image))
    else:
        axes.imshow(image[..., 0], cmap="gray", vmin=low, vmax=high, aspect=_aspect(image))


def _with_name(text: str, filename: object) -> str:
    """A text with the last part of a path below it."""
    return text if filename is None else f"{text}\n{_wrapped(os.path.basename(str(filename)))}"


def _aspect(picture: Array) -> str:
    """Pixels are square, but for signals, which would be lines without a height."""
    h, w = picture.shape[:2]
    return "auto" if max(h, w) > 8 * min(h, w) else "equal"


def _shown_of_all(shown: int, whole: int) -> str:
    """How many are shown, if not all."""
    return f", {shown} of {whole}" if shown < whole else ""


def _wrapped(text: str) -> str:
    """A text in lines that are as wide as a small picture."""
    return fill(text, CHARACTERS)


def _lines(texts: Sequence[str]) -> int:
    """The most lines that one of them has."""
    return max(text.count("\n") + 1 for text in texts) if any(texts) else 0
