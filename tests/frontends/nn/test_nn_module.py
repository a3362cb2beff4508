"""Modules: registers, names, state dicts, modes, freezing, text."""

import copy

import numpy as np
import pytest
from traced import normal

from graphc import nn
from graphc.errors import ArgumentError, StateError, TraceError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter((4, 1, 1), nn.init.ones)
        self.register_buffer("step", np.int64(0))
        self.register_buffer("scratch", np.zeros(2, np.float32), persistent=False)

    def forward(self, x):
        self.step = self.step + 1
        return self.norm(self.conv(x)) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))

    def forward(self, x):
        return self.head(self.blocks[0](x))


BLOCK = [
    "scale", "step", "conv.weight", "norm.weight", "norm.bias", "norm.running_mean",
    "norm.running_var", "norm.num_batches_tracked",
]  # fmt: skip
NAMES = [f"blocks.{i}.{name}" for i in (0, 1) for name in BLOCK] + ["head.1.weight", "head.1.bias"]


def test_names_as_torch_has_them():
    net = Net()
    assert list(net.state_dict()) == NAMES
    buffers = [name for name, _ in net.named_buffers()]
    assert "blocks.0.scratch" in buffers and "blocks.0.step" in buffers
    parameters = [name for name, _ in net.named_parameters()]
    assert parameters == [name for name in NAMES if name not in buffers]
    modules = [name for name, _ in net.named_modules()]
    assert modules[:4] == ["", "blocks", "blocks.0", "blocks.0.conv"]
    assert isinstance(net.get_submodule("blocks.1.norm"), nn.BatchNorm2d)
    assert net.get_parameter("head.1.bias").shape == (2,)
    with pytest.raises(ArgumentError, match=r"no parameter 'head\.bias'"):
        net.get_parameter("head.bias")


def test_state_dict_round_trip_and_copies():
    first, second = Net(), Net()
    state = first.state_dict()
    state["head.1.bias"][:] = 5
    assert not (first.state_dict()["head.1.bias"] == 5).any()
    result = second.load_state_dict(state)
    assert result.missing_keys == [] and result.unexpected_keys == []
    for name, elements in second.state_dict().items():
        np.testing.assert_array_equal(elements, state[name])


def test_load_state_dict_lists_every_fault_and_changes_nothing():
    net = Net()
    before = net.state_dict()
    state = dict(before)
    del state["head.1.bias"], state["blocks.0.scale"]
    state["extra"] = np.zeros(1)
    with pytest.raises(StateError) as raised:
        net.load_state_dict(state)
    assert "missing: blocks.0.scale, head.1.bias; unexpected: extra" in str(raised.value)
    state = dict(before) | {"head.1.bias": np.zeros(3), "blocks.0.step": np.float32(1.5)}
    state["blocks.0.scale"] = np.full((4, 1, 1), 9.0)
    with pytest.raises(StateError) as raised:
        net.load_state_dict(state)
    assert "head.1.bias is float64[3], expected f32[2]" in str(raised.value)
    assert "blocks.0.step is float32[], expected i64[]" in str(raised.value)
    assert (net.state_dict()["blocks.0.scale"] == 1).all()


def test_load_state_dict_that_is_not_strict():
    net = Net()
    result = net.load_state_dict({"head.1.bias": [1, 2], "extra": 0}, strict=False)
    assert result.unexpected_keys == ["extra"]
    assert result.missing_keys == [name for name in NAMES if name != "head.1.bias"]
    assert net.state_dict()["head.1.bias"].tolist() == [1, 2]


def test_values_depend_on_seed_and_full_name_only():
    first, second = Net(), Net()
    first.make_state(seed=7)
    for name, parameter in reversed(list(second.named_parameters())):
        parameter.make(7, name)
    for name, elements in first.state_dict().items():
        np.testing.assert_array_equal(elements, second.state_dict()[name])
    other = Net()
    other.make_state(seed=8)
    weight = "head.1.weight"
    assert not np.array_equal(other.state_dict()[weight], first.state_dict()[weight])
    state = first.state_dict()
    assert not np.array_equal(state["blocks.0.conv.weight"], state["blocks.1.conv.weight"])


def test_programs_share_the_arrays():
    net = Net()
    state = net.make_state(seed=3)
    assert state.array("key").tolist() == [3, 0]
    state.array("head.1.bias")[:] = 4
    assert (net.state_dict()["head.1.bias"] == 4).all()
    assert net.make_state()["head.1.bias"] is state["head.1.bias"]


def test_shared_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 3)
            self.out = nn.Linear(3, 7, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, x):
            return self.out(self.embed(x))

    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["embed.weight"]
    assert list(model.state_dict()) == ["embed.weight", "out.weight"]
    table = model.state_dict()["embed.weight"]
    np.testing.assert_allclose(model(np.array([2])), table[[2]] @ table.T, rtol=1e-5)


def test_modes_and_freezing():
    net = Net()
    assert net.training and net.blocks[0].norm.training
    assert not net.eval().blocks[1].norm.training
    net.freeze("blocks.0.*", "*.bias")
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in net.named_parameters()
                      if name.startswith("blocks.0") or name.endswith("bias")}  # fmt: skip
    net.unfreeze()
    assert all(p.requires_grad for p in net.parameters())
    with pytest.raises(ArgumentError, match=r"no parameter matches 'block\.\*'"):
        net.freeze("block.*")


