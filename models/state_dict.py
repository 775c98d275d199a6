"""Reads a foreign state dict of DenseNet-121 without ever running code from the file."""

import pickle
import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from models.errors import ImportWeightsError

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.")
# Before torchvision 0.3 a dense layer called its parts "norm.1", now "norm1".
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")

_CONVERT = (
    "On a machine where you trust its origin, and with the packages that wrote it, convert it: "
    'python -c "import torch; torch.save(torch.load({name!r}, map_location={cpu!r}, '
    'weights_only=False).state_dict(), {out!r})"'
)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in `path` under torchvision's present names, on the CPU.

    path: a safetensors file, or what `torch.save` wrote of a state dict or of a checkpoint
    that holds one. Raises ImportWeightsError where it is neither, and for a pickled module
    (loading one runs code of its author's choice) says how to convert it.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, dict):
            content = inner
    tensors = {_name(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ImportWeightsError(f"{path} holds no tensors; a state dict was expected.")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError) as error:
        raise ImportWeightsError(f"Cannot read {path}: {error}.") from error


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        hint = _CONVERT.format(name=path.name, cpu="cpu", out=f"{path.stem}-state.pt")
        raise ImportWeightsError(
            f"{path} is not a plain state dict, and loading anything else could run code from "
            f"the file. {hint}"
        ) from error
    except Exception as error:  # on damaged bytes the unpickler raises whatever it trips over
        raise ImportWeightsError(f"Cannot read {path}: {error!r}.") from error
    if not isinstance(content, dict):
        raise ImportWeightsError(f"{path} holds no state dict but a {type(content).__name__}.")
    return content


def _name(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return _OLD_NAME.sub(r"\1\2", key)
