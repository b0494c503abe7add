"""LinearChain: exact inference in linear-chain CRFs.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

import math

import torch
from torch import Tensor

from tagger.choices import Kernel, Reduction, listed, options
from tagger.nn.crf.chain_scores import UNKNOWN, ChainScores, check_paths
from tagger.nn.crf.kernel_choice import KernelModule, choose_kernel
from tagger.nn.crf.kernels import torch_kernel
from tagger.nn.crf.kernels.torch_kernel import Messages, continuation_scores, subtract_max, transition_log_probs

_MAX_ELEMENTS = 2**24
"""Elements in the largest tensor of the search for the n best paths."""


class LinearChain:
    """The distributions over tag paths that scores define: p(path) is proportional to exp(score of the path).

    A path's score is the sum of its start, emission, transition and end scores. A score of −inf forbids; other scores
    must be within ±1e25. Scores are in nats. Results have the dtype of the emissions: float64, or float32 for any
    other. NaN scores give NaN results.

    Forward-backward messages are computed at the first call that needs them; all later calls share them. Do not
    change the tensors in between.

    Args:
        emissions: (B, T, K) score of each tag at each token; padding may hold anything.
        transitions: (K, K) score of a tag (column) after another (row).
        start: (K,) score of the first tag.
        end: (K,) score of the last tag.
        lengths: (B,) tokens per sentence, each in [1, T].
        kernel: torch, numba (CPU) or triton (CUDA); by default the fastest that supports the scores. Only the torch
            kernel differentiates messages, so it is the default where they need a gradient.

    Attributes:
        scores: the scores in one dtype.

    Raises:
        ValueError: the shapes do not agree. Methods: a sentence has no path of finite score, or its length is not in
            [1, T]; the message names sentence and token.
    """

    def __init__(
        self,
        emissions: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        lengths: Tensor,
        *,
        kernel: Kernel | None = None,
    ) -> None:
        self.scores = ChainScores.from_tensors(emissions, transitions, start, end, lengths)
        self._kernel_name = kernel
        self._messages: Messages | None = None
        self._messages_have_gradient = False

    def tempered(self, temperature: float) -> "LinearChain":
        """Returns the chains with all scores divided by a temperature: above 1 the distributions are flatter."""
        return LinearChain(*self.scores.map(lambda tensor: tensor / temperature), kernel=self._kernel_name)

    def log_partition(self) -> Tensor:
        """Returns (B,) the log of the sum of exp(score) over all paths (Rabiner, 1989)."""
        if self._messages is not None and not self.scores.requires_grad:
            return self._messages.log_partition.to(self.scores.emissions)
        values = choose_kernel(self.scores, self._kernel_name).negative_log_likelihood(self.scores)
        return self._check(values).to(self.scores.emissions)

    def path_score(self, path: Tensor) -> Tensor:
        """Returns (B,) the score of one path (B, T) per sentence; padding of `path` may hold anything."""
        scores, tags = self.scores, len(self.scores.start)
        _check_shape("path", path, scores.emissions.shape[:2])
        path = torch.where(scores.mask, path, 0)
        invalid = ((path < 0) | (path >= tags)).nonzero()
        if len(invalid):
            sentence, token = invalid[0].tolist()
            raise ValueError(f"sentence {sentence}, token {token}: tag {path[sentence, token]} is not in [0, {tags})")
        return self._check(torch_kernel.path_scores(scores, path[:, None])[:, 0]).to(scores.emissions)

    def negative_log_likelihood(
        self, gold: Tensor, *, weights: Tensor | None = None, reduction: Reduction = "sentence"
    ) -> Tensor:
        """Returns the negative log-likelihood of gold tags, in nats (Lafferty et al., 2001).

        Partial annotation: the probabilities of all paths that agree with it are summed (Tsuboi et al., 2008).

        Args:
            gold: (B, T) tag ids, −100 for an unknown tag; or (B, T, K) booleans, the tags that a token may have.
                Padding may hold anything.
            weights: (K,) by gold tag, weights of the log-probability of a tag given its predecessor. They require a
                full annotation.
            reduction: mean per sentence, mean per token, or `none`: (B,).

        Raises:
            ValueError: no path of finite score, or none that agrees with gold.
        """
        scores, kernel = self.scores, choose_kernel(self.scores, self._kernel_name)
        if reduction not in options(Reduction):
            raise ValueError(f"reduction must be {listed(options(Reduction))}, got {reduction!r}")
        if weights is not None:
            _check_shape("weights", weights, scores.start.shape)
        ids = None
        if gold.dtype != torch.bool:
            if gold.is_floating_point():
                raise ValueError(f"gold must be ids or booleans, got {gold.dtype}")
            _check_shape("gold", gold, scores.emissions.shape[:2])
            values = kernel.negative_log_likelihood(scores, gold.long(), weights)
            loss = reduce_losses(values, scores.lengths, reduction, scores.emissions.dtype)
            if _all_finite(loss):
                return loss
            if not (scores.mask & (gold == UNKNOWN)).any():
                check_paths(scores, gold)
                return loss
            ids, every = gold, torch.arange(len(scores.start), device=gold.device)
            gold = (gold[:, :, None] == every) | (gold[:, :, None] == UNKNOWN)
        else:
            _check_shape("gold", gold, scores.emissions.shape)
        if weights is not None:
            check_paths(scores, ids)
            raise ValueError("tag weights require one known gold tag per token")
        agreeing = scores._replace(emissions=scores.emissions.masked_fill(~gold, -torch.inf))
        values = kernel.negative_log_likelihood(scores) - kernel.negative_log_likelihood(agreeing)
        if not _all_finite(values):
            check_paths(scores, ids)
            check_paths(agreeing)
        return reduce_losses(values, scores.lengths, reduction, scores.emissions.dtype)

    def best_path(self) -> tuple[Tensor, Tensor]:
        """Returns the path (B, T) of highest score, 0 in padding, and its score (B,) (Viterbi, 1967).

        Of equal scores the lowest tag id wins, from the last token back. There is no gradient.
        """
        scores = self.scores.map(Tensor.detach)
        path, score = choose_kernel(scores, self._kernel_name).best_path(scores)
        return path, self._check(score).to(scores.emissions)

    def best_paths(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns the `count` paths (B, N, T) of highest scores, best first, and their scores (B, N).

        Paths are ranked in the precision of the scores; the order of closer paths is undefined. Missing paths of a
        sentence with fewer than `count` are zeros with a score of −inf. There is no gradient.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        scores = self.scores.map(Tensor.detach)
        size = max(1, _MAX_ELEMENTS // (len(scores.start) ** 2 * count))
        parts = zip(torch.split(scores.emissions, size), torch.split(scores.lengths, size), strict=True)
        results = [_best_paths(scores._replace(emissions=rows, lengths=lengths), count) for rows, lengths in parts]
        paths, values = (torch.cat(tensors) for tensors in zip(*results, strict=True))
        self._check(values[:, 0])
        return paths, values

    def marginals(self) -> Tensor:
        """Returns (B, T, K) the probability of each tag at each token, 0 in padding."""
        return self._forward_backward().marginals

    def pairwise_marginals(self) -> Tensor:
        """Returns (B, T − 1, K, K) the probability of each pair of tags at consecutive tokens, 0 in padding."""
        messages = self._forward_backward()
        continuations = continuation_scores(self.scores, messages)[:, 1:, None]
        pairs = messages.marginals[:, :-1, :, None] * transition_log_probs(self.scores, continuations).exp()
        return pairs.masked_fill(~self.scores.mask[:, 1:, None, None], 0.0)

    def entropy(self) -> Tensor:
        """Returns (B,) the entropy over paths in nats (Mann and McCallum, 2007)."""
        scores, messages = self.scores, self._forward_backward()
        continuations = continuation_scores(scores, messages)
        first = torch.log_softmax(scores.start.clamp_min(torch_kernel.FLOOR) + continuations[:, 0], 1)
        total = -(first.exp() * first).sum(1)
        for token in range(1, continuations.shape[1]):
            log_probs = transition_log_probs(scores, continuations[:, token, None])
            entropy = -(messages.marginals[:, token - 1] * (log_probs.exp() * log_probs).sum(2)).sum(1)
            total = total + torch.where(scores.mask[:, token], entropy, 0.0)
        return total

    def expected_pairs(self, pairs: Tensor) -> Tensor:
        """Returns (B,) the expected number of consecutive tags that are one of some pairs.

        Args:
            pairs: (K, K) booleans, the pairs of a tag (row) and the next one (column).
        """
        scores, messages = self.scores, self._forward_backward()
        continuations = continuation_scores(scores, messages)
        total = continuations.new_zeros(len(scores.lengths))
        for token in range(1, continuations.shape[1]):
            probabilities = transition_log_probs(scores, continuations[:, token, None]).exp()
            counts = (messages.marginals[:, token - 1] * (probabilities * pairs).sum(2)).sum(1)
            total = total + torch.where(scores.mask[:, token], counts, 0.0)
        return total

    def span_probabilities(self, spans: Tensor, members: Tensor, joins: Tensor) -> Tensor:
        """Returns (N,) the probability that a sentence holds exactly this span: the sum over all paths that do.

        Args:
            spans: (N, 4) sentence, first token, end token (exclusive), and type.
            members: (types, K) booleans, the tags that a token of a span of this type may have.
            joins: (K, K) booleans, whether two consecutive tags are in one span.

        Raises:
            ValueError: a span is empty, is not within its sentence or has no type.
        """
        scores, tags = self.scores, len(self.scores.start)
        messages = self._forward_backward()
        if spans.dim() != 2 or spans.shape[1] != 4 or members.shape[1:] != (tags,) or joins.shape != (tags, tags):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (spans, members, joins))
            raise ValueError(f"spans, members and joins must be (N, 4), (types, {tags}) and (K, K), got {shapes}")
        if not len(spans):
            return scores.emissions.new_zeros(0)
        _check_spans(spans, scores.lengths, len(members))
        return self._message_kernel().span_probabilities(scores, messages, spans, members, joins)

    def run_probabilities(self, runs: Tensor, tag: int) -> Tensor:
        """Returns (N,) the probability that all tokens of a run have a tag: the sum over all paths in which they do.

        Args:
            runs: (N, 3) sentence, first token and end token (exclusive).
            tag: the id of the tag.

        Raises:
            ValueError: a run is empty or is not within its sentence.
        """
        scores, messages = self.scores, self._forward_backward()
        if not len(runs):
            return scores.emissions.new_zeros(0)
        _check_spans(torch.nn.functional.pad(runs, (0, 1)), scores.lengths, 1)
        sentence, start, end = runs.unbind(1)
        following = scores.transitions[tag].clamp_min(torch_kernel.FLOOR) + continuation_scores(scores, messages)
        log_probs = torch.log_softmax(following, 2)[:, :, tag]  # (B, T) of the tag, given it at the token before
        tokens = start[:, None] + torch.arange(1, int((end - start).max()), device=start.device)
        is_inside = tokens < end[:, None]
        inner = log_probs[sentence[:, None], tokens.clamp_max(log_probs.shape[1] - 1)]
        return messages.marginals[sentence, start, tag] * inner.masked_fill(~is_inside, 0.0).sum(1).exp()

    def sample(self, count: int = 1, *, generator: torch.Generator | None = None) -> Tensor:
        """Returns (B, N, T) `count` independent paths drawn from the distribution, 0 in padding."""
        with torch.no_grad():
            messages = self._forward_backward()
            continuations = continuation_scores(self.scores, messages)
            tag = torch.multinomial(messages.marginals[:, 0], count, replacement=True, generator=generator)
            path = [tag]
            for token in range(1, continuations.shape[1]):
                probs = transition_log_probs(self.scores, continuations[:, token, None]).exp()  # (B, K, K)
                probs = probs.gather(1, tag[:, :, None].expand(-1, -1, probs.shape[2])).flatten(0, 1)  # (B * N, K)
                tag = torch.multinomial(probs, 1, generator=generator).view_as(tag)
                path.append(tag)
        return torch.stack(path, 2).masked_fill(~self.scores.mask[:, None], 0)

    def _message_kernel(self) -> KernelModule:
        needs_torch = self._kernel_name is None and self.scores.requires_grad
        return choose_kernel(self.scores, "torch" if needs_torch else self._kernel_name)

    def _forward_backward(self) -> Messages:
        """Returns the messages, computed once; again only where a gradient is needed and they have none."""
        if self._messages is None or (self.scores.requires_grad and not self._messages_have_gradient):
            self._messages_have_gradient = self.scores.requires_grad
            self._messages = self._message_kernel().messages(self.scores)
            self._check(self._messages.log_partition)
        return self._messages

    def _check(self, values: Tensor) -> Tensor:
        """Returns values (B,), after an error for the sentence without a path if they are not finite."""
        if not _all_finite(values):
            check_paths(self.scores)
        return values


class IndependentTags(LinearChain):
    """Chains whose transition, start and end scores are 0: tokens are independent. Cost is linear in the tags.

    The methods that are not overridden take memory and time by the square of the tags.

    Args:
        emissions: (B, T, K).
        lengths: (B,).
    """

    def __init__(self, emissions: Tensor, lengths: Tensor) -> None:
        tags = emissions.shape[-1]
        zeros = emissions.new_zeros(1).expand(tags)
        super().__init__(emissions, zeros.expand(tags, tags), zeros, zeros, lengths)

    def tempered(self, temperature: float) -> "IndependentTags":
        """Returns the chains with other scores, as LinearChain."""
        return IndependentTags(self.scores.emissions / temperature, self.scores.lengths)

    def log_partition(self) -> Tensor:
        """Returns (B,), as LinearChain."""
        return self.scores.emissions.logsumexp(2).masked_fill(~self.scores.mask, 0.0).sum(1)

    def marginals(self) -> Tensor:
        """Returns (B, T, K), as LinearChain."""
        return self.scores.emissions.softmax(2).masked_fill(~self.scores.mask[:, :, None], 0.0)

    def best_path(self) -> tuple[Tensor, Tensor]:
        """Returns (B, T) and (B,), as LinearChain."""
        highest, path = self.scores.emissions.detach().max(2)
        padding = ~self.scores.mask
        return path.masked_fill(padding, 0), highest.masked_fill(padding, 0.0).sum(1)

    def best_paths(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns (B, N, T) and (B, N), as LinearChain."""
        # A path with a tag that is not among the `count` best of its token is worse than `count` others.
        emissions, tags = self.scores.emissions.detach().topk(min(count, self.scores.emissions.shape[2]), dim=2)
        paths, scores = LinearChain.best_paths(IndependentTags(emissions, self.scores.lengths), count)
        paths = tags[:, None].expand(-1, paths.shape[1], -1, -1).gather(3, paths[..., None])[..., 0]
        is_unused = ~self.scores.mask[:, None] | (scores == -math.inf)[..., None]
        return paths.masked_fill(is_unused, 0), scores


