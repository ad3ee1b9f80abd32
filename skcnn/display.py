"""Displays in the style of scikit-learn: create them with ``from_estimator``, and use their axes and figure attributes.

Drawing requires matplotlib, which is imported on first use. Images with three channels are shown in colour. Images with
one channel are shown in grey, from black for the smallest number shown to white for the largest.
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
from .layers.whitening import WhiteningConv2D
from .saliency import default_target, input_gradient

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 1.1  # side of a small picture, in inches
LINE = 0.13  # height of a line of text above a picture, in inches
CHARACTERS = 19  # most characters in such a line


class _Display:
    """Base of the displays, with helpers for axes and figures."""

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
        """Raise a ValueError if a number of pictures or columns is not an int of 1 or more."""
        for name, value in counts.items():
            if not is_count(value):
                raise ValueError(f"{name} must be an int of 1 or more, got {value!r}.")

    def _grid(self, pictures: int, columns: int, title: str, lines: float = 0) -> list[Any]:
        """Create frameless axes for small pictures, with room for ``lines`` lines of text above each."""
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
        """Draw small pictures with a text above each."""
        limits = _limits(images)
        grid = self._grid(len(images), columns, title, _lines(titles))
        for axes, image, text in zip(grid, images, titles, strict=True):
            _show(axes, image, limits)
            axes.set_title(text, fontsize=7)

    def _scale(self, shown: Any) -> None:
        """Draw a colour bar for all small pictures."""
        bar = self.figure_.colorbar(shown, ax=self.figure_.axes, aspect=25, pad=0.01, fraction=0.03)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_linewidth(0.5)


class ImagesDisplay(_Display):
    """Grid of images with their labels, to inspect data before training.

    Parameters
    ----------
    images : ndarray (n, h, w, c)
        Images to show.
    titles : sequence of str, default=None
        Text above each image. By default there is none.
    of : int, default=None
        Number of images in the data set, for the title. By default it is the number of images shown.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Axes of the images.
    ax_, figure_ : matplotlib Axes and Figure
        First entry of `axes_`, and the figure.

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
        """Draw a random selection of the images, with equal numbers of each class, sorted by class.

        Parameters
        ----------
        X : array-like (n, h, w, c) or (n, h, w)
            Images.
        y : array-like (n,) or (n, k), default=None
            Classes, labels or targets to show above the images.
        filenames : array-like (n,), default=None
            Paths of the images. Their last parts are shown above the images.
        max_images : int, default=24
            Maximum number of images to show.
        columns : int, default=8
            Number of images per row.
        random_state : int, RandomState or None, default=None
            Source of the random selection. Pass an int for reproducible results.

        Returns
        -------
        ImagesDisplay
            The display, already drawn.

        Raises
        ------
        ValueError
            If X does not have the shape of images, or lengths differ.
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
        """Draw the images.

        Parameters
        ----------
        columns : int, default=8
            Number of images per row.

        Returns
        -------
        ImagesDisplay
            This display.
        """
        self._counts(columns=columns)
        n = len(self.images)
        whole = n if self.of is None else self.of
        titles = [""] * n if self.titles is None else list(self.titles)
        self._pictures(self.images, titles, columns, f"{n} of {whole} images" if n < whole else f"{n} images")
        return self


class HistoryDisplay(_Display):
    """Loss and score of each epoch, on the training and the validation images.

    Parameters
    ----------
    history : dict of str -> list of float
        ``history_`` of an estimator.
    score_name : str, default="score"
        Label of the score's axis.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes of the loss, and the figure.
    score_ax_ : matplotlib Axes or None
        Axes of the score. None if the history has no scores.

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

    def __init__(self, history: dict[str, list[float]], *, score_name: str = "score") -> None:
        self.history = history
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: BaseCNN, *, ax: Any = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor
            Fitted estimator.
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.

        Returns
        -------
        HistoryDisplay
            The display, already drawn.
        """
        check_fitted_network(estimator)
        name = "accuracy" if isinstance(estimator, CNNClassifier) else "$R^2$"
        if estimator.scoring is not None:
            name = estimator.scoring if isinstance(estimator.scoring, str) else "score"
        return cls(estimator.history_, score_name=name).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the history.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.

        Returns
        -------
        HistoryDisplay
            This display.
        """
        own = ax is None
        ax = self._axes(ax, (6.0, 3.6))
        epochs = np.arange(1, len(self.history["loss"]) + 1)
        marker = "o" if len(epochs) == 1 else None  # a line through a single point would be invisible
        ax.set(xlabel="epoch", ylabel="loss")
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        self.score_ax_ = None
        # Colours distinguish training and validation, line styles distinguish loss and score.
        axes = ax
        for measure, style in (("loss", "-"), ("score", "--")):
            for rows, prefix, color in (("training", "", "tab:blue"), ("validation", "val_", "tab:orange")):
                values = np.array(self.history[prefix + measure])
                if np.isnan(values).all():
                    continue
                if measure == "score" and self.score_ax_ is None:
                    self.score_ax_ = axes = ax.twinx()
                    axes.set_ylabel(self.score_name)
                label = f"{rows} {'loss' if measure == 'loss' else self.score_name}"
                axes.plot(epochs, values, color=color, ls=style, marker=marker, label=label)
        lines = [*ax.get_lines(), *([] if self.score_ax_ is None else self.score_ax_.get_lines())]
        names = [line.get_label() for line in lines]
        if own:  # above the axes, because it would cover a curve inside
            self.figure_.legend(lines, names, frameon=False, loc="outside upper center", ncols=2)
        else:
            ax.legend(lines, names)
        return self


