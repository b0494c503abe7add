"""The heads: what the tag scheme forbids, their losses, and that their questions are the functions'."""

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from tagger.choices import Reduction
from tagger.nn.crf import functions
from tagger.nn.crf.heads import Constraints, CRFHead, SoftmaxHead
from tests.nn.chains import UNKNOWN

Head = CRFHead | SoftmaxHead
LENGTHS = torch.tensor([4, 1, 3])


def iob2_constraints() -> Constraints:
    """O, B and I, where I must not start a sentence or follow O; the end is free but for B, to have one of each."""
    transitions = torch.ones(3, 3, dtype=torch.bool)
    transitions[0, 2] = False
    return Constraints(torch.tensor([True, True, False]), torch.tensor([True, False, True]), transitions)


def is_valid_transition(path: tuple[int, ...]) -> bool:
    return path[0] != 2 and path[-1] != 1 and (0, 2) not in pairwise(path)


def drawn(seed: int = 0) -> Tensor:
    return torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def crf(*, forbid_in_training: bool = False, tag_weights: Tensor | None = None) -> CRFHead:
    torch.manual_seed(7)
    head = CRFHead(iob2_constraints(), forbid_in_training=forbid_in_training, tag_weights=tag_weights).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def softmax(*, tag_weights: Tensor | None = None) -> SoftmaxHead:
    return SoftmaxHead(iob2_constraints(), tag_weights=tag_weights).double()


each_head = pytest.mark.parametrize("make", [crf, softmax])


def score(head: Head, emissions: Tensor, path: tuple[int, ...]) -> float:
    """Returns the score of a path of one sentence (T, K), forbidden or not, number by number."""
    total = sum(float(emissions[token, tag]) for token, tag in enumerate(path))
    if isinstance(head, CRFHead):
        total += head.crf.start_transitions[path[0]].item() + head.crf.end_transitions[path[-1]].item()
        total += sum(head.crf.transitions[pair].item() for pair in pairwise(path))
    return total


# Decoding


@each_head
def test_a_head_never_decodes_what_is_forbidden(make: Callable[[], Head]) -> None:
    head = make()
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    emissions = torch.tensor([[[0.0, -1.0, 9.0], [5.0, 0.0, 4.0], [0.0, -1.0, 9.0]]])
    assert head.chain(emissions, torch.tensor([3])).best_path()[0].tolist() == [[1, 2, 2]]


@each_head
@pytest.mark.parametrize("seed", range(5))
def test_a_head_decodes_the_best_of_all_allowed_paths(make: Callable[[], Head], seed: int) -> None:
    head, emissions = make(), 3 * drawn(seed)
    for sentence, length in enumerate(LENGTHS.tolist()):
        paths = filter(is_valid_transition, product(range(3), repeat=length))
        best = max(paths, key=lambda path: score(head, emissions[sentence], path))
        assert head.chain(emissions, LENGTHS).best_path()[0][sentence].tolist() == [*best, *[0] * (4 - length)]


@each_head
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_high_scores_do_not_override_constraints(make: Callable[[], Head], sign: float) -> None:
    head = make()
    emissions = drawn() + sign * torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64)
    lengths = torch.tensor([4, 1, 2])
    for path, length in zip(head.chain(emissions, lengths).best_path()[0].tolist(), lengths.tolist(), strict=True):
        assert is_valid_transition(tuple(path[:length]))
    assert head.chain(emissions, lengths).best_path()[1].isfinite().all()


