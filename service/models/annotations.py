"""What is said about models and may change: aliases and their history, notes and tags, damage that was found.

aliases/<name>               one line, the id
alias-history/<name>/<time>  each time that it was pointed somewhere else
notes/<id>                   notes and tags
damage/<id>                  why the model is out of service
"""

import secrets
from datetime import UTC, datetime

from service.contracts.model import AliasMove, ModelNotes
from service.models.small_files import SmallFiles


class Annotations:
    """Kept in the store, so that Redis can be rebuilt from it."""

    def __init__(self, files: SmallFiles) -> None:
        self._files = files

    def aliases(self) -> dict[str, str]:
        found = ((name, self._files.read(f"aliases/{name}")) for name in self._files.names("aliases"))
        return {name: target.strip() for name, target in found if target is not None}

    def point(self, name: str, model_id: str | None) -> None:
        """Let the alias stand for the model, or for none."""
        target = self._files.read(f"aliases/{name}")
        if target is not None and target.strip() == model_id:
            return
        now = datetime.now(UTC)
        move = AliasMove(model=model_id, at=now)
        # First: a move that broke off may be in the history, one that took place must be.
        stamp = f"{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(2)}"
        self._files.write(f"alias-history/{name}/{stamp}", move.model_dump_json())
        if model_id is None:
            self._files.remove(f"aliases/{name}")
        else:
            self._files.write(f"aliases/{name}", model_id)

    def history(self, name: str) -> list[AliasMove]:
        """Oldest first."""
        folder = f"alias-history/{name}"
        found = [self._files.read(f"{folder}/{stamp}") for stamp in self._files.names(folder)]
        return [AliasMove.model_validate_json(raw) for raw in found if raw is not None]

    def notes(self, model_id: str) -> ModelNotes:
        raw = self._files.read(f"notes/{model_id}")
        return ModelNotes() if raw is None else ModelNotes.model_validate_json(raw)

    def write_notes(self, model_id: str, notes: ModelNotes) -> None:
        self._files.write(f"notes/{model_id}", notes.model_dump_json())

    def damage(self, model_id: str) -> str | None:
        """Why the model is out of service, if it is."""
        return self._files.read(f"damage/{model_id}")

    def set_damage(self, model_id: str, reason: str | None) -> None:
        if reason is None:
            self._files.remove(f"damage/{model_id}")
        else:
            self._files.write(f"damage/{model_id}", reason)

    def forget(self, model_id: str) -> None:
        """All that is said about a model which is no more."""
        for folder in ("notes", "damage"):
            self._files.remove(f"{folder}/{model_id}")

    def annotated(self) -> set[str]:
        """Ids of all models that have notes or damage."""
        return {name for folder in ("notes", "damage") for name in self._files.names(folder)}
