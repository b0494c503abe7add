"""Measures `tagger serve` on this machine: speed under load, latency, memory, and what faulty clients do to others.

    python scripts/benchmark_server.py MODEL --columns FILE [--cores 2] [--processes 1,2] [--json FILE]

It starts a server on loopback and sends it sentences of a corpus in columns, one for each request:

    tag         tokens per second of `tagger tag` on the same sentences, from JSON lines to JSON lines
    throughput  tokens per second of the server with 64 clients, by wrk
    latency     the 99th percentile of the time to answer at half of that load, by wrk
    memory      growth of the server's resident memory over `--requests` requests, after as many as there are sentences
    faults      1,000 connections at once, of which three in four send broken bodies, leave or are slow: lost requests

All parts but the first are measured with each number of processes of `--processes`; memory is that of all processes
that answer requests.

The load comes from wrk (`apt-get install wrk`), which needs little of the processor.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmark_rounds import report_rows
from benchmark_systems import Result

CLIENTS, FAULTY_CONNECTIONS = 64, 1000
PARTS = ("tag", "throughput", "latency", "memory", "faults")
SCRIPT = """
local requests, count, index = {}, 0, 0
local pause = tonumber(os.getenv("PAUSE") or "0")
function init()
  math.randomseed(1)
  for line in io.lines(os.getenv("BODIES")) do
    count = count + 1
    requests[count] = wrk.format("POST", "/tag", {["Host"] = "localhost", ["Content-Type"] = "application/json"}, line)
  end
end
function request() index = index % count + 1; return requests[index] end
if pause > 0 then function delay() return math.floor(-math.log(1 - math.random()) * pause) end end
"""
PERCENTILE = re.compile(r"^\s+99%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Server:
    """A server of a model that runs beside this process."""

    def __init__(self, options: argparse.Namespace, processes: int) -> None:
        command = [sys.executable, "-m", "tagger", "serve", f"model={options.model}", "--port", "0"]
        command += ["--device", options.device, "--processes", str(processes)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("serving at "):
                self.url = line.split()[-1]
                return
        raise SystemExit("the server did not start")

    def read_metrics(self) -> dict[str, float]:
        """Returns the server's metrics by name and labels."""
        with urllib.request.urlopen(f"{self.url}/metrics") as response:
            lines = response.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def stop(self) -> None:
        """Stops the server."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


def write_bodies(columns: Path, target: Path) -> None:
    """Writes each sentence of a file in columns as the body of a request."""
    blocks = re.split(r"\n\s*\n", columns.read_text(encoding="utf-8"))
    sentences = ([line.split()[0] for line in block.splitlines() if line.strip()] for block in blocks)
    texts = [" ".join(tokens) for tokens in sentences if tokens and tokens[0] != "-DOCSTART-"]
    target.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def measure_tag(options: argparse.Namespace, bodies: Path) -> float:
    """Returns the tokens per second of `tagger tag`, without the time to start."""
    command = [sys.executable, "-m", "tagger", "tag", str(bodies), "--model", str(options.model), "--from", "jsonl"]
    with tempfile.TemporaryDirectory() as folder:
        large, summary = Path(folder) / "large.jsonl", Path(folder) / "summary.json"
        large.write_bytes(bodies.read_bytes() * options.copies)
        command[command.index(str(bodies))] = str(large)
        command += ["--out", f"{folder}/out", "--summary", str(summary), "--device", options.device]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        result = json.loads(summary.read_text())
    return float(result["tokens"] / result["seconds"])


def run_wrk(server: Server, bodies: Path, seconds: float, *, pause: float = 0) -> tuple[Result, str]:
    """Sends requests of all clients for some seconds; returns the change of each metric per second, and the report."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds:.0f}s", "--latency", "-s", script.name, server.url]
        environment = os.environ | {"BODIES": str(bodies), "PAUSE": str(pause)}
        before, start = server.read_metrics(), time.perf_counter()
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        after, elapsed = server.read_metrics(), time.perf_counter() - start
    if "Non-2xx" in done.stdout:
        raise SystemExit(f"requests failed:\n{done.stdout}")
    return {name: (value - before.get(name, 0)) / elapsed for name, value in after.items()}, done.stdout


def measure_load(options: argparse.Namespace, server: Server, bodies: Path) -> Iterator[Result]:
    """Yields the throughput of the server and its latency at half of it."""
    run_wrk(server, bodies, options.seconds / 2)  # fills the caches
    rates, _ = run_wrk(server, bodies, options.seconds)
    tokens = rates['tagger_tokens_total{model="model"}']
    requests = rates['tagger_requests_total{path="/tag",status="200"}']
    if "throughput" in options.part:
        batch = rates["tagger_batch_requests_sum"] / rates["tagger_batch_requests_count"]
        cpu = rates["process_cpu_seconds_total"] / requests * 1e6
        row = {"row": "throughput, 64 clients", "unit": "tokens/s", "value": tokens}
        yield row | {"requests_per_second": requests, "requests_per_batch": batch, "cpu_us_per_request": cpu}
    if "latency" in options.part:
        rates, report = run_wrk(server, bodies, options.seconds, pause=1000 * CLIENTS / (requests / 2))
        match = PERCENTILE.search(report)
        assert match is not None, report
        load = rates['tagger_requests_total{path="/tag",status="200"}']
        row = {"row": "latency, 99 %, at half of the load", "unit": "ms"}
        yield row | {"value": 1000 * float(match[1]) * SECONDS[match[2]], "requests_per_second": load}


