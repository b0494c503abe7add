"""Every answer, its numbers bit for bit, is the same however sentences are batched, ordered, shared and remembered."""

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, zip_longest

import pytest

from tagger.data.sentence import Sentence
from tagger.model import TaggerModel
from tagger.tagging import DecodingOptions, Tagger, cached_scorer
from tests.tagging.models import make_model, sentences, tagger

EVERYTHING = DecodingOptions(probabilities=True, nbest=2)
SENTENCES = sentences(120, longest=25)


@pytest.fixture(scope="module", params=["spans", "plain", "deep"])
def random_model(request: pytest.FixtureRequest) -> TaggerModel:
    if request.param == "plain":
        return make_model(
            plain=7, characters={"kind": "lstm", "embedding_dim": 6, "output_dim": 8}, head={"kind": "softmax"}
        )
    if request.param == "deep":
        return make_model(
            encoder={"hidden_size": 12, "num_layers": 2, "cell": "gru", "merge": "sum"}, casing=3, scheme="IOB2", seed=1
        )
    return make_model()


@pytest.fixture(scope="module")
def alone(random_model: TaggerModel) -> list[Sentence]:
    """What is found when each sentence is a batch of its own."""
    return tag_all(tagger(random_model, batch_tokens=1, workers=1))


def tag_all(
    model: Tagger, answers: DecodingOptions = EVERYTHING, inputs: Sequence[Sentence] = SENTENCES
) -> list[Sentence]:
    return list(model.stream(inputs, answers))


@pytest.mark.parametrize("batch_tokens", [256, 4096, 32768])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_predictions_are_the_same_for_every_batch_size_and_number_of_workers(
    random_model: TaggerModel, alone: list[Sentence], batch_tokens: int, workers: int
) -> None:
    model = tagger(random_model, batch_tokens=batch_tokens, workers=workers)
    assert tag_all(model) == alone
    assert [actual for pool in model.tag_pools([SENTENCES], EVERYTHING) for actual in pool] == alone  # all remembered


def test_predictions_vary(alone: list[Sentence]) -> None:
    assert len({tag for sentence in alone for tag in sentence.tags}) >= 4
    assert len({sentence.probabilities for sentence in alone}) > 100


def test_predictions_do_not_depend_on_the_order_and_the_pools(random_model: TaggerModel, alone: list[Sentence]) -> None:
    order = list(range(len(SENTENCES)))
    for seed in range(2):
        random.Random(seed).shuffle(order)
        inputs = [SENTENCES[place] for place in order]
        pools = [inputs[first : first + 50] for first in range(0, len(inputs), 50)]
        actual = [sentence for pool in tagger(random_model).tag_pools(pools, EVERYTHING) for sentence in pool]
        assert actual == [alone[place] for place in order]


def test_tags_do_not_depend_on_the_decoding_options(random_model: TaggerModel, alone: list[Sentence]) -> None:
    tags = [sentence.tags for sentence in alone]
    for answers in (DecodingOptions(), DecodingOptions(probabilities=True), DecodingOptions(nbest=1)):
        assert [sentence.tags for sentence in tag_all(tagger(random_model), answers)] == tags


@pytest.mark.parametrize(("rows", "workers"), [(1, 1), (7, 2), (50, 4)])
def test_predictions_are_the_same_when_words_are_evicted_all_the_time(
    random_model: TaggerModel, alone: list[Sentence], rows: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_bytes = tagger(random_model)._scorer._scorer.row_bytes  # type: ignore[attr-defined]
    monkeypatch.setattr(cached_scorer, "CACHE_BYTES", rows * row_bytes)
    model = tagger(random_model, batch_tokens=100, workers=workers)
    pools = [SENTENCES[first : first + 3] for first in range(0, len(SENTENCES), 3)]
    assert [sentence for pool in model.tag_pools(pools, EVERYTHING) for sentence in pool] == alone
    assert model.cache_hit_rate is not None
    assert 0 < model.cache_hit_rate < 0.8
    assert model._scorer.cache.row_count < rows + 200  # type: ignore[attr-defined]


def test_several_threads_tag_with_one_tagger(random_model: TaggerModel, alone: list[Sentence]) -> None:
    model = tagger(random_model, batch_tokens=100, workers=2)
    with ThreadPoolExecutor(4) as threads:
        for actual in threads.map(lambda _: tag_all(model), range(4)):
            assert actual == alone


def test_words_are_added_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model())
    scorer = model._scorer._scorer  # type: ignore[attr-defined]
    original, inside, seen = scorer.add, [], []

    def add(*arguments: object) -> None:
        inside.append(1)
        threading.Event().wait(0.05)
        seen.append(len(inside))
        original(*arguments)
        inside.pop()

    monkeypatch.setattr(scorer, "add", add)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: model.tag([SENTENCES[number]]), range(4)))
    assert set(seen) == {1}


def test_two_interleaved_streams_do_not_disturb_each_other(
    random_model: TaggerModel, alone: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_scorer, "CACHE_BYTES", 5000)
    model = tagger(random_model, batch_tokens=100)
    streams = model.stream(SENTENCES, EVERYTHING), model.stream(SENTENCES[::-1], EVERYTHING)
    both = list(chain.from_iterable(zip_longest(*streams)))
    assert both[::2] == alone
    assert both[1::2] == alone[::-1]


def test_a_closed_stream_releases_its_words(random_model: TaggerModel) -> None:
    model = tagger(random_model, batch_tokens=50, workers=2)
    active = model._scorer.cache._active  # type: ignore[attr-defined]
    for count in (1, 33, 90):
        stream = model.stream(SENTENCES)
        for _ in range(count):
            next(stream)
        assert active
        stream.close()
        assert not active


def test_a_stream_that_fails_releases_its_words(random_model: TaggerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(random_model, batch_tokens=50, workers=2)
    cache = model._scorer.cache  # type: ignore[attr-defined]

    def breaking_off() -> Iterator[Sentence]:
        yield from SENTENCES[:110]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(model.stream(breaking_off()))
    assert not cache._active

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(model.stream(SENTENCES, on_batch=stop))
    assert not cache._active


def test_words_that_could_not_be_added_are_added_later(
    random_model: TaggerModel, alone: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tagger(random_model)
    scorer, cache = model._scorer._scorer, model._scorer.cache  # type: ignore[attr-defined]
    for name, error in (("add", ValueError), ("reserve", MemoryError), ("add", KeyboardInterrupt)):

        def fail(*_: object, error: type[BaseException] = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(scorer, name, fail)
            with pytest.raises(error):
                tag_all(model)
        assert not cache._active
    assert tag_all(model) == alone


def test_twice_the_sentences_are_twice_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model())
    scorer = model._scorer._scorer  # type: ignore[attr-defined]
    emissions, add = scorer.emissions, scorer.add
    scored, added = [], []
    monkeypatch.setattr(
        scorer,
        "emissions",
        lambda rows, lengths, *_: (scored.append(lengths[0] * len(lengths)), emissions(rows, lengths))[1],
    )
    monkeypatch.setattr(scorer, "add", lambda rows, *words: (added.append(len(rows)), add(rows, *words))[1])
    work = []
    for times in (1, 2, 4):
        scored.clear()
        tag_all(model, DecodingOptions(), SENTENCES * times)
        work.append(sum(scored))
    assert work[1] <= 2 * work[0]
    assert work[2] <= 2 * work[1]
    assert work[0] < 2 * sum(map(len, SENTENCES))  # padding counted
    assert sum(added) == len({word for sentence in SENTENCES for word in sentence.tokens} | {"a"}) - 1
