"""Hugging Face checkpoint folders: which of their files make the model, and which tensors those hold."""

from dataclasses import dataclass
from pathlib import Path

from service.contracts.model import TensorEntry
from service.sources.configuration import check_names, check_no_code, check_numbers
from service.sources.json_object import read_object
from service.sources.malformed import Malformed
from service.sources.root import contained
from service.sources.safetensors_header import read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
CARRIED = (
    CONFIG, "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "sentencepiece.bpe.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "tekken.json", "chat_template.jinja", "chat_template.json",
    "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json",
    "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE",
)  # fmt: skip
"""What a model needs beside its weights: no code and no other weights are among them."""
_MAY_NAME_CODE = {name for name in CARRIED if name.endswith("config.json")}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHOWN = 3


@dataclass(frozen=True)
class Checkpoint:
    """A folder that has been checked."""

    files: dict[str, Path]
    """Name in the model's folder -> real path, for everything to copy."""
    tensors: dict[str, TensorEntry]


def inspect_checkpoint(folder: Path, root: Path) -> Checkpoint:
    """Check config, index and every shard's header. Raises Malformed or OSError."""
    if not folder.is_dir():
        raise Malformed(f"'{folder.name}' is not a folder")
    if not (folder / CONFIG).is_file():
        raise Malformed(f"there is no {CONFIG}: this is no Hugging Face checkpoint")
    files = {name: contained(root, folder / name) for name in CARRIED if (folder / name).is_file()}
    for name in sorted(_MAY_NAME_CODE & files.keys()):
        check_no_code(name, read_object(files[name]))
    config = read_object(files[CONFIG])
    check_names(CONFIG, config)
    check_numbers(CONFIG, config)
    if (folder / SINGLE).is_file():
        files[SINGLE] = contained(root, folder / SINGLE)
        tensors = read_header(files[SINGLE])
    elif (folder / INDEX).is_file():
        files[INDEX] = contained(root, folder / INDEX)
        placed = _weight_map(files[INDEX])
        shards = {shard: contained(root, folder / shard) for shard in _shards(folder, placed)}
        tensors = _sharded(placed, {shard: read_header(path) for shard, path in shards.items()})
        files |= shards
    else:
        raise _without_weights(folder)
    if not tensors:
        raise Malformed("the weights have no tensors")
    return Checkpoint(files=files, tensors=tensors)


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> shard."""
    placed = read_object(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(shard, str) for shard in placed.values()):
        raise Malformed(f"{INDEX} has no weight_map from tensors to shards")
    return placed


def _shards(folder: Path, placed: dict[str, str]) -> list[str]:
    shards = sorted(set(placed.values()))
    for shard in shards:
        if not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise Malformed(f"{INDEX} names '{shard}', which is no safetensors file of this folder")
        if not (folder / shard).is_file():
            raise Malformed(f"shard '{shard}', which {INDEX} names, is missing")
    return shards


def _sharded(placed: dict[str, str], headers: dict[str, dict[str, TensorEntry]]) -> dict[str, TensorEntry]:
    """All tensors, each in the one shard where the index places it."""
    absent = [name for name, shard in placed.items() if name not in headers[shard]]
    if absent:
        raise Malformed(f"{INDEX} names tensors that their shards lack: {_few(absent)}")
    unlisted = [name for shard in headers for name in headers[shard] if placed.get(name) != shard]
    if unlisted:
        raise Malformed(f"the shards hold tensors that {INDEX} does not place there: {_few(unlisted)}")
    return {name: headers[shard][name] for name, shard in placed.items()}


def _without_weights(folder: Path) -> Malformed:
    if any(folder.glob("*.safetensors")):
        return Malformed(f"there is neither {SINGLE} nor {INDEX}, which says what is in which shard")
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return Malformed(f"{pickles[0]} is a pickle: pickle runs code; convert it to safetensors")
    return Malformed(f"there are no weights: {SINGLE} or shards with {INDEX} expected")


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", … ({len(names)} in all)" if len(names) > _SHOWN else "")
