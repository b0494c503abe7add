"""Compares the speed and memory of the CRF with pytorch-crf: loss with gradients, best paths, marginals.

    python scripts/benchmark_crf.py [--json FILE]

Both sides get the same tensors and threads, alternate in one process, and return what a user needs: gradients of the
emissions and of all parameters, or paths as lists. A row has the median time of each side and their ratio. Sentence
lengths follow CoNLL-2003, limited to T; `B1` is one sentence of T tokens. pytorch-crf has no marginals: the reference
is the loss with gradients of the same kernel.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchcrf import CRF

from tagger.choices import Kernel
from tagger.nn.crf import functions

# Sentence lengths of the training data of CoNLL-2003: the 20-quantiles.
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 13, 16, 19, 22, 26, 29, 32, 37)
CASES = {
    "cpu": {
        "loss": [(32, 40, 17), (32, 40, 50), (10, 40, 17)],
        "decode": [(32, 40, 17), (32, 40, 50), (1, 20, 17)],
        "marginals": [(32, 40, 17)],
    },
    "cuda": {
        "loss": [(32, 40, 17), (256, 64, 17)],
        "decode": [(32, 40, 17), (256, 64, 17)],
        "marginals": [(256, 64, 17)],
    },
}
CALLS = 20  # per round, so that the caches hold the data of the side that is timed
KERNELS: dict[str, list[Kernel]] = {"cpu": ["numba", "torch"], "cuda": ["triton", "torch"]}


class Case:
    """Scores and gold tags of one size on one device, and the jobs to time."""

    def __init__(self, sentences: int, tokens: int, tags: int, device: str) -> None:
        generator = torch.Generator().manual_seed(tokens * tags)
        drawn = torch.randint(len(LENGTHS), (sentences,), generator=generator)
        lengths = torch.tensor(LENGTHS)[drawn].clamp(max=tokens)
        lengths[0] = tokens
        self.emissions = torch.randn(sentences, tokens, tags, generator=generator).to(device).requires_grad_()
        self.gold = torch.randint(tags, (sentences, tokens), generator=generator).to(device)
        self.lengths = lengths.to(device)
        self.mask = torch.arange(tokens, device=device) < self.lengths[:, None]
        self.crf = CRF(tags, batch_first=True).to(device)
        self.weights = (self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions)

    def loss(self, kernel: Kernel | None) -> tuple[Tensor, ...]:
        """Returns the gradients, by a kernel, or by pytorch-crf if None."""
        if kernel is None:
            loss = -self.crf(self.emissions, self.gold, mask=self.mask, reduction="mean")
        else:
            scores = (self.emissions, *self.weights, self.lengths)
            loss = functions.negative_log_likelihood(*scores, self.gold, kernel=kernel)
        return torch.autograd.grad(loss, (self.emissions, *self.weights))

    @torch.no_grad()
    def decode(self, kernel: Kernel | None) -> list[list[int]]:
        """Returns the best paths, by a kernel, or by pytorch-crf if None."""
        if kernel is None:
            found: list[list[int]] = self.crf.decode(self.emissions, self.mask)
            return found
        paths, _ = functions.best_path(self.emissions, *self.weights, self.lengths, kernel=kernel)
        return [path[:length] for path, length in zip(paths.tolist(), self.lengths.tolist(), strict=True)]

    @torch.no_grad()
    def marginals(self, kernel: Kernel) -> Tensor:
        """Returns the marginals."""
        return functions.marginals(self.emissions, *self.weights, self.lengths, kernel=kernel)


def alternate(jobs: list[Callable[[], object]], rounds: int, device: str) -> list[float]:
    """Returns the median time of each job in milliseconds; jobs alternate."""
    times_by_job: list[list[float]] = [[] for _ in jobs]
    for turn in range(rounds + 3):
        for job, times in zip(jobs, times_by_job, strict=True):
            wait(device)
            start = time.perf_counter()
            for _ in range(CALLS):
                job()
            wait(device)
            if turn >= 3:
                times.append((time.perf_counter() - start) / CALLS)
    return [1000 * statistics.median(times) for times in times_by_job]


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def rows(device: str, rounds: int) -> list[dict[str, object]]:
    results: list[dict[str, object]] = []
    for job, sizes in CASES[device].items():
        for sentences, tokens, tags in sizes:
            case = Case(sentences, tokens, tags, device)
            if job == "decode":
                assert all(case.decode(kernel) == case.decode(None) for kernel in KERNELS[device])
            for kernel in KERNELS[device]:
                ours = lambda: getattr(case, job)(kernel)  # noqa: B023, E731
                theirs = (lambda: case.loss(kernel)) if job == "marginals" else (lambda: getattr(case, job)(None))  # noqa: B023
                times = alternate([ours, theirs], rounds, device)
                row = {"case": f"{job} B{sentences} T{tokens} K{tags}", "device": device, "kernel": kernel}
                results.append({**row, "ours_ms": times[0], "reference_ms": times[1], "ratio": times[1] / times[0]})
                print(
                    "{case:24} {device:5} {kernel:9} {ours_ms:9.3f} ms {reference_ms:9.3f} ms {ratio:7.1f} x".format(
                        **results[-1]
                    )
                )
    return results


def memory() -> None:
    """Prints the peak memory of a loss with gradients, relative to the emissions, measured in a new process.

    Linux counts pages with an error of about a hundred, so the batch has 64 times as many sentences. Memory besides the
    batch (numba: 24 KB per thread) is constant.
    """
    if not Path("/proc/self/clear_refs").exists():
        print("memory: skipped, requires Linux")
        return
    settings = {"MALLOC_MMAP_THRESHOLD_": "4096", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}
    command = [sys.executable, __file__, "--peak"]
    print(
        subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True, text=True).stdout,
        end="",
    )


def peak() -> None:
    sides: list[Kernel | None] = [*KERNELS["cpu"], None]
    case = Case(2048, 40, 17, "cpu")
    for kernel in sides:
        for _ in range(3):
            case.loss(kernel)
        times_by_job = []
        for _ in range(5):
            gc.collect()
            before = status("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            gradients = case.loss(kernel)
            times_by_job.append(status("VmHWM") - before)
            del gradients
        size = case.emissions.numel() * case.emissions.element_size()
        print(f"memory B2048 T40 K17 {kernel or 'pytorch-crf':12} {max(times_by_job) / size:5.1f} x the emissions")


def status(key: str) -> int:
    """Returns a memory figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="Output file for the rows.")
    parser.add_argument("--rounds", type=int, default=10, help="Number of timed rounds.")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak()
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; columns: ours, pytorch-crf, ratio")
    results = rows("cpu", arguments.rounds)
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
        results += rows("cuda", arguments.rounds)
    else:
        print("cuda: skipped, no GPU")
    memory()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
