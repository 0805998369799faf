"""Export of trained networks: weights, a module that loads them without this package, and ONNX.

Networks are found in the runs folder by arm and seed, as records name them.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import torch
from safetensors.torch import save
from torch import Tensor, nn

from repro.engine.files import check_writable, write
from repro.engine.store import Store
from repro.errors import UserError, hint, reason
from repro.export.named import PREFIX, write_network

FOLDER = Path(__file__).parent
MLP, CONV, WRAPPED = "mlp.py", "conv.py", "wrapped.py"
# What a network takes, by experiment.
INPUTS = {
    "mnist": "images as 784 pixels in 0 .. 1, row by row.",
    "speech": "windows of 26 frames of 40 filterbanks, frame by frame, normalized for each speaker, as "
    "`repro.speech.features` makes them.",
    "specialists": "images (batch, channel, row, column) with values 0 to 255.",
    "variants": "images (batch, channel, row, column) with values 0 to 255, as floats.",
}
# What its outputs stand for.
OF_IMAGES = "classes in the order of `repro.data.sources.load(...).classes`"
CLASSES = {
    "mnist": "digits 0 to 9",
    "speech": "tied states of pocketsphinx's US English model, by number",
    "specialists": OF_IMAGES,
    "variants": OF_IMAGES,
}


def export(
    experiment: str, arm: str, seed: int, params: Mapping[str, str], runs: Path, out: Path, side: int = 32
) -> list[Path]:
    """Write a trained network to a folder: weights.safetensors, model.py, README.md, and model.onnx if onnx is there.

    A residual network or a network of torchvision also has its architecture.py.

    Args:
        experiment: name of the experiment.
        arm: arm of the run.
        seed: its seed.
        params: settings or parameters of the run, as text, where the arm has several.
        runs: folder of the runs.
        out: the folder to write to.
        side: side in pixels of the images that the ONNX file of a convolutional network takes. Default: 32.

    Returns:
        The files that were written.

    Raises:
        UserError: there is no such run, there are several, it has no weights of its own, it does not take images of
            this side, or a file cannot be written.
    """
    store = _opened(runs / experiment)
    record = find(store, arm, seed, params)
    stored = store.weights(record["key"])
    if stored is None:
        raise UserError(f"{store.folder}: the weights of {arm}, seed {seed}, are damaged; rerun the experiment")
    if not stored:
        raise UserError(f"{arm}: has no weights of its own, as it combines other networks; export these")
    module, weights = _plain({name: value[0] for name, value in stored.items()}, experiment)
    check_writable(out)
    with tempfile.TemporaryDirectory() as folder:  # no file is left of a network that cannot be exported
        made = _make(Path(folder), module, weights, record, side)
        for path in made:
            write(out / path.name, path.read_bytes())
    return [out / path.name for path in made]


def _make(folder: Path, module: str, weights: dict[str, Tensor], record: dict[str, Any], side: int) -> list[Path]:
    """Write all files to a folder and return them in order.

    Raises:
        UserError: the network does not take images of this side.
    """
    write(folder / "weights.safetensors", save(weights))
    written = [folder / "weights.safetensors", folder / "model.py"]
    try:
        if module == WRAPPED:
            channels = write_network(folder, record["settings"]["shape"], weights, side)
            written.append(folder / "architecture.py")
            example = torch.zeros(2, channels, side, side)
        else:
            shutil.copyfile(FOLDER / module, folder / "model.py")
            example = _example(module, weights, side)
        net = _load(folder)
        outputs = net(example).shape[-1]
    except RuntimeError as error:
        raise UserError(
            f"--side {side}: the network does not take images of {side}x{side} pixels; give the side of those that it "
            f"was trained on ({reason(error)})"
        ) from error
    if importlib.util.find_spec("onnxscript"):
        written.append(_write_onnx(net, example, folder / "model.onnx"))
    template = jinja2.Template((FOLDER / "templates" / "README.md.j2").read_text(encoding="utf-8"))
    experiment = record["experiment"]
    settings = _flat({name: value for name, value in record["settings"].items() if name != "run"})  # a class of ours
    text = template.render(
        record=record, settings=settings, inputs=INPUTS[experiment], classes=CLASSES[experiment],
        outputs=outputs, convolutional=module != MLP, side=side, written=[path.name for path in written],
    )  # fmt: skip
    write(folder / "README.md", (text + "\n").encode())
    return [*written, folder / "README.md"]


def _opened(folder: Path) -> Store:
    if not folder.is_dir():
        raise UserError(f"--runs {folder.parent}: there are no runs of {folder.name}; train it first")
    return Store(folder, repairs=False)


def find(store: Store, arm: str, seed: int, params: Mapping[str, str]) -> dict[str, Any]:
    """Return the record of the run of an arm and a seed that was stored last, among those with these parameters.

    Raises:
        UserError: there is none, or several that differ in their settings.
    """
    records = store.records()
    of_arm = [record for record in records if record["arm"] == arm]
    if not of_arm:
        known = ", ".join(sorted({record["arm"] for record in records})) or "none"
        raise UserError(f"{arm}: there is no such arm in {store.folder}; there are: {known}")
    of_seed = [record for record in of_arm if record["seed"] == seed]
    if not of_seed:
        known = ", ".join(map(str, sorted({record["seed"] for record in of_arm})))
        raise UserError(f"--seed {seed}: {arm} was trained with seeds {known}")
    described = {record["key"]: _flat({"profile": record["profile"]} | record["settings"] | record["params"])
                 for record in of_seed}  # fmt: skip
    settings = set[str]().union(*described.values())
    for name in params:
        if name not in settings:
            raise UserError(f"--param {name}: there is no such setting of {arm}; {hint(name, settings)}")
    chosen = [
        record for record in of_seed
        if all(_is_value(described[record["key"]].get(name), value) for name, value in params.items())
    ]  # fmt: skip
    if not chosen:
        values = {", ".join(f"{name}={run.get(name)}" for name in params) for run in described.values()}
        raise UserError(f"--param: {arm}, seed {seed}, was trained with {'; '.join(sorted(values))}")
    if len({record["group"] for record in chosen}) != 1:
        alternatives = _alternatives([described[record["key"]] for record in chosen])
        raise UserError(f"--param: must choose one run of {arm}: {alternatives}")
    return max(chosen, key=lambda record: store.stored_at(record["key"]))


def _alternatives(described: list[dict[str, Any]]) -> str:
    """Return the values in which runs differ, in words."""
    names = [name for name in described[0] if len({str(other.get(name)) for other in described}) > 1]
    return "; ".join(sorted({" ".join(f"{name}={_text(other.get(name))}" for name in names) for other in described}))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings with those of tables by dotted names, such as ``recipe.epochs``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _text(value: Any) -> str:
    """Return a value as ``--param`` takes it; a list has no spaces."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)


