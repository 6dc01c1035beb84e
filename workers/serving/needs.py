"""What an engine must be to serve each model, as the schedule wants to know it."""

from service.engines.schedule import Need
from service.models.store import Store
from service.settings import Settings
from workers.serving.fingerprint import fingerprint
from workers.serving.memory import estimate


class Needs:
    """Models never change, so each is looked at once."""

    def __init__(self, store: Store, settings: Settings, budget: int) -> None:
        self._store, self._settings, self._budget = store, settings, budget
        self._known: dict[str, Need] = {}
        self._measured: dict[str, int] = {}

    def of(self, model: str) -> Need:
        """Raises OSError or ValueError when the model can't be read."""
        known = self._known.get(model) or self._look_at(model)
        self._known[model] = known
        return Need(known.fingerprint, self._measured.get(known.fingerprint, known.memory_bytes))

    def learn(self, fingerprint: str, memory_bytes: int) -> None:
        """An engine of this fingerprint takes so much memory, which is better than the estimate."""
        self._measured[fingerprint] = memory_bytes

    def _look_at(self, model: str) -> Need:
        manifest = self._store.manifest(model)
        return Need(
            fingerprint(manifest, self._store.path(model)), estimate(manifest, self._settings, self._budget)
        )
