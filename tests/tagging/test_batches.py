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
def made(request: pytest.FixtureRequest) -> TaggerModel:
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
def alone(made: TaggerModel) -> list[Sentence]:
    """What is found when each sentence is a batch of its own."""
    return all_of(tagger(made, batch_tokens=1, workers=1))


def all_of(
    model: Tagger, answers: DecodingOptions = EVERYTHING, given: Sequence[Sentence] = SENTENCES
) -> list[Sentence]:
    return list(model.stream(given, answers))


@pytest.mark.parametrize("batch_tokens", [256, 4096, 32768])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_answers_are_the_same_for_every_size_of_batch_and_number_of_workers(
    made: TaggerModel, alone: list[Sentence], batch_tokens: int, workers: int
) -> None:
    model = tagger(made, batch_tokens=batch_tokens, workers=workers)
    assert all_of(model) == alone
    assert [found for pool in model.tag_pools([SENTENCES], EVERYTHING) for found in pool] == alone  # all remembered


def test_answers_are_many_kinds(alone: list[Sentence]) -> None:
    assert len({tag for sentence in alone for tag in sentence.tags}) >= 4
    assert len({sentence.probabilities for sentence in alone}) > 100


def test_answers_are_the_same_whatever_the_order_and_the_pools(made: TaggerModel, alone: list[Sentence]) -> None:
    places = list(range(len(SENTENCES)))
    for seed in range(2):
        random.Random(seed).shuffle(places)
        given = [SENTENCES[place] for place in places]
        pools = [given[first : first + 50] for first in range(0, len(given), 50)]
        found = [sentence for pool in tagger(made).tag_pools(pools, EVERYTHING) for sentence in pool]
        assert found == [alone[place] for place in places]


def test_tags_are_the_same_whatever_else_is_asked(made: TaggerModel, alone: list[Sentence]) -> None:
    tags = [sentence.tags for sentence in alone]
    for answers in (DecodingOptions(), DecodingOptions(probabilities=True), DecodingOptions(nbest=1)):
        assert [sentence.tags for sentence in all_of(tagger(made), answers)] == tags


@pytest.mark.parametrize(("rows", "workers"), [(1, 1), (7, 2), (50, 4)])
def test_answers_are_the_same_when_words_are_forgotten_all_the_time(
    made: TaggerModel, alone: list[Sentence], rows: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_bytes = tagger(made)._scoring._scorer.row_bytes  # type: ignore[attr-defined]
    monkeypatch.setattr(cached_scorer, "CACHE_BYTES", rows * row_bytes)
    model = tagger(made, batch_tokens=100, workers=workers)
    pools = [SENTENCES[first : first + 3] for first in range(0, len(SENTENCES), 3)]
    assert [sentence for pool in model.tag_pools(pools, EVERYTHING) for sentence in pool] == alone
    assert model.cache_hit_rate is not None
    assert 0 < model.cache_hit_rate < 0.8
    assert model._scoring.memory.size < rows + 200  # type: ignore[attr-defined]


def test_several_threads_tag_with_one_tagger(made: TaggerModel, alone: list[Sentence]) -> None:
    model = tagger(made, batch_tokens=100, workers=2)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: all_of(model), range(4)):
            assert found == alone


def test_words_are_learnt_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model())
    scorer = model._scoring._scorer  # type: ignore[attr-defined]
    honest, inside, seen = scorer.learn, [], []

    def learn(rows: object, spelling: object) -> None:
        inside.append(1)
        threading.Event().wait(0.05)
        seen.append(len(inside))
        honest(rows, spelling)
        inside.pop()

    monkeypatch.setattr(scorer, "learn", learn)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: model.tag([SENTENCES[number]]), range(4)))
    assert set(seen) == {1}


def test_two_streams_that_take_turns_do_not_disturb_each_other(
    made: TaggerModel, alone: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_scorer, "CACHE_BYTES", 5000)
    model = tagger(made, batch_tokens=100)
    streams = model.stream(SENTENCES, EVERYTHING), model.stream(SENTENCES[::-1], EVERYTHING)
    both = list(chain.from_iterable(zip_longest(*streams)))
    assert both[::2] == alone
    assert both[1::2] == alone[::-1]


def test_a_stream_that_is_left_frees_its_words(made: TaggerModel) -> None:
    model = tagger(made, batch_tokens=50, workers=2)
    under_way = model._scoring.memory._under_way  # type: ignore[attr-defined]
    for count in (1, 33, 90):
        stream = model.stream(SENTENCES)
        for _ in range(count):
            next(stream)
        assert under_way
        stream.close()
        assert not under_way


def test_a_stream_that_fails_frees_its_words(made: TaggerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(made, batch_tokens=50, workers=2)
    memory = model._scoring.memory  # type: ignore[attr-defined]

    def breaking_off() -> Iterator[Sentence]:
        yield from SENTENCES[:110]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(model.stream(breaking_off()))
    assert not memory._under_way

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(model.stream(SENTENCES, on_batch=stop))
    assert not memory._under_way


def test_words_that_could_not_be_learnt_are_learnt_later(
    made: TaggerModel, alone: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tagger(made)
    scorer, memory = model._scoring._scorer, model._scoring.memory  # type: ignore[attr-defined]
    for name, error in (("learn", ValueError), ("grow", MemoryError), ("learn", KeyboardInterrupt)):

        def fail(*_: object, error: type[BaseException] = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(scorer, name, fail)
            with pytest.raises(error):
                all_of(model)
        assert not memory._under_way
    assert all_of(model) == alone


def test_twice_the_sentences_are_twice_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(make_model())
    scorer = model._scoring._scorer  # type: ignore[attr-defined]
    honest, learn = scorer.emissions, scorer.learn
    scored, learnt = [], []
    monkeypatch.setattr(
        scorer,
        "emissions",
        lambda rows, lengths, _: (scored.append(lengths[0] * len(lengths)), honest(rows, lengths))[1],
    )
    monkeypatch.setattr(scorer, "learn", lambda rows, words: (learnt.append(len(rows)), learn(rows, words))[1])
    work = []
    for times in (1, 2, 4):
        scored.clear()
        all_of(model, DecodingOptions(), SENTENCES * times)
        work.append(sum(scored))
    assert work[1] <= 2 * work[0]
    assert work[2] <= 2 * work[1]
    assert work[0] < 2 * sum(map(len, SENTENCES))  # padding counted
    assert sum(learnt) == len({word for sentence in SENTENCES for word in sentence.tokens} | {"a"}) - 1
