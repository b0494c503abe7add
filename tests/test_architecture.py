"""The import rule, and what may be imported where, read from the syntax trees."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tagger"
# Each part may import only parts of lower lines; parts on one line do not import each other.
LINES = [
    {"cli"},
    {"serving"},
    {"api"},
    {"analysis", "experiments", "export", "integrations"},
    {"training"},
    {"evaluation", "jobs"},
    {"tagging"},
    {"model_names"},
    {"model_dir"},
    {"ensembles", "model_card"},
    {"model"},
    {"transformer"},
    {"config", "data", "nn"},
    {"child_process"},
    {"device", "io", "plotting", "signals", "streams"},
    {"choices", "import_path"},
    {"errors"},
]
# Inside a folder, likewise, lower first.
FOLDERS = {
    "cli": [
        {"output"},
        {"errors", "options", "progress"},
        {
            "audit",
            "calibrate",
            "check",
            "compare",
            "convert",
            "ensemble",
            "evaluate",
            "export",
            "info",
            "init",
            "push",
            "score",
            "select",
            "serve",
            "settings",
            "split",
            "tag",
            "train",
            "tune",
        },
    ],
    "data": [
        {"calibration", "highlighting"},
        {"sentence"},
        {"document", "schemes", "vocab"},
        {"stored_sentences"},
        {"partial", "tag_formats"},
        {"alignment", "notices", "overlaps", "splitting", "vectors"},
        {"vector_files"},
        {"formats.spacy_library"},
        {"formats.blocks", "formats.escapes", "formats.headers", "formats.reading", "formats.writing"},
        {"formats.columns", "formats.conllu", "formats.csv", "formats.fields", "formats.lines", "formats.text"},
        {"formats.annotations", "formats.pipes"},
        {"formats.annotated_sentences", "formats.text_spans"},
        {"formats.brat", "formats.doc_bin.reading", "formats.rows"},
        {"formats.html", "formats.hub", "formats.json_file", "formats.jsonl", "formats.spans"},
        {"formats.doc_bin.writing"},
        {"formats.doccano", "formats.label_studio", "formats.prodigy"},
        {"formats.parquet.decoding"},
        {"formats.parquet.reading"},
        {"formats.parquet.writing"},
        {"guessing"},
        {"corpus", "corpus_folder", "data_settings"},
        {"decisions", "reader", "suspicions", "writer"},
        {"corpus_cache"},
        {"conversion"},
        {"tagged_files", "windows", "word_cache"},
        {"batch_order", "document_context", "word_encoding"},
        {"stored_context", "word_arrays"},
        {"batching"},
    ],
    "nn": [
        {"inputs", "packing", "kernels.code_cache", "crf.kernels.triton_cache", "kernels.threads", "quantization"},
        {"kernels.compiling"},
        {"kernels.activations", "crf.chain_scores", "crf.kernels.numba_sums", "kernels.matmul"},
        {"kernels.convolution", "dropout", "kernels.layer_mix", "kernels.lstm", "kernels.neighbours"},
        {"crf.kernels.numba_spans", "crf.kernels.numba_viterbi", "crf.kernels.torch_kernel"},
        {"crf.kernels.numba_kernel", "crf.kernels.triton_kernel"},
        {"crf.kernel_choice"},
        {"crf.linear_chain"},
        {"crf.functions", "crf.heads", "encoder", "kernels.lookup", "transformer"},
        {"embeddings", "reference_cells"},
        {"model", "kernels.recurrence"},
        {"kernels.scorer"},
    ],
    "transformer": [
        {"architecture", "hidden_state_cache", "tokenizer_file", "windows"},
        {"hidden_states", "layers", "subwords"},
        {"library", "providers"},
    ],
    "serving": [
        {"limits", "metrics"},
        {"labelling_interface", "served_models"},
        {"queries"},
        {"api_description", "endpoints"},
        {"worker"},
        {"app", "server"},
        {"process"},
        {"supervisor"},
        {"serve"},
    ],
    "evaluation": [
        {"report"},
        {"resampling", "scoring", "selecting"},
        {"intervals", "predictions", "repairs"},
        {"evaluator", "system_files", "systems"},
    ],
    "config": [
        {"presets", "schema"},
        {"overrides", "setting_names"},
        {"changes", "loader", "settings"},
        {"search_space"},
    ],
    "io": [
        {"json_files", "line_reader", "msgpack", "ownership", "regular_file"},
        {"atomic", "tensor_files", "zip_archive"},
        {"directories", "hub", "storage"},
        {"array_cache", "manifest", "temporary"},
    ],
    "analysis": [
        {"findings", "held_out", "parts", "partial_matches", "reliability", "similarity", "span_errors"},
        {"evaluation_page", "frames", "selection", "suspects"},
        {"annotation_tasks", "detailed_report"},
        {"calibrator", "evaluations"},
        {"audit_page"},
        {"audit", "data_draft", "overlap_checks", "tag_checks", "word_checks"},
        {"corpus_check", "corpus_files"},
        {"check_page", "corpus_split", "recipe_draft"},
    ],
    "api": [
        {"recipe_settings"},
        {
            "audit",
            "batch",
            "calibration",
            "check",
            "comparison",
            "conversion",
            "ensemble",
            "evaluation",
            "export",
            "info",
            "init",
            "push",
            "scoring",
            "selection",
            "settings",
            "split",
            "training",
            "tune",
        },
    ],
    "jobs": [
        {"inputs", "summary"},
        {"job", "journal", "ray.cluster", "ray.shards", "rejects"},
        {"local.processes", "pools"},
        {"local.writing"},
        {"local.folder"},
        {"local.engine", "ray.output"},
        {"ray.worker"},
        {"ray.engine"},
    ],
    "tagging": [
        {"forking"},
        {"conversion", "pools", "span_tags", "texts"},
        {"sentence_tagger", "transformer_runner", "uncertainty"},
        {"scorer", "decoding"},
        {"cached_scorer"},
        {"batch_memory", "long_sentences", "scorer_choice"},
        {"tagger"},
    ],
    "integrations": [{"hub", "spacy"}],
    "export": [
        {"onnx.files", "onnx.graph", "onnx.ports", "onnx.preprocessing", "onnx.samples", "onnx.session"},
        {"onnx.golden", "onnx.inputs", "onnx.network"},
        {"onnx.chain", "onnx.runtime"},
        {"onnx.builder", "onnx.verification"},
        {"onnx.exporter"},
    ],
    "experiments": [
        {"pruning", "resumable", "runs", "significance", "trials"},
        {"compared_systems", "processes", "study", "tuning_picture"},
        {"comparison", "folds", "seeds", "tuning"},
    ],
    "training": [
        {"epoch_record", "gradient_buffer", "launch", "lazy_rows", "ranks", "run_dir", "sentence_weights"},
        {"corpora", "dev_scorer", "diagnostics", "distillation", "events", "optimizers", "records", "transfer"},
        {"cards", "distributed", "overview", "result", "transformer_providers", "update"},
        {"inputs", "state"},
        {"loop"},
        {"joining"},
        {"train"},
    ],
}
ONE_FILE = {
    "torch.distributed": "training/distributed.py",
    "datasets": "data/formats/hub.py",
    "torchcrf": "nn/crf/heads.py",
    "seqeval": "evaluation/scoring.py",
    "yaml": "config/loader.py",
    "spacy": "data/formats/spacy_library.py",
    "pyarrow": "data/formats/parquet",
    "pyarrow.fs": "io/storage.py",
    "fsspec": "io/storage.py",
    "ray": "jobs/ray/cluster.py",
    "matplotlib": "plotting.py",
    "zstandard": "io/line_reader.py",
    "jinja2": "analysis/evaluation_page.py",
    "markupsafe": "analysis/evaluation_page.py",
    "nervaluate": "analysis/partial_matches.py",
    "pandas": "analysis/frames.py",
    "scipy": "data/calibration.py",
    "sklearn": "nn/quantization.py",
    "threadpoolctl": "nn/quantization.py",
    "transformers": "transformer/library.py",
    "huggingface_hub": "io/hub.py",
    "tokenizers": "transformer/subwords.py",
    "fastapi": "serving/app.py",
    "starlette": "serving/app.py",
    "uvicorn": "serving/server.py",
    "prometheus_client": "serving/metrics.py",
    "onnx": "export/onnx/graph.py",
    "onnxruntime": "export/onnx/session.py",
    "optuna": "experiments/study.py",
}

# A plug-in of a library is imported by that library alone, and may import it, too.
INTEGRATIONS = {"spacy": "integrations/spacy.py"}


@cache
def modules() -> tuple[Path, ...]:
    return tuple(sorted(PACKAGE.rglob("*.py")))


@cache
def imports(path: Path) -> frozenset[str]:
    """Returns the modules that a file imports at any depth, but for typing alone."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def part(name: str) -> str:
    return name.removeprefix("tagger.").split(".")[0]


