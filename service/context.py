"""How many tokens a model's context has."""

import json
import sys
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=4096)
def positions(folder: Path) -> int:
    """Positions that the model in `folder` was made for, by its config.json. Raises OSError, ValueError."""
    config = json.loads((folder / "config.json").read_text())
    text = config | (config.get("text_config") or {})
    return int(text.get("max_position_embeddings") or text.get("n_positions") or sys.maxsize)