def measure_memory(options: argparse.Namespace, server: Server, bodies: Path) -> Result:
    """Returns the growth of the server's resident memory."""

    def count() -> float:
        return server.read_metrics().get('tagger_requests_total{path="/tag",status="200"}', 0.0)

    start, samples = count(), [server.read_metrics()["process_resident_memory_bytes"]]
    while count() < start + options.requests:
        run_wrk(server, bodies, options.seconds)
        samples.append(server.read_metrics()["process_resident_memory_bytes"])
    row = {"row": f"memory, growth over {count() - start:,.0f} requests", "unit": "MB"}
    return row | {
        "value": (samples[-1] - samples[0]) / 1e6,
        "resident": ", ".join(f"{sample / 1e6:.1f}" for sample in samples),
    }


async def connect_faulty(server: Server, body: bytes, number: int) -> str:
    """Opens a connection that behaves by its number; returns what became of it."""
    host, port = server.url.removeprefix("http://").split(":")
    head = "POST /tag HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"
    kind = ("good", "broken", "leaving", "slow")[number % 4]
    sent = body[:-2] if kind == "broken" else body
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.format(len(sent)).encode() + (sent[: len(sent) // 2] if kind == "slow" else sent))
        if kind == "leaving":
            await writer.drain()
        else:
            await asyncio.sleep(2 if kind == "slow" else 0)
            writer.write(sent[len(sent) // 2 :] if kind == "slow" else b"")
            status = (await asyncio.wait_for(reader.readline(), 60)).split()[1].decode()
            is_complete = (await reader.read()).endswith(b"\n]}\n")
            kind += f" {status} complete" if is_complete else f" {status}"
        writer.close()
    except (OSError, IndexError, TimeoutError) as error:
        kind += f" {type(error).__name__}"
    return kind


def measure_faults(server: Server, bodies: Path) -> Result:
    """Returns the number of correct requests that were not answered, among many faulty ones."""
    lines = bodies.read_bytes().splitlines()

    async def run() -> list[str]:
        tasks = (connect_faulty(server, lines[n % len(lines)], n) for n in range(FAULTY_CONNECTIONS))
        return await asyncio.gather(*tasks)

    results = asyncio.run(run())
    counts = "; ".join(f"{results.count(result)} {result}" for result in sorted(set(results)))
    kinds = [result for result in results if result.startswith(("good", "slow"))]
    lost = sum(not kind.endswith(" 200 complete") for kind in kinds)
    return {"row": "faults, lost requests", "unit": f"of {len(kinds)}", "value": lost, "results": counts}


def measure(options: argparse.Namespace, bodies: Path) -> Iterator[Result]:
    """Yields the rows of all parts that the options name."""
    tag = None
    if "tag" in options.part:
        tag = measure_tag(options, bodies)
        yield {"row": "tagger tag", "unit": "tokens/s", "value": tag}
    if options.part != ["tag"]:
        for processes in options.processes:
            for row in measure_server(options, bodies, processes):
                suffix = f", {processes} processes" if processes > 1 else ""
                yield row | {"row": row["row"] + suffix}
                if tag and row["unit"] == "tokens/s":
                    yield {"row": f"throughput / tagger tag{suffix}", "unit": "", "value": row["value"] / tag}


def measure_server(options: argparse.Namespace, bodies: Path, processes: int) -> Iterator[Result]:
    """Yields the rows of the parts that need a server."""
    server = Server(options, processes)
    try:
        if {"throughput", "latency"} & {*options.part}:
            yield from measure_load(options, server, bodies)
        if "faults" in options.part:
            yield measure_faults(server, bodies)
        if "memory" in options.part:
            yield measure_memory(options, server, bodies)
    finally:
        server.stop()


def parse_counts(text: str) -> list[int]:
    """Returns numbers that are separated by commas."""
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="Model directory.")
    parser.add_argument("--columns", type=Path, required=True, metavar="FILE", help="Sentences, tokens in column 0.")
    parser.add_argument("--cores", type=int, default=2, help="Number of cores for the server and the load [2].")
    parser.add_argument("--processes", type=parse_counts, default=[1], help="Numbers of processes, by commas [1].")
    parser.add_argument("--seconds", type=float, default=20, help="Time of each load [20].")
    parser.add_argument("--requests", type=int, default=100_000, help="Requests of the part memory [100000].")
    parser.add_argument("--copies", type=int, default=10, help="Copies of the sentences for `tagger tag` [10].")
    parser.add_argument("--device", default="cpu", help="Device of the model [cpu].")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="Measure these rows only.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the results as JSON.")
    options = parser.parse_args()
    if shutil.which("wrk") is None and {"throughput", "latency", "memory"} & {*options.part}:
        parser.error("wrk is not installed: apt-get install wrk")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies.jsonl"
        write_bodies(options.columns, bodies)
        report_rows(measure(options, bodies), "benchmark_server.py", options.json)


if __name__ == "__main__":
    main()
