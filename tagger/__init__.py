"""A BiLSTM-CRF sequence-labelling toolkit.

The public names load on first use, so that `import tagger` is fast and does not import torch:

>>> import tagger
>>> tagger.Sentence(("Hello", "world")).tokens
('Hello', 'world')
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "DetailedReport",
    "Document",
    "Evaluations",
    "Report",
    "Sentence",
    "Span",
    "SystemScores",
    "Tagger",
    "TaggerError",
    "__version__",
    "audit",
    "calibrate",
    "check",
    "compare",
    "convert",
    "ensemble",
    "evaluate",
    "evaluate_files",
    "export_model",
    "info",
    "init",
    "load",
    "push",
    "score",
    "select",
    "serve",
    "settings",
    "split",
    "tag_files",
    "train",
    "tune",
]

TYPE_CHECKING = False  # as typing has it; with `python -m tagger`, typing may lie in the current directory
if TYPE_CHECKING:
    from tagger.analysis.detailed_report import DetailedReport
    from tagger.analysis.evaluations import Evaluations
    from tagger.api.audit import audit
    from tagger.api.batch import tag_files
    from tagger.api.calibration import calibrate
    from tagger.api.check import check
    from tagger.api.comparison import compare
    from tagger.api.conversion import convert
    from tagger.api.ensemble import ensemble
    from tagger.api.evaluation import evaluate, evaluate_files
    from tagger.api.export import export_model
    from tagger.api.info import info
    from tagger.api.init import init
    from tagger.api.push import push
    from tagger.api.scoring import score
    from tagger.api.selection import select
    from tagger.api.settings import settings
    from tagger.api.split import split
    from tagger.api.training import train
    from tagger.api.tune import tune
    from tagger.data.document import Document
    from tagger.data.sentence import Sentence, Span
    from tagger.errors import TaggerError
    from tagger.evaluation import Report, SystemScores
    from tagger.experiments import Comparison
    from tagger.serving.serve import serve
    from tagger.tagging import Tagger, load

_MODULES = {
    "Comparison": "tagger.experiments",
    "DetailedReport": "tagger.analysis.detailed_report",
    "Document": "tagger.data.document",
    "Evaluations": "tagger.analysis.evaluations",
    "Report": "tagger.evaluation",
    "Sentence": "tagger.data.sentence",
    "Span": "tagger.data.sentence",
    "SystemScores": "tagger.evaluation",
    "Tagger": "tagger.tagging",
    "TaggerError": "tagger.errors",
    "audit": "tagger.api.audit",
    "calibrate": "tagger.api.calibration",
    "check": "tagger.api.check",
    "compare": "tagger.api.comparison",
    "convert": "tagger.api.conversion",
    "ensemble": "tagger.api.ensemble",
    "evaluate": "tagger.api.evaluation",
    "evaluate_files": "tagger.api.evaluation",
    "export_model": "tagger.api.export",
    "info": "tagger.api.info",
    "init": "tagger.api.init",
    "load": "tagger.tagging",
    "push": "tagger.api.push",
    "score": "tagger.api.scoring",
    "select": "tagger.api.selection",
    "serve": "tagger.serving.serve",
    "settings": "tagger.api.settings",
    "split": "tagger.api.split",
    "tag_files": "tagger.api.batch",
    "train": "tagger.api.training",
    "tune": "tagger.api.tune",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'tagger' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
