"""Convolution that whitens the patches of images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._arrays.elementwise import Array, reshape
from .._arrays.geometry import Borders, Windows, pair, windows
from .._tape.convolution import choose, record_convolution
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import description, is_real
from .base import Backward, Shape, ShapeError, unread
from .bias import Bias
from .conv import Convolution


@description
class WhiteningConv2D(Convolution):
    """Convolution whose fixed kernel whitens patches of images.  x (n, h, w, c) -> y (n, h', w', 2 kh kw c).

    Before the first step of ``fit``, the kernel is computed from patches of kh x kw pixels of at most 5,000 training
    images. The output channels are the principal components of a patch, scaled to a mean square of about 1, followed by
    their negatives. The kernel is not trained. Use the layer as the first layer, before an activation.

    Parameters
    ----------
    kernel_size : int or (int, int), default=3
        Height kh and width kw of a patch, in pixels. One number stands for both.
    strides : int or (int, int), default=1
        Distance between neighbouring windows along height and width, in pixels.
    padding : {"same", "valid"}, int or (int, int), default="same"
        Zeros around each image, in the same format as in `Conv2D`.
    dilation : int or (int, int), default=1
        Distance between neighbouring elements of the window, in pixels. The default leaves no gaps.
    epsilon : float, default=5e-4
        Number added to the mean square of each principal component, above 0. It limits the factor of components that
        hardly vary, such as noise. It is relative to standardized pixels, whose mean square is 1.
    use_bias : bool, default=True
        Whether to add a learnable number to each output channel.

    Raises
    ------
    ShapeError
        If the window is larger than the image. Raised in ``fit``.

    Notes
    -----
    Let C be the mean of p p^T over all patches p (kh kw c,) inside the images, and C = V diag(e) V^T its
    eigendecomposition, with eigenvalues e in descending order. Then

        W = V diag(1 / sqrt(e + epsilon)),   kernel = [W, -W],   y = [W, -W]^T p + bias.

    The means of the products of two of the first kh kw c channels are W^T C W, which is the identity matrix for small
    epsilon. The patches are not centred, because the estimators standardize images. The sign of each eigenvector is
    chosen so that its largest component is positive. In the backward pass, dbias is the sum of dy, and dx is the same
    as in `Conv2D`.

    The parameters are ``kernel`` (kh, kw, c, 2 kh kw c), which is part of the state of the network, such as running
    statistics, and ``bias`` (2 kh kw c,). Images are read without augmentation, and sample weights have no effect,
    except that rows of weight 0 are excluded. If there are more than 5,000 images, ``random_state`` selects the sample.
    In `partial_fit`, the first call computes the kernel. With a pretrained network that has the layer, the kernel is
    copied. Later in a network, the patches are outputs of the earlier layers with their initial weights.

    A fixed first layer of this kind accelerates the training on small photos: K. Jordan, "94% on CIFAR-10 in 3.29
    seconds on a single GPU", arXiv:2404.00498, section 3.2, with ``WhiteningConv2D(2, padding="valid")``. The scaled
    principal components of data are described in A. Hyvärinen and E. Oja, "Independent component analysis: algorithms
    and applications", Neural Networks 13, 2000, section 5.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn import CNNClassifier
    >>> from skcnn.layers import Flatten, ReLU, WhiteningConv2D
    >>> X, y = np.random.default_rng(0).normal(size=(50, 8, 8)), np.arange(50) % 2
    >>> layers = [WhiteningConv2D(2, padding="valid"), ReLU(), Flatten()]
    >>> classifier = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(X, y)
    >>> classifier.state_["whiteningconv1.kernel"].shape
    (2, 2, 1, 8)
    """

    kernel_size: int | tuple[int, int] = 3
    strides: int | tuple[int, int] = 1
    padding: str | int | tuple[int, int] = "same"
    dilation: int | tuple[int, int] = 1
    epsilon: float = 5e-4
    use_bias: bool = True

    stem = "whiteningconv"

    def check(self) -> None:
        super().check()
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), "a number above 0")

    def output_shape(self, shape: Shape) -> Shape:
        size = self.size(shape)
        if min(self._inside(shape).out) < 1:
            raise ShapeError("its window is larger than the image, so there are no patches; use a smaller kernel_size")
        return (*size, self._filters(shape))

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        filters = self._filters(shape)
        kernel = Parameter((*pair(self.kernel_size), shape[2], filters), trainable=False)
        return {"kernel": kernel} | (Bias().parameters((filters,)) if self.use_bias else {})

    def adapt(self, shape: Shape, batches: Iterator[Array]) -> dict[str, Array]:
        inside, components = self._inside(shape), self._filters(shape) // 2
        total, count = np.zeros((components, components)), 0
        for x in batches:
            taps = [x[:, inside.rows.padded(i), inside.columns.padded(j)] for i, j in inside.offsets()]
            patches = np.stack(taps, axis=3, dtype=np.float64).reshape(-1, components)
            total += patches.T @ patches
            count += len(patches)
        squares, vectors = np.linalg.eigh(total / count)
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0, keepdims=True), axis=0)
        vectors *= np.sign(largest) / np.sqrt(np.maximum(squares, 0) + self.epsilon)
        first = vectors[:, ::-1]  # the eigenvalues are in ascending order
        kernel = np.concatenate([first, -first], axis=1)
        return {"kernel": kernel.reshape(*pair(self.kernel_size), shape[2], -1)}

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        return choose(tape, self.geometry(shape), rows, shape[2], self._filters(shape), 1, False).borders

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        h, w, _, c = x.shape
        y, through, reads_x = record_convolution(tape, x, p.kernel, self.geometry((h, w, c)), 1, False)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            if not needs_dx:
                return None
            unused = reshape(tape.scratch((p.kernel.size,)), p.kernel.shape)
            return through(dy, unused, True)

        return y, unread(backward, y) if reads_x else unread(backward, x, y)

    def _filters(self, shape: Shape) -> int:
        kh, kw = pair(self.kernel_size)
        return 2 * kh * kw * shape[2]

    def _inside(self, shape: Shape) -> Windows:
        """Return the windows that are completely inside an image."""
        return windows(shape, pair(self.kernel_size), (1, 1), "valid", pair(self.dilation))
