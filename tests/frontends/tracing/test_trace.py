"""What a trace holds: names, lines, state, updates; and what Python cannot be traced."""

import functools
import os

import numpy as np
import pytest
from traced import normal, run_traced

import graphc
import graphc.functional as F
from graphc import nn
from graphc.errors import ArgumentError, ShapeError, TraceError
from graphc.frontends.tracing import trace_program
from graphc.frontends.tracing.source import is_users

S = graphc.Spec((2, 3))


def line_of(function, offset=0):
    return f"test_trace.py:{function.__code__.co_firstlineno + offset}"


def test_inputs_are_named_after_the_parameters():
    def f(x, pair, *rest):
        return x + pair["a"] + rest[1]

    graph = graphc.trace(f, S, {"b": S, "a": (S,)[0]}, S, S)
    assert [value.name for value in graph.inputs] == ["x", "pair.a", "pair.b", "rest.0", "rest.1"]
    assert graph.name == "f"
    assert graphc.trace(lambda x: x, S).name == "lambda"
    assert graphc.trace(functools.partial(f, 1, {"a": 1}), S, S).inputs[1].name == "rest.1"


def test_arrays_and_nested_results():
    traced = trace_program(lambda x: {"y": (x, 2)}, [np.zeros((2, 3), np.float32)])
    assert str(traced.output_tree) == "{'y': (*, *)}"
    assert [str(value.type) for value in traced.graph.outputs] == ["f32[2,3]", "i64[]"]


def test_each_node_has_its_own_line():
    def f(x):
        y = x + 1
        return F.exp(y)

    first, second = [n.source for n in graphc.trace(f, S).nodes if n.op in ("add", "exp")]
    assert first == (line_of(f, 1),)
    assert second == (line_of(f, 2),)


def test_a_helper_in_another_function_has_the_helpers_line():
    def helper(x):
        return x * 2

    nodes = graphc.trace(lambda x: helper(x), S).nodes
    assert next(n.source for n in nodes if n.op == "mul") == (line_of(helper, 1),)


def test_the_same_model_gives_the_same_graph_wherever_it_is_traced():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    first = graphc.trace(model, S)
    assert first == graphc.trace(model, S)
    assert first.nodes[0].source == (
        line_of(test_the_same_model_gives_the_same_graph_wherever_it_is_traced, 1),
    )


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 1, bias=False)

    def forward(self, x):
        return self.head(self.norm(x))


def test_state_and_updates_follow_the_model_and_its_mode():
    model = Normalised()
    graph = graphc.trace(model, S)
    statistics = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    names = ["norm.weight", "norm.bias", *statistics, "head.weight"]
    assert [value.name for value in graph.state] == names
    assert [name for name, _ in graph.updates] == statistics
    graph = graphc.trace(model.eval(), S)
    assert [value.name for value in graph.state] == [
        name for name in names if "tracked" not in name
    ]
    assert graph.updates == ()


def test_the_models_of_a_function_are_found_when_called():
    body, head = nn.Sequential(nn.Linear(3, 4)), nn.Identity()
    graph = graphc.trace(lambda x: head(body(x)), S)
    assert [value.name for value in graph.state] == ["0.weight", "0.bias"]
    model = Normalised()
    graph = graphc.trace(lambda x: model.head(x), S)
    assert [value.name for value in graph.state] == ["head.weight"]
    graph = graphc.trace(lambda x: x @ model.head.weight.T, S)
    assert [value.name for value in graph.state] == ["head.weight"]


def test_a_further_model_whose_names_are_taken_gets_its_own_before_them():
    layers = [nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)]
    graph = graphc.trace(lambda x: layers[2](layers[1](layers[0](x))), S)
    assert [value.name for value in graph.state] == [
        "weight",
        "bias",
        "Linear.weight",
        "Linear.bias",
        "Linear_2.weight",
        "Linear_2.bias",
    ]


def test_an_input_that_is_called_like_a_state_tensor_is_renamed():
    layer = nn.Linear(3, 3)
    graph = graphc.trace(lambda weight: layer(weight), S)
    assert graph.inputs[0].name == "weight_"
    assert [value.name for value in graph.state] == ["weight", "bias"]


def test_randomness_reads_the_key_and_numbers_its_calls():
    graph = graphc.trace(lambda x: F.dropout(F.dropout(x)) + F.random.normal(size=(3,)), S)
    assert [(value.name, str(value.type)) for value in graph.state] == [("key", "u32[2]")]
    streams = [n.attrs["stream"] for n in graph.nodes if n.op.startswith("random")]
    assert streams == [0, 1, 2]