def owner(name: str) -> str | None:
    """Returns the library in the table that a module belongs to, the narrowest."""
    return max((known for known in ONE_FILE if f"{name}.".startswith(f"{known}.")), key=len, default=None)


def line_of(place: str) -> int:
    return next(number for number, line in enumerate(LINES) if place in line)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_part_imports_only_parts_below_it(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own.startswith("__"):
        return
    for name in imports(path):
        if name.startswith("tagger.") and part(name) != own and not part(name).startswith("__"):
            assert line_of(part(name)) > line_of(own), f"{own} imports {part(name)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_inside_a_folder_modules_import_only_those_below_them(folder: str) -> None:
    order = {name: number for number, line in enumerate(FOLDERS[folder]) for name in line}
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        own = ".".join(path.relative_to(PACKAGE / folder).with_suffix("").parts)
        if path.name == "__init__.py":
            continue
        for name in imports(path):
            inside = name.removeprefix(f"tagger.{folder}.")
            target = next((known for known in order if inside == known or inside.startswith(f"{known}.")), None)
            if name.startswith(f"tagger.{folder}.") and target and target != own:
                assert order[target] < order[own], f"{folder}.{own} imports {target}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_of_a_folder_has_its_line(folder: str) -> None:
    paths = (path.relative_to(PACKAGE / folder).with_suffix("") for path in (PACKAGE / folder).rglob("*.py"))
    found = {".".join(path.parts) for path in paths if path.name != "__init__"}
    assert found == {name for line in FOLDERS[folder] for name in line}


@pytest.mark.parametrize(("library", "home"), ONE_FILE.items())
def test_a_library_is_imported_in_one_file_or_folder(library: str, home: str) -> None:
    users = {str(path.relative_to(PACKAGE)) for path in modules() for name in imports(path) if owner(name) == library}
    assert users
    users.discard(INTEGRATIONS.get(library, ""))
    assert all(user == home or user.startswith(f"{home}/") for user in users), users


def test_typer_is_imported_only_in_the_command_line() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0] for path in modules() for name in imports(path) if part(name) == "typer"
    }
    assert users == {"cli"}