class FilterDisplay(_Display):
    """Kernels of a convolution as small pictures.

    Positive numbers are red and negative numbers blue. Kernels on colour images are shown in colour.

    Parameters
    ----------
    kernel : ndarray (kh, kw, c, filters)
        Kernel, as in ``parameters_``.
    layer : str, default=""
        Name of the layer, for the title.
    is_colour : bool, default=False
        Whether the channels are red, green and blue. If false, the mean over the channels is shown.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Axes of the filters.
    ax_, figure_ : matplotlib Axes and Figure
        First entry of `axes_`, and the figure.
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
            Fitted estimator.
        layer : str, default=None
            Name of the convolution. If None, it is the first.

        Returns
        -------
        FilterDisplay
            The display, already drawn.

        Raises
        ------
        ValueError
            If the network has no such convolution.
        """
        check_fitted_network(estimator)
        network = estimator._model.network
        found = [name for name, kind, _ in network.parts if isinstance(kind, (Conv2D, WhiteningConv2D))]
        layer = found[0] if layer is None and found else layer
        if layer not in found:
            known = ", ".join(found) or "none"
            raise ValueError(f"layer={layer!r} is not a convolution of the network. Its convolutions: {known}.")
        kernel = (estimator.parameters_ | estimator.state_)[f"{layer}.kernel"]  # a fixed kernel is in state_
        is_colour = layer == network.names[0] and kernel.shape[2] == 3
        return cls(kernel, layer=layer, is_colour=is_colour).plot()

    def plot(self, *, max_filters: int = 64, columns: int = 8) -> Self:
        """Draw the filters.

        Parameters
        ----------
        max_filters : int, default=64
            Maximum number of filters to show.
        columns : int, default=8
            Number of filters per row.

        Returns
        -------
        FilterDisplay
            This display.
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
    """Activations of a layer for one image.

    Parameters
    ----------
    maps : ndarray (h, w, channels)
        Output of the layer for the image.
    image : ndarray (h, w, c)
        Input image.
    layer : str, default=""
        Name of the layer, for the title.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Axes of the image and of each channel.
    ax_, figure_ : matplotlib Axes and Figure
        First entry of `axes_`, and the figure.
    """

    def __init__(self, maps: Array, image: Array, *, layer: str = "") -> None:
        self.maps = maps
        self.image = image
        self.layer = layer

    @classmethod
    def from_estimator(cls, estimator: BaseCNN, image: Any, layer: str) -> Self:
        """Draw the activations of a layer for one image.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor
            Fitted estimator.
        image : array-like (h, w, c), (h, w) or (features,)
            One image.
        layer : str
            Name of a layer whose output has height and width.

        Returns
        -------
        ActivationDisplay
            The display, already drawn.

        Raises
        ------
        ValueError
            If the network has no such layer, if its output is flat, or if ``image`` is not a single image.
        """
        check_fitted_network(estimator)
        batch = _alone(estimator, image)
        maps = activations(estimator, batch, layer)
        if maps.ndim != 4:
            raise ValueError(f"layer={layer!r} has a flat output of {maps.shape[1]} numbers, without height and width.")
        return cls(maps[0], check_images(estimator, batch, reset=False)[0], layer=layer).plot()

    def plot(self, *, max_channels: int = 32, columns: int = 8) -> Self:
        """Draw the image and the activations.

        Parameters
        ----------
        max_channels : int, default=32
            Maximum number of channels to show.
        columns : int, default=8
            Number of pictures per row.

        Returns
        -------
        ActivationDisplay
            This display.
        """
        self._counts(max_channels=max_channels, columns=columns)
        channels = self.maps.shape[2]
        shown = min(channels, max_channels)
        title = f"Image and activations of {self.layer or 'a layer'}" + _shown_of_all(shown, channels)
        first, *others = self._grid(shown + 1, columns, title)
        _show(first, self.image, _limits(self.image))
        for k, axes in enumerate(others):
            picture = self.maps[..., k]
            style = {"cmap": "viridis", "vmin": self.maps.min(), "vmax": self.maps.max(), "aspect": _aspect(picture)}
            drawn = axes.imshow(picture, **style)
        self._scale(drawn)
        return self


class MisclassifiedDisplay(_Display):
    """Misclassified images, sorted by decreasing confidence.

    Parameters
    ----------
    images : ndarray (n, h, w, c)
        Misclassified images.
    truth, predicted : ndarray (n,)
        True and predicted classes.
    probability : ndarray (n,)
        Predicted probability of the predicted class, or its raw prediction if the loss provides no probabilities.
    filenames : ndarray (n,), default=None
        Paths of the images. Their last parts are shown above the images.
    of : int, default=None
        Number of all predicted images, for the title.
    measure : str, default="p"
        Name of `probability` in the texts above the images.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Axes of the images.
    ax_, figure_ : matplotlib Axes and Figure
        First entry of `axes_`, and the figure.
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
        """Predict images and draw the misclassified images.

        Parameters
        ----------
        estimator : CNNClassifier, or Pipeline that ends with one
            Fitted estimator for classes. Multi-label classification is not supported.
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or input of the pipeline
            Images, or the paths of images for a pipeline that begins with an `ImageReader`.
        y : array-like (n,)
            True classes.
        filenames : array-like (n,), default=None
            Paths of the images. Their last parts are shown above the images. If None, paths in X are used, if any.
        max_images : int, default=24
            Maximum number of images to show.

        Returns
        -------
        MisclassifiedDisplay
            The display, already drawn.

        Raises
        ------
        ValueError
            If all images are classified correctly, or X and y have different lengths.
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
            raise ValueError(f"All {len(y)} images are classified correctly, so there is nothing to show.")
        wrong = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")]
        images = check_images(estimator, X, reset=False)[wrong]
        names = None if filenames is None else np.array([os.fspath(name) for name in filenames])[wrong]
        certainty, measure = p[wrong].max(axis=1), "p" if has_probabilities else "raw"
        found = cls(images, y[wrong], predicted[wrong], certainty, filenames=names, of=len(y), measure=measure)
        return found.plot(max_images=max_images)

    def plot(self, *, max_images: int = 24, columns: int = 8) -> Self:
        """Draw the misclassified images.

        Parameters
        ----------
        max_images : int, default=24
            Maximum number of images to show.
        columns : int, default=8
            Number of images per row.

        Returns
        -------
        MisclassifiedDisplay
            This display.
        """
        self._counts(max_images=max_images, columns=columns)
        shown = min(len(self.images), max_images)
        whole = "" if self.of is None else f" of {self.of}"
        title = f"{len(self.images)}{whole} images misclassified" + (
            f", the {shown} most confident" * (shown < len(self.images))
        )
        told = [
            _with_name(
                _wrapped(f"{self.truth[k]} predicted as {self.predicted[k]}")
                + f"\n{self.measure} = {self.probability[k]:.2f}",
                None if self.filenames is None else self.filenames[k],
            )
            for k in range(shown)
        ]
        self._pictures(self.images[:shown], told, columns, title)
        return self


class ClassActivationDisplay(_Display):
    """Class activation map: the regions of an image that support a class.

    The map is the sum of the last channels, weighted by the kernel of the output layer. The last hidden layer must be
    ``GlobalAvgPool2D``. B. Zhou et al., "Learning deep features for discriminative localization", CVPR 2016.

    Parameters
    ----------
    evidence : ndarray (h, w)
        Map of a class. Its mean plus the bias of the output layer is the raw prediction.
    image : ndarray (h, w, c)
        Input image.
    label : object, default=""
        Class, for the title.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes of the map, and the figure.
    """

    def __init__(self, evidence: Array, image: Array, *, label: Any = "") -> None:
        self.evidence = evidence
        self.image = image
        self.label = label

    @classmethod
    def from_estimator(cls, estimator: CNNClassifier, image: Any, *, label: Any = None, ax: Any = None) -> Self:
        """Draw the class activation map of one image.

        Parameters
        ----------
        estimator : CNNClassifier
            Fitted estimator with ``GlobalAvgPool2D`` as the last hidden layer.
        image : array-like (h, w, c), (h, w) or (features,)
            One image.
        label : object, default=None
            Entry of ``classes_``. If None, it is the class with the largest raw prediction.
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.

        Returns
        -------
        ClassActivationDisplay
            The display, already drawn.

        Raises
        ------
        ValueError
            If the last hidden layer is not ``GlobalAvgPool2D``, if the class is unknown, or if ``image`` is not a
            single image.
        """
        check_fitted_network(estimator, CNNClassifier)
        network = estimator._model.network
        if len(network.hidden) < 2 or not isinstance(network.hidden[-1], GlobalAvgPool2D):
            raise ValueError("A class activation map requires GlobalAvgPool2D() as the last hidden layer.")
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
        """Draw the map over the image.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.

        Returns
        -------
        ClassActivationDisplay
            This display.
        """
        ax = self._axes(ax, (3.4, 3.2))
        grey = self.image.mean(axis=2)
        low, high = _limits(grey)
        # The image is faded and grey, because the colours of the map would be invisible on black.
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
    """Saliency maps: absolute gradients of predictions with respect to each pixel.

    Parameters
    ----------
    saliency : ndarray (n, h, w)
        Maps. Each number is the largest absolute value of the gradient over the channels of a pixel.
    images : ndarray (n, h, w, c)
        Images of the maps.
    titles : sequence of str, default=None
        Text above each image. By default there is none.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Two axes for each image, first for the image, then for its map.
    ax_, figure_ : matplotlib Axes and Figure
        First entry of `axes_`, and the figure.

    See Also
    --------
    skcnn.saliency.input_gradient : Computes the signed gradient.

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
        """Compute and draw the saliency maps of a few images.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor
            Fitted estimator.
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        target : object or array-like (n,), default=None
            Class, label or index of the output whose raw prediction is differentiated, as in `input_gradient`. If None,
            it is the predicted class or likeliest label of each image, or the only output of a regressor.
        n_samples : int, default=1
            Number of noisy copies of each image. With 2 or more, maps use the mean gradient of the copies (SmoothGrad),
            and are less grainy. With the default, no noise is added.
        noise : float, default=0.1
            Standard deviation of the noise, relative to the range of the image. It is used only if `n_samples` is 2 or
            more.
        random_state : int, RandomState or None, default=None
            Source of the noise. Pass an int for reproducible results.
        columns : int, default=8
            Number of images per row.

        Returns
        -------
        SaliencyDisplay
            The display, already drawn.
        """
        check_fitted_network(estimator)
        images = check_images(estimator, X, reset=False)
        target = default_target(estimator, images) if target is None else target
        gradient = input_gradient(estimator, X, target, n_samples=n_samples, noise=noise, random_state=random_state)
        labels = np.broadcast_to(np.asarray(target), len(images))
        titles = [str(label) for label in labels] if isinstance(estimator, CNNClassifier) else None
        return cls(np.abs(gradient).max(axis=3), images, titles=titles).plot(columns=columns)

    def plot(self, *, columns: int = 8) -> Self:
        """Draw the images and their maps.

        Parameters
        ----------
        columns : int, default=8
            Number of images per row.

        Returns
        -------
        SaliencyDisplay
            This display.
        """
        self._counts(columns=columns)
        n = len(self.images)
        bands = math.ceil(n / columns)
        columns = math.ceil(n / bands)
        titles = [""] * n if self.titles is None else [_wrapped(title) for title in self.titles]
        title = "Saliency: pixels that influence the prediction"
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
    """Return ``count`` random positions among ``n`` images, sorted by class, with classes as equal as possible."""
    order = random_state.permutation(n)
    if labels is None or labels.ndim > 1:
        return np.sort(order[:count])
    kinds = np.unique(labels, return_inverse=True)[1][order]
    place = np.empty(n, int)  # rank of each image within its class
    for kind in range(kinds.max() + 1):
        place[kinds == kind] = np.arange(np.sum(kinds == kind))
    first = np.argsort(place, kind="stable")[:count]
    return order[first[np.argsort(kinds[first], kind="stable")]]


