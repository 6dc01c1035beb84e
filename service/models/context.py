"""How many tokens a model's context has."""

import json
import sys
from pathlib import Path


def positions(folder: Path) -> int:
    """Positions that the model in `folder` was made for, by its config.json. Raises OSError, ValueError."""
    config = json.loads((folder / "config.json").read_text())
    text = config | (config.get("text_config") or {})
    return int(text.get("max_position_embeddings") or text.get("n_positions") or sys.maxsize)
