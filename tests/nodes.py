"""The cases of single nodes that the onnx package has, with one image as the input that is no constant."""

import warnings
from copy import deepcopy

import numpy as np


def image_cases():
    """(name, bytes of a model, images (n, c, h, w), expected output) of each case whose first input is an image."""
    from onnx import TensorProto, helper, numpy_helper
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they divide by zero where that is the case
        cases = collect_testcases(None)
    for case in cases:
        if not case.model.graph.node or not case.data_sets:
            continue
        inputs, outputs = case.data_sets[0]
        arrays = [*inputs, outputs[0]]
        if not all(isinstance(array, np.ndarray) for array in arrays) or not inputs or inputs[0].ndim != 4:
            continue
        if inputs[0].dtype != np.float32:
            continue
        model, y = deepcopy(case.model), outputs[0]
        graph = model.graph
        for value, array in list(zip(graph.input, inputs, strict=False))[1:]:
            graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
        del graph.input[1:]
        name, shape = graph.output[0].name, list(y.shape)
        if y.ndim > 2:  # networks of this package end flat
            graph.node.append(helper.make_node("Flatten", [name], ["flat"], axis=1))
            name, shape = "flat", [len(y), y.size // max(len(y), 1)]
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        yield case.name, model.SerializeToString(), inputs[0], y
