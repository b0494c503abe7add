"""The CRF's kernels: the same numbers from each, right ones for scores of any size, and how one of them is chosen."""

import importlib
import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchcrf import CRF

from tagger.nn.crf import kernel_choice
from tagger.nn.crf.chain_scores import ChainScores
from tagger.nn.crf.functions import (
    best_path,
    best_paths,
    log_partition,
    marginals,
    negative_log_likelihood,
    path_score,
)
from tagger.nn.crf.heads import Constraints, CRFHead
from tagger.nn.crf.kernels import numba_kernel
from tests.conftest import torch_threads
from tests.nn.chains import (
    DIFFERENTIABLE,
    MESSAGE_QUANTITIES,
    NUMBA,
    ON_CPU,
    ON_GPU,
    QUANTITIES,
    TORCH,
    Backend,
    Chains,
    any_gold,
    close,
    draw,
    each_backend,
    enumerate_paths,
    expected_by_recursion,
    gradients_of,
    needs_gpu,
)
from tests.robustness.runs import child, ended

INF = math.inf
TAGS = [1, 2, 3, 5, 8, 17, 33, 50, 128]
LENGTHS = [7, 1, 4, 9, 2]


def random_gold(chains: Chains, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(chains.start), chains.emissions.shape[:2], generator=generator).to(chains.lengths.device)


def strip_padding(paths: Tensor, chains: Chains) -> list[list[int]]:
    return [path[:length] for path, length in zip(paths.tolist(), chains.lengths.tolist(), strict=True)]


def assert_equals_recursion(chains: Chains, backend: Backend, *, log_within: float, within: float) -> None:
    """Asserts the log partition, relatively, the marginals, and the gradients of sentences of one length."""
    expected = expected_by_recursion(chains)
    partition = log_partition(*chains, kernel=backend.kernel)
    assert partition.dtype == chains.emissions.dtype
    torch.testing.assert_close(partition.cpu().double(), expected.log_partition, rtol=log_within, atol=log_within)
    close(marginals(*chains, kernel=backend.kernel), expected.marginals, within=within)
    scores = chains.with_gradients()
    log_partition(*scores, kernel=backend.kernel).sum().backward()
    by_emission, by_transition, by_start, by_end = scores.gradients()
    close(by_emission, expected.marginals, within=within)
    close(by_transition, expected.counts, within=within * max(1.0, float(expected.counts.max())))
    close(by_start, expected.marginals[:, 0].sum(0), within=within * len(scores.lengths))
    last = expected.marginals[torch.arange(len(scores.lengths)), scores.lengths.cpu() - 1]
    close(by_end, last.sum(0), within=within * len(scores.lengths))


# The same numbers from each


@each_backend
@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kernel_agrees_with_the_recursion_over_logarithms(tags: int, dtype: torch.dtype, backend: Backend) -> None:
    if dtype not in backend.dtypes:
        pytest.skip("the kernel takes float32 alone")
    chains = draw(LENGTHS, tags, seed=tags, spread=1.5, backend=backend).on(backend.device, dtype)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    assert_equals_recursion(chains, backend, log_within=tolerance, within=tolerance)


@pytest.mark.parametrize("backend", [*ON_CPU[1:], *ON_GPU])
@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("quantity", ["loss", "loss of weighted tags", "marginals", "best_path", "best_paths"])
def test_each_kernel_equals_the_torch_kernel(quantity: str, tags: int, backend: Backend) -> None:
    chains = draw(LENGTHS, tags, seed=tags, backend=backend)
    reference = chains.on("cpu", torch.float64)
    found = QUANTITIES[quantity](chains, random_gold(chains), backend.kernel)
    for one, other in zip(found, QUANTITIES[quantity](reference, random_gold(reference), "torch"), strict=True):
        close(one, other)
    if quantity in DIFFERENTIABLE:
        expected = gradients_of(quantity, reference, random_gold(reference), "torch")
        for one, other in zip(
            gradients_of(quantity, chains, random_gold(chains), backend.kernel), expected, strict=True
        ):
            close(one, other)


