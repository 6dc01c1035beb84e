"""Loops over the entries of a tile, compiled for the CPU: each does in one go what takes torch many passes.

They take flat arrays of float32 numbers or, as uint16, of bfloat16 ones, which are widened as they are read
and never stored so. They hold no interpreter lock. Their machine code is kept beside this file, or in the
user's cache folder; all are in one file, because a change to it is what makes numba compile them again.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from workers.merging.compiled import compiled

BLOCK = 512
"""Entries that stay in the innermost cache from one loop to the next. With more, the processor loses track of
what it should fetch ahead from each source."""

_ZERO, _ONE, _MINUS_ONE = np.float32(0), np.float32(1), np.float32(-1)
_MAGNITUDE = np.int32(0x7FFFFFFF)
_GROUP = 4
"""Entries that one random number serves."""


@compiled
def add_weighted(models: Any, base: Any, shares: Any, out: Any) -> Any:
    """out = sum of share * model; with a base, that of share * (model - base), and the base. See _store."""
    origin, total = _floats(), _floats()
    largest = np.int32(0)
    odd = len(models) % 2
    for start in range(0, out.size, BLOCK):
        _widen(base[start : start + BLOCK], origin)
        if odd:
            block, share = models[0][start : start + BLOCK], shares[0]
            for i in range(block.size):
                total[i] = (_number(block[i]) - origin[i]) * share
        else:
            # Not 0, which would make a sum of negative zeros a positive one.
            total[:] = -_ZERO
        # Two at a time: the total is read and written half as often.
        for model in range(odd, len(models), 2):
            one, other = models[model][start : start + BLOCK], models[model + 1][start : start + BLOCK]
            share, other_share = shares[model], shares[model + 1]
            for i in range(one.size):
                total[i] += (_number(one[i]) - origin[i]) * share
                total[i] += (_number(other[i]) - origin[i]) * other_share
        if base.size:
            for i in range(BLOCK):
                total[i] += origin[i]
        largest = max(largest, _store(total, out[start : start + BLOCK]))
    return largest


@compiled
def multiply_pairs(models: Any, base: Any, products: Any) -> None:
    """products[i, j] = the scalar product of models i <= j, less the base if there is one."""
    count = len(models)
    numbers, origin = np.zeros((count, BLOCK), np.float32), _floats()
    # As many sums as a block has entries: short ones lose little to rounding.
    sums = np.zeros((count * (count + 1) // 2, BLOCK), np.float32)
    for start in range(0, models[0].size, BLOCK):
        _widen(base[start : start + BLOCK], origin)
        for model in range(count):
            _widen_difference(models[model][start : start + BLOCK], base.size, origin, numbers[model])
        size, pair = min(BLOCK, models[0].size - start), 0
        for left in range(count):
            for right in range(left, count):
                x, y, total = numbers[left, :size], numbers[right, :size], sums[pair, :size]
                for i in range(total.size):
                    total[i] += x[i] * y[i]
                pair += 1
    pair = 0
    for left in range(count):
        for right in range(left, count):
            products[left, right] = products[right, left] = _sum(sums[pair])
            pair += 1


@compiled
def sift(numbers: Any, less: Any, low: Any, high: Any, within: Any) -> tuple[int, int]:
    """Magnitudes of numbers - less (of numbers, where `less` is empty), as bit patterns.

    Returns how many are above `high`, and how many, written to `within`, are from `low` to `high`.
    """
    subtrahend, values, bits = _floats(), _floats(), np.zeros(BLOCK, np.int32)
    hits: Any = np.zeros(BLOCK, np.uint8)
    eights = hits.view(np.uint64)
    above = count = 0
    for start in range(0, numbers.size, BLOCK):
        size = min(BLOCK, numbers.size - start)
        _widen(less[start : start + BLOCK], subtrahend)
        _widen_difference(numbers[start : start + BLOCK], less.size, subtrahend, values)
        # Zero, like what is left from the block before, is never looked for.
        values[size:] = _ZERO
        above_here: Any = np.int32(0)
        for i in range(BLOCK):
            bits[i] = _magnitude(values[i])
            above_here = _plus(above_here, bits[i] > high)
        above += above_here
        for i in range(BLOCK):
            hits[i] = np.uint8((bits[i] >= low) & (bits[i] <= high))
        for eight in range(eights.size):
            # Few are hit, so most eights need no second look.
            if eights[eight] != 0:
                for i in range(8 * eight, 8 * eight + 8):
                    # Written always and counted if hit: a branch would be mispredicted.
                    within[count] = bits[i]
                    count += hits[i]
    return above, count


@compiled
def index_of(numbers: Any, less: Any, bits: Any, rank: Any) -> int:
    """Of the rank-th, from 1, of numbers - less (or numbers) whose magnitude has the bit pattern, not zero's.

    -1 where there are fewer.
    """
    subtrahend, values = _floats(), _floats()
    for start in range(0, numbers.size, BLOCK):
        size = min(BLOCK, numbers.size - start)
        _widen(less[start : start + BLOCK], subtrahend)
        _widen_difference(numbers[start : start + BLOCK], less.size, subtrahend, values)
        values[size:] = _ZERO
        equal: Any = np.int32(0)
        for i in range(BLOCK):
            equal = _plus(equal, _magnitude(values[i]) == bits)
        if equal >= rank:
            for i in range(size):
                rank -= _magnitude(values[i]) == bits
                if rank == 0:
                    return start + i
        rank -= equal
    return -1


@compiled
def subtract(minuend: Any, subtrahend: Any, out: Any) -> None:
    """out = minuend - subtrahend."""
    origin, numbers = _floats(), _floats()
    for start in range(0, out.size, BLOCK):
        result = out[start : start + BLOCK]
        _widen(subtrahend[start : start + BLOCK], origin)
        _widen_difference(minuend[start : start + BLOCK], subtrahend.size, origin, numbers)
        for i in range(result.size):
            result[i] = numbers[i]


@compiled
def round_to_bfloat16(numbers: Any, out: Any) -> Any:
    """out = numbers, to nearest even. See _store."""
    largest = np.int32(0)
    for start in range(0, out.size, BLOCK):
        largest = max(largest, _store(numbers[start : start + BLOCK], out[start : start + BLOCK]))
    return largest


@compiled
def add_task_vectors(
    models: Any,
    base: Any,
    masks: Any,
    offset: Any,
    factors: Any,
    weights: Any,
    weight_sum: Any,
    elect: Any,
    divide: Any,
    scale: Any,
    out: Any,
) -> Any:
    """out = base + scale * sum of factor * mask * (model - base), divided by the sum of the weights.

    With `elect` only entries that have the sign of their sum count, and their weights. See kernels.Mask and
    _store.
    """
    largest = np.int32(0)
    count = len(models)
    origin, total, divisor = _floats(), _floats(), _floats()
    vectors = np.zeros((count, BLOCK), np.float32)
    random = _random_numbers()
    for start in range(0, out.size, BLOCK):
        _widen(base[start : start + BLOCK], origin)
        total[:] = _ZERO
        for model in range(count):
            vector, factor = vectors[model], factors[model]
            _widen_difference(models[model][start : start + BLOCK], base.size, origin, vector)
            _mask(vector, masks[model], start, offset, random)
            for i in range(BLOCK):
                vector[i] *= factor
                total[i] += vector[i]
        if elect:
            _elect(vectors, weights, total, divisor)
        else:
            divisor[:] = weight_sum
        if divide:
            for i in range(BLOCK):
                total[i] /= divisor[i] if divisor[i] != _ZERO else _ONE
        for i in range(BLOCK):
            total[i] = origin[i] + scale * total[i]
        largest = max(largest, _store(total, out[start : start + BLOCK]))
    return largest


@compiled
def add_magnitudes(models: Any, base: Any, masks: Any, offset: Any, norms: Any) -> None:
    """norms[i] = the L1 norms of model i less the base, before and after its mask."""
    origin, vector, random = _floats(), _floats(), _random_numbers()
    sums = np.zeros((len(models), 2, BLOCK), np.float32)
    for start in range(0, base.size, BLOCK):
        size = min(BLOCK, base.size - start)
        _widen(base[start : start + BLOCK], origin)
        for model in range(len(models)):
            before, after = sums[model, 0], sums[model, 1]
            _widen_difference(models[model][start : start + BLOCK], base.size, origin, vector)
            vector[size:] = _ZERO
            for i in range(BLOCK):
                before[i] += np.abs(vector[i])
            _mask(vector, masks[model], start, offset, random)
            for i in range(BLOCK):
                after[i] += np.abs(vector[i])
    for model in range(len(models)):
        norms[model, 0], norms[model, 1] = _sum(sums[model, 0]), _sum(sums[model, 1])


@compiled
def _floats() -> Any:
    return np.zeros(BLOCK, np.float32)


@compiled
def _random_numbers() -> Any:
    """Room for a block's, wherever in a group it begins."""
    return np.zeros(BLOCK // _GROUP + 1, np.uint64)


@compiled
def _widen(block: Any, numbers: Any) -> None:
    for i in range(block.size):
        numbers[i] = _number(block[i])


@compiled
def _widen_difference(block: Any, less: Any, subtrahend: Any, numbers: Any) -> None:
    """Less nothing, where `less` is 0."""
    if less:
        for i in range(block.size):
            numbers[i] = _number(block[i]) - subtrahend[i]
    else:
        _widen(block, numbers)


@compiled
def _store(numbers: Any, out: Any) -> Any:
    """out = numbers, or what they are rounded to nearest even where `out` has bfloat16 ones.

    Then returns the largest bit pattern of a magnitude among them, so that NaN and infinity show.
    """
    largest = np.int32(0)
    if out.itemsize == 2:
        for i in range(out.size):
            largest = max(largest, _magnitude(numbers[i]))
            out[i] = _rounded(numbers[i])
    else:
        for i in range(out.size):
            out[i] = numbers[i]
    return largest


# What follows is in LLVM's words because numba would compute with 64 bits, in half as many entries at a time.
_WORD = ir.IntType(32)


@intrinsic
def _number(_: Any, stored: Any) -> Any:
    """float32: of a float32 number itself, of a uint16 the number whose upper half it is."""

    def generate(__: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        (value,) = arguments
        if stored == types.float32:
            return value
        bits = builder.shl(builder.zext(value, _WORD), ir.Constant(_WORD, 16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(stored), generate


@intrinsic
def _rounded(_: Any, number: Any) -> Any:
    """uint16: the upper half of a float32 number, rounded to nearest even."""

    def generate(__: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _WORD)
        even = builder.and_(builder.lshr(bits, ir.Constant(_WORD, 16)), ir.Constant(_WORD, 1))
        bits = builder.add(bits, builder.add(even, ir.Constant(_WORD, 0x7FFF)))
        return builder.trunc(builder.lshr(bits, ir.Constant(_WORD, 16)), ir.IntType(16))

    return types.uint16(number), generate


@intrinsic
def _magnitude(_: Any, number: Any) -> Any:
    """int32: the bit pattern of a float32 number's magnitude."""

    def generate(__: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        return builder.and_(builder.bitcast(arguments[0], _WORD), ir.Constant(_WORD, 0x7FFFFFFF))

    return types.int32(number), generate


@intrinsic
def _plus(_: Any, count: Any, hit: Any) -> Any:
    """int32: the count, and one more where it is a hit."""

    def generate(__: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        return builder.add(arguments[0], builder.zext(arguments[1], _WORD))

    return types.int32(count, hit), generate


@compiled
def _mask(vector: Any, mask: Any, start: Any, offset: Any, random: Any) -> None:
    if mask.low > 0 or mask.top < _MAGNITUDE:
        low, low_stop = mask.low, mask.low_stop - start
        top, top_stop = mask.top, mask.top_stop - start
        if 0 < low_stop < BLOCK or 0 < top_stop < BLOCK:
            _mask_to_stops(vector, low, np.int32(low_stop), top, np.int32(top_stop))
        else:
            low = np.int32(low + (low_stop <= 0))
            top = np.int32(top + (top_stop <= 0 and top < _MAGNITUDE))
            for i in range(BLOCK):
                magnitude = _magnitude(vector[i])
                # Multiplied, here and below, so that a NaN stays one.
                vector[i] *= _ONE if (magnitude >= low) & (magnitude < top) else _ZERO
    if mask.wins < 32768:
        _draw(mask.key, (offset + start) // _GROUP, random)
        coins = random.view(np.int16)[(offset + start) % _GROUP :]
        wins = np.int16(mask.wins)
        for i in range(BLOCK):
            vector[i] *= _ONE if coins[i] < wins else _ZERO


@compiled
def _mask_to_stops(vector: Any, low: Any, low_stop: Any, top: Any, top_stop: Any) -> None:
    for i in range(BLOCK):
        magnitude = _magnitude(vector[i])
        from_low = magnitude >= low + np.int32(np.int32(i) >= low_stop)
        below_top = magnitude < top + np.int32(np.int32(i) >= top_stop)
        vector[i] *= _ONE if from_low & below_top else _ZERO


@compiled
def _draw(key: Any, group: Any, random: Any) -> None:
    """As counter_random has it."""
    first = np.uint64(group + 1)
    for i in range(random.size):
        z = (first + np.uint64(i)) * np.uint64(0x9E3779B97F4A7C15) + key
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        random[i] = z ^ (z >> np.uint64(31))


@compiled
def _elect(vectors: Any, weights: Any, total: Any, divisor: Any) -> None:
    """`total` becomes the sum of those with its sign, `divisor` the sum of their weights."""
    sign = _floats()
    for i in range(BLOCK):
        sign[i] = _ONE if total[i] >= _ZERO else _MINUS_ONE
    total[:] = _ZERO
    divisor[:] = _ZERO
    for model in range(len(vectors)):
        vector, weight = vectors[model], weights[model]
        for i in range(BLOCK):
            agrees = _ONE if vector[i] * sign[i] > _ZERO else _ZERO
            total[i] += vector[i] * agrees
            divisor[i] += weight * agrees


@compiled
def _sum(numbers: Any) -> float:
    total = 0.0
    for i in range(numbers.size):
        total += np.float64(numbers[i])
    return total
