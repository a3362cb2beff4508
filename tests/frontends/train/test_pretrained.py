"""Weights of others: by name, with a report; files that torch wrote; adapters in small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import checkpoint, nn, optim
from graphc.errors import ArgumentError, CheckpointError, StateError

HERE = Path(__file__).parent
Array = np.ndarray[Any, Any]


class Encoder(nn.Module):
    """The network of bench/pretrained_reference.py."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.conv(x)))
        x = F.transpose(x.reshape((*x.shape[:2], -1)), (0, 2, 1))
        return self.head(self.encoder(x).mean(axis=1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight


def trained(model: nn.Module) -> nn.Module:
    model.make_state(seed=5)
    return model


@pytest.mark.parametrize("file, tolerance", [("torch_encoder", 1e-6), ("torch_encoder_bf16", 0.03)])
def test_a_file_of_torch_loads_as_it_is(file: str, tolerance: float) -> None:
    model = Encoder().eval()
    report = checkpoint.load_into(model, HERE / f"{file}.safetensors", strict=True)
    assert set(report.loaded) == set(model.state_dict())
    assert not (report.missing or report.unexpected or report.misshapen or report.skipped)
    assert str(report).endswith(f"{len(report.loaded)} tensors loaded")
    with np.load(HERE / "torch_encoder.npz") as reference:
        found, expected = model(reference["x"]), reference["y"]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_the_report_says_what_was_not_loaded(tmp_path: Path) -> None:
    source = trained(Encoder(classes=7)).state_dict()
    del source["conv.bias"]
    source["position"] = np.zeros((4, 8), np.float32)
    checkpoint.save(tmp_path / "trunk.safetensors", source)
    model = trained(Encoder())
    before = model.state_dict()
    report = checkpoint.load_into(model, tmp_path / "trunk.safetensors", skip=["norm.*"])
    assert report.missing == ("conv.bias",)
    assert report.unexpected == ("position",)
    assert report.misshapen == ("head.weight", "head.bias")
    assert "norm.weight" in report.skipped and "norm.running_mean" in report.skipped
    kept = {*report.missing, *report.misshapen, *report.skipped}
    for name, elements in model.state_dict().items():
        np.testing.assert_array_equal(elements, (before if name in kept else source)[name])
    lines = str(report).splitlines()
    assert "1 missing, 1 unexpected, 2 of another shape, 5 skipped" in lines[0]
    assert ["shape", "head.weight", "float32[7,", "8]", "f32[3,8]"] in [x.split() for x in lines]
    with pytest.raises(StateError, match="of another shape"):
        checkpoint.load_into(model, tmp_path / "trunk.safetensors", strict=True)


def test_prefixes_and_functions_rename(tmp_path: Path) -> None:
    path = tmp_path / "named.safetensors"
    source = trained(Encoder()).state_dict()
    checkpoint.save(path, {f"module.trunk.{name}": x for name, x in source.items()})
    model = Encoder()
    rename = {"module.": "wrong.", "module.trunk.": "", "module.trunk.head.": "old."}
    report = checkpoint.load_into(model, path, rename)
    assert set(report.unexpected) == {"old.weight", "old.bias"}
    assert report.missing == ("head.weight", "head.bias")
    other = Encoder()
    rule = lambda name: None if "head" in name else name.removeprefix("module.trunk.")  # noqa: E731  # a rule as users write it
    report = checkpoint.load_into(other, path, rule)
    assert report.unexpected == () and len(report.loaded) == len(source) - 2
    np.testing.assert_array_equal(other.state_dict()["conv.weight"], source["conv.weight"])


def test_two_tensors_under_one_name_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    checkpoint.save(path, {f"{part}.conv.weight": np.zeros(3, np.float32) for part in "ab"})
    with pytest.raises(ArgumentError, match=r"a\.conv\.weight and b\.conv\.weight the name conv"):
        checkpoint.load_into(Encoder(), path, {"a.": "", "b.": ""})


@pytest.mark.parametrize(
    ("rename", "text"),
    [
        ("a", r"rename is 'a'; expected \{prefix in the file: prefix in the model\}"),
        ({"head": None}, "rename is .* or a function name -> name"),
        (lambda name: 3, r"rename gives \S+ the name 3, expected text"),
    ],
)
def test_a_rename_that_gives_no_names_is_an_error(tmp_path: Path, rename: Any, text: str) -> None:
    checkpoint.save(tmp_path / "one.safetensors", Encoder().state_dict())
    with pytest.raises(ArgumentError, match=text):
        checkpoint.load_into(Encoder(), tmp_path / "one.safetensors", rename)


def test_one_pattern_may_be_left_out(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "one.safetensors", Encoder().state_dict())
    report = checkpoint.load_into(Encoder(), tmp_path / "one.safetensors", skip="head.*")
    assert report.skipped == ("head.weight", "head.bias")


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, {"module.conv.weight": np.zeros((8, 2, 3, 3), np.float32)})
    with pytest.raises(StateError, match=r"nothing was loaded(.|\n)*module\.conv\.weight"):
        checkpoint.load_into(Encoder(), path)


def test_a_shared_tensor_needs_one_of_its_names(tmp_path: Path) -> None:
    weight = np.arange(20, dtype=np.float32).reshape(5, 4)
    checkpoint.save(tmp_path / "one.safetensors", {"embed.weight": weight})
    model = Tied()
    report = checkpoint.load_into(model, tmp_path / "one.safetensors", strict=True)
    assert report.loaded == ("embed.weight",) and report.missing == ()
    np.testing.assert_array_equal(model.state_dict()["out.weight"], weight)


def test_a_run_of_a_trainer_is_read(tmp_path: Path) -> None:
    model = Encoder()
    step = graphc.TrainStep(
        model,
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.Adam(),
        graphc.Spec((2, 2, 4, 4)),
        graphc.Spec((2,), "int32"),
        backend="interpreter",
    )
    random = np.random.default_rng(1)
    images = random.normal(size=(4, 2, 4, 4)).astype(np.float32)
    loader = graphc.data.Loader(graphc.data.arrays(images, np.arange(4, dtype=np.int32) % 3), 2)
    graphc.Trainer(step, tmp_path / "run").fit(loader, 1, progress=False, verbose=False)
    for path in (tmp_path / "run", next((tmp_path / "run").rglob("step-*.safetensors"))):
        other = Encoder()
        report = checkpoint.load_into(other, path, strict=True)
        assert not any("exp_avg" in name for name in report.loaded)
        for name, elements in model.state_dict().items():
            np.testing.assert_array_equal(other.state_dict()[name], elements)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors: cannot be read"):
        checkpoint.load_into(Encoder(), tmp_path / "none.safetensors")
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04 a zip of pickles")
    with pytest.raises(CheckpointError, match=r"weights\.pt: is a pickle of PyTorch"):
        checkpoint.load_into(Encoder(), tmp_path / "weights.pt")
    whole = (HERE / "torch_encoder.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors: is cut or damaged"):
        checkpoint.load_into(Encoder(), tmp_path / "cut.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty: has no checkpoint"):
        checkpoint.load_into(Encoder(), tmp_path / "empty")


def adapted(seed: int) -> nn.Module:
    """A model with adapters of each kind whose elements are all drawn."""
    model = trained(Encoder())
    nn.lora(model, "conv", "*.q_proj", "*.v_proj", rank=2)
    nn.lora(model, "*.linear1", rank=1, alpha=2.0, dropout=0.5)
    nn.bottleneck(model, "*.linear?", width=3)
    nn.prefix(model, "encoder.layers.1.self_attn", length=2)
    model.unfreeze("head.*")
    model.make_state()
    random = np.random.default_rng(seed)
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = random.normal(size=parameter.shape).astype(np.float32)
    return model


def test_adapters_are_a_small_file_that_loads_on_the_base(tmp_path: Path) -> None:
    model = adapted(seed=7)
    path = tmp_path / "adapters.safetensors"
    checkpoint.save_adapters(path, model, {"task": "three classes"})
    arrays, _ = checkpoint.load(path)
    assert set(arrays) == {n for n, p in model.named_parameters() if p.requires_grad}
    base = trained(Encoder())
    metadata = checkpoint.load_adapters(path, base)
    assert metadata["task"] == "three classes"
    x = np.random.default_rng(0).normal(size=(2, 2, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(base.eval()(x), model.eval()(x))
    trained_now = {n for n, p in base.named_parameters() if p.requires_grad}
    assert trained_now == set(arrays)
    checkpoint.load_adapters(path, base)  # again, on the adapters that are there


def test_frozen_adapters_are_saved_too(tmp_path: Path) -> None:
    model = adapted(seed=7)
    model.freeze("*lora_*")
    checkpoint.save_adapters(tmp_path / "adapters.safetensors", model)
    base = trained(Encoder())
    checkpoint.load_adapters(tmp_path / "adapters.safetensors", base)
    x = np.random.default_rng(0).normal(size=(2, 2, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(base.eval()(x), model.eval()(x))


def test_adapters_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "adapters.safetensors"
    checkpoint.save_adapters(path, adapted(seed=7))
    with pytest.raises(ArgumentError, match="no layer matches 'conv'"):
        checkpoint.load_adapters(path, nn.Sequential(nn.Linear(3, 3)))
    other = Encoder(classes=5)
    names = list(other.state_dict())
    with pytest.raises(StateError, match=r"head\.weight"):
        checkpoint.load_adapters(path, other)
    assert list(other.state_dict()) == names, "the adapters came off again"
    assert all(parameter.requires_grad for parameter in other.parameters())
    with pytest.raises(CheckpointError, match="holds no adapters"):
        checkpoint.save(tmp_path / "plain.safetensors", trained(Encoder()).state_dict())
        checkpoint.load_adapters(tmp_path / "plain.safetensors", Encoder())
    with pytest.raises(ArgumentError, match="has no adapters"):
        checkpoint.save_adapters(path, Encoder())
    checkpoint.save(
        tmp_path / "odd.safetensors", {}, {"adapters": [{"kind": "exec", "layers": []}]}
    )
    with pytest.raises(StateError, match="describes no adapter"):
        checkpoint.load_adapters(tmp_path / "odd.safetensors", Encoder())
