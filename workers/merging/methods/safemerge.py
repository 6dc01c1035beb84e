"""SafeMERGE (arXiv 2503.17239), tensor by tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.contracts.methods.safemerge import Parameters
from service.contracts.methods.spec import NoParameters
from workers.merging.combination import combination
from workers.merging.inputs import Inputs, Tile, TileFunction
from workers.merging.matrices import whole_matrices


def safemerge(inputs: Inputs, parameters: Parameters, models: Sequence[NoParameters]) -> TileFunction:
    """The fine-tuned model; where it is less similar than `threshold`, with a share `alpha` of the safe one.

    Similarity is cos(V Vᵀ D, D), D being the change of the fine-tuned model, V that of the unaligned one,
    or of the safe one where there is no other. What is no matrix stays as it is.
    """
    similarity = _similarity(inputs)
    share = 0.0
    if similarity < parameters.threshold:
        share = parameters.alpha
        inputs.remark(f"merged with the safe model: similarity {similarity:.3f} < {parameters.threshold:g}")
    return combination([1 - share, share, 0.0][: len(models)])


def _similarity(inputs: Inputs) -> float:
    """1 where there is no matrix, no change or no subspace to measure it by."""
    matrices = whole_matrices(inputs, _change_and_span, 2)
    if matrices is None:
        return 1.0
    changes, spans = matrices
    products = inputs.run_all(lambda index: _products(changes[index], spans[index]), range(len(changes)))
    product, square, projected_square = torch.stack(list(products)).sum(0).tolist()
    lengths = square * projected_square
    return product / lengths**0.5 if lengths != 0 else 1.0


def _change_and_span(tile: Tile) -> list[Tensor]:
    vectors = tile.task_vectors()
    return [vectors[0], vectors[-1]]


def _products(change: Tensor, span: Tensor) -> Tensor:
    """P · D, D · D, P · P in float64, P being the projection of D."""
    # Its length has no part in the cosine; and small changes, multiplied four times, would leave float32.
    unit = span / torch.linalg.vector_norm(span).clamp_min(torch.finfo(torch.float32).tiny)
    projected = torch.linalg.multi_dot([unit, unit.T, change])
    pairs = ((projected, change), (change, change), (projected, projected))
    return torch.stack([(a * b).sum(dtype=torch.float64) for a, b in pairs])