def _is_value(value: Any, text: str) -> bool:
    """Return whether a word of the command line is a setting's value, as JSON (``3`` is 3.0) or as it is."""
    try:
        return json.loads(text) == value or str(value) == text
    except (ValueError, RecursionError):
        return str(value) == text


def _plain(tensors: dict[str, Tensor], experiment: str) -> tuple[str, dict[str, Tensor]]:
    """Return the module that a network is loaded with, and its weights by the names that it uses."""
    if "down.0.weight" in tensors:
        convolutions = {name for name, value in tensors.items() if name.endswith(".weight") and value.dim() == 4}
        return CONV, {
            name.replace(".weight", ".conv.weight") if name in convolutions else name: value.contiguous()
            for name, value in tensors.items()
        }
    if "weights.0" in tensors:  # BatchedMLP, (in, out)
        count = sum(name.startswith("weights.") for name in tensors)
        layers = [(tensors[f"weights.{n}"].t(), tensors[f"biases.{n}"][0]) for n in range(count)]
    elif any(name.startswith(PREFIX) for name in tensors):
        named = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
        return WRAPPED, {name.removeprefix(PREFIX): value.contiguous() for name, value in named.items()}
    else:  # FullyConnected, (out, in)
        names = [*(f"layers.{n}" for n in range(sum(name.startswith("layers.") for name in tensors) // 2)), "head"]
        layers = [(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names]
        if experiment == "variants":  # which divides bytes by 255
            layers[0] = (layers[0][0] / 255, layers[0][1])
    return MLP, {
        f"{1 + 2 * n}.{name}": value.contiguous()
        for n, layer in enumerate(layers) for name, value in zip(("weight", "bias"), layer, strict=True)
    }  # fmt: skip


def _load(folder: Path) -> nn.Module:
    """Return the network that an exported model.py loads."""
    spec = importlib.util.spec_from_file_location("exported_model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
        return module.load(folder)
    finally:
        sys.dont_write_bytecode = before


def _example(module: str, weights: dict[str, Tensor], side: int) -> Tensor:
    """Return a batch of inputs that are zero."""
    if module == CONV:
        return torch.zeros(2, weights["down.0.conv.weight"].shape[1] // 4, side, side)
    return torch.zeros(2, weights["1.weight"].shape[1])


def _write_onnx(net: nn.Module, example: Tensor, path: Path) -> Path:
    """Write a network as ONNX for batches of any size."""
    program = torch.onnx.export(
        net, (example,), input_names=["inputs"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    write(path, program.model_proto.SerializeToString())
    return path
