"""Tests of the process around a job."""

import gc

from tagger.device import relaxed_garbage_collection


def test_the_garbage_collector_is_relaxed_in_the_block_and_restored_after_it() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with relaxed_garbage_collection():
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.get_freeze_count() > frozen
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_objects_frozen_by_an_application_stay_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with relaxed_garbage_collection():
            assert gc.get_freeze_count() == frozen
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()
