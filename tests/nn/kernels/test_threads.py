"""Two pieces of work at once."""

import threading

import pytest

from tagger.nn.kernels.threads import run_both


@pytest.mark.parametrize("threads", [1, 2])
def test_results_are_in_the_order_of_the_calls(threads: int) -> None:
    assert run_both(lambda: 1, lambda: 2, threads=threads) == (1, 2)


def test_two_threads_run_both_calls_in_parallel() -> None:
    met = threading.Barrier(2, timeout=30)
    assert all(number < 2 for number in run_both(met.wait, met.wait, threads=2))


def failing() -> int:
    raise ValueError("no")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pieces", [(failing, lambda: 1), (lambda: 1, failing), (failing, failing)])
def test_an_error_of_either_call_reaches_the_caller(pieces: tuple, threads: int) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="no"):
        run_both(*pieces, threads=threads)


def test_neither_call_is_still_running_when_an_error_is_raised() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        may_end.wait(0.2)
        ended.set()

    def early() -> None:
        assert begun.wait(30)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_both(early, slow, threads=2)
    assert ended.is_set()
