"""Paths of import requests: under the sources root, symlinks followed."""

from pathlib import Path

from service.sources.malformed import Malformed


def under_root(root: Path, relative: str) -> Path:
    """The real path of `relative`. Raises Malformed when it leaves the root or isn't there, or OSError."""
    path = contained(root, root / relative)
    if not path.exists():
        raise Malformed(f"there is no '{relative}' under the sources root")
    return path


def contained(root: Path, path: Path) -> Path:
    """The real path. Raises Malformed when it is not below the root, or OSError."""
    try:
        real, top = path.resolve(), root.resolve()
    except RuntimeError:
        raise Malformed(f"'{path.name}' is a symlink to itself") from None
    if top not in real.parents:
        raise Malformed(f"'{path.name}' leads out of the sources root")
    return real