@each_backend
@pytest.mark.parametrize("tags", TAGS)
def test_loss_gradients_and_paths_equal_those_of_pytorch_crf(tags: int, backend: Backend) -> None:
    chains = draw(LENGTHS, tags, seed=tags, backend=backend).with_gradients()
    gold = random_gold(chains)
    reference = CRF(tags, batch_first=True).double()
    names = ["transitions", "start_transitions", "end_transitions"]
    reference.load_state_dict(dict(zip(names, (scores.detach().cpu().double() for scores in chains[1:4]), strict=True)))
    emissions = chains.emissions.detach().cpu().double().requires_grad_()
    mask = ~chains.padding.cpu()
    expected = -reference(emissions, gold.cpu(), mask=mask, reduction="mean")
    loss = negative_log_likelihood(*chains, gold, kernel=backend.kernel)
    expected.backward()
    loss.backward()
    close(loss, expected)
    for found, scores in zip(
        chains.gradients(), [emissions, *(getattr(reference, name) for name in names)], strict=True
    ):
        close(found, scores.grad)
    paths, _ = best_path(*chains, kernel=backend.kernel)
    assert strip_padding(paths, chains) == reference.decode(emissions, mask=mask)


@pytest.mark.parametrize("tags", [1, 3, 17, 40])
def test_a_crf_head_equals_pytorch_crf(tags: int) -> None:
    emissions, *_, lengths = chains = draw(LENGTHS, tags, seed=tags)
    gold = random_gold(chains)
    everything = Constraints(*(torch.ones(*shape, dtype=torch.bool) for shape in ((tags,), (tags,), (tags, tags))))
    head = CRFHead(everything).double()
    reference = CRF(tags, batch_first=True).double()
    reference.load_state_dict(head.crf.state_dict())
    ours, theirs = emissions.clone().requires_grad_(), emissions.clone().requires_grad_()
    loss = head.loss(ours, gold, lengths)
    expected = -reference(theirs, gold, mask=~chains.padding, reduction="mean")
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    for ours_, theirs_ in zip(head.crf.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours_.grad, theirs_.grad)
    assert strip_padding(head.chain(emissions, lengths).best_path()[0], chains) == reference.decode(
        emissions, mask=~chains.padding
    )


# Gradients