@each_head
def test_forbidden_paths_have_probability_zero_in_all_results(make: Callable[[], Head]) -> None:
    head, emissions = make(), drawn()
    chain = head.chain(emissions, LENGTHS)
    every = [path for path in product(range(3), repeat=4) if is_valid_transition(path)]
    scores = [score(head, emissions[0], path) for path in every]
    partition = math.log(sum(map(math.exp, scores)))
    assert chain.log_partition()[0].item() == pytest.approx(partition)
    paths, found = chain.best_paths(81)
    assert found[0, : len(every)].tolist() == pytest.approx(sorted(scores, reverse=True))
    assert (found[0, len(every) :] == -math.inf).all()
    assert {tuple(path) for path in paths[0, : len(every)].tolist()} == set(every)
    marginals = chain.marginals()
    assert not marginals[:, 0, 2].any()
    assert not marginals[torch.arange(3), LENGTHS - 1, 1].any()
    assert not chain.pairwise_marginals()[:, :, 0, 2].any()
    generator = torch.Generator().manual_seed(1)
    assert all(map(is_valid_transition, map(tuple, chain.sample(500, generator=generator)[0].tolist())))
    forbidden = torch.tensor([[2, 2, 2, 0], [0, 0, 0, 0], [0, 2, 0, 0]])
    assert chain.path_score(forbidden).tolist() == [
        -math.inf,
        pytest.approx(score(head, emissions[1], (0,))),
        -math.inf,
    ]


@each_head
def test_constraints_leave_the_parameters_alone(make: Callable[[], Head]) -> None:
    head = make()
    before = copy.deepcopy(head.state_dict())
    head.chain(drawn(), LENGTHS).best_path()[0]
    head.loss(drawn().requires_grad_(), torch.zeros(3, 4, dtype=torch.long), LENGTHS).backward()
    assert head.state_dict().keys() == before.keys()
    assert all(torch.equal(one, before[name]) for name, one in head.state_dict().items())
    assert all(parameter.abs().max() < 100 for parameter in head.parameters())
    assert {name.split(".")[0] for name in head.state_dict()} <= {"crf"}  # what a recipe tells is not saved


# Questions


def span_arguments() -> dict[str, object]:
    joins = torch.zeros(3, 3, dtype=torch.bool)
    joins[1:, 2] = True
    spans = torch.tensor([(0, 1, 3, 0), (2, 0, 3, 0), (1, 0, 1, 0)])
    return {"spans": spans, "members": torch.tensor([[False, True, True]]), "joins": joins}


QUANTITIES: dict[str, Callable[[], dict[str, object]]] = {
    "log_partition": dict,
    "path_score": lambda: {"path": torch.tensor([[0, 1, 2, 0]] * 3)},
    "best_path": dict,
    "best_paths": lambda: {"count": 5},
    "marginals": dict,
    "pairwise_marginals": dict,
    "entropy": dict,
    "span_probabilities": span_arguments,
    "sample": lambda: {"count": 5, "generator": torch.Generator().manual_seed(1)},
}


@each_head
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_functions_equal_the_methods_of_a_chain(make: Callable[[], Head], quantity: str) -> None:
    head, emissions = make(), drawn()
    found = getattr(head.chain(emissions, LENGTHS), quantity)(**QUANTITIES[quantity]())
    expected = getattr(functions, quantity)(*head.chain(emissions, LENGTHS).scores, **QUANTITIES[quantity]())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


# Losses


def given(weights: list[float] | None) -> Tensor | None:
    return None if weights is None else torch.tensor(weights)


@pytest.mark.parametrize("forbidding", [False, True])
def test_the_crf_loss_gives_all_paths_or_the_allowed_ones_the_probability(forbidding: bool) -> None:
    head, emissions = crf(forbid_in_training=forbidding), drawn()
    gold = torch.tensor([[1, 2, 0, 0], [0, UNKNOWN, UNKNOWN, UNKNOWN], [0, 1, 2, UNKNOWN]])
    losses = []
    for sentence, length in enumerate(LENGTHS.tolist()):
        paths = (path for path in product(range(3), repeat=length) if is_valid_transition(path) or not forbidding)
        whole = math.log(sum(math.exp(score(head, emissions[sentence], path)) for path in paths))
        losses.append(whole - score(head, emissions[sentence], tuple(gold[sentence, :length].tolist())))
    assert head.loss(emissions, gold, LENGTHS, reduction="none").tolist() == pytest.approx(losses)
    assert head.loss(emissions, gold, LENGTHS).item() == pytest.approx(sum(losses) / 3)
    assert head.loss(emissions, gold, LENGTHS, reduction="token").item() == pytest.approx(sum(losses) / 8)


