"""What preferences say about scores, as negative log-likelihoods.

A score is in nats: sigmoid(a - b) is the chance that a person prefers the answer of score a to that of b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, slots=True)
class Order:
    """What is known of n answers: blocks of equally good ones, the best first."""

    blocks: tuple[int, ...]
    """Answers in each block; their sum is n."""
    margin: float = 0.0
    """Of a pair: nats by which the chosen one should at least lead."""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) by number, every pair of answers from two blocks."""
        found, start = [], 0
        for size in self.blocks:
            stop = start + size
            found += [(i, j) for i in range(start, stop) for j in range(stop, sum(self.blocks))]
            start = stop
        return found


def bradley_terry(better: Tensor, worse: Tensor, margin: float | Tensor = 0.0) -> Tensor:
    """-log sigmoid(better - worse - margin), of any common shape.

    Bradley and Terry 1952; for reward models arXiv 2204.05862. The margin is that of Llama 2 (arXiv
    2307.09288, equation 2): a pair that people found clear has to be told apart more widely.
    """
    return -logsigmoid(better - worse - margin)


def plackett_luce(scores: Tensor, blocks: Sequence[int]) -> Tensor:
    """Scores [n], the best first, in blocks of equally good ones -> negative log-likelihood of the ranking.

    sum over the answers i of every block but the last: log(exp s_i + sum exp s_j) - s_i, where j are the
    answers of the worse blocks. Without ties this is Plackett and Luce's: the best is drawn from all with
    chance softmax(s), then the second from the rest. Of tied answers each is compared with the worse ones
    alone, and nothing is said about which of them is better: the product over a block is a composite
    likelihood, not the exact chance of any of its orders.
    """
    loss, stop = scores.new_zeros(()), 0
    for size in blocks[:-1]:
        tied, worse = scores[stop : stop + size], scores[stop + size :].logsumexp(0)
        loss = loss + (tied.logaddexp(worse) - tied).sum()
        stop += size
    return loss


def of_order(scores: Tensor, order: Order, centring: float = 0.0) -> Tensor:
    """Scores [n], the best first -> the loss of one comparison.

    `centring` x (2 x mean score)^2 is added: for a pair (chosen + rejected)^2, as in arXiv 2312.09244. It
    holds scores around 0, which the likelihood leaves open, and changes no difference of a pair.
    """
    if order.blocks == (1, 1):
        loss = bradley_terry(scores[0], scores[1], order.margin)
    else:
        loss = plackett_luce(scores, order.blocks)
    return loss + centring * (2 * scores.mean()) ** 2 if centring else loss
