"""The CRF's functions against every path written out, against pytorch-crf, and by numerical gradients."""

import math
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor
from torchcrf import CRF

from tagger.nn.crf.functions import best_path, log_partition, path_score
from tagger.nn.crf.heads import Allowed, CRFHead, SoftmaxHead

LENGTHS = [[1], [2, 1], [5, 3, 1, 4]]


def chain(lengths: list[int], tags: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw(len(lengths), max(lengths), tags), draw(tags, tags), draw(tags), draw(tags), torch.tensor(lengths)


def written_out(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> dict[tuple[int, ...], float]:
    """Returns the score of every path of one sentence, added up number by number."""
    scores = {}
    for path in product(range(len(start)), repeat=len(emissions)):
        score = float(start[path[0]]) + float(end[path[-1]])
        score += sum(float(emissions[token, tag]) for token, tag in enumerate(path))
        score += sum(float(transitions[left, right]) for left, right in pairwise(path))
        scores[path] = score
    return scores


def log_sum(scores: list[float]) -> float:
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores))


@pytest.mark.parametrize("tags", [1, 2, 4])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("forbidding", [False, True])
def test_functions_equal_every_path_written_out(lengths: list[int], tags: int, forbidding: bool) -> None:
    emissions, transitions, start, end, sizes = chain(lengths, tags)
    if forbidding and tags > 1:
        transitions[0, 1], start[1] = -math.inf, -math.inf
    partition = log_partition(emissions, transitions, start, end, sizes)
    paths, best = best_path(emissions, transitions, start, end, sizes)
    for sentence, length in enumerate(lengths):
        scores = written_out(emissions[sentence, :length], transitions, start, end)
        top = max(scores, key=scores.__getitem__)
        assert float(partition[sentence]) == pytest.approx(log_sum(list(scores.values())), rel=1e-10)
        assert tuple(paths[sentence, :length].tolist()) == top
        assert not paths[sentence, length:].any()
        assert float(best[sentence]) == pytest.approx(scores[top], rel=1e-10)
        given = path_score(emissions, paths, transitions, start, end, sizes)
        assert float(given[sentence]) == pytest.approx(scores[top], rel=1e-10)


@pytest.mark.parametrize("tags", [1, 3, 17, 40])
def test_loss_gradients_and_paths_equal_those_of_pytorch_crf(tags: int) -> None:
    emissions, *_, lengths = chain([7, 1, 4, 9, 2], tags, seed=tags)
    gold = torch.randint(tags, (5, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < lengths[:, None]
    everything = Allowed(*(torch.ones(*shape, dtype=torch.bool) for shape in ((tags,), (tags,), (tags, tags))))
    head = CRFHead(everything).double()
    reference = CRF(tags, batch_first=True).double()
    reference.load_state_dict(head.crf.state_dict())
    ours, theirs = emissions.clone().requires_grad_(), emissions.clone().requires_grad_()
    loss = head.loss(ours, gold, lengths)
    expected = -reference(theirs, gold, mask=mask, reduction="mean")
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    for ours_, theirs_ in zip(head.crf.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours_.grad, theirs_.grad)
    found = head.decode(emissions, lengths)
    decoded = [path[:length].tolist() for path, length in zip(found, lengths, strict=True)]
    assert decoded == reference.decode(emissions, mask=mask)


def test_the_log_partition_has_the_right_gradient() -> None:
    emissions, transitions, start, end, lengths = chain([3, 1, 2], 3)
    inputs = [tensor.requires_grad_() for tensor in (emissions, transitions, start, end)]
    assert torch.autograd.gradcheck(lambda *scores: log_partition(*scores, lengths), inputs)


def test_padding_changes_nothing() -> None:
    emissions, transitions, start, end, lengths = chain([5, 2], 3)
    before = log_partition(emissions, transitions, start, end, lengths)
    emissions[1, 2:] = 1e6
    torch.testing.assert_close(log_partition(emissions, transitions, start, end, lengths), before)


def iob2_allowed() -> Allowed:
    """O, B and I, where I must not start a sentence or follow O."""
    transitions = torch.ones(3, 3, dtype=torch.bool)
    transitions[0, 2] = False
    return Allowed(torch.tensor([True, True, False]), torch.ones(3, dtype=torch.bool), transitions)


@pytest.mark.parametrize("head", [CRFHead(iob2_allowed()), SoftmaxHead(iob2_allowed())])
def test_a_head_never_decodes_what_is_forbidden(head: CRFHead | SoftmaxHead) -> None:
    emissions = torch.tensor([[[0.0, -1.0, 9.0], [5.0, 0.0, 4.0], [0.0, -1.0, 9.0]]])
    assert head.decode(emissions, torch.tensor([3])).tolist() == [[1, 2, 2]]


def test_forbidding_in_training_gives_allowed_paths_all_the_probability() -> None:
    emissions = torch.randn(1, 2, 3, dtype=torch.float64)
    lengths = torch.tensor([2])
    head = CRFHead(iob2_allowed(), forbid_in_training=True).double()
    legal = [path for path in product(range(3), repeat=2) if path[0] != 2 and path != (0, 2)]
    shares = [math.exp(-head.loss(emissions, torch.tensor([path]), lengths).item()) for path in legal]
    assert sum(shares) == pytest.approx(1.0)
    loss = head.loss(emissions.requires_grad_(), torch.tensor([[1, 2]]), lengths)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())


def test_the_softmax_loss_is_the_cross_entropy_of_real_tokens() -> None:
    emissions = torch.randn(2, 3, 3)
    gold = torch.tensor([[0, 1, 2], [1, 0, 0]])
    log_shares = emissions.log_softmax(2)
    expected = -(log_shares[0, 0, 0] + log_shares[0, 1, 1] + log_shares[0, 2, 2] + log_shares[1, 0, 1]) / 2
    torch.testing.assert_close(SoftmaxHead(iob2_allowed()).loss(emissions, gold, torch.tensor([3, 1])), expected)