def near_and_far(far: bool, seed: int = 0) -> Chains:
    """Returns chains whose transitions lie close together, or too far apart for sums of exponentials."""
    chains = draw([3, 1, 4], 3, seed=seed)
    if far:
        chains.transitions[0, 1], chains.transitions[1, 0] = -30.0, -INF
    return chains.with_gradients()


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("quantity", ["log_partition", "path_score", "loss", "loss of weighted tags"])
def test_gradients_are_those_of_differences(quantity: str, far: bool, backend: Backend) -> None:
    chains = near_and_far(far)
    gold = torch.tensor([[0, 2, 1, 0], [2, 0, 0, 0], [1, 1, 2, 0]])

    def answer(*scores: Tensor) -> Tensor:
        return QUANTITIES[quantity](Chains(*scores, chains.lengths), gold, backend.kernel)[0]

    assert torch.autograd.gradcheck(answer, chains[:4])


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("reduction", ["sentence", "token", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_of_a_loss_follows_the_one_that_comes_from_above(
    reduction: str, weighted: bool, backend: Backend
) -> None:
    chains = near_and_far(False)
    gold = random_gold(chains)
    weights = torch.tensor([0.5, 2.0, 1.0]) if weighted else None
    factors = torch.tensor([1.0, -3.0, 0.25], dtype=torch.float64)

    def answer(*scores: Tensor) -> Tensor:
        losses = negative_log_likelihood(
            *scores, chains.lengths, gold, weights=weights, reduction=reduction, kernel=backend.kernel
        )
        return (losses * factors).sum() if losses.dim() else 2.5 * losses

    assert torch.autograd.gradcheck(answer, chains[:4])


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("quantity", MESSAGE_QUANTITIES)
def test_the_torch_kernel_differentiates_all_results(quantity: str, far: bool) -> None:
    chains = near_and_far(far)

    def answer(*scores: Tensor) -> Tensor:
        return QUANTITIES[quantity](Chains(*scores, chains.lengths), any_gold(chains), "torch")[0]

    assert torch.autograd.gradcheck(answer, chains[:4])


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("quantity", ["log_partition", "loss", "loss of weighted tags"])
def test_the_torch_kernel_differentiates_gradients(quantity: str, far: bool) -> None:
    chains = near_and_far(far)
    gold = torch.tensor([[0, 2, 1, 0], [2, 0, 0, 0], [1, 1, 2, 0]])

    def answer(*scores: Tensor) -> Tensor:
        return QUANTITIES[quantity](Chains(*scores, chains.lengths), gold, "torch")[0]

    assert torch.autograd.gradgradcheck(answer, chains[:4])


@pytest.mark.parametrize("backend", [*ON_CPU[1:], *ON_GPU[1:]])
@pytest.mark.parametrize("quantity", MESSAGE_QUANTITIES)
def test_a_kernel_without_a_gradient_of_marginals_names_the_torch_kernel(quantity: str, backend: Backend) -> None:
    chains = draw([3, 2], 3, backend=backend).with_gradients()
    (answer,) = QUANTITIES[quantity](chains, any_gold(chains), backend.kernel)
    with pytest.raises(RuntimeError, match="torch"):
        answer.square().sum().backward()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("quantity", MESSAGE_QUANTITIES)
def test_the_default_kernel_differentiates_messages(quantity: str, device: str) -> None:
    chains = draw([3, 2], 3, backend=Backend("triton" if device == "cuda" else "torch", device))
    expected = gradients_of(quantity, chains, any_gold(chains), "torch")
    for one, other in zip(gradients_of(quantity, chains, any_gold(chains), None), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("backend", [*ON_CPU[1:], *ON_GPU[1:]])
def test_a_missing_second_gradient_is_an_error(backend: Backend) -> None:
    chains = draw([3, 2], 3, backend=backend).with_gradients()
    loss = negative_log_likelihood(*chains, any_gold(chains), kernel=backend.kernel)
    with pytest.raises(RuntimeError, match="no gradient of its gradient; pass kernel='torch'"):
        torch.autograd.grad(loss, chains.emissions, create_graph=True)


# Ties


@each_backend
@pytest.mark.parametrize("tags", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_of_equal_scores_the_lowest_id_wins_from_the_last_token_back(tags: int, seed: int, backend: Backend) -> None:
    chains = ties([5, 1, 4, 2], tags, seed, backend)
    expected = []
    for scores in enumerate_paths(chains):
        highest = max(scores.values())
        expected.append(list(min((path for path in scores if scores[path] == highest), key=lambda path: path[::-1])))
    assert strip_padding(best_path(*chains, kernel=backend.kernel)[0], chains) == expected
    assert strip_padding(best_paths(*chains, count=1)[0][:, 0], chains) == expected


def ties(lengths: list[int], tags: int, seed: int, backend: Backend) -> Chains:
    """Returns scores of 0 and 1."""
    probs = draw(lengths, tags, seed=seed, backend=backend)
    return Chains(*((scores > 0).to(backend.dtype) for scores in probs[:4]), probs.lengths)


@each_backend
@pytest.mark.parametrize("tags", [4, 5, 17, 33])
def test_kernels_break_thousands_of_ties_alike(tags: int, backend: Backend) -> None:
    lengths = [60, 1, 33, 59, 2, 60]
    chains = ties(lengths, tags, tags, backend)
    expected, score = best_path(*ties(lengths, tags, tags, TORCH), kernel="torch")
    found, ours = best_path(*chains, kernel=backend.kernel)
    assert torch.equal(found.cpu(), expected)
    close(ours, score)
    paths, scores = best_paths(*chains, count=1)
    assert torch.equal(paths[:, 0], found)
    close(scores[:, 0], score)


def test_many_best_paths_of_equal_scores_are_all_different() -> None:
    chains = ties([4, 3], 3, 0, TORCH)
    paths, scores = best_paths(*chains, count=81)
    for sentence, every in enumerate(enumerate_paths(chains)):
        found = [tuple(path) for path in paths[sentence, :, : int(chains.lengths[sentence])].tolist()][: len(every)]
        assert set(found) == set(every)
        assert [every[path] for path in found] == sorted(every.values(), reverse=True)
        assert scores[sentence, : len(every)].tolist() == sorted(every.values(), reverse=True)


# Scores of any size


@each_backend
@pytest.mark.parametrize("tags", [2, 5, 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_ten_thousand_nats_are_exact(tags: int, dtype: torch.dtype, backend: Backend) -> None:
    if dtype not in backend.dtypes:
        pytest.skip("the kernel takes float32 alone")
    drawn = draw([30, 1, 17], tags, seed=tags, backend=backend)
    chains = Chains(*(scores.sign() * 1e4 for scores in drawn[:4]), drawn.lengths).on(backend.device, dtype)
    assert_equals_recursion(chains, backend, log_within=1e-5, within=1e-2)
    expected = log_partition(*chains.on("cpu", torch.float64), kernel="torch")
    close(log_partition(*chains, kernel=backend.kernel) / expected.to(backend.device, dtype), [1.0] * 3, within=1e-5)
    chains = chains._replace(emissions=chains.emissions + drawn.emissions.to(dtype))
    assert_equals_recursion(chains, backend, log_within=1e-5, within=1e-2)


@each_backend
@pytest.mark.parametrize("tags", [2, 5, 17])
@pytest.mark.parametrize("seed", range(3))
def test_forbidden_tags_have_probability_zero(tags: int, seed: int, backend: Backend) -> None:
    chains = draw([12, 1, 9, 5], tags, seed=seed, backend=backend)
    gold = random_gold(chains)
    generator = torch.Generator().manual_seed(seed)
    out = (torch.rand(chains.emissions.shape, generator=generator) < 0.6).to(backend.device)
    out.scatter_(2, gold[:, :, None], False)
    chains = chains._replace(emissions=chains.emissions.masked_fill(out, -INF))
    assert_equals_recursion(chains, backend, log_within=1e-4, within=1e-8 if backend.dtype == torch.float64 else 1e-4)
    assert not marginals(*chains, kernel=backend.kernel)[out].any()
    losses = negative_log_likelihood(*chains, gold, reduction="none", kernel=backend.kernel)
    close(losses, expected_by_recursion(chains).log_partition - path_score(*chains, gold).cpu())


@each_backend
@pytest.mark.parametrize("seed", range(4))
def test_transitions_may_lie_two_thousand_nats_apart(seed: int, backend: Backend) -> None:
    drawn = draw([15, 1, 8, 15], 4, seed=seed, backend=backend)
    spread = torch.rand(4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2000 - 1000
    chains = drawn._replace(transitions=spread.to(drawn.transitions))
    assert_equals_recursion(chains, backend, log_within=1e-5, within=1e-6 if backend.dtype == torch.float64 else 1e-2)
    gold = random_gold(chains)
    expected = expected_by_recursion(chains).log_partition - path_score(*chains, gold).cpu()
    losses = negative_log_likelihood(*chains, gold, reduction="none", kernel=backend.kernel)
    torch.testing.assert_close(losses.cpu().double(), expected.double(), rtol=1e-4, atol=1e-2)


def draw_separate_chains(backend: Backend, lengths: list[int], lead: float) -> Chains:
    """Returns tags 0 and 1, which lead at each token, beside 2 and 3, which alone may end."""
    chains = draw(lengths, 4, seed=1, backend=backend)
    chains.emissions[:, :, :2] += lead
    chains.transitions[:2, 2:] = chains.transitions[2:, :2] = -INF
    chains.end[:2] = -INF
    return chains


@each_backend
@pytest.mark.parametrize(("lengths", "lead"), [([4, 1, 3], 300.0), ([40, 2, 25, 1], 50.0), ([12, 5], 9000.0)])
def test_only_the_weaker_of_two_chains_that_never_meet_may_end(
    lengths: list[int], lead: float, backend: Backend
) -> None:
    chains = draw_separate_chains(backend, lengths, lead)
    tolerance = 1e-8 if backend.dtype == torch.float64 else 1e-3
    assert_equals_recursion(chains, backend, log_within=1e-5, within=tolerance)
    gold = random_gold(chains) % 2 + 2
    close(
        negative_log_likelihood(*chains, gold, reduction="none", kernel=backend.kernel),
        expected_by_recursion(chains).log_partition - path_score(*chains, gold).cpu(),
        within=tolerance,
    )
    assert (best_path(*chains, kernel=backend.kernel)[0] >= 2)[~chains.padding].all()
    if max(lengths) < 5:
        highest = [max(scores.values()) for scores in enumerate_paths(chains)]
        close(best_path(*chains, kernel=backend.kernel)[1], highest, within=1e-3)


@each_backend
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_and_gradients_beyond_the_range_of_float64_equal_the_torch_kernel(
    weighted: bool, backend: Backend
) -> None:
    chains = draw_separate_chains(backend, [30, 2, 25, 1], 60.0)
    chains.end[:2] = -1500.0  # 25 tokens make up for it, a weight too small to hold
    quantity = "loss of weighted tags" if weighted else "loss"
    reference = chains.on("cpu", torch.float64)
    gold = random_gold(chains) % 2 + 2
    close(
        QUANTITIES[quantity](chains, gold, backend.kernel)[0],
        QUANTITIES[quantity](reference, gold.cpu(), "torch")[0],
        within=1e-6 if backend.dtype == torch.float64 else 1e-3,
    )
    expected = gradients_of(quantity, reference, gold.cpu(), "torch")
    for one, other in zip(gradients_of(quantity, chains, gold, backend.kernel), expected, strict=True):
        close(one, other, within=1e-6 if backend.dtype == torch.float64 else 1e-2)
    assert_equals_recursion(chains, backend, log_within=1e-5, within=1e-6 if backend.dtype == torch.float64 else 1e-2)


@each_backend
@pytest.mark.parametrize("size", [30.0, 1500.0])
def test_a_high_emission_compensates_a_low_start_or_end(size: float, backend: Backend) -> None:
    chains = draw([9, 1, 4], 3, backend=backend)
    chains.start[1] -= size
    chains.emissions[:, 0, 1] += size
    chains.end[0] -= size
    chains.emissions[[0, 1, 2], [8, 0, 3], 0] += size
    tolerance = 1e-8 if backend.dtype == torch.float64 else 1e-3
    assert_equals_recursion(chains, backend, log_within=1e-6, within=tolerance)


@each_backend
def test_sentences_of_one_token_need_no_transition(backend: Backend) -> None:
    chains = draw([1, 1], 3, backend=backend)
    chains.transitions[:] = -INF
    assert_equals_recursion(chains, backend, log_within=1e-6, within=1e-6)


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sentence_of_five_thousand_tokens_is_exact(dtype: torch.dtype, backend: Backend) -> None:
    if dtype not in backend.dtypes:
        pytest.skip("the kernel takes float32 alone")
    chains = draw([5000, 1, 3777], 5, backend=backend).on(backend.device, dtype)
    expected = expected_by_recursion(chains)
    found = marginals(*chains, kernel=backend.kernel)
    torch.testing.assert_close(found.sum(2), (~chains.padding).to(dtype), atol=1e-5, rtol=0)
    close(found, expected.marginals, within=1e-3 if dtype == torch.float32 else 1e-8)
    partition = log_partition(*chains, kernel=backend.kernel).cpu().double()
    torch.testing.assert_close(partition, expected.log_partition, rtol=1e-5, atol=1e-5)
    paths, scores = best_path(*chains, kernel=backend.kernel)
    torch.testing.assert_close(path_score(*chains, paths), scores, rtol=1e-6, atol=1e-5)
    assert (scores.cpu() <= partition).all()


@each_backend
@pytest.mark.parametrize("tags", [2, 5, 40])
def test_uniform_scores_count_the_paths(tags: int, backend: Backend) -> None:
    chains = Chains(
        *(torch.zeros_like(scores) for scores in draw([2000, 1, 700], tags, backend=backend)[:4]),
        torch.tensor([2000, 1, 700], device=backend.device),
    )
    close(log_partition(*chains, kernel=backend.kernel) / math.log(tags), [2000.0, 1.0, 700.0])
    close(marginals(*chains, kernel=backend.kernel)[0], torch.full((2000, tags), 1 / tags, dtype=torch.float64))


def test_ordinary_scores_never_need_the_torch_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("the numba kernel has asked the portable one")

    monkeypatch.setattr(numba_kernel.torch_kernel, "negative_log_likelihood", fail)
    monkeypatch.setattr(numba_kernel.torch_kernel, "messages", fail)
    chains = draw([5000, 1, 3777], 5, spread=5.0)
    chains.transitions[0, 1] = chains.start[2] = chains.end[3] = -INF
    assert_equals_recursion(chains, NUMBA, log_within=1e-9, within=1e-6)


# Threads and processes


@pytest.fixture
def many_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(numba_kernel, "MIN_PARALLEL_COST", 0)
    with torch_threads(3):
        yield


@pytest.mark.parametrize("lengths", [[5, 9, 1, 7] * 16, [50, 1, 1], [1, 1, 50], [3, 2], [4]])
@pytest.mark.parametrize("quantity", ["loss", "loss of weighted tags", "marginals", "best_path"])
def test_threads_share_a_batch_and_change_nothing(quantity: str, lengths: list[int], many_threads: None) -> None:
    chains = draw(lengths, 5)
    gold = random_gold(chains)

    def answers() -> list[Tensor]:
        found = list(QUANTITIES[quantity](chains, gold, "numba"))
        return found + (gradients_of(quantity, chains, gold, "numba") if quantity in DIFFERENTIABLE else [])

    together = answers()
    torch.set_num_threads(1)
    for one, other in zip(together, answers(), strict=True):
        close(one, other, within=1e-12)


def test_threads_report_lost_sentences(many_threads: None) -> None:
    chains = draw_separate_chains(NUMBA, [30, 2, 25, 1, 28, 3], 60.0)
    chains.end[:2] = -1500.0
    assert_equals_recursion(chains, NUMBA, log_within=1e-9, within=1e-7)


def test_several_threads_can_call_a_kernel(many_threads: None) -> None:
    batches = [draw([5, 9, 1, 7] * 8, 5, seed=seed) for seed in range(12)]
    expected = [expected_by_recursion(chains).log_partition for chains in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = list(pool.map(lambda chains: log_partition(*chains, kernel="numba"), batches))
            for one, other in zip(found, expected, strict=True):
                close(one, other)


def run_script(script: str, **environment: str) -> str:
    """Returns what a Python process of its own prints."""
    options = {"capture_output": True, "text": True, "timeout": 120, "env": {**os.environ, **environment}}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def call_in_a_fork() -> None:
    """Calls a kernel with two threads, then in a fork of this process, then here again: the results must be equal."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    numba_kernel.MIN_PARALLEL_COST = 0
    chains = draw([6] * 8, 4).on("cpu", torch.float32)
    before = log_partition(*chains, kernel="numba")
    process = os.fork()
    if not process:
        signal.alarm(30)
        os._exit(0 if torch.equal(log_partition(*chains, kernel="numba"), before) else 1)
    assert os.waitpid(process, 0)[1] == 0
    assert torch.equal(log_partition(*chains, kernel="numba"), before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_can_call_a_kernel() -> None:
    assert ended(child(call_in_a_fork)) == 0


def train_after_inference_mode() -> None:
    """Calls kernels for the first time in inference mode, then trains."""
    scores = torch.rand(2, 3, 4), torch.rand(4, 4), torch.rand(4), torch.rand(4), torch.tensor([3, 2])
    with torch.inference_mode():
        best_path(*scores), log_partition(*scores)
    scores[0].requires_grad_()
    negative_log_likelihood(*scores, torch.tensor([[0, 1, -100], [2, 2, 0]])).backward()
    assert scores[0].grad is not None
    assert scores[0].grad.isfinite().all()


def test_training_works_after_inference_mode() -> None:
    assert ended(child(train_after_inference_mode)) == 0


def test_two_sentences_are_shared_between_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_kernel, "MIN_PARALLEL_COST", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    chains = ChainScores(*draw([5, 5], 3))
    assert numba_kernel._run(chains, 1, lambda rows: rows) == [(0, 1), (1, 2)]


def test_compilation_is_announced_once_and_cached(tmp_path: Path) -> None:
    two_functions = """
        import logging
        logging.basicConfig(level=logging.INFO)
        from tagger.nn.kernels import activations
        print(activations.tanh(1.0), activations.sigmoid(1.0))
    """
    assert run_script(two_functions, NUMBA_CACHE_DIR=str(tmp_path)).count("compiling for this processor") == 1
    kernel = """
        import logging
        import torch
        logging.basicConfig(level=logging.INFO)
        from tagger.nn.crf.functions import best_path
        scores = [torch.zeros(*shape) for shape in ((1, 2, 2), (2, 2), (2,), (2,))]
        print(best_path(*scores, torch.tensor([2]), kernel="numba"))
    """
    best_path(*draw([2], 2).on("cpu", torch.float32), kernel="numba")  # compiles it unless another test has
    assert "compiling for this processor" not in run_script(kernel)


# Choosing one


@pytest.fixture
def _fresh_choice() -> Iterator[None]:
    kernel_choice._load.cache_clear()
    yield
    kernel_choice._load.cache_clear()


@pytest.mark.usefixtures("_fresh_choice")
def test_a_kernel_that_cannot_be_loaded_is_reported_once_and_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chains = draw([3, 2], 3)
    expected = marginals(*chains, kernel="torch")

    def fail(name: str) -> None:
        raise OSError(f"no {name} here")

    monkeypatch.setattr(importlib, "import_module", fail)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(marginals(*chains), expected)
            log_partition(*chains)
            best_path(*chains)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith("the numba kernel failed: OSError: no tagger.nn.crf.kernels.numba_kernel here")
    with pytest.raises(ValueError, match=r"the numba kernel does not support torch\.float64 on cpu here"):
        log_partition(*chains, kernel="numba")


@pytest.mark.usefixtures("_fresh_choice")
def test_a_missing_module_is_replaced(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "tagger.nn.crf.kernels.numba_kernel", None)
    chains = draw([3, 2], 3)
    assert torch.equal(log_partition(*chains), log_partition(*chains, kernel="torch"))
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("_fresh_choice")
@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, RuntimeError])
def test_a_kernel_is_tried_again_after_an_out_of_memory_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("no memory: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(numba_kernel, "best_path", fail)
        with pytest.raises(error, match="no memory"):
            kernel_choice.choose_kernel(draw([3], 2))  # type: ignore[arg-type]
    assert kernel_choice.choose_kernel(draw([3], 2)) is numba_kernel  # type: ignore[arg-type]
    assert not caplog.records


def test_the_fastest_kernel_is_the_default() -> None:
    assert kernel_choice.choose_kernel(draw([3], 2)) is numba_kernel  # type: ignore[arg-type]


def test_a_kernel_that_cannot_work_on_a_cpu_is_refused() -> None:
    chains = draw([3, 2], 3).on("cpu", torch.float32)
    with pytest.raises(ValueError, match=r"the triton kernel does not support torch\.float32 on cpu here"):
        log_partition(*chains, kernel="triton")


@needs_gpu
@pytest.mark.parametrize(
    ("kernel", "tags", "dtype"),
    [("numba", 3, torch.float32), ("triton", 3, torch.float64), ("triton", 129, torch.float32)],
)
def test_a_kernel_that_cannot_work_on_a_gpu_is_refused(kernel: str, tags: int, dtype: torch.dtype) -> None:
    chains = draw([3, 2], tags).on("cuda", dtype)
    with pytest.raises(ValueError, match=f"the {kernel} kernel does not support {dtype} on cuda:0 here"):
        log_partition(*chains, kernel=kernel)
    close(log_partition(*chains), expected_by_recursion(chains).log_partition)