def test_to_converts_floats_only():
    net = Net()
    net.make_state()
    net.to("float64")
    dtypes = {name: elements.dtype.name for name, elements in net.state_dict().items()}
    assert dtypes["head.1.weight"] == "float64"
    assert dtypes["blocks.0.norm.running_mean"] == "float64"
    assert dtypes["blocks.0.step"] == "int64"
    assert net.head[1](normal(2, 16, dtype=np.float64)).dtype == np.float64


def test_apply_visits_children_first():
    seen = []
    nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh())).apply(
        lambda m: seen.append(type(m).__name__)
    )
    assert seen == ["ReLU", "Tanh", "Sequential", "Sequential"]


def test_text_as_torch_prints_it():
    assert repr(Net()) == (
        "Net(\n"
        "  (blocks): ModuleList(\n"
        "    (0-1): 2 x Block(\n"
        "      (conv): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
        "bias=False)\n"
        "      (norm): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, "
        "track_running_stats=True)\n"
        "    )\n"
        "  )\n"
        "  (head): Sequential(\n"
        "    (0): Flatten(start_dim=1, end_dim=-1)\n"
        "    (1): Linear(in_features=16, out_features=2, bias=True)\n"
        "  )\n"
        ")"
    )


def test_assigning():
    layer = nn.Linear(2, 2)
    layer.weight = np.eye(2)
    assert layer.state_dict()["weight"].tolist() == [[1, 0], [0, 1]]
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    layer.weight = nn.Parameter(np.float32([[2, 0], [0, 2]]))
    assert layer(np.float32([1, 3])).tolist() == [2, 6]
    with pytest.raises(StateError, match=r"\[3\]"):
        layer.weight = np.zeros(3)
    with pytest.raises(ArgumentError, match="is a module"):
        net = Net()
        net.head = 3
    del layer.weight
    with pytest.raises(AttributeError, match="Linear has no attribute 'weight'"):
        _ = layer.weight


def test_buffers_are_assigned_outside_and_inside():
    block = Block()
    block.step = 41
    block(normal(2, 3, 2, 2))
    assert block.step == 42
    with pytest.raises(ValueError, match="read-only"):
        block.step[...] = 0

    class Wrong(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.register_buffer("total", np.zeros(3, np.float32))
            self.weight = nn.Parameter((3,), nn.init.ones)
            self.value = value

        def forward(self, x):
            if self.value == "parameter":
                self.weight = x
            self.total = x
            return x

    with pytest.raises(TraceError, match=r"buffer total is f32\[3\].*\(test_nn_module.py:"):
        Wrong("buffer")(normal(2))
    with pytest.raises(TraceError, match=r"only the optimizer.*\(test_nn_module.py:"):
        Wrong("parameter")(normal(3))


def test_layers_work_without_calling_the_base_constructor():
    class Lazy(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 3)

        def forward(self, x):
            return self.layer(x)

    assert Lazy()(normal(4, 2)).shape == (4, 3)
    with pytest.raises(ArgumentError, match="no forward"):
        nn.Module()(1)


def test_copies_have_arrays_and_names_of_their_own():
    net = Net()
    net.make_state(seed=1)
    twin = copy.deepcopy(net)
    twin.head[1].weight.data[:] = 0
    assert net.state_dict()["head.1.weight"].any()
    assert twin.head[1].root() is twin


def test_parameters():
    parameter = nn.Parameter((2, 3), nn.init.zeros, "float64")
    assert (parameter.shape, parameter.ndim, parameter.size) == ((2, 3), 2, 6)
    assert repr(parameter) == "Parameter(f64[2,3])"
    with pytest.raises(StateError, match="not made yet"):
        np.asarray(parameter)
    with pytest.raises(ArgumentError, match="needs an initializer"):
        nn.Parameter((2, 3))
    custom = nn.Parameter((3,), lambda shape, random: np.arange(3))
    assert custom.make(0, "x").array.tolist() == [0, 1, 2]


def test_containers():
    named = nn.Sequential({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    assert list(named.state_dict()) == ["a.weight", "a.bias"]
    assert len(named.append(nn.Identity())) == 3 and isinstance(named[-1], nn.Identity)
    assert [type(m).__name__ for m in named[:2]] == ["Linear", "ReLU"]
    layers = nn.ModuleList([nn.ReLU()])
    layers.insert(0, nn.Linear(2, 2))
    layers[1] = nn.Tanh()
    assert [type(m).__name__ for m in layers] == ["Linear", "Tanh"]
    table = nn.ModuleDict({"x": nn.ReLU()})
    table["y"] = nn.Linear(2, 2)
    assert list(table) == ["x", "y"] and "y" in table
    assert list(table.state_dict()) == ["y.weight", "y.bias"]
    with pytest.raises(ArgumentError, match="no module 'z'"):
        table["z"]
    with pytest.raises(ArgumentError, match="no module; expected"):
        nn.Sequential(3)

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ParameterList([nn.Parameter(np.float32(i)) for i in (1, 2)])

        def forward(self, x):
            return x + sum(self.parts) + self.parts[1]

    assert Sum()(np.float32([1])).tolist() == [6]
    assert list(Sum().state_dict()) == ["parts.0", "parts.1"]
