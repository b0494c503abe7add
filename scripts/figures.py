"""Draws the figures of the README from the JSON results in scripts/figures/results.

    python scripts/figures.py [--only speed] [--out DIR]
    python scripts/figures.py --screenshot PAGE.html [--name report]

    speed.svg         tokens per second of this toolkit, spaCy and Flair; speed.json is written by
                      `benchmark_tagging.py --json`
    peers.svg         F1 by tokens per second and by training minutes, for our recipes and other toolkits; peers.json is
                      written by `benchmark_peers.py --json`
    architecture.svg  words, characters and document context, the BiLSTM and the CRF; needs no results
    tagged.png        a page of tagged text; `--screenshot` takes it from an HTML page of `tagger tag`
    report.png        a page of scores and errors, from an HTML page of `tagger evaluate`

The first three are drawn by default. A screenshot needs Chromium.
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.rcdefaults()  # ignores a matplotlibrc in the current directory
matplotlib.rcParams |= {"svg.hashsalt": "figures", "font.size": 10}

from matplotlib.axes import Axes  # noqa: E402  # after the settings
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import FancyBboxPatch  # noqa: E402

FOLDER = Path(__file__).parent / "figures"
RESULTS = FOLDER / "results"
SYSTEMS = {
    "columns": "this toolkit",
    "columns-probabilities": "this toolkit, with probabilities",
    "text": "this toolkit, from raw text",
    "spacy": "spaCy, CNN",
    "flair": "Flair, BiLSTM-CRF",
}
BESIDE = {"-small", "-tiny"}
PEERS = {"crfsuite": "CRFsuite", "spacy-accuracy": "spaCy, CNN", "flair-characters": "Flair, BiLSTM-CRF"}
WINDOWS = {"tagged": "680,420", "report": "1180,900"}
BLUE, GREY, EDGE = "#2a6fbb", "#9aa3ad", "#44505c"


def main() -> None:
    """Draws all figures, or those that the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="Draw this figure only (repeatable).")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="Output folder [scripts/figures].")
    parser.add_argument("--screenshot", type=Path, metavar="PAGE", help="Save this HTML page as a PNG.")
    parser.add_argument("--name", choices=list(WINDOWS), default="tagged", help="Name of the PNG [tagged].")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.screenshot:
        save_screenshot(options.screenshot, options.out / f"{options.name}.png", WINDOWS[options.name])
        return
    for name in options.only or FIGURES:
        path = options.out / f"{name}.svg"
        FIGURES[name]().savefig(path, format="svg", metadata={"Date": None})
        # Matplotlib ends some lines with spaces.
        path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))
        print(path)


def draw_peers() -> Figure:
    """Returns test F1 by tokens per second, and by minutes of training."""
    rows = json.loads((RESULTS / "peers.json").read_text())["rows"]
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    titles = {"tokens_per_second": "tokens per second on two CPU cores", "minutes": "minutes of training on a CPU core"}
    for axes, (measure, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for row in rows:
            is_ours = row["system"] not in PEERS
            axes.plot(row[measure], row["f1"], "o", color=BLUE if is_ours else GREY)
            name = PEERS.get(row["system"], row["system"].removeprefix("ner-conll2003") or row["system"])
            if name in BESIDE:  # above their points, the names of similar models overlap
                side = "right" if (name == "-small") == (measure == "tokens_per_second") else "left"
                place = {"xytext": (-6 if side == "right" else 6, -8), "ha": side}
            else:
                place = {"xytext": (0, 5), "ha": "center"}
            axes.annotate(name.lstrip("-"), (row[measure], row["f1"]), textcoords="offset points", **place)
        axes.set_xscale("log")
        axes.margins(0.2, 0.15)
        axes.set_xlabel(title)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("test F1, CoNLL-2003")
    return figure


def draw_speed() -> Figure:
    """Returns a bar chart of tokens per second by system."""
    results = json.loads((RESULTS / "speed.json").read_text())
    speeds = {row["row"]: row["value"] for row in results["rows"] if row["row"] in SYSTEMS}
    names = [name for name in reversed(SYSTEMS) if name in speeds]
    figure = Figure(figsize=(7, 0.5 + 0.42 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    colours = [GREY if name in ("spacy", "flair") else BLUE for name in names]
    bars = axes.barh([SYSTEMS[name] for name in names], [speeds[name] for name in names], color=colours)
    axes.bar_label(bars, [f"{speeds[name]:,.0f}" for name in names], padding=4)
    axes.set_xlim(0, 1.15 * max(speeds.values()))
    axes.set_title("tokens per second on two CPU cores", fontsize=10, loc="left")
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False)
    return figure


def draw_architecture() -> Figure:
    """Returns a diagram of the network."""
    figure = Figure(figsize=(8, 4.2))
    axes = _blank_axes(figure, width=16, height=8.4)
    features = {
        "word vectors": (0.4, "lookup in a pretrained table"),
        "character features": (5.6, "CNN or LSTM over each word"),
        "document context": (10.8, "neighbours of the word's\nother occurrences"),
    }
    for title, (x, detail) in features.items():
        _add_box(axes, x, 1.3, 4.8, 1.5, f"{title}\n", detail)
        _add_arrow(axes, x + 2.4, 2.8, 8, 3.5)
        _add_arrow(axes, x + 2.4, 0.75, x + 2.4, 1.3)
    axes.text(8, 0.4, "Anna     Velde     joined     Norvex     Bank", ha="center", va="center", fontsize=11)
    _add_box(axes, 3.2, 3.5, 9.6, 1.2, "BiLSTM\n", "reads the sentence left to right and right to left")
    _add_arrow(axes, 8, 4.7, 8, 5.3)
    _add_box(axes, 3.2, 5.3, 9.6, 1.2, "CRF\n", "scores whole tag sequences; exact probabilities")
    _add_arrow(axes, 8, 6.5, 8, 7.2)
    axes.text(8, 7.6, "B-PER    E-PER    O    B-ORG    E-ORG", ha="center", va="center", fontsize=11)
    return figure


def save_screenshot(page: Path, path: Path, size: str) -> None:
    """Saves an HTML page as a PNG of a size in pixels by Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium is not installed: expected `chromium` on the PATH")
    window = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run([browser, *window, f"--screenshot={path}", page.resolve().as_uri()], check=True)


FIGURES: dict[str, Callable[[], Figure]] = {
    "peers": draw_peers,
    "speed": draw_speed,
    "architecture": draw_architecture,
}


def _blank_axes(figure: Figure, *, width: float, height: float) -> Axes:
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    return axes


def _add_box(axes: Axes, x: float, y: float, width: float, height: float, title: str, detail: str) -> None:
    style = "round,pad=0,rounding_size=0.15"
    axes.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor="#eaf1fa", edgecolor=BLUE))
    center = x + width / 2
    axes.text(center, y + height - 0.35, title.strip(), ha="center", va="center", weight="bold")
    axes.text(center, y + (height - 0.55) / 2, detail, ha="center", va="center", fontsize=8.5)


def _add_arrow(axes: Axes, x: float, y: float, to_x: float, to_y: float) -> None:
    axes.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "->", "color": EDGE})


if __name__ == "__main__":
    main()
