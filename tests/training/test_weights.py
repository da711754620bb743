"""Weights files: whole networks in, whole networks out, and nothing else."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import tiny

from ngat.errors import InputError
from ngat.model import NGAT
from ngat.training.weights import FORMAT, load_weights, save_weights


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    torch.manual_seed(1)
    chosen = tiny(norm="batch")
    save_weights(path, NGAT(chosen.model), chosen, {"minutes": 1.5, "data": "rings"})
    return path


def test_a_network_comes_back_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    chosen = tiny(plasticity="table", norm="batch")
    model = NGAT(chosen.model)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.normal_() if tensor.is_floating_point() else tensor.zero_()
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.abs_()
    path = tmp_path / "new" / "w.safetensors"
    save_weights(path, model, chosen, {"minutes": 1.5})
    state = torch.get_rng_state()
    back = load_weights(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert back.preset == chosen
    assert back.provenance == {"minutes": 1.5}
    assert not back.model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], tensor), name
    image = torch.rand(1, 3, 21, 18)
    with torch.no_grad():
        assert torch.equal(back.model(image).logits[0], model.eval()(image).logits[0])


def test_the_same_network_gives_the_same_bytes(saved: Path) -> None:
    before = saved.read_bytes()
    save_weights(saved, *load_weights(saved))
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["w.safetensors"]


def test_a_truncated_file_is_refused_by_name(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"w\.safetensors: is truncated or not"):
            load_weights(saved)


@pytest.mark.parametrize("kind", ["text", "pickle", "folder", "absent", "huge header"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.safetensors"
    if kind == "text":
        path.write_text("not weights" * 50)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"model": [1, 2, 3] * 50}))
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge header":
        path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match=r"w\.safetensors: (is truncated|cannot be read)"):
        load_weights(path)


def test_a_stranger_s_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="holds no ngat-weights-1"):
        load_weights(path)


def test_tensors_that_do_not_fit_are_refused(saved: Path) -> None:
    from safetensors import safe_open

    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
    text = json.loads(metadata["ngat"])
    assert text["format"] == FORMAT
    del text["checksum"]
    metadata = {"ngat": json.dumps(text)}
    tensors = {key: value.clone() for key, value in load_file(saved).items()}
    name = "embed.bias"
    for damage in (
        {k: v for k, v in tensors.items() if k != name},
        {**tensors, name: torch.zeros(7)},
        {**tensors, "foreign": torch.zeros(7)},
    ):
        save_file(damage, saved, metadata)
        with pytest.raises(InputError, match="does not hold a network of this version"):
            load_weights(saved)
    for key, value in (("configuration", "{}"), ("configuration", "["), ("provenance", "3")):
        save_file(tensors, saved, {"ngat": json.dumps({**text, key: value})})
        with pytest.raises(InputError, match="does not hold a network of this version"):
            load_weights(saved)
    save_file({**tensors, name: tensors[name] * torch.nan}, saved, metadata)
    with pytest.raises(InputError, match="NaN"):
        load_weights(saved)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    chosen = tiny()
    with pytest.raises(InputError, match="cannot be written"):
        save_weights(tmp_path / "file" / "w.safetensors", NGAT(chosen.model), chosen, {})
    assert os.listdir(tmp_path) == ["file"]


def test_a_changed_byte_is_noticed(saved: Path) -> None:
    """Anywhere among the tensors: every value would still be a number."""
    whole = saved.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in range(start, len(whole), max(1, (len(whole) - start) // 40)):
        changed = bytearray(whole)
        changed[place] ^= 1
        saved.write_bytes(changed)
        with pytest.raises(InputError, match=r"w\.safetensors: is damaged \(its checksum differs"):
            load_weights(saved)


def test_files_without_a_checksum_still_load() -> None:
    committed = sorted((Path(__file__).parents[2] / "data/weights").glob("*.safetensors"))
    assert committed
    for path in committed:
        load_weights(path)


@pytest.mark.parametrize(
    "sizes",
    [
        {"levels": 10**7},
        {"channels": 10**9, "heads": 1},
        {"depth": 10**6},
        {"plasticity_steps": 999},
    ],
)
def test_absurd_sizes_are_refused_at_once(saved: Path, sizes: dict[str, int]) -> None:
    with safe_open(saved, framework="pt") as file:
        text = json.loads(file.metadata()["ngat"])
    del text["checksum"]
    configuration = json.loads(text["configuration"])
    configuration["model"] |= sizes
    text["configuration"] = json.dumps(configuration)
    save_file(load_file(saved), saved, metadata={"ngat": json.dumps(text)})
    name = next(iter(sizes))
    with pytest.raises(InputError, match=rf"{name} is {sizes[name]}, more than"):
        load_weights(saved)


def test_what_names_no_file_and_no_device_is_refused(saved: Path, tmp_path: Path) -> None:
    for wrong in (None, 3):
        with pytest.raises(InputError, match="Weights are in a file"):
            load_weights(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot be read"):
        load_weights("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: cannot be read"):
        load_weights(tmp_path / "pipe")
    with pytest.raises(InputError, match="Unknown device 'nope'"):
        load_weights(saved, "nope")
