"""The CRF's functions against every path written out, what they refuse, and all that changes nothing."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor

from tagger.choices import Reduction, Scheme
from tagger.data import schemes
from tagger.nn.crf.functions import (
    best_path,
    best_paths,
    entropy,
    log_partition,
    marginals,
    negative_log_likelihood,
    pairwise_marginals,
    path_score,
    run_probabilities,
    sample,
    span_probabilities,
)
from tagger.nn.crf.kernels import torch_kernel
from tests.nn.chains import (
    MESSAGE_QUANTITIES,
    QUANTITIES,
    TORCH,
    UNKNOWN,
    Backend,
    Case,
    Chains,
    Path,
    any_gold,
    close,
    differentiable,
    draw,
    each_backend,
    each_case,
    each_device,
    each_quantity,
    enumerate_paths,
    gradients_of,
    log_sum,
    possible_gold,
    probabilities,
)

NAN, INF = math.nan, math.inf


def strip_padding(rows: Tensor, chains: Chains) -> list[Path]:
    """Returns the rows (B, T) without their padding, which must be 0."""
    assert not rows[chains.padding].any()
    return [tuple(row[:length]) for row, length in zip(rows.tolist(), chains.lengths.tolist(), strict=True)]


# Every path written out


@each_backend
@each_case
def test_the_log_partition_is_the_log_of_the_sum_over_all_paths(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    expected = [log_sum(list(scores.values())) for scores in enumerate_paths(chains)]
    close(log_partition(*chains, kernel=backend.kernel), expected)


@each_device
@each_case
def test_the_score_of_a_path_is_the_sum_of_the_scores_along_it(case: Case, device: str) -> None:
    chains = case.on(Backend("torch", device))
    for seed in range(5):
        choose = random.Random(seed).choice
        chosen = [choose(list(scores.items())) for scores in enumerate_paths(chains)]
        paths = torch.full(chains.emissions.shape[:2], UNKNOWN)
        for sentence, (path, _) in enumerate(chosen):
            paths[sentence, : len(path)] = torch.tensor(path)
        close(path_score(*chains, paths.to(device)), [score for _, score in chosen])


@each_backend
@each_case
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_the_negative_log_probability_of_the_gold_path(case: Case, backend: Backend, seed: int) -> None:
    chains = case.on(backend)
    gold = possible_gold(chains, seed)
    losses = []
    for sentence, probs in enumerate(probabilities(chains)):
        length = case.lengths[sentence]
        losses.append(-math.log(probs[tuple(gold[sentence, :length].tolist())]))
    expected = {
        "none": losses,
        "sentence": sum(losses) / len(losses),
        "token": sum(losses) / sum(case.lengths),
    }
    reductions: list[Reduction] = ["none", "sentence", "token"]
    for reduction in reductions:
        found = negative_log_likelihood(*chains, gold, reduction=reduction, kernel=backend.kernel)
        close(found, expected[reduction])
    close(negative_log_likelihood(*chains, gold, kernel=backend.kernel), expected["sentence"])


@each_backend
@each_case
def test_the_best_path_has_the_highest_score(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    paths, scores = best_path(*chains, kernel=backend.kernel)
    every = enumerate_paths(chains)
    assert strip_padding(paths, chains) == [max(one, key=one.__getitem__) for one in every]
    close(scores, [max(one.values()) for one in every])


@each_device
@each_case
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_the_best_paths_are_sorted_and_missing_ones_are_zero(case: Case, device: str, count: int) -> None:
    chains = case.on(Backend("torch", device))
    paths, scores = best_paths(*chains, count=count)
    assert paths.shape == (len(case.lengths), count, max(case.lengths))
    for sentence, every in enumerate(enumerate_paths(chains)):
        ranked = sorted((score, path) for path, score in every.items() if score > -INF)[::-1][:count]
        missing = count - len(ranked)
        close(scores[sentence], [score for score, _ in ranked] + [-INF] * missing)
        length = case.lengths[sentence]
        found = [tuple(path) for path in paths[sentence, :, :length].tolist()]
        assert found == [path for _, path in ranked] + [(0,) * length] * missing
        assert not paths[sentence, :, length:].any()


@each_backend
@each_case
def test_a_marginal_sums_the_probabilities_of_all_paths_with_a_tag(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    expected = torch.zeros_like(chains.emissions, device="cpu")
    for sentence, probs in enumerate(probabilities(chains)):
        for path, share in probs.items():
            for token, tag in enumerate(path):
                expected[sentence, token, tag] += share
    close(marginals(*chains, kernel=backend.kernel), expected)


@each_backend
@each_case
def test_a_pairwise_marginal_sums_the_probabilities_of_all_paths_with_two_tags(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    expected = torch.zeros(len(case.lengths), max(case.lengths) - 1, case.tags, case.tags, dtype=torch.float64)
    for sentence, probs in enumerate(probabilities(chains)):
        for path, share in probs.items():
            for token, pair in enumerate(pairwise(path)):
                expected[(sentence, token, *pair)] += share
    close(pairwise_marginals(*chains, kernel=backend.kernel), expected)


@each_backend
@each_case
def test_the_entropy_is_that_of_all_paths(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    expected = [-sum(p * math.log(p) for p in probs.values() if p) for probs in probabilities(chains)]
    close(entropy(*chains, kernel=backend.kernel), expected)


@each_backend
@each_case
def test_the_loss_of_partial_gold_sums_all_agreeing_paths(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    gold = possible_gold(chains)
    gold[torch.rand(gold.shape, generator=torch.Generator().manual_seed(case.seed)).to(backend.device) < 0.5] = UNKNOWN
    expected = []
    for sentence, probs in enumerate(probabilities(chains)):
        given = gold[sentence].tolist()
        agreeing = (
            p for path, p in probs.items() if all(g in (UNKNOWN, tag) for g, tag in zip(given, path, strict=False))
        )
        expected.append(-math.log(sum(agreeing)))
    close(negative_log_likelihood(*chains, gold, reduction="none", kernel=backend.kernel), expected)


@each_backend
@each_case
def test_gold_may_be_sets_of_tags(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    sets = torch.rand(chains.emissions.shape, generator=torch.Generator().manual_seed(case.seed)) < 0.4
    path = possible_gold(chains).cpu()
    sets |= path[:, :, None] == torch.arange(case.tags)
    sets[0] = True
    losses = []
    for sentence, probs in enumerate(probabilities(chains)):
        agreeing = (p for path, p in probs.items() if all(sets[sentence, t, tag] for t, tag in enumerate(path)))
        losses.append(-math.log(sum(agreeing)))
    assert losses[0] == pytest.approx(0, abs=1e-9)
    gold = sets.to(backend.device)
    close(negative_log_likelihood(*chains, gold, reduction="none", kernel=backend.kernel), losses)
    close(
        negative_log_likelihood(*chains, gold, reduction="token", kernel=backend.kernel),
        sum(losses) / sum(case.lengths),
    )


@each_backend
@each_case
def test_the_loss_of_unknown_gold_is_zero(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    gold = torch.full(chains.emissions.shape[:2], UNKNOWN, device=backend.device)
    close(negative_log_likelihood(*chains, gold, reduction="none", kernel=backend.kernel), [0.0] * len(case.lengths))


@each_backend
@each_case
def test_weights_multiply_the_log_probability_of_a_gold_tag_given_its_predecessor(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    gold = possible_gold(chains)
    weights = [0.5, 2.0, 0.0, 3.0][: case.tags]
    expected = []
    for sentence, probs in enumerate(probabilities(chains)):
        path = tuple(gold[sentence, : case.lengths[sentence]].tolist())
        loss, before = 0.0, 1.0
        for token, tag in enumerate(path):
            place_of = slice(max(token - 1, 0), token + 1)
            both = sum(p for other, p in probs.items() if other[place_of] == path[place_of])
            loss -= weights[tag] * math.log(both / before)
            before = sum(p for other, p in probs.items() if other[token] == tag)
        expected.append(loss)
    options = {"weights": torch.tensor(weights, device=backend.device), "kernel": backend.kernel}
    close(negative_log_likelihood(*chains, gold, reduction="none", **options), expected)
    close(negative_log_likelihood(*chains, gold, **options), sum(expected) / len(expected))


# Spans


def constrained_chains(tags: list[str], scheme: Scheme, lengths: list[int], backend: Backend) -> Chains:
    """Returns chains that forbid what the scheme does."""
    chains = draw(lengths, len(tags), seed=len(tags), backend=backend)
    for j, right in enumerate(tags):
        chains.start[j] += 0.0 if schemes.is_valid_transition(None, right, scheme) else -INF
        chains.end[j] += 0.0 if schemes.is_valid_transition(right, None, scheme) else -INF
        for i, left in enumerate(tags):
            chains.transitions[i, j] += 0.0 if schemes.is_valid_transition(left, right, scheme) else -INF
    return chains


def are_in_one_span(left: str, right: str) -> bool:
    """Returns whether two tags in a row belong to one entity, as conlleval reads them."""
    return "O" not in (left, right) and left[2:] == right[2:] and left[0] in "BI" and right[0] in "IE"


@each_backend
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize(
    ("scheme", "types", "lengths"),
    [("IOB2", "XY", [4, 1, 3, 2]), ("IOBES", "X", [4, 1, 2]), ("IOB1", "XY", [3, 1, 4]), ("IOBES", "XY", [1, 3, 2])],
)
def test_the_probability_of_a_span_sums_those_of_all_paths_that_hold_exactly_it(
    scheme: Scheme, types: str, lengths: list[int], constrained: bool, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = schemes.tag_set(types, scheme)
    chains = draw(lengths, len(tags), seed=1, backend=backend)
    if constrained:
        chains = constrained_chains(tags, scheme, lengths, backend)
    members = torch.tensor([[tag[2:] == kind for tag in tags] for kind in types], device=backend.device)
    joins = torch.tensor([[are_in_one_span(left, right) for right in tags] for left in tags], device=backend.device)
    expected = Counter[tuple[int, int, int, int]]()
    for sentence, probs in enumerate(probabilities(chains)):
        for path, share in probs.items():
            for span in schemes.tags_to_spans([tags[tag] for tag in path]):
                expected[sentence, span.start, span.end, types.index(span.type)] += share
    spans = [
        (sentence, start, end, kind)
        for kind in range(len(types))
        for sentence, length in enumerate(lengths)
        for end in range(length, 0, -1)
        for start in range(end)
    ]
    asked = torch.tensor(spans, device=backend.device)
    wanted = [expected[span] for span in spans]
    assert min(wanted) > 0
    close(span_probabilities(*chains, asked, members, joins, kernel=backend.kernel), wanted)
    monkeypatch.setattr(torch_kernel, "MAX_SPAN_ELEMENTS", 3 * len(tags) ** 2)
    close(span_probabilities(*chains, asked, members, joins, kernel=backend.kernel), wanted)


@each_backend
@each_case
def test_the_probability_of_a_run_is_that_of_all_paths_with_its_tag_at_all_of_its_tokens(
    case: Case, backend: Backend
) -> None:
    chains = case.on(backend)
    tag = case.tags - 1
    expected = {
        (sentence, start, end): sum(share for path, share in probs.items() if set(path[start:end]) == {tag})
        for sentence, probs in enumerate(probabilities(chains))
        for start, end in combinations(range(case.lengths[sentence] + 1), 2)
    }
    runs = torch.tensor(list(expected), device=backend.device)
    close(run_probabilities(*chains, runs, tag, kernel=backend.kernel), list(expected.values()))
    assert run_probabilities(*chains, runs[:0], tag, kernel=backend.kernel).shape == (0,)


def test_no_spans_have_no_probabilities() -> None:
    chains = draw([2, 1], 2)
    none, anything = torch.zeros(0, 4, dtype=torch.long), torch.ones(2, 2, dtype=torch.bool)
    assert span_probabilities(*chains, none, anything, anything).shape == (0,)


@pytest.mark.parametrize(
    "span", [(0, 2, 2, 0), (0, 2, 1, 0), (0, -1, 1, 0), (1, 0, 2, 0), (1, 1, 2, 0), (2, 0, 1, 0), (-1, 0, 1, 0)]
)
def test_an_invalid_span_is_an_error(span: tuple[int, int, int, int]) -> None:
    chains = draw([3, 1], 2)
    anything = torch.ones(2, 2, dtype=torch.bool)
    spans = torch.tensor([(0, 0, 3, 0), span])
    with pytest.raises(
        ValueError, match=re.escape(f"span 1 is empty, not within its sentence or has no type: {list(span)}")
    ):
        span_probabilities(*chains, spans, anything, anything)


# Samples


@each_backend
@pytest.mark.parametrize("case", [Case((3, 1, 2), 3, 5), Case((3, 1, 2), 3, 5, forbidding=True)])
def test_samples_follow_the_distribution(case: Case, backend: Backend) -> None:
    chains = case.on(backend)
    generator = torch.Generator(backend.device).manual_seed(1)
    drawn = sample(*chains, count=20_000, generator=generator, kernel=backend.kernel)
    assert drawn.shape == (3, 20_000, 3)
    for sentence, probs in enumerate(probabilities(chains)):
        length = case.lengths[sentence]
        assert not drawn[sentence, :, length:].any()
        times = Counter(map(tuple, drawn[sentence, :, :length].tolist()))
        for path, share in probs.items():
            error = math.sqrt(share * (1 - share) / 20_000)
            assert abs(times[path] / 20_000 - share) <= 4 * error, path


@each_backend
def test_a_generator_makes_samples_repeatable(backend: Backend) -> None:
    chains = draw([4, 2], 3, backend=backend)
    one, other, another = (
        sample(*chains, count=9, generator=torch.Generator(backend.device).manual_seed(seed), kernel=backend.kernel)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, another)
    assert sample(*chains).shape == (2, 1, 4)


# What is refused


def block_middle(chains: Chains) -> None:
    chains.emissions[1, 2] = -INF


def block_between_tokens(chains: Chains) -> None:
    chains.emissions[1, 1, 1:] = chains.emissions[1, 2, 0] = chains.transitions[0, 1:] = -INF


def block_end(chains: Chains) -> None:
    chains.end[1:] = chains.emissions[1, 3, 0] = -INF


def block_start(chains: Chains) -> None:
    chains.start[1:] = chains.emissions[1, 0, 0] = -INF


BLOCKED = [
    (block_start, "token 0: no path of finite score reaches it"),
    (block_middle, "token 2: no path of finite score reaches it"),
    (block_between_tokens, "token 2: no path of finite score reaches it"),
    (block_end, "token 3: no path of finite score ends there"),
]


@each_backend
@pytest.mark.parametrize("quantity", ["log_partition", *MESSAGE_QUANTITIES, "best_path", "best_paths"])
@pytest.mark.parametrize(("block", "fault"), BLOCKED)
def test_a_sentence_without_a_path_is_an_error(
    block: Callable[[Chains], None], fault: str, quantity: str, backend: Backend
) -> None:
    chains = draw([2, 4, 5], 3, backend=backend)
    block(chains)
    with pytest.raises(ValueError, match=f"sentence 1, {fault}"):
        QUANTITIES[quantity](chains, any_gold(chains), backend.kernel)


@each_backend
@pytest.mark.parametrize(("block", "fault"), BLOCKED)
def test_a_sentence_without_a_path_is_an_error_with_unknown_gold(
    block: Callable[[Chains], None], fault: str, backend: Backend
) -> None:
    chains = draw([2, 4, 5], 3, backend=backend)
    block(chains)
    unknown = torch.full((3, 5), UNKNOWN, device=backend.device)
    with pytest.raises(ValueError, match=f"sentence 1, {fault}"):
        negative_log_likelihood(*chains, unknown, kernel=backend.kernel)


@each_backend
@each_quantity
@pytest.mark.parametrize("length", [0, -1, 4])
def test_an_invalid_length_is_an_error(length: int, quantity: str, backend: Backend) -> None:
    chains = draw([2, 3, 1], 3, backend=backend)
    chains.lengths[2] = length
    with pytest.raises(ValueError, match=rf"sentence 2: its length must be in \[1, 3\], got {length}"):
        QUANTITIES[quantity](chains, any_gold(chains), backend.kernel)


@each_backend
def test_a_sample_without_a_path_is_an_error(backend: Backend) -> None:
    chains = draw([2, 4, 5], 3, backend=backend)
    block_middle(chains)
    with pytest.raises(ValueError, match="sentence 1, token 2: no path"):
        sample(*chains, kernel=backend.kernel)


@each_backend
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("forbid", "fault"),
    [
        (lambda chains: chains.transitions.__setitem__((0, 1), -INF), "token 2: gold tag 1 must not follow tag 0"),
        (lambda chains: chains.start.__setitem__(2, -INF), "token 0: gold tag 2 must not start a sentence"),
        (lambda chains: chains.end.__setitem__(1, -INF), "token 2: gold tag 1 must not end a sentence"),
        (
            lambda chains: chains.emissions.__setitem__((1, 1, 0), -INF),
            "token 1: gold tag 0 has an emission score of -inf",
        ),
    ],
)
def test_a_forbidden_gold_path_is_an_error(
    forbid: Callable[[Chains], None], fault: str, partial: bool, weighted: bool, backend: Backend
) -> None:
    chains = draw([5, 3], 3, backend=backend)
    forbid(chains)
    gold = torch.tensor([[0, 0, 0, 0, 0], [2, 0, 1, UNKNOWN, UNKNOWN]], device=backend.device)
    if partial:
        gold[0, 1:3] = UNKNOWN
    weights = torch.tensor([0.0, 1.0, 2.0], device=backend.device) if weighted else None
    with pytest.raises(ValueError, match=f"sentence 1, {fault}"):
        negative_log_likelihood(*chains, gold, weights=weights, kernel=backend.kernel)


@each_backend
@pytest.mark.parametrize("size", [2, 8])
def test_weights_for_another_number_of_tags_are_an_error(size: int, backend: Backend) -> None:
    chains = draw([3, 2], 3, backend=backend)
    with pytest.raises(ValueError, match=rf"weights must be \(3,\), got \({size},\)"):
        negative_log_likelihood(*chains, any_gold(chains), weights=torch.ones(size), kernel=backend.kernel)


@each_backend
def test_a_nan_score_makes_the_score_of_the_best_path_nan(backend: Backend) -> None:
    chains = draw([4, 4], 3, backend=backend)
    chains.emissions[1, 0, 2] = math.nan
    assert best_path(*chains, kernel=backend.kernel)[1].isnan().tolist() == [False, True]


def test_a_path_with_an_invalid_tag_is_an_error() -> None:
    chains = draw([3, 2], 3)
    with pytest.raises(ValueError, match=r"sentence 1, token 1: tag 3 is not in \[0, 3\)"):
        path_score(*chains, torch.tensor([[0, 1, 2], [0, 3, 9]]))


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (lambda scores, gold: negative_log_likelihood(*scores, gold, reduction="mean"), "sentence, token or none, got"),
        (lambda scores, gold: log_partition(*scores, kernel="cuda"), "torch, numba or triton, got 'cuda'"),
        (lambda scores, gold: best_paths(*scores, count=0), "count must be at least 1, got 0"),
        (lambda scores, gold: negative_log_likelihood(*scores, gold.float()), "ids or booleans, got torch.float32"),
    ],
)
def test_an_invalid_argument_is_an_error(wrong: Callable[..., None], fault: str) -> None:
    chains = draw([3, 2], 3)
    with pytest.raises(ValueError, match=fault):
        wrong(chains, any_gold(chains))


@each_backend
@pytest.mark.parametrize("tag", [3, -1, 10**6, -101])
def test_an_invalid_gold_tag_is_an_error(tag: int, backend: Backend) -> None:
    chains = draw([1, 4], 3, backend=backend)
    for token in range(4):
        gold = any_gold(chains)
        gold[1, token] = tag
        with pytest.raises(ValueError, match=rf"sentence 1, token {token}: gold tag {tag} is not in \[0, 3\)"):
            negative_log_likelihood(*chains, gold, kernel=backend.kernel)


@each_backend
@pytest.mark.parametrize("length", [0, 4])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0)])
def test_the_loss_refuses_an_invalid_length(length: int, weights: tuple[float, ...] | None, backend: Backend) -> None:
    chains = draw([3, 3], 2, backend=backend).with_gradients()
    chains.lengths[0] = length
    given = None if weights is None else torch.tensor(weights, device=backend.device)
    with pytest.raises(ValueError, match=rf"sentence 0: its length must be in \[1, 3\], got {length}"):
        negative_log_likelihood(*chains, any_gold(chains), weights=given, kernel=backend.kernel)


@each_backend
def test_tag_sets_without_an_agreeing_path_are_an_error(backend: Backend) -> None:
    chains = draw([2, 4], 3, backend=backend)
    gold = torch.ones(2, 4, 3, dtype=torch.bool, device=backend.device)
    gold[1, 2] = False
    with pytest.raises(ValueError, match="sentence 1, token 2: no path of finite score reaches it"):
        negative_log_likelihood(*chains, gold, kernel=backend.kernel)


@each_backend
@pytest.mark.parametrize("sets", [False, True])
def test_weights_with_partial_gold_are_an_error(sets: bool, backend: Backend) -> None:
    chains = draw([3, 2], 3, backend=backend)
    gold = any_gold(chains)
    gold[0, 1] = UNKNOWN
    if sets:
        gold = torch.ones(2, 3, 3, dtype=torch.bool, device=backend.device)
    weights = torch.ones(3, device=backend.device)
    with pytest.raises(ValueError, match="weights require one known gold tag per token"):
        negative_log_likelihood(*chains, gold, weights=weights, kernel=backend.kernel)


@each_quantity
@pytest.mark.parametrize(
    ("field", "shape", "fault"),
    [
        ("emissions", (2, 3), r"emissions must be \(B, T, K\) and not empty, got \(2, 3\)"),
        ("emissions", (2, 0, 4), r"emissions must be .*, got \(2, 0, 4\)"),
        ("emissions", (2, 3, 0), r"emissions must be .*, got \(2, 3, 0\)"),
        ("emissions", (2, 3, 5), r"transitions must be \(5, 5\) for emissions \(2, 3, 5\), got \(4, 4\)"),
        ("transitions", (4, 5), r"transitions must be \(4, 4\) .*, got \(4, 5\)"),
        ("start", (1, 4), r"start must be \(4,\) .*, got \(1, 4\)"),
        ("end", (1,), r"end must be \(4,\) .*, got \(1,\)"),
        ("lengths", (3,), r"lengths must be \(2,\) .*, got \(3,\)"),
    ],
)
def test_shapes_that_do_not_agree_are_an_error(quantity: str, field: str, shape: tuple[int, ...], fault: str) -> None:
    chains = draw([3, 3], 4)
    gold = any_gold(chains)
    wrong = chains._replace(**{field: torch.ones(shape, dtype=getattr(chains, field).dtype)})
    with pytest.raises(ValueError, match=fault):
        QUANTITIES[quantity](wrong, gold, None)


@pytest.mark.parametrize(
    ("gold", "fault"),
    [
        (torch.zeros(2, 2, dtype=torch.long), r"gold must be \(2, 3\), got \(2, 2\)"),
        (torch.zeros(3, dtype=torch.long), r"gold must be \(2, 3\), got \(3,\)"),
        (torch.zeros(2, 3, 4, dtype=torch.long), r"gold must be \(2, 3\), got \(2, 3, 4\)"),
        (torch.ones(2, 3, dtype=torch.bool), r"gold must be \(2, 3, 4\), got \(2, 3\)"),
        (torch.ones(2, 3, 5, dtype=torch.bool), r"gold must be \(2, 3, 4\), got \(2, 3, 5\)"),
    ],
)
def test_gold_of_another_shape_is_an_error(gold: Tensor, fault: str) -> None:
    chains = draw([3, 2], 4)
    with pytest.raises(ValueError, match=fault):
        negative_log_likelihood(*chains, gold)


@each_backend
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gold_is", ["tags", "partial", "sets"])
@pytest.mark.parametrize("tags", [slice(1, 2), slice(None)])
def test_a_nan_score_gives_a_nan_loss_without_an_error(
    tags: slice, gold_is: str, weighted: bool, backend: Backend
) -> None:
    chains = draw([2, 4, 3], 3, backend=backend)
    chains.emissions[1, 2, tags] = NAN
    gold = any_gold(chains)
    if gold_is == "partial":
        gold[0, 0] = UNKNOWN
    if gold_is == "sets":
        gold = torch.ones(3, 4, 3, dtype=torch.bool, device=backend.device)
    weights = torch.tensor([1.0, 2.0, 3.0], device=backend.device) if weighted and gold_is == "tags" else None
    losses = negative_log_likelihood(*chains, gold, weights=weights, reduction="none", kernel=backend.kernel)
    assert losses.isnan().tolist() == [False, True, False]
    assert log_partition(*chains, kernel=backend.kernel).isnan().tolist() == [False, True, False]


# What changes nothing


def fill(chains: Chains, anything: float) -> Chains:
    return chains._replace(emissions=chains.emissions.masked_fill(chains.padding[:, :, None], anything))


@each_backend
@each_quantity
@pytest.mark.parametrize(("score", "tag"), [(NAN, UNKNOWN), (INF, 3), (-INF, -1), (1e30, 10**9)])
def test_padding_may_hold_anything(quantity: str, score: float, tag: int, backend: Backend) -> None:
    chains = draw([5, 1, 3], 3, seed=2, backend=backend)
    padded, gold = fill(chains, score), any_gold(chains)
    padded_gold = gold.masked_fill(chains.padding, tag)
    clean, found = (
        QUANTITIES[quantity](scores, tags, backend.kernel) for scores, tags in ((chains, gold), (padded, padded_gold))
    )
    for one, other in zip(clean, found, strict=True):
        assert torch.equal(one, other)
    if differentiable(quantity, backend):
        expected = gradients_of(quantity, chains, gold, backend.kernel)
        for one, other in zip(expected, gradients_of(quantity, padded, padded_gold, backend.kernel), strict=True):
            close(other, one)
        assert not expected[0][chains.padding].any()


@each_backend
def test_padding_changes_no_sample(backend: Backend) -> None:
    chains = draw([5, 1, 3], 3, seed=2, backend=backend)
    clean, found = (
        sample(*scores, count=9, generator=torch.Generator(backend.device).manual_seed(1), kernel=backend.kernel)
        for scores in (chains, fill(chains, NAN))
    )
    assert torch.equal(clean, found)


@each_backend
@each_quantity
def test_further_padding_changes_nothing(quantity: str, backend: Backend) -> None:
    chains = draw([4, 1, 3], 3, seed=2, backend=backend)
    longer = chains._replace(emissions=torch.nn.functional.pad(chains.emissions, (0, 0, 0, 3), value=7.0))
    expected = QUANTITIES[quantity](chains, any_gold(chains), backend.kernel)
    for one, other in zip(expected, QUANTITIES[quantity](longer, any_gold(longer), backend.kernel), strict=True):
        within = other[tuple(map(slice, one.shape))]
        close(within, one)
        close(other.double().abs().sum(), one.double().abs().sum())


@each_backend
@each_quantity
def test_a_batch_of_one_gives_the_result_of_a_larger_batch(quantity: str, backend: Backend) -> None:
    chains = draw([5, 1, 3, 2], 3, seed=4, backend=backend)
    together = QUANTITIES[quantity](chains, any_gold(chains), backend.kernel)
    for number in range(4):
        one = chains.sentence(number)
        alone = QUANTITIES[quantity](one, any_gold(one), backend.kernel)
        for batch, single in zip(together, alone, strict=True):
            rows = batch[number::4][: len(single)]  # of spans, there are two of each sentence
            close(rows[tuple(map(slice, single.shape))], single)


@each_backend
@each_quantity
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_give_float32_results(quantity: str, dtype: torch.dtype, backend: Backend) -> None:
    chains = draw([5, 1, 3], 3, seed=4, backend=backend)
    narrow = chains.on(backend.device, dtype)
    wide = narrow.on(backend.device, torch.float32)
    answers = QUANTITIES[quantity](narrow, any_gold(chains), backend.kernel)
    for found, expected in zip(answers, QUANTITIES[quantity](wide, any_gold(chains), backend.kernel), strict=True):
        assert found.dtype == expected.dtype == (torch.float32 if found.is_floating_point() else torch.long)
        assert torch.equal(found, expected)


@each_quantity
def test_results_have_the_dtype_of_the_emissions(quantity: str) -> None:
    chains = draw([5, 1, 3], 3, seed=4)
    mixed = chains.on("cpu", torch.float32)._replace(emissions=chains.emissions)
    for found in QUANTITIES[quantity](mixed, any_gold(chains), None):
        assert found.dtype == (torch.float64 if found.is_floating_point() else torch.long)


@each_backend
@each_quantity
@pytest.mark.parametrize("far", [False, True])
def test_autocast_changes_nothing(quantity: str, far: bool, backend: Backend) -> None:
    chains = draw([5, 1, 3], 3, seed=4, backend=backend).on(backend.device, torch.float32)
    if far:  # for sums of exponentials
        chains.transitions[1, 0] = -30.0
    gold = any_gold(chains)
    expected = QUANTITIES[quantity](chains, gold, backend.kernel)
    with torch.autocast(backend.device, dtype=torch.bfloat16):
        found = QUANTITIES[quantity](chains, gold, backend.kernel)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    if differentiable(quantity, backend):
        outside = gradients_of(quantity, chains, gold, backend.kernel)
        with torch.autocast(backend.device, dtype=torch.bfloat16):
            inside = gradients_of(quantity, chains, gold, backend.kernel)
        for one, other in zip(outside, inside, strict=True):
            close(other, one, within=1e-6)


@each_backend
@each_quantity
def test_memory_layout_changes_nothing(quantity: str, backend: Backend) -> None:
    chains = draw([5, 1, 3], 3, seed=4, backend=backend)
    gold = any_gold(chains)

    def is_reversed(scores: Tensor) -> Tensor:
        return scores.transpose(-1, -2).contiguous().transpose(-1, -2)

    def strided(scores: Tensor) -> Tensor:
        return torch.stack([scores, scores + 1], -1)[..., 0]

    emissions, transitions, start, end, lengths = chains
    other = Chains(is_reversed(emissions), is_reversed(transitions), strided(start), strided(end), strided(lengths))
    expected = QUANTITIES[quantity](chains, gold, backend.kernel)
    for one, found in zip(expected, QUANTITIES[quantity](other, strided(gold), backend.kernel), strict=True):
        close(found, one)
    if differentiable(quantity, backend):
        ours = gradients_of(quantity, other, strided(gold), backend.kernel)
        for one, found in zip(gradients_of(quantity, chains, gold, backend.kernel), ours, strict=True):
            close(found, one)


@each_quantity
def test_no_function_writes_into_its_arguments(quantity: str) -> None:
    chains = draw([5, 1, 3], 3, seed=4)
    gold = any_gold(chains).masked_fill(chains.padding, UNKNOWN)
    before = [tensor.clone() for tensor in (*chains, gold)]
    QUANTITIES[quantity](chains, gold, None)
    assert all(torch.equal(one, other) for one, other in zip(before, (*chains, gold), strict=True))


@pytest.mark.parametrize("quantity", ["best_path", "best_paths"])
def test_the_best_paths_have_no_gradient(quantity: str) -> None:
    chains = draw([3, 1], 3, backend=TORCH).with_gradients()
    assert not any(answer.requires_grad for answer in QUANTITIES[quantity](chains, any_gold(chains), None))