def _alone(estimator: BaseCNN, image: Any) -> Any:
    """Return one image as a batch; raise a ValueError for anything else."""
    batch = image.to_frame().T if hasattr(image, "to_frame") else np.asarray(image)[None]  # a row of a DataFrame
    h, w, c = estimator.input_shape_
    forms = [(h, w, c), *([(h, w)] if c == 1 else []), (h * w * c,)]
    if batch.shape[1:] not in forms:
        wanted = " or ".join(map(str, forms))
        raise ValueError(
            f"image has shape {batch.shape[1:]}. Expected one image, {wanted}, for example X[0] of a batch X."
        )
    return batch


def _limits(images: Array) -> tuple[float, float]:
    """Return the numbers that are shown as black and as white in all of the images."""
    return float(images.min()), float(images.max())


def _show(axes: Any, image: Array, limits: tuple[float, float]) -> None:
    """Draw an image (h, w, c): in colour for three channels or four with transparency, otherwise channel 0 in grey."""
    low, high = limits
    if image.shape[2] in (3, 4):
        colours = image[..., :3]
        if image.dtype != np.uint8:
            colours = (colours - low) / ((high - low) or 1.0)
        axes.imshow(colours, aspect=_aspect(image))
    else:
        axes.imshow(image[..., 0], cmap="gray", vmin=low, vmax=high, aspect=_aspect(image))


def _with_name(text: str, filename: object) -> str:
    """Append the last part of a path to a text, on a separate line."""
    return text if filename is None else f"{text}\n{_wrapped(os.path.basename(str(filename)))}"


def _aspect(picture: Array) -> str:
    """Return the aspect of an image: square pixels, except for signals, which would be too flat to see."""
    h, w = picture.shape[:2]
    return "auto" if max(h, w) > 8 * min(h, w) else "equal"


def _shown_of_all(shown: int, whole: int) -> str:
    """Return ", 5 of 8" if not all are shown."""
    return f", {shown} of {whole}" if shown < whole else ""


def _wrapped(text: str) -> str:
    """Wrap a text to the width of a small picture."""
    return fill(text, CHARACTERS)


def _lines(texts: Sequence[str]) -> int:
    """Return the largest number of lines of the texts."""
    return max(text.count("\n") + 1 for text in texts) if any(texts) else 0
