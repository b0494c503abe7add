"""How ranks but the first join a training: they receive its newest checkpoint and resume from it.

Only the first rank needs the directory of the run. The others need the data of the recipe and its transformer.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tagger import __version__, model_dir
from tagger.config import Config, loader
from tagger.device import seed_generators
from tagger.evaluation import Report
from tagger.io import json_files
from tagger.signals import StopRequest
from tagger.training.corpora import Corpora
from tagger.training.epoch_record import EpochRecord
from tagger.training.inputs import Inputs, read_inputs
from tagger.training.loop import Loop
from tagger.training.ranks import Ranks
from tagger.training.result import TrainingResult
from tagger.training.run_dir import INITIAL
from tagger.training.transformer_providers import open_hidden_state_cache


def check_equal(ranks: Ranks, config: Config, data: Corpora) -> None:
    """Compares the recipe and the data of all ranks.

    Raises:
        ConfigError: they differ from those of the first rank.
    """
    recipe = hashlib.sha256(loader.dump(config.without_paths()).encode()).hexdigest()
    values = {"version": __version__, "device type": ranks.device.type, "recipe": recipe}
    ranks.check_equal(values | {f"{part} data": digest for part, digest in data.digests().items()})


def invite(ranks: Ranks, run_dir: Path | None, config: Config) -> None:
    """Sends the other ranks the newest checkpoint of a run; `run_dir` is None if the training is finished."""
    if ranks.count == 1:
        return
    if run_dir is None:
        _send_files(ranks, {})
        return
    _send_files(ranks, model_dir.read_files(model_dir.find_newest_checkpoint(run_dir), includes_state=True))
    if config.training.distill:
        _send_files(ranks, model_dir.read_files(run_dir / INITIAL))


def join(config: Config, run_dir: Path, ranks: Ranks, inputs: Inputs | None) -> TrainingResult:
    """Trains together with the first rank, which has called `invite`, and returns the result that it sends.

    Raises:
        TaggerError: the data cannot be read or differ, or another rank has failed.
        Stopped: by a signal; the first rank has written a checkpoint.
    """
    inputs = inputs or read_inputs(config, is_new=False)
    check_equal(ranks, config, inputs.data)
    with seed_generators(config.training.seed, ranks.device), TemporaryDirectory(prefix="tagger-") as folder:
        checkpoint, initial = Path(folder) / "checkpoint", Path(folder) / INITIAL
        if _receive_files(ranks, checkpoint):
            model, _ = model_dir.load(checkpoint, transformer=inputs.transformer)
            with open_hidden_state_cache(config) as cache:
                loop = Loop(config, model, inputs.data, run_dir, ranks, lambda event: None, cache)
                state = model_dir.load_state(checkpoint, loop.max_state_bytes)
                if config.training.distill:
                    _receive_files(ranks, initial)
                    loop.distill(model_dir.load(initial, transformer=model.transformer)[0])
                loop.restore(state)
                with StopRequest() as stop:
                    loop.run(stop)
    return _receive_result(ranks, run_dir, config.training.seed)


def send_result(ranks: Ranks, result: TrainingResult) -> None:
    """Sends the result of the training to the other ranks."""
    history = [record.to_json() for record in result.history]
    test = None if result.test is None else result.test.to_json()
    ranks.broadcast(json_files.dump([history, test]))


def _receive_result(ranks: Ranks, run_dir: Path, seed: int) -> TrainingResult:
    history, test = json_files.parse(ranks.broadcast(b""))
    records = tuple(map(EpochRecord.from_json, history))
    return TrainingResult(run_dir, seed, records, None if test is None else Report.from_json(test))


def _send_files(ranks: Ranks, files: Mapping[str, bytes]) -> None:
    ranks.broadcast(json_files.dump(list(files)))
    for content in files.values():
        ranks.broadcast(content)


def _receive_files(ranks: Ranks, directory: Path) -> bool:
    """Writes the files that the first rank sends; returns whether there are any."""
    names = json_files.parse_as(list[str], ranks.broadcast(b""))
    directory.mkdir()
    for name in names:
        (directory / Path(name).name).write_bytes(ranks.broadcast(b""))
    return bool(names)