def test_random_numbers():
    uniform = run_traced(lambda: F.random.uniform(-1, 3, (2000,)))
    assert uniform.dtype == np.float32
    assert -1 <= uniform.min() < -0.9 and 2.9 < uniform.max() < 3
    normals = run_traced(lambda: F.random.normal(5, 2, (4000,), "float64"))
    assert normals.dtype == np.float64
    assert abs(normals.mean() - 5) < 0.2 and abs(normals.std() - 2) < 0.1
    assert abs(run_traced(lambda: F.random.bernoulli(0.3, (2000,))).mean() - 0.3) < 0.05
    chances = np.float32([0, 1])
    assert run_traced(lambda p: F.random.bernoulli(p), chances).tolist() == [False, True]


def test_dropout_scales_what_it_keeps():
    ones = np.ones(4000, np.float32)
    found = run_traced(lambda x: F.dropout(x, 0.25), ones)
    assert set(np.unique(found)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((found == 0).mean() - 0.25) < 0.03
    channels = run_traced(lambda x: F.dropout2d(x), np.ones((8, 8, 2, 2), np.float32))
    assert all(len(np.unique(channel)) == 1 for channel in channels.reshape(64, 4))
    assert np.array_equal(run_traced(lambda x: F.dropout(x, training=False), ones), ones)
    assert not run_traced(lambda x: F.dropout(x, 1.0), ones).any()


UNTRACEABLE = {
    "if": (lambda x: 1 if x.sum() > 0 else 2, "F.where, or F.cond"),
    "and": (lambda x: (x > 0) and (x < 1), "F.where"),
    "while": (lambda x: [x for _ in iter(lambda: x.sum() > 0, False)], "F.cond"),
    "int": (lambda x: int(x[0, 0]), "F.astype"),
    "float": (lambda x: float(x[0, 0]), "F.astype"),
    "range": (lambda x: list(range(x[0, 0].astype("int64"))), "F.scan to loop"),
    "loop": (lambda x: list(x[0, 0]), "F.scan"),
    "array": (lambda x: np.asarray(x), "graphc.functional"),
    "numpy sum": (lambda x: np.sum(x), "F.sum"),
    "numpy fft": (lambda x: np.fft.fft(x), "graphc.functional"),
    "item": (lambda x: x.sum().item(), "Python number"),
    "in": (lambda x: 3.0 in x, "F.any"),
    "store": (lambda x: x.__setitem__(0, 1), "F.dynamic_update_slice"),
    "list": (lambda x: F.exp([x, x]), "F.stack"),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_python_that_needs_the_elements_says_what_to_use_instead(name):
    function, instead = UNTRACEABLE[name]
    with pytest.raises((TraceError, ArgumentError), match=instead) as raised:
        graphc.trace(function, S)
    assert line_of(function) in str(raised.value)


def test_shape_errors_name_shapes_and_the_users_line():
    def f(x):
        y = x + 1
        return F.conv2d(y, F.ones((4, 1, 3, 3)))

    with pytest.raises(ShapeError) as raised:
        graphc.trace(f, graphc.Spec((8, 3, 9, 9)))
    expected = f"conv2d: input has 3 channels, weight expects 1 ({line_of(f, 2)})"
    assert str(raised.value) == expected


def test_a_layers_error_names_the_line_in_forward():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(ShapeError, match="linear: input") as raised:
        graphc.trace(Net(), S)
    assert f"({line_of(Net.forward, 1)})" in str(raised.value)


def test_a_value_that_outlives_its_trace_is_an_error():
    kept = []
    graphc.trace(lambda x: kept.append(x + 1) or x, S)
    with pytest.raises(TraceError, match="outside the function that was traced"):
        F.exp(kept[0])
    with pytest.raises(TraceError, match="outside the function that was traced"):
        graphc.trace(lambda x: x + kept[0], S)


def test_specs():
    assert repr(graphc.Spec((2, 3))) == "Spec(f32[2,3])"
    assert graphc.Spec(3, "int32").shape == (3,)
    with pytest.raises(ArgumentError, match="whole numbers"):
        graphc.Spec((2, -1))
    with pytest.raises(ArgumentError, match=r"expected graphc\.Spec"):
        graphc.trace(lambda x: x, "f32[2]")


def test_functions_on_arrays_compute_at_once_and_give_arrays():
    x = normal(3)
    found = F.relu(x)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, np.maximum(x, 0))
    first, second = F.split(F.concatenate([x, x]), 2)
    assert isinstance(first, np.ndarray) and np.array_equal(first, second)
    with pytest.raises(ShapeError, match=r"\(test_trace.py:\d+\)"):
        F.matmul(x, F.ones(4))


def test_a_module_on_arrays_sees_their_elements():
    class Branching(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else float(x[0]) + x

    model = Branching()
    assert model(np.float32([1, 2])).tolist() == [2, 4]
    assert model(np.float32([-1, -2])).tolist() == [-2, -3]


def test_ready_models_count_as_a_users_files():
    package = os.path.dirname(graphc.__file__)
    assert is_users(os.path.join(package, "models", "mlp.py"))
    assert not is_users(os.path.join(package, "frontends", "nn", "linear.py"))
    assert not is_users(os.path.realpath(os.path.join(package, "frontends", "nn", "linear.py")))
    assert is_users(__file__)