def test_forbidding_in_training_gives_allowed_paths_all_the_probability() -> None:
    emissions = drawn()[:1, :3]
    lengths = torch.tensor([3])
    head = crf(forbid_in_training=True)
    paths = filter(is_valid_transition, product(range(3), repeat=3))
    probs = [math.exp(-head.loss(emissions, torch.tensor([path]), lengths).item()) for path in paths]
    assert sum(probs) == pytest.approx(1.0)
    head.loss(emissions.requires_grad_(), torch.tensor([[1, 2, 2]]), lengths).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())
    assert float(head.crf.transitions.grad[0, 2]) == 0.0


def test_forbidding_in_training_refuses_gold_that_is_forbidden() -> None:
    gold = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0]])
    with pytest.raises(ValueError, match="sentence 2, token 1: gold tag 2 must not follow tag 0"):
        crf(forbid_in_training=True).loss(drawn(), gold, LENGTHS)


@pytest.mark.parametrize("forbidding", [False, True])
def test_the_crf_loss_uses_tag_weights(forbidding: bool) -> None:
    weights = torch.tensor([0.5, 2.0, 3.0])
    head, emissions = crf(forbid_in_training=forbidding, tag_weights=weights), drawn()
    gold = torch.tensor([[1, 2, 0, 0], [0, 0, 0, 0], [0, 1, 2, 0]])
    scores = head.chain(emissions, LENGTHS).scores[1:4]
    if not forbidding:
        scores = (head.crf.transitions, head.crf.start_transitions, head.crf.end_transitions)
    expected = functions.negative_log_likelihood(emissions, *scores, LENGTHS, gold, weights=weights)
    found = head.loss(emissions, gold, LENGTHS)
    torch.testing.assert_close(found, expected)
    head.tag_weights = None
    assert abs(head.loss(emissions, gold, LENGTHS).item() - expected.item()) > 0.1


def test_the_softmax_loss_is_the_cross_entropy_of_real_tokens() -> None:
    emissions = torch.randn(2, 3, 3)
    gold = torch.tensor([[0, 1, 2], [1, 0, 0]])
    log_shares = emissions.log_softmax(2)
    expected = -(log_shares[0, 0, 0] + log_shares[0, 1, 1] + log_shares[0, 2, 2] + log_shares[1, 0, 1]) / 2
    torch.testing.assert_close(SoftmaxHead(iob2_constraints()).loss(emissions, gold, torch.tensor([3, 1])), expected)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 3.0]])
@pytest.mark.parametrize("reduction", ["sentence", "token", "none"])
def test_the_softmax_loss_leaves_out_unknown_tags(weights: list[float] | None, reduction: Reduction) -> None:
    emissions = drawn()
    gold = torch.tensor([[1, UNKNOWN, 0, 2], [0, 1, 2, 0], [UNKNOWN, 2, UNKNOWN, 7]])
    losses = []
    for sentence, length in enumerate(LENGTHS.tolist()):
        loss = 0.0
        for token, tag in enumerate(gold[sentence, :length].tolist()):
            if tag != UNKNOWN:
                probs = [math.exp(float(number)) for number in emissions[sentence, token]]
                loss -= (weights[tag] if weights else 1.0) * math.log(probs[tag] / sum(probs))
        losses.append(loss)
    expected = {"none": losses, "sentence": sum(losses) / 3, "token": sum(losses) / 8}[reduction]
    head = softmax(tag_weights=given(weights))
    assert head.loss(emissions, gold, LENGTHS, reduction=reduction).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("reduction", ["sentence", "token", "none"])
