"""Times the CRF against pytorch-crf: loss with its gradients, best paths, marginals; and the memory they take.

    python scripts/benchmark_crf.py [--json FILE]

Both sides get the same tensors and threads, take turns in one process, and give back what a user needs: gradients of
the emissions and of all parameters, or paths as lists. A case prints the median of each and how many times faster ours
is. Lengths are drawn as sentences are long in CoNLL-2003, the longest being T; `B1` is one sentence of T tokens.
pytorch-crf has no marginals: theirs are held against loss and backward by the same kernel.
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

# How long the sentences of CoNLL-2003's training data are: the 20-quantiles.
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
CALLS = 20  # a turn, so that neither side is timed by what the other left in the caches
KERNELS: dict[str, list[Kernel]] = {"cpu": ["numba", "torch"], "cuda": ["triton", "torch"]}


class Case:
    """Scores and gold tags of one size on one device, and the jobs to time on them."""

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
        """Returns the gradients, by our kernel or by pytorch-crf."""
        if kernel is None:
            loss = -self.crf(self.emissions, self.gold, mask=self.mask, reduction="mean")
        else:
            scores = (self.emissions, *self.weights, self.lengths)
            loss = functions.negative_log_likelihood(*scores, self.gold, kernel=kernel)
        return torch.autograd.grad(loss, (self.emissions, *self.weights))

    @torch.no_grad()
    def decode(self, kernel: Kernel | None) -> list[list[int]]:
        """Returns the best paths, by our kernel or by pytorch-crf."""
        if kernel is None:
            found: list[list[int]] = self.crf.decode(self.emissions, self.mask)
            return found
        paths, _ = functions.best_path(self.emissions, *self.weights, self.lengths, kernel=kernel)
        return [path[:length] for path, length in zip(paths.tolist(), self.lengths.tolist(), strict=True)]

    @torch.no_grad()
    def marginals(self, kernel: Kernel) -> Tensor:
        """Returns the marginals, by our kernel."""
        return functions.marginals(self.emissions, *self.weights, self.lengths, kernel=kernel)


def alternate(jobs: list[Callable[[], object]], rounds: int, device: str) -> list[float]:
    """Returns the median time of each job in milliseconds, taking turns."""
    taken: list[list[float]] = [[] for _ in jobs]
    for turn in range(rounds + 3):
        for job, times in zip(jobs, taken, strict=True):
            wait(device)
            begun = time.perf_counter()
            for _ in range(CALLS):
                job()
            wait(device)
            if turn >= 3:
                times.append((time.perf_counter() - begun) / CALLS)
    return [1000 * statistics.median(times) for times in taken]


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def rows(device: str, rounds: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
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
                found.append({**row, "ours_ms": times[0], "reference_ms": times[1], "ratio": times[1] / times[0]})
                print(
                    "{case:24} {device:5} {kernel:9} {ours_ms:9.3f} ms {reference_ms:9.3f} ms {ratio:7.1f} x".format(
                        **found[-1]
                    )
                )
    return found


def memory() -> None:
    """Prints what a loss and its gradients take at their peak, as times the emissions, in a process of its own.

    Linux counts a process's pages, but only to a hundred or so: so there are 64 times as many sentences. What the
    kernels take beside the batch (compiled: 24 KB a thread) does not grow with them.
    """
    if not Path("/proc/self/clear_refs").exists():
        print("memory: skipped, only Linux counts it")
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
        taken = []
        for _ in range(5):
            gc.collect()
            before = status("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
            kept = case.loss(kernel)
            taken.append(status("VmHWM") - before)
            del kept
        size = case.emissions.numel() * case.emissions.element_size()
        print(f"memory B2048 T40 K17 {kernel or 'pytorch-crf':12} {max(taken) / size:5.1f} x the emissions")


def status(key: str) -> int:
    """Returns bytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--rounds", type=int, default=10, help="how often each side is timed")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        peak()
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; ours, pytorch-crf, ratio")
    found = rows("cpu", arguments.rounds)
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
        found += rows("cuda", arguments.rounds)
    else:
        print("cuda: skipped, there is no GPU on this machine")
    memory()
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
