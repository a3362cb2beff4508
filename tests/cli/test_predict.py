"""`graphc predict`, from a run's folder to the lines it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_files import png, write_folder, write_zip

from graphc.cli.main import main

Lines = list[str]


def shade(grey: int) -> bytes:
    """A picture of 12x10 pixels that is nearly all of one grey."""
    noise = np.random.default_rng(grey).integers(-9, 10, (12, 10, 3))
    return png(np.clip(grey + noise, 0, 255).astype(np.uint8))


def shades(count: int, first: int = 0) -> dict[str, bytes]:
    """Class folders: dark and light pictures."""
    dark = {f"dark/{n}.png": shade(20 + n) for n in range(first, first + count)}
    return dark | {f"light/{n}.png": shade(220 + n) for n in range(first, first + count)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `run` is a cifar-cnn that tells dark from light, and `digits` an mlp for digits."""
    place = tmp_path_factory.mktemp("predict")
    write_folder(place / "shades", shades(20))
    arguments = ["--batch-size", "6", "--threads", "1", "--seed", "0", "--out"]
    data = ["--data", str(place / "shades")]
    assert main(["train", "cifar-cnn", *data, "--epochs", "6", *arguments, str(place / "run")]) == 0
    assert main(["train", "mlp", "--epochs", "3", "--out", str(place / "digits")]) == 0
    return place


