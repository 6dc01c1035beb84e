"""What `polymerge import` is given: which kind of source, and how it gets where the service may read."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from clients.told import Told
from service.contracts.model import ImportSource


class SourceError(Told):
    """A path that cannot be imported as it is; the text says what to do."""


def find_in_sources(path: str, root: Path, copy: bool = False) -> str:
    """The path as the service knows it: relative to its sources folder. Raises SourceError.

    A relative path that leads to nothing here is one in that folder, which may be on another machine.
    """
    given = Path(os.path.abspath(Path(path).expanduser()))
    here = given.parent.resolve() / given.name
    if here.is_relative_to(root) and here != root:
        return here.relative_to(root).as_posix()
    if not here.exists():
        if Path(path).is_absolute():
            raise SourceError(f"there is nothing at {path}")
        return Path(path).as_posix()
    if not copy:
        raise SourceError(
            f"{path} is not in the service's sources folder, {root}: add --copy to put it there, "
            f"or start the service with --sources {here.parent} and give --sources here too"
        )
    return place(here, root).relative_to(root).as_posix()


def describe_source(path: str, root: Path, base: str | None) -> ImportSource:
    """Which kind it is, from what can be seen of it here. Raises SourceError."""
    if path.endswith(".gguf"):
        return ImportSource(gguf=path)
    folder = root / path
    adapter = (folder / "adapter_config.json").exists() if folder.exists() else base is not None
    if adapter and base is None:
        raise SourceError(f"{path} is an adapter: give --base, the registered model it was trained on")
    return ImportSource(adapter=path) if adapter else ImportSource(folder=path)


def place(path: Path, root: Path) -> Path:
    """Put a file or folder directly under `root`, as hard links where possible. Raises SourceError."""
    target = root / path.name
    if target.exists():
        if _listing(target) != _listing(path):
            raise SourceError(f"{target} exists and is something else: rename one of the two")
        return target
    root.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, copy_function=_link_or_copy)
    else:
        _link_or_copy(str(path), str(target))
    return target


def _link_or_copy(source: str, target: str) -> None:
    original = os.path.realpath(source)
    with suppress(OSError):
        return os.link(original, target)
    shutil.copyfile(original, target)


def _listing(path: Path) -> list[tuple[str, int]]:
    """Names and sizes of all files."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sorted((str(file.relative_to(path)), file.stat().st_size) for file in files)
