"""The CRF's functions against every path written out, what they refuse, and all that changes nothing."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

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
    sample,
    span_probabilities,
)
from tagger.nn.crf.kernels import torch_kernel
from tests.nn.chains import (
    OF_MESSAGES,
    PORTABLE,
    QUESTIONS,
    UNKNOWN,
    Case,
    Chains,
    Path,
    Place,
    any_gold,
    close,
    differentiable,
    draw,
    each_case,
    each_device,
    each_place,
    each_question,
    gradients_of,
    log_sum,
    possible_gold,
    probabilities,
    written_out,
)

NAN, INF = math.nan, math.inf


def real(rows: Tensor, chains: Chains) -> list[Path]:
    """Returns the rows (B, T) without their padding, which must be 0."""
    assert not rows[chains.padding].any()
    return [tuple(row[:length]) for row, length in zip(rows.tolist(), chains.lengths.tolist(), strict=True)]


# Every path written out


@each_place
@each_case
def test_the_log_partition_is_the_log_of_the_sum_over_all_paths(case: Case, place: Place) -> None:
    chains = case.on(place)
    expected = [log_sum(list(scores.values())) for scores in written_out(chains)]
    close(log_partition(*chains, kernel=place.kernel), expected)


@each_device
@each_case
def test_the_score_of_a_path_is_the_sum_of_the_scores_along_it(case: Case, device: str) -> None:
    chains = case.on(Place("torch", device))
    for seed in range(5):
        draw_one = random.Random(seed).choice
        chosen = [draw_one(list(scores.items())) for scores in written_out(chains)]
        paths = torch.full(chains.emissions.shape[:2], UNKNOWN)
        for sentence, (path, _) in enumerate(chosen):
            paths[sentence, : len(path)] = torch.tensor(path)
        close(path_score(*chains, paths.to(device)), [score for _, score in chosen])


@each_place
@each_case
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_the_negative_log_probability_of_the_gold_path(case: Case, place: Place, seed: int) -> None:
    chains = case.on(place)
    gold = possible_gold(chains, seed)
    losses = []
    for sentence, shares in enumerate(probabilities(chains)):
        length = case.lengths[sentence]
        losses.append(-math.log(shares[tuple(gold[sentence, :length].tolist())]))
    expected = {
        "none": losses,
        "sentence": sum(losses) / len(losses),
        "token": sum(losses) / sum(case.lengths),
    }
    reductions: list[Reduction] = ["none", "sentence", "token"]
    for reduction in reductions:
        found = negative_log_likelihood(*chains, gold, reduction=reduction, kernel=place.kernel)
        close(found, expected[reduction])
    close(negative_log_likelihood(*chains, gold, kernel=place.kernel), expected["sentence"])


@each_place
@each_case
def test_the_best_path_has_the_highest_score(case: Case, place: Place) -> None:
    chains = case.on(place)
    paths, scores = best_path(*chains, kernel=place.kernel)
    every = written_out(chains)
    assert real(paths, chains) == [max(one, key=one.__getitem__) for one in every]
    close(scores, [max(one.values()) for one in every])


@each_device
@each_case
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_the_best_paths_come_in_order_and_run_out(case: Case, device: str, count: int) -> None:
    chains = case.on(Place("torch", device))
    paths, scores = best_paths(*chains, count=count)
    assert paths.shape == (len(case.lengths), count, max(case.lengths))
    for sentence, every in enumerate(written_out(chains)):
        ranked = sorted((score, path) for path, score in every.items() if score > -INF)[::-1][:count]
        missing = count - len(ranked)
        close(scores[sentence], [score for score, _ in ranked] + [-INF] * missing)
        length = case.lengths[sentence]
        found = [tuple(path) for path in paths[sentence, :, :length].tolist()]
        assert found == [path for _, path in ranked] + [(0,) * length] * missing
        assert not paths[sentence, :, length:].any()


@each_place
@each_case
def test_a_marginal_sums_the_probabilities_of_all_paths_with_a_tag(case: Case, place: Place) -> None:
    chains = case.on(place)
    expected = torch.zeros_like(chains.emissions, device="cpu")
    for sentence, shares in enumerate(probabilities(chains)):
        for path, share in shares.items():
            for token, tag in enumerate(path):
                expected[sentence, token, tag] += share
    close(marginals(*chains, kernel=place.kernel), expected)


@each_place
@each_case
def test_a_pairwise_marginal_sums_the_probabilities_of_all_paths_with_two_tags(case: Case, place: Place) -> None:
    chains = case.on(place)
    expected = torch.zeros(len(case.lengths), max(case.lengths) - 1, case.tags, case.tags, dtype=torch.float64)
    for sentence, shares in enumerate(probabilities(chains)):
        for path, share in shares.items():
            for token, pair in enumerate(pairwise(path)):
                expected[(sentence, token, *pair)] += share
    close(pairwise_marginals(*chains, kernel=place.kernel), expected)


@each_place
@each_case
def test_the_entropy_is_that_of_all_paths(case: Case, place: Place) -> None:
    chains = case.on(place)
    expected = [-sum(p * math.log(p) for p in shares.values() if p) for shares in probabilities(chains)]
    close(entropy(*chains, kernel=place.kernel), expected)


@each_place
@each_case
def test_where_gold_is_partial_the_probabilities_of_all_agreeing_paths_are_summed(case: Case, place: Place) -> None:
    chains = case.on(place)
    gold = possible_gold(chains)
    gold[torch.rand(gold.shape, generator=torch.Generator().manual_seed(case.seed)).to(place.device) < 0.5] = UNKNOWN
    expected = []
    for sentence, shares in enumerate(probabilities(chains)):
        given = gold[sentence].tolist()
        agreeing = (
            p for path, p in shares.items() if all(g in (UNKNOWN, tag) for g, tag in zip(given, path, strict=False))
        )
        expected.append(-math.log(sum(agreeing)))
    close(negative_log_likelihood(*chains, gold, reduction="none", kernel=place.kernel), expected)


@each_place
@each_case
def test_gold_may_be_sets_of_tags(case: Case, place: Place) -> None:
    chains = case.on(place)
    sets = torch.rand(chains.emissions.shape, generator=torch.Generator().manual_seed(case.seed)) < 0.4
    path = possible_gold(chains).cpu()
    sets |= path[:, :, None] == torch.arange(case.tags)
    sets[0] = True
    losses = []
    for sentence, shares in enumerate(probabilities(chains)):
        agreeing = (p for path, p in shares.items() if all(sets[sentence, t, tag] for t, tag in enumerate(path)))
        losses.append(-math.log(sum(agreeing)))
    assert losses[0] == pytest.approx(0, abs=1e-9)
    gold = sets.to(place.device)
    close(negative_log_likelihood(*chains, gold, reduction="none", kernel=place.kernel), losses)
    close(
        negative_log_likelihood(*chains, gold, reduction="token", kernel=place.kernel), sum(losses) / sum(case.lengths)
    )


@each_place
@each_case
def test_where_no_tag_is_known_there_is_nothing_to_lose(case: Case, place: Place) -> None:
    chains = case.on(place)
    gold = torch.full(chains.emissions.shape[:2], UNKNOWN, device=place.device)
    close(negative_log_likelihood(*chains, gold, reduction="none", kernel=place.kernel), [0.0] * len(case.lengths))


@each_place
@each_case
def test_weights_are_of_the_log_probability_of_a_gold_tag_given_the_one_before(case: Case, place: Place) -> None:
    chains = case.on(place)
    gold = possible_gold(chains)
    weights = [0.5, 2.0, 0.0, 3.0][: case.tags]
    expected = []
    for sentence, shares in enumerate(probabilities(chains)):
        path = tuple(gold[sentence, : case.lengths[sentence]].tolist())
        loss, before = 0.0, 1.0
        for token, tag in enumerate(path):
            place_of = slice(max(token - 1, 0), token + 1)
            both = sum(p for other, p in shares.items() if other[place_of] == path[place_of])
            loss -= weights[tag] * math.log(both / before)
            before = sum(p for other, p in shares.items() if other[token] == tag)
        expected.append(loss)
    options = {"weights": torch.tensor(weights, device=place.device), "kernel": place.kernel}
    close(negative_log_likelihood(*chains, gold, reduction="none", **options), expected)
    close(negative_log_likelihood(*chains, gold, **options), sum(expected) / len(expected))


# Spans


def legal_chains(tags: list[str], scheme: Scheme, lengths: list[int], place: Place) -> Chains:
    """Returns chains that forbid what the scheme does."""
    chains = draw(lengths, len(tags), seed=len(tags), place=place)
    for j, right in enumerate(tags):
        chains.start[j] += 0.0 if schemes.is_valid_transition(None, right, scheme) else -INF
        chains.end[j] += 0.0 if schemes.is_valid_transition(right, None, scheme) else -INF
        for i, left in enumerate(tags):
            chains.transitions[i, j] += 0.0 if schemes.is_valid_transition(left, right, scheme) else -INF
    return chains


def one_entity(left: str, right: str) -> bool:
    """Tells whether two tags in a row belong to one entity, as conlleval reads them."""
    return "O" not in (left, right) and left[2:] == right[2:] and left[0] in "BI" and right[0] in "IE"


@each_place
@pytest.mark.parametrize("legally", [False, True])
@pytest.mark.parametrize(
    ("scheme", "types", "lengths"),
    [("IOB2", "XY", [4, 1, 3, 2]), ("IOBES", "X", [4, 1, 2]), ("IOB1", "XY", [3, 1, 4]), ("IOBES", "XY", [1, 3, 2])],
)
def test_the_probability_of_a_span_sums_those_of_all_paths_that_hold_exactly_it(
    scheme: Scheme, types: str, lengths: list[int], legally: bool, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = schemes.tag_set(types, scheme)
    chains = draw(lengths, len(tags), seed=1, place=place)
    if legally:
        chains = legal_chains(tags, scheme, lengths, place)
    members = torch.tensor([[tag[2:] == kind for tag in tags] for kind in types], device=place.device)
    joins = torch.tensor([[one_entity(left, right) for right in tags] for left in tags], device=place.device)
    expected = Counter[tuple[int, int, int, int]]()
    for sentence, shares in enumerate(probabilities(chains)):
        for path, share in shares.items():
            for span in schemes.spans_of([tags[tag] for tag in path]):
                expected[sentence, span.start, span.end, types.index(span.type)] += share
    spans = [
        (sentence, start, end, kind)
        for kind in range(len(types))
        for sentence, length in enumerate(lengths)
        for end in range(length, 0, -1)
        for start in range(end)
    ]
    asked = torch.tensor(spans, device=place.device)
    wanted = [expected[span] for span in spans]
    assert min(wanted) > 0
    close(span_probabilities(*chains, asked, members, joins, kernel=place.kernel), wanted)
    monkeypatch.setattr(torch_kernel, "MAX_SPAN_ELEMENTS", 3 * len(tags) ** 2)
    close(span_probabilities(*chains, asked, members, joins, kernel=place.kernel), wanted)


def test_no_spans_have_no_probabilities() -> None:
    chains = draw([2, 1], 2)
    none, anything = torch.zeros(0, 4, dtype=torch.long), torch.ones(2, 2, dtype=torch.bool)
    assert span_probabilities(*chains, none, anything, anything).shape == (0,)


@pytest.mark.parametrize(
    "span", [(0, 2, 2, 0), (0, 2, 1, 0), (0, -1, 1, 0), (1, 0, 2, 0), (1, 1, 2, 0), (2, 0, 1, 0), (-1, 0, 1, 0)]
)
def test_a_span_that_is_empty_or_leaves_its_sentence_is_refused(span: tuple[int, int, int, int]) -> None:
    chains = draw([3, 1], 2)
    anything = torch.ones(2, 2, dtype=torch.bool)
    spans = torch.tensor([(0, 0, 3, 0), span])
    with pytest.raises(
        ValueError, match=re.escape(f"span 1 is empty, not within its sentence or has no type: {list(span)}")
    ):
        span_probabilities(*chains, spans, anything, anything)


# Samples


@each_place
@pytest.mark.parametrize("case", [Case((3, 1, 2), 3, 5), Case((3, 1, 2), 3, 5, forbidding=True)])
def test_paths_are_drawn_as_often_as_they_are_probable(case: Case, place: Place) -> None:
    chains = case.on(place)
    generator = torch.Generator(place.device).manual_seed(1)
    drawn = sample(*chains, count=20_000, generator=generator, kernel=place.kernel)
    assert drawn.shape == (3, 20_000, 3)
    for sentence, shares in enumerate(probabilities(chains)):
        length = case.lengths[sentence]
        assert not drawn[sentence, :, length:].any()
        times = Counter(map(tuple, drawn[sentence, :, :length].tolist()))
        for path, share in shares.items():
            error = math.sqrt(share * (1 - share) / 20_000)
            assert abs(times[path] / 20_000 - share) <= 4 * error, path


@each_place
def test_a_generator_makes_samples_repeatable(place: Place) -> None:
    chains = draw([4, 2], 3, place=place)
    one, other, another = (
        sample(*chains, count=9, generator=torch.Generator(place.device).manual_seed(seed), kernel=place.kernel)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, another)
    assert sample(*chains).shape == (2, 1, 4)


# What is refused


def dead_in_the_middle(chains: Chains) -> None:
    chains.emissions[1, 2] = -INF


def dead_between_two_tokens(chains: Chains) -> None:
    chains.emissions[1, 1, 1:] = chains.emissions[1, 2, 0] = chains.transitions[0, 1:] = -INF


def dead_at_the_end(chains: Chains) -> None:
    chains.end[1:] = chains.emissions[1, 3, 0] = -INF


def dead_at_the_start(chains: Chains) -> None:
    chains.start[1:] = chains.emissions[1, 0, 0] = -INF


DEATHS = [
    (dead_at_the_start, "token 0: no path of finite score reaches it"),
    (dead_in_the_middle, "token 2: no path of finite score reaches it"),
    (dead_between_two_tokens, "token 2: no path of finite score reaches it"),
    (dead_at_the_end, "token 3: no path of finite score ends there"),
]


@each_place
@pytest.mark.parametrize("question", ["log_partition", *OF_MESSAGES, "best_path", "best_paths"])
@pytest.mark.parametrize(("kill", "fault"), DEATHS)
def test_a_dead_end_is_told(kill: Callable[[Chains], None], fault: str, question: str, place: Place) -> None:
    chains = draw([2, 4, 5], 3, place=place)
    kill(chains)
    with pytest.raises(ValueError, match=f"sentence 1, {fault}"):
        QUESTIONS[question](chains, any_gold(chains), place.kernel)


@each_place
@pytest.mark.parametrize(("kill", "fault"), DEATHS)
def test_a_dead_end_is_told_whatever_gold_there_is(kill: Callable[[Chains], None], fault: str, place: Place) -> None:
    chains = draw([2, 4, 5], 3, place=place)
    kill(chains)
    unknown = torch.full((3, 5), UNKNOWN, device=place.device)
    with pytest.raises(ValueError, match=f"sentence 1, {fault}"):
        negative_log_likelihood(*chains, unknown, kernel=place.kernel)


@each_place
@each_question
@pytest.mark.parametrize("length", [0, -1, 4])
def test_a_length_outside_the_tokens_is_told(length: int, question: str, place: Place) -> None:
    chains = draw([2, 3, 1], 3, place=place)
    chains.lengths[2] = length
    with pytest.raises(ValueError, match=rf"sentence 2: its length must be in \[1, 3\], got {length}"):
        QUESTIONS[question](chains, any_gold(chains), place.kernel)


@each_place
def test_a_sample_of_no_path_is_refused(place: Place) -> None:
    chains = draw([2, 4, 5], 3, place=place)
    dead_in_the_middle(chains)
    with pytest.raises(ValueError, match="sentence 1, token 2: no path"):
        sample(*chains, kernel=place.kernel)


@each_place
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
def test_gold_on_what_is_forbidden_is_told(
    forbid: Callable[[Chains], None], fault: str, partial: bool, weighted: bool, place: Place
) -> None:
    chains = draw([5, 3], 3, place=place)
    forbid(chains)
    gold = torch.tensor([[0, 0, 0, 0, 0], [2, 0, 1, UNKNOWN, UNKNOWN]], device=place.device)
    if partial:
        gold[0, 1:3] = UNKNOWN
    weights = torch.tensor([0.0, 1.0, 2.0], device=place.device) if weighted else None
    with pytest.raises(ValueError, match=f"sentence 1, {fault}"):
        negative_log_likelihood(*chains, gold, weights=weights, kernel=place.kernel)


@each_place
@pytest.mark.parametrize("size", [2, 8])
def test_weights_of_more_or_fewer_tags_are_refused(size: int, place: Place) -> None:
    chains = draw([3, 2], 3, place=place)
    with pytest.raises(ValueError, match=rf"weights must be \(3,\), got \({size},\)"):
        negative_log_likelihood(*chains, any_gold(chains), weights=torch.ones(size), kernel=place.kernel)


@each_place
def test_a_score_that_is_no_number_makes_that_of_the_best_path_none(place: Place) -> None:
    chains = draw([4, 4], 3, place=place)
    chains.emissions[1, 0, 2] = math.nan
    assert best_path(*chains, kernel=place.kernel)[1].isnan().tolist() == [False, True]


def test_a_path_over_what_is_no_tag_is_told() -> None:
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
def test_an_argument_that_is_none_of_the_choices_is_told(wrong: Callable[..., None], fault: str) -> None:
    chains = draw([3, 2], 3)
    with pytest.raises(ValueError, match=fault):
        wrong(chains, any_gold(chains))


@each_place
@pytest.mark.parametrize("tag", [3, -1, 10**6, -101])
def test_a_gold_tag_that_is_no_id_is_told(tag: int, place: Place) -> None:
    chains = draw([1, 4], 3, place=place)
    for token in range(4):
        gold = any_gold(chains)
        gold[1, token] = tag
        with pytest.raises(ValueError, match=rf"sentence 1, token {token}: gold tag {tag} is not in \[0, 3\)"):
            negative_log_likelihood(*chains, gold, kernel=place.kernel)


@each_place
@pytest.mark.parametrize("length", [0, 4])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0)])
def test_the_loss_refuses_a_length_outside_the_tokens(
    length: int, weights: tuple[float, ...] | None, place: Place
) -> None:
    chains = draw([3, 3], 2, place=place).with_gradients()
    chains.lengths[0] = length
    given = None if weights is None else torch.tensor(weights, device=place.device)
    with pytest.raises(ValueError, match=rf"sentence 0: its length must be in \[1, 3\], got {length}"):
        negative_log_likelihood(*chains, any_gold(chains), weights=given, kernel=place.kernel)


@each_place
def test_sets_of_tags_that_no_path_agrees_with_are_told(place: Place) -> None:
    chains = draw([2, 4], 3, place=place)
    gold = torch.ones(2, 4, 3, dtype=torch.bool, device=place.device)
    gold[1, 2] = False
    with pytest.raises(ValueError, match="sentence 1, token 2: no path of finite score reaches it"):
        negative_log_likelihood(*chains, gold, kernel=place.kernel)


@each_place
@pytest.mark.parametrize("sets", [False, True])
def test_weights_beside_gold_that_leaves_a_choice_are_refused(sets: bool, place: Place) -> None:
    chains = draw([3, 2], 3, place=place)
    gold = any_gold(chains)
    gold[0, 1] = UNKNOWN
    if sets:
        gold = torch.ones(2, 3, 3, dtype=torch.bool, device=place.device)
    weights = torch.ones(3, device=place.device)
    with pytest.raises(ValueError, match="weights require one known gold tag per token"):
        negative_log_likelihood(*chains, gold, weights=weights, kernel=place.kernel)


@each_question
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
def test_shapes_that_do_not_agree_are_told(question: str, field: str, shape: tuple[int, ...], fault: str) -> None:
    chains = draw([3, 3], 4)
    gold = any_gold(chains)
    wrong = chains._replace(**{field: torch.ones(shape, dtype=getattr(chains, field).dtype)})
    with pytest.raises(ValueError, match=fault):
        QUESTIONS[question](wrong, gold, None)


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
def test_gold_of_another_shape_is_refused(gold: Tensor, fault: str) -> None:
    chains = draw([3, 2], 4)
    with pytest.raises(ValueError, match=fault):
        negative_log_likelihood(*chains, gold)


@each_place
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gold_is", ["tags", "partial", "sets"])
@pytest.mark.parametrize("tags", [slice(1, 2), slice(None)])
def test_a_loss_of_nan_is_told_by_no_error(tags: slice, gold_is: str, weighted: bool, place: Place) -> None:
    chains = draw([2, 4, 3], 3, place=place)
    chains.emissions[1, 2, tags] = NAN
    gold = any_gold(chains)
    if gold_is == "partial":
        gold[0, 0] = UNKNOWN
    if gold_is == "sets":
        gold = torch.ones(3, 4, 3, dtype=torch.bool, device=place.device)
    weights = torch.tensor([1.0, 2.0, 3.0], device=place.device) if weighted and gold_is == "tags" else None
    losses = negative_log_likelihood(*chains, gold, weights=weights, reduction="none", kernel=place.kernel)
    assert losses.isnan().tolist() == [False, True, False]
    assert log_partition(*chains, kernel=place.kernel).isnan().tolist() == [False, True, False]


# What changes nothing


def fill(chains: Chains, anything: float) -> Chains:
    return chains._replace(emissions=chains.emissions.masked_fill(chains.padding[:, :, None], anything))


@each_place
@each_question
@pytest.mark.parametrize(("score", "tag"), [(NAN, UNKNOWN), (INF, 3), (-INF, -1), (1e30, 10**9)])
def test_padding_may_hold_anything(question: str, score: float, tag: int, place: Place) -> None:
    chains = draw([5, 1, 3], 3, seed=2, place=place)
    padded, gold = fill(chains, score), any_gold(chains)
    padded_gold = gold.masked_fill(chains.padding, tag)
    clean, found = (
        QUESTIONS[question](scores, tags, place.kernel) for scores, tags in ((chains, gold), (padded, padded_gold))
    )
    for one, other in zip(clean, found, strict=True):
        assert torch.equal(one, other)
    if differentiable(question, place):
        expected = gradients_of(question, chains, gold, place.kernel)
        for one, other in zip(expected, gradients_of(question, padded, padded_gold, place.kernel), strict=True):
            close(other, one)
        assert not expected[0][chains.padding].any()


@each_place
def test_padding_changes_no_sample(place: Place) -> None:
    chains = draw([5, 1, 3], 3, seed=2, place=place)
    clean, found = (
        sample(*scores, count=9, generator=torch.Generator(place.device).manual_seed(1), kernel=place.kernel)
        for scores in (chains, fill(chains, NAN))
    )
    assert torch.equal(clean, found)


@each_place
@each_question
def test_further_padding_changes_nothing(question: str, place: Place) -> None:
    chains = draw([4, 1, 3], 3, seed=2, place=place)
    longer = chains._replace(emissions=torch.nn.functional.pad(chains.emissions, (0, 0, 0, 3), value=7.0))
    expected = QUESTIONS[question](chains, any_gold(chains), place.kernel)
    for one, other in zip(expected, QUESTIONS[question](longer, any_gold(longer), place.kernel), strict=True):
        within = other[tuple(map(slice, one.shape))]
        close(within, one)
        close(other.double().abs().sum(), one.double().abs().sum())


@each_place
@each_question
def test_a_sentence_alone_gets_the_answer_it_gets_in_a_batch(question: str, place: Place) -> None:
    chains = draw([5, 1, 3, 2], 3, seed=4, place=place)
    together = QUESTIONS[question](chains, any_gold(chains), place.kernel)
    for number in range(4):
        one = chains.sentence(number)
        alone = QUESTIONS[question](one, any_gold(one), place.kernel)
        for batch, single in zip(together, alone, strict=True):
            rows = batch[number::4][: len(single)]  # of spans, there are two of each sentence
            close(rows[tuple(map(slice, single.shape))], single)


@each_place
@each_question
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_scores_are_answered_in_float32(question: str, dtype: torch.dtype, place: Place) -> None:
    chains = draw([5, 1, 3], 3, seed=4, place=place)
    narrow = chains.on(place.device, dtype)
    wide = narrow.on(place.device, torch.float32)
    answers = QUESTIONS[question](narrow, any_gold(chains), place.kernel)
    for found, expected in zip(answers, QUESTIONS[question](wide, any_gold(chains), place.kernel), strict=True):
        assert found.dtype == expected.dtype == (torch.float32 if found.is_floating_point() else torch.long)
        assert torch.equal(found, expected)


@each_question
def test_the_emissions_tell_the_dtype_of_the_answer(question: str) -> None:
    chains = draw([5, 1, 3], 3, seed=4)
    mixed = chains.on("cpu", torch.float32)._replace(emissions=chains.emissions)
    for found in QUESTIONS[question](mixed, any_gold(chains), None):
        assert found.dtype == (torch.float64 if found.is_floating_point() else torch.long)


@each_place
@each_question
@pytest.mark.parametrize("far", [False, True])
def test_autocast_changes_nothing(question: str, far: bool, place: Place) -> None:
    chains = draw([5, 1, 3], 3, seed=4, place=place).on(place.device, torch.float32)
    if far:  # for sums of exponentials
        chains.transitions[1, 0] = -30.0
    gold = any_gold(chains)
    expected = QUESTIONS[question](chains, gold, place.kernel)
    with torch.autocast(place.device, dtype=torch.bfloat16):
        found = QUESTIONS[question](chains, gold, place.kernel)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    if differentiable(question, place):
        outside = gradients_of(question, chains, gold, place.kernel)
        with torch.autocast(place.device, dtype=torch.bfloat16):
            inside = gradients_of(question, chains, gold, place.kernel)
        for one, other in zip(outside, inside, strict=True):
            close(other, one, within=1e-6)


@each_place
@each_question
def test_the_order_in_memory_changes_nothing(question: str, place: Place) -> None:
    chains = draw([5, 1, 3], 3, seed=4, place=place)
    gold = any_gold(chains)

    def is_reversed(scores: Tensor) -> Tensor:
        return scores.transpose(-1, -2).contiguous().transpose(-1, -2)

    def strided(scores: Tensor) -> Tensor:
        return torch.stack([scores, scores + 1], -1)[..., 0]

    emissions, transitions, start, end, lengths = chains
    other = Chains(is_reversed(emissions), is_reversed(transitions), strided(start), strided(end), strided(lengths))
    expected = QUESTIONS[question](chains, gold, place.kernel)
    for one, found in zip(expected, QUESTIONS[question](other, strided(gold), place.kernel), strict=True):
        close(found, one)
    if differentiable(question, place):
        ours = gradients_of(question, other, strided(gold), place.kernel)
        for one, found in zip(gradients_of(question, chains, gold, place.kernel), ours, strict=True):
            close(found, one)


@each_question
def test_no_function_writes_into_its_arguments(question: str) -> None:
    chains = draw([5, 1, 3], 3, seed=4)
    gold = any_gold(chains).masked_fill(chains.padding, UNKNOWN)
    before = [tensor.clone() for tensor in (*chains, gold)]
    QUESTIONS[question](chains, gold, None)
    assert all(torch.equal(one, other) for one, other in zip(before, (*chains, gold), strict=True))


@pytest.mark.parametrize("question", ["best_path", "best_paths"])
def test_the_best_paths_have_no_gradient(question: str) -> None:
    chains = draw([3, 1], 3, place=PORTABLE).with_gradients()
    assert not any(answer.requires_grad for answer in QUESTIONS[question](chains, any_gold(chains), None))