def predict(capsys: pytest.CaptureFixture[str], *arguments: object) -> Lines:
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_classes_of_files_folders_and_zips(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run knows the names of its own classes, and resizes as in training."""
    new = write_folder(folder / "new", {"b.png": shade(15), "a.png": shade(230), "note.txt": b""})
    archive = write_zip(folder / "new.zip", {"x.png": shade(21)})
    lines = predict(capsys, "cifar-cnn", "--from", folder / "run", new, archive, new / "b.png")
    found = [line.rsplit(maxsplit=2) for line in lines]
    assert [name for _, name, _ in found] == ["light", "dark", "dark", "dark"]
    assert [name for name, _, _ in found] == [
        f"{new}/a.png", f"{new}/b.png", f"{archive}: entry 'x.png'", f"{new}/b.png",
    ]  # fmt: skip
    assert all(float(share) > 0.5 for _, _, share in found)


def test_more_files_than_a_batch_give_what_each_gives_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = write_folder(folder / "many", {f"{n:03}.png": shade(n) for n in range(2, 255, 3)})
    at_once = predict(capsys, "cifar-cnn", "--from", folder / "run", many)
    assert len(at_once) == 85 > 64
    alone = predict(capsys, "cifar-cnn", "--from", folder / "run", many / "197.png")
    assert alone[0] in at_once


def test_json_has_every_probability(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = write_folder(folder / "one", {"dark.png": shade(25)}) / "dark.png"
    newest = max((folder / "run" / "checkpoints").glob("*.safetensors"))
    (line,) = predict(capsys, "cifar-cnn", "--from", newest, image, "--json")
    found = json.loads(line)
    assert (found["input"], found["class"], found["index"]) == (str(image), "dark", 0)
    assert found["probabilities"].keys() == {"dark", "light"}
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["probability"] == found["probabilities"]["dark"]


def test_rows_of_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from graphc import data

    test = data.digits(train=False, flat=True)
    rows, labels = (part[:40] for part in test.arrays)
    np.savetxt(folder / "rows.csv", rows, delimiter=",")
    np.savez(folder / "rows.npz", x=rows, other=labels)
    np.save(folder / "bytes.npy", np.rint(rows * 255).astype(np.uint8).reshape(-1, 8, 8))
    from_run = ("mlp", "--from", folder / "digits")
    printed = predict(capsys, *from_run, folder / "rows.csv")
    guessed = [line.split()[1] for line in printed]
    assert np.mean([int(a) == b for a, b in zip(guessed, labels, strict=True)]) > 0.8
    assert printed[2].startswith(f"{folder}/rows.csv:3  ")
    for other in ("rows.npz", "bytes.npy"):
        lines = predict(capsys, *from_run, folder / other)
        assert [line.split()[1] for line in lines] == guessed


OWN = '''
import numpy as np

import graphc
import graphc.functional as F
from graphc import data, nn, optim
from graphc.data import transforms


def line():
    """y = 2 x."""
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(64, 1)
    model = nn.Linear(1, 1)
    step = graphc.TrainStep(
        model, lambda model, x, y: F.mse_loss(model(x), y), optim.SGD(lr=0.5),
        graphc.Spec((8, 1)), graphc.Spec((8, 1)),
    )
    return step, data.Loader(data.arrays(x, 2 * x), 8)


def flags():
    """Red or blue pictures."""
    pixels = np.zeros((16, 3, 2, 2), np.uint8)
    pixels[::2, 0] = pixels[1::2, 2] = 250
    names = ["red", "blue"]
    images = data.ImageDataset(pixels, np.arange(16, dtype=np.int32) % 2, names)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    step = graphc.TrainStep(
        model, lambda model, x, y: F.cross_entropy(model(x), y), optim.SGD(lr=0.5),
        graphc.Spec((4, 3, 2, 2)), graphc.Spec((4,), "int32"),
    )
    normalize = transforms.Normalize([0.5], [0.1])
    return step, data.Loader(images, 4, transform=transforms.Compose([normalize]))
'''


def test_models_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers where the model classifies nothing; else names and scaling from its loader."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_models.py").write_text(OWN)
    for name, epochs in (("line", "20"), ("flags", "5")):
        out = ["--out", name, "--threads", "1"]
        assert main(["train", f"own_models.py:{name}", "--epochs", epochs, *out]) == 0
    np.save("x.npy", np.array([[0.5], [-0.25]], np.float32))
    first, second = predict(capsys, "own_models.py:line", "--from", "line", "x.npy")
    assert first.startswith("x.npy:1  ") and float(first.split()[1]) == pytest.approx(1, abs=0.05)
    assert float(second.split()[1]) == pytest.approx(-0.5, abs=0.05)
    (line,) = predict(capsys, "own_models.py:line", "--from", "line", "x.npy", "--json")[:1]
    assert json.loads(line)["values"] == [pytest.approx(1, abs=0.05)]
    blue = np.zeros((9, 9, 3), np.uint8)
    blue[..., 2] = 255
    (tmp_path / "b.png").write_bytes(png(blue))
    (line,) = predict(capsys, "own_models.py:flags", "--from", "flags", "b.png")
    assert line.split()[:2] == ["b.png", "blue"] and float(line.split()[2]) > 0.9


ERRORS = [
    (["nope", "--from", "run", "a.png"], "no model 'nope'"),
    (["cifar-cnn", "--from", "nowhere", "rows.csv"], "nowhere: is no run"),
    (["mlp", "--from", "run", "rows.csv"], "is a run of 'cifar-cnn', expected mlp"),
    (["cifar-cnn", "--from", "run", "absent.png"], "absent.png: No such file"),
    (["cifar-cnn", "--from", "run", "empty"], "empty: holds no image"),
    (
        ["cifar-cnn", "--from", "run", "run/model.json"],
        "model.json: is no whole image: of no known format",
    ),
    (["cifar-cnn", "--from", "run", "wide.csv"], "wide.csv: a row has 65 numbers"),
    (["mlp", "--from", "digits", "wide.csv"], "takes 64; leave the label out"),
    (["mlp", "--from", "digits", "text.csv"], "line 2, column 1"),
    (["mlp", "--from", "digits", "two.npz"], "two.npz: has arrays a, b"),
    (["mlp", "--from", "digits", "cut.npz"], "cut.npz: "),
    (["mlp", "--from", "digits", "objects.npy"], "objects.npy: "),
    (["mlp", "--from", "digits", "objects.npz"], "objects.npz: "),
    (["mlp", "--from", "digits", "one.npy"], "one.npy: holds float64 of shape (), no rows"),
    (["mlp", "--from", "digits", "spoilt.npz"], "spoilt.npz: the archive is cut or damaged"),
    (["mlp", "--from", "damaged/checkpoints/step-0000000001.safetensors", "wide.csv"], "damaged"),
    (["cifar-cnn", "--from", "run", "--data", "x", "a.png"], "needs no --data"),
]


@pytest.mark.parametrize("arguments, told", ERRORS)
def test_errors_are_one_line_that_names_the_file(
    folder: Path,
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    write_folder(folder, {"wide.csv": b"1," * 64 + b"3\n", "text.csv": b"1\nx\n"})
    (folder / "empty").mkdir(exist_ok=True)
    np.savez("two.npz", a=np.ones(2), b=np.ones(2))
    (folder / "cut.npz").write_bytes((folder / "two.npz").read_bytes()[:200])
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez("objects.npz", np.array([{}], object))
    np.save("one.npy", 1.0)
    np.savez("spoilt.npz", np.zeros((2, 64)))
    data = (folder / "spoilt.npz").read_bytes()
    (folder / "spoilt.npz").write_bytes(data[:500] + b"spoilt" + data[506:])
    description = (folder / "digits" / "model.json").read_bytes()
    broken = {"model.json": description, "checkpoints/step-0000000001.safetensors": b"x" * 99}
    write_folder(folder / "damaged", broken)
    assert main(["predict", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("graphc: ") and len(error.splitlines()) == 1


def test_a_description_of_another_kind_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = json.loads((folder / "digits" / "model.json").read_text())
    for name, value in (("input", {"shape": [64], "more": [1]}), ("classes", None)):
        broken = write_folder(
            folder / name, {"model.json": json.dumps(fields | {name: value}).encode()}
        )
        checkpoints = broken / "checkpoints"
        if not checkpoints.exists():
            checkpoints.symlink_to(folder / "digits" / "checkpoints")
        assert main(["predict", "mlp", "--from", str(broken), "rows.csv"]) == 2
        assert "description" in capsys.readouterr().err
