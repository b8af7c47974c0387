"""KV memory grows and moves without losing what is in it."""

from __future__ import annotations

import torch

from groupwise.engine.attention import Tree
from groupwise.engine.cache import GROWTH, Cache

LIKE = torch.zeros(1, 2, 4)  # [*, K, d]


def test_growing_keeps_what_is_there_and_stops_at_the_limit() -> None:
    cache = Cache(slots=1, rows=3, longest_prompt=5, longest_answer=3 * GROWTH)
    for x in cache.own(0, LIKE):
        assert x.shape == (3, 2, GROWTH, 4)
        x.copy_(torch.arange(x.numel()).view(x.shape))
    before = [x.clone() for x in cache.own(0, LIKE)]
    cache.reserve(GROWTH)
    assert cache.own(0, LIKE)[0].shape[2] == GROWTH, "no growth while there is room"
    cache.reserve(GROWTH + 1)
    assert cache.own(0, LIKE)[0].shape[2] == 2 * GROWTH
    cache.reserve(3 * GROWTH)
    assert cache.own(0, LIKE)[0].shape[2] == 3 * GROWTH, "not beyond the longest answer"
    for x, old in zip(cache.own(0, LIKE), before, strict=True):
        assert torch.equal(x[:, :, :GROWTH], old)
        assert not x[:, :, GROWTH:].any()


def test_a_layer_first_used_after_growth_has_the_room() -> None:
    cache = Cache(slots=1, rows=1, longest_prompt=5, longest_answer=100)
    cache.own(0, LIKE)
    cache.reserve(40)
    assert cache.own(1, LIKE)[0].shape == cache.own(0, LIKE)[0].shape


def test_rows_move_at_once_and_in_every_layer() -> None:
    cache = Cache(slots=1, rows=4, longest_prompt=1, longest_answer=2)
    for layer in range(2):
        for x in cache.own(layer, LIKE):
            x.copy_(torch.arange(4.0)[:, None, None, None].expand_as(x))
    cache.move([2, 3], [0, 1])
    cache.move([], [])
    for layer in range(2):
        for x in cache.own(layer, LIKE):
            assert x[:, 0, 0, 0].tolist() == [2, 3, 2, 3]


def test_prompts_are_stored_in_their_slots_and_leave_the_others() -> None:
    cache = Cache(slots=3, rows=1, longest_prompt=4, longest_answer=2)
    k = torch.arange(1.0, 7.0)[:, None, None].expand(6, 2, 4)  # packed tokens 1 .. 6
    cache.store([Tree(4), Tree(2)], [2, 0])(0, k, -k)
    keys, values = cache.prompts(0, LIKE)
    assert keys[:, 0, :, 0].tolist() == [[5, 6, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4]]
    assert torch.equal(values, -keys)
    cache.store([Tree(1)], [2])(0, 9 * k[:1], k[:1])
    assert keys[0, 0, :, 0].tolist() == [5, 6, 0, 0]
    assert keys[2, 0, 0, 0] == 9