def test_every_library_that_is_imported_is_declared() -> None:
    names = {
        "torchcrf": "pytorch-crf",
        "yaml": "pyyaml",
        "triton": "torch",
        "rich": "typer",
        "markupsafe": "jinja2",
        "pandas": "datasets",
        "scipy": "seqeval",
        "sklearn": "scikit-learn",
        "huggingface_hub": "datasets",
        "starlette": "fastapi",
        "prometheus_client": "prometheus-client",
    }  # most of the latter come with
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    given = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    declared = {re.split(r"[^\w-]", one)[0] for one in given}
    found = {name.split(".")[0] for path in modules() for name in imports(path)} - sys.stdlib_module_names
    assert {names.get(name, name) for name in found} - declared == {"tagger"}


def test_only_config_reads_yaml() -> None:
    readers = [path for path in modules() if any(part(name) == "yaml" for name in imports(path))]
    assert {path.relative_to(PACKAGE).parts[0] for path in readers} == {"config"}


@pytest.mark.parametrize("folder", ["nn", "data"])
def test_nn_and_data_never_see_config(folder: str) -> None:
    """Nor do they import each other: `nn` takes numbers and tensors, `data` takes strings."""
    strangers = {"config", "nn", "data"} - {folder}
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        # The text is searched too, for imports by name at run time.
        assert not {part(name) for name in imports(path) if name.startswith("tagger.")} & strangers, path
        assert "tagger.config" not in path.read_text(), path


def test_data_knows_torch_only_in_batching() -> None:
    users = {
        path.name for path in (PACKAGE / "data").rglob("*.py") if any(part(name) == "torch" for name in imports(path))
    }
    assert users == {"batching.py"}


def test_numba_is_known_in_nn_alone() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in modules()
        if any(part(name) in ("numba", "llvmlite") for name in imports(path))
    }
    assert users == {"nn"}


def test_library_code_names_no_command_line_option() -> None:
    shows_commands = {"cli", "model_card"}  # a card shows how to use its model
    paths = [path for path in modules() if path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in shows_commands]
    named = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"--[a-z]", node.value)
    ]
    assert named == []


def test_scripts_import_the_package_and_never_the_reverse() -> None:
    assert not any(part(name) == "scripts" for path in modules() for name in imports(path))


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["tag", "--help"]])
def test_help_loads_no_torch_numpy_or_pydantic(command: list[str]) -> None:
    program = (
        "import sys\n"
        "from tagger.cli import app\n"
        f"app({command!r}, standalone_mode=False)\n"
        "print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Usage" in done.stdout


def test_importing_the_package_loads_no_torch() -> None:
    program = "import sys, tagger; tagger.Sentence, tagger.TaggerError; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