@pytest.mark.parametrize(
    "make", [crf, partial(crf, forbid_in_training=True), softmax], ids=["free", "forbid", "softmax"]
)
def test_the_loss_sums_the_probabilities_of_all_allowed_paths_through_sets_of_tags(
    make: Callable[[], Head], reduction: Reduction
) -> None:
    head, emissions = make(), drawn()
    gold = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(1)) < 0.6
    gold[:, :, 0] = True
    losses, sizes = [], []
    for sentence, length in enumerate(LENGTHS.tolist()):
        every = {path: math.exp(score(head, emissions[sentence], path)) for path in product(range(3), repeat=length)}
        allowed = {path: value for path, value in every.items() if is_valid_transition(path)}
        agreeing = [
            value for path, value in allowed.items() if all(gold[sentence, n, tag] for n, tag in enumerate(path))
        ]
        total = allowed if getattr(head, "forbid_in_training", False) else every
        sizes.append((len(agreeing), len(allowed)))
        losses.append(math.log(sum(total.values()) / sum(agreeing)))
    expected = {"none": losses, "sentence": sum(losses) / 3, "token": sum(losses) / 8}[reduction]
    assert sizes[0][0] < sizes[0][1]
    gold[1, 1:] = False  # padding may hold anything
    assert head.loss(emissions, gold, LENGTHS, reduction=reduction).tolist() == pytest.approx(expected)


@each_head
def test_log_weights_are_added_to_the_scores_of_paths_through_their_tags(make: Callable[[], Head]) -> None:
    head, emissions = make(), drawn()
    gold = drawn(1).masked_fill(drawn(2) > 0.8, -math.inf)
    gold[:, :, 0] = -1.0
    losses = []
    for sentence, length in enumerate(LENGTHS.tolist()):
        every = {path: score(head, emissions[sentence], path) for path in product(range(3), repeat=length)}
        weighted = sum(
            math.exp(value + sum(float(gold[sentence, token, tag]) for token, tag in enumerate(path)))
            for path, value in every.items()
            if is_valid_transition(path)
        )
        losses.append(math.log(sum(map(math.exp, every.values())) / weighted))
    assert head.loss(emissions, gold, LENGTHS, reduction="none").tolist() == pytest.approx(losses)


@each_head
def test_sets_of_tags_without_an_allowed_path_are_an_error(make: Callable[[], Head]) -> None:
    gold = torch.zeros(3, 4, 3, dtype=torch.bool)
    gold[:, :, 2] = True  # which must not start a sentence
    with pytest.raises(ValueError, match="sentence 0, token 0: no path of finite score reaches it"):
        make().loss(drawn(), gold, LENGTHS)


@each_head
def test_the_loss_of_sets_of_one_tag_is_that_of_the_tags(make: Callable[[], Head]) -> None:
    gold = torch.tensor([[1, 2, 0, 0], [0, 0, 0, 0], [1, 2, 2, 0]])
    sets = torch.nn.functional.one_hot(gold, 3).bool()
    torch.testing.assert_close(make().loss(drawn(), sets, LENGTHS), make().loss(drawn(), gold, LENGTHS))


@each_head
def test_weights_with_tag_sets_are_an_error(make: Callable[..., Head]) -> None:
    head = make(tag_weights=torch.ones(3))
    gold = torch.ones(3, 4, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="weights require one known gold tag per token"):
        head.loss(drawn(), gold, LENGTHS)


@each_head
@pytest.mark.parametrize("sets", [False, True])
@pytest.mark.parametrize("anything", [math.nan, math.inf, 1e30])
def test_padding_changes_neither_the_loss_nor_its_gradient(
    make: Callable[[], Head], anything: float, sets: bool
) -> None:
    padding = torch.arange(4) >= LENGTHS[:, None]
    gold = torch.zeros(3, 4, dtype=torch.long)
    if sets:
        gold = torch.ones(3, 4, 3, dtype=torch.bool)
        gold[:, :, 1] = False
    found = []
    for filling in (0.0, anything):
        emissions = drawn().masked_fill(padding[:, :, None], filling).requires_grad_()
        head = make()
        loss = head.loss(emissions, gold, LENGTHS)
        loss.backward()
        found.append([loss.detach(), emissions.grad, *(parameter.grad for parameter in head.parameters())])
    for clean, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, clean)
    assert not found[1][1][padding].any()


@each_head
def test_a_head_follows_a_change_of_dtype(make: Callable[[], Head]) -> None:
    head = make().float()
    assert head.chain(drawn().float(), LENGTHS).best_path()[0].shape == (3, 4)
    assert head.loss(drawn().float(), torch.zeros(3, 4, dtype=torch.long), LENGTHS).dtype == torch.float32