def reduce_losses(values: Tensor, lengths: Tensor, reduction: Reduction, dtype: torch.dtype) -> Tensor:
    """Returns the mean of losses (B,) per sentence or per token, or the losses themselves."""
    if reduction == "sentence":
        return values.mean(dtype=dtype)
    return values.sum(dtype=dtype) / lengths.sum() if reduction == "token" else values.to(dtype)


def _best_paths(scores: ChainScores, count: int) -> tuple[Tensor, Tensor]:
    mask, (sentences, tokens, tags) = scores.mask, scores.emissions.shape
    # (B, K, N) by last tag and rank: the highest scores of paths up to a token.
    highest = torch.full((sentences, tags, count), -torch.inf, dtype=scores.emissions.dtype, device=mask.device)
    highest[:, :, 0] = scores.start + scores.emissions[:, 0]
    identity = torch.arange(tags * count, device=mask.device).expand(sentences, -1)
    backpointers = []
    for token in range(1, tokens):
        previous = subtract_max(highest.flatten(1))[0].view_as(highest)
        extended = (previous[..., None] + scores.transitions[:, None]).flatten(1, 2)  # (B, K * N, K)
        extended, pointer = (
            part[:, :count].transpose(1, 2) for part in extended.sort(dim=1, descending=True, stable=True)
        )
        is_token = mask[:, token, None]
        highest = torch.where(is_token[..., None], extended + scores.emissions[:, token, :, None], highest)
        backpointers.append(torch.where(is_token, pointer.flatten(1), identity))
    final, state = (highest + scores.end[:, None]).flatten(1).sort(dim=1, descending=True, stable=True)
    final, state = final[:, :count], state[:, :count]  # (B, N), states in K * N
    states = [state]
    for pointer in reversed(backpointers):
        states.append(pointer.gather(1, states[-1]))
    paths = torch.stack(states[::-1], 2) // count
    is_missing = final == -torch.inf
    paths = paths.masked_fill(~mask[:, None] | is_missing[..., None], 0)
    exact = torch_kernel.path_scores(scores, paths).masked_fill(is_missing, -torch.inf)
    return paths, exact.to(final)


def _check_shape(name: str, tensor: Tensor, shape: torch.Size) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} must be {tuple(shape)}, got {tuple(tensor.shape)}")


def _check_spans(spans: Tensor, lengths: Tensor, types: int) -> None:
    sentence, start, end, kind = spans.unbind(1)
    is_valid = (sentence >= 0) & (sentence < len(lengths)) & (start >= 0) & (end > start) & (kind >= 0) & (kind < types)
    is_valid &= end <= lengths[sentence.clamp(0, len(lengths) - 1)]
    if not is_valid.all():
        row = int((~is_valid).nonzero()[0])
        raise ValueError(f"span {row} is empty, not within its sentence or has no type: {spans[row].tolist()}")


def _all_finite(values: Tensor) -> bool:
    """Reads one number from the device: the sum, which is finite if all values are."""
    return math.isfinite(values.detach().sum().item() if values.dim() else values.item())
