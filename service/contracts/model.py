"""Models: immutable folders, each described by a manifest."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.contracts.names import AliasName, ModelId, ModelRef, RelativePath
from service.contracts.problem import FieldProblem

ModelKind = Literal["import", "merge"]
ModelState = Literal["ready", "damaged"]
WeightFormat = Literal["checkpoint", "adapter"]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class FileEntry(BaseModel):
    size: int
    sha256: str


class TensorEntry(BaseModel):
    """A tensor of the whole model (an adapter's manifest lists its base's tensors)."""

    shape: list[int]
    dtype: str
    """As in safetensors headers: BF16, F16, F32, ..."""


class Manifest(BaseModel):
    """`manifest.json` of a model folder: written last, never changed."""

    schema_version: Literal[1] = 1
    id: ModelId
    kind: ModelKind
    weights: WeightFormat = "checkpoint"
    virtual: bool = False
    """A merge that is planned and not written: it is computed whenever an engine loads it."""
    languages: list[str] = []
    objective: str | None = None
    license: str | None = None
    base: ModelId | None = None
    """The registered model that an adapter's factors apply to."""
    sources: list[ModelId] = []
    """Ingredients of a merge, in the recipe's order."""
    recipe: dict[str, Any] | list[dict[str, Any]] | None = None
    """A list if there are intermediates."""
    warnings: list[FieldProblem] = []
    """What was passed over in the recipe."""
    seed: int | None = None
    content_digest: str | None
    """sha256 over the names and sha256s of the files: equal bytes, equal digest. A virtual model has none."""
    device: str | None = None
    """Kind of device that computed a merge; results agree to the bit on one kind only."""
    versions: dict[str, str] = {}
    remarks: dict[str, str] = {}
    """What the merge method had to say about tensors, such as which of them it replaced."""
    files: dict[str, FileEntry]
    tensors: dict[str, TensorEntry]
    size_bytes: int
    created_at: datetime


class ModelNotes(BaseModel):
    """What people say about a model, and may change."""

    notes: str = Field(default="", max_length=10_000)
    tags: list[Label] = Field(default=[], max_length=64)


class Model(BaseModel):
    """A model as the API shows it: the manifest without its long lists, and what is said of it now."""

    id: ModelId
    kind: ModelKind
    weights: WeightFormat
    virtual: bool = False
    state: ModelState = "ready"
    """A damaged model is out of service until its files are as they were, or it is made again."""
    damage: str | None = None
    """What is wrong with it."""
    notes: str = ""
    tags: list[str] = []
    name: str | None = None
    aliases: list[str] = []
    languages: list[str] = []
    objective: str | None = None
    license: str | None = None
    base: ModelId | None = None
    sources: list[ModelId] = []
    method: str | None = None
    """Of a merge; of several documents the last one's."""
    recipe: dict[str, Any] | list[dict[str, Any]] | None = None
    """A list if there are intermediates."""
    warnings: list[FieldProblem] = []
    """What was passed over in the recipe."""
    seed: int | None = None
    remarks: dict[str, str] = {}
    content_digest: str | None
    size_bytes: int
    tensors: int
    created_at: datetime


class ModelPage(BaseModel):
    items: list[Model]
    next_cursor: str | None = None


class ImportSource(BaseModel):
    """Where the weights are: one of three, all relative to the configured sources root."""

    model_config = ConfigDict(extra="forbid")

    folder: RelativePath | None = None
    """A Hugging Face checkpoint: config.json, *.safetensors, tokenizer files."""
    gguf: RelativePath | None = None
    """A GGUF file; it is dequantised to bfloat16."""
    adapter: RelativePath | None = None
    """A PEFT LoRA adapter folder; `base` names the registered model under it."""

    @model_validator(mode="after")
    def exactly_one(self) -> "ImportSource":
        if sum(path is not None for path in (self.folder, self.gguf, self.adapter)) != 1:
            raise ValueError("give exactly one of folder, gguf, adapter")
        return self


class ImportRequest(BaseModel):
    """Body of POST /models."""

    model_config = ConfigDict(extra="forbid")

    source: ImportSource
    name: AliasName | None = None
    base: ModelRef | None = None
    languages: list[Label] = Field(default=[], max_length=64)
    objective: Label | None = None
    license: Label | None = None

    @model_validator(mode="after")
    def base_goes_with_adapter(self) -> "ImportRequest":
        if (self.source.adapter is None) != (self.base is None):
            raise ValueError("`base` (a registered model) goes with source.adapter, and only with it")
        return self


class Alias(BaseModel):
    name: AliasName
    model: ModelId


class AliasMove(BaseModel):
    """One time that an alias was pointed at a model, or (null) at none any more."""

    model: ModelId | None
    at: datetime


class AliasTarget(BaseModel):
    """Body of PUT /aliases/{name}."""

    model_config = ConfigDict(extra="forbid")

    model: ModelRef


class ModelChange(BaseModel):
    """Body of PATCH /models/{model}: what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    notes: str | None = Field(default=None, max_length=10_000)
    tags: list[Label] | None = Field(default=None, max_length=64)


class Verification(BaseModel):
    """What reading a model's files through has shown."""

    model: ModelId
    state: ModelState
    damage: str | None = None
    size_bytes: int
