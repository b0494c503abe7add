"""Measures the structure of Python packages from their syntax trees: size, names, parameters, nesting, documentation.

    python scripts/measure_code.py tagger
    python scripts/measure_code.py /tmp/before/tagger tagger --json

Nothing is imported or run. Tests, and files under a folder called `tests`, are left out.

- Public names of a module: the functions, classes and constants without a leading underscore that it defines at its
  top level.
- Functions include methods and nested functions. Their length leaves out decorators and docstrings.
- Parameters leave out `self` and `cls`.
- Nesting counts `if`, `for`, `while`, `try`, `with` and `match` inside a function; an `elif` is as deep as its `if`.
- Documented names: public functions and classes, and the public methods of public classes.
- Cycles are counted over the imports that run when a module is imported: not those inside functions or under
  `TYPE_CHECKING`.
"""

import argparse
import ast
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import mean

MAX_PARAMETERS = 6
Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match)


@dataclass(frozen=True)
class Measures:
    """The measures of one package. Lengths are in lines, shares in percent."""

    package: str
    modules: int
    lines: int
    lines_per_module: float
    longest_module: int
    functions: int
    function_length_p90: int
    function_length_max: int
    public_names_per_module: float
    functions_with_many_parameters: int
    deepest_nesting: int
    typed_percent: float
    documented_percent: float
    import_cycles: int


TITLES = {
    "modules": "modules",
    "lines": "lines",
    "lines_per_module": "lines per module",
    "longest_module": "lines of the longest module",
    "functions": "functions",
    "function_length_p90": "function length without docstring, 90th percentile",
    "function_length_max": "function length without docstring, maximum",
    "public_names_per_module": "public names per module",
    "functions_with_many_parameters": f"functions with more than {MAX_PARAMETERS} parameters",
    "deepest_nesting": "deepest nesting",
    "typed_percent": "typed parameters and returns, %",
    "documented_percent": "public names with a docstring, %",
    "import_cycles": "import cycles",
}


def main() -> None:
    """Prints the measures of the packages side by side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE_DIR")
    parser.add_argument("--details", action="store_true", help="List the functions behind the worst figures.")
    parser.add_argument("--json", action="store_true", help="Print JSON in place of a table.")
    options = parser.parse_args()
    results = [measure(package) for package in options.packages]
    print(json.dumps([asdict(result) for result in results], indent=2) if options.json else to_table(results))
    if options.details:
        for package in options.packages:
            print(f"\n{package}\n" + "\n".join(list_details(package)))


def measure(package: Path) -> Measures:
    """Returns the measures of the package in a directory."""
    trees = read_modules(package)
    functions = [function for tree in trees.values() for function in functions_of(tree)]
    lengths = [length(function) for function in functions]
    sizes = [_line_count(path) for path in trees]
    annotations = [typed for function in functions for typed in annotations_of(function)]
    docstrings = [documented for tree in trees.values() for documented in docstrings_of(tree)]
    return Measures(
        package=str(package),
        modules=len(trees),
        lines=sum(sizes),
        lines_per_module=round(mean(sizes), 1),
        longest_module=max(sizes),
        functions=len(functions),
        function_length_p90=sorted(lengths)[ceil(0.9 * len(lengths)) - 1],
        function_length_max=max(lengths),
        public_names_per_module=round(mean(len(public_names(tree)) for tree in trees.values()), 2),
        functions_with_many_parameters=sum(len(parameters(function)) > MAX_PARAMETERS for function in functions),
        deepest_nesting=max(nesting(function) for function in functions),
        typed_percent=_percent(annotations),
        documented_percent=_percent(docstrings),
        import_cycles=len(import_cycles(package, trees)),
    )


def read_modules(package: Path) -> dict[Path, ast.Module]:
    """Returns the syntax tree of each module of a package, except tests."""
    if not package.is_dir():
        raise SystemExit(f"{package} is not a directory")
    paths = (path for path in sorted(package.rglob("*.py")) if not _is_test(path.relative_to(package)))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    if not trees:
        raise SystemExit(f"{package} has no Python modules")
    return trees


def functions_of(tree: ast.Module) -> list[Function]:
    """Returns every function, method and nested function of a module."""
    return [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]


def length(function: Function) -> int:
    """Returns the lines of a function without its decorators and its docstring."""
    return _lines_of(function) - (_lines_of(function.body[0]) if ast.get_docstring(function) is not None else 0)


def parameters(function: Function) -> list[ast.arg]:
    """Returns the parameters of a function without `self` and `cls`."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if positional and positional[0].arg in ("self", "cls"):
        positional = positional[1:]
    variadic = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return [*positional, *arguments.kwonlyargs, *variadic]


def annotations_of(function: Function) -> Iterator[bool]:
    """Yields whether each parameter, and what the function returns, has a type; `__init__` needs no return type."""
    yield from (parameter.annotation is not None for parameter in parameters(function))
    if function.name != "__init__":
        yield function.returns is not None


def public_names(tree: ast.Module) -> list[str]:
    """Returns the functions, classes and constants without a leading underscore that a module defines."""
    names: list[str] = []
    for node in _top_level(tree.body):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def docstrings_of(tree: ast.Module) -> Iterator[bool]:
    """Yields whether each public function, class and public method of a public class has a docstring."""
    for node in _top_level(tree.body):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield ast.get_docstring(node) is not None
            methods = node.body if isinstance(node, ast.ClassDef) else []
            for method in methods:
                if isinstance(method, _FUNCTIONS) and not method.name.startswith("_"):
                    yield ast.get_docstring(method) is not None or _is_overload(method)


def nesting(function: Function) -> int:
    """Returns how deep control flow is nested in a function; nested functions are measured by themselves."""
    return _depth(function.body)


def import_cycles(package: Path, trees: dict[Path, ast.Module]) -> list[list[str]]:
    """Returns the groups of modules that import each other when they are imported."""
    names = {_module_name(package, path): path for path in trees}
    graph = {name: _imported(name, trees[path], path, set(names)) - {name} for name, path in names.items()}
    reached = {name: _reachable(name, graph) for name in graph}
    groups = {tuple(sorted({name, *(o for o in reached[name] if name in reached[o])})) for name in graph}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def list_details(package: Path) -> Iterator[str]:
    """Yields the functions with many parameters, the longest and the most nested ones, and import cycles."""
    trees = read_modules(package)
    where = {
        f"{path.relative_to(package)}:{function.lineno} {function.name}": function
        for path, tree in trees.items()
        for function in functions_of(tree)
    }
    for name, function in where.items():
        if len(parameters(function)) > MAX_PARAMETERS:
            yield f"{len(parameters(function)):4} parameters  {name}"
    for name, function in sorted(where.items(), key=lambda item: -length(item[1]))[:10]:
        yield f"{length(function):4} lines       {name}"
    deepest = max(nesting(function) for function in where.values())
    for name, function in where.items():
        if nesting(function) >= max(deepest - 1, 5):
            yield f"{nesting(function):4} nested      {name}"
    names = sorted(((len(public_names(tree)), path) for path, tree in trees.items()), reverse=True)
    yield from (f"{count:4} names       {path.relative_to(package)}" for count, path in names[:10])
    yield from (f"cycle: {', '.join(group)}" for group in import_cycles(package, trees))


def to_table(results: list[Measures]) -> str:
    """Returns a table in Markdown with a column for each package."""
    rows = [["measure", *(result.package for result in results)], ["---", *("---:" for _ in results)]]
    rows += [[title, *(str(getattr(result, field)) for result in results)] for field, title in TITLES.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _is_test(path: Path) -> bool:
    return "tests" in path.parts or path.name.startswith("test_") or path.name == "conftest.py"


def _lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _percent(values: list[bool]) -> float:
    return round(100 * sum(values) / len(values), 1) if values else 100.0


def _is_overload(function: Function) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in function.decorator_list)


def _is_for_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements of a module, those under `if` and `try` included, those for typing alone not."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try) and not _is_for_typing(node):
            yield from _top_level([*node.body, *node.orelse])
            for handler in getattr(node, "handlers", []):
                yield from _top_level(handler.body)


def _depth(body: list[ast.stmt] | list[ast.AST]) -> int:
    return max((_depth_of(node) for node in body), default=0)


def _depth_of(node: ast.AST) -> int:
    if isinstance(node, _SCOPES):
        return 0
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        rest = [child for child in children if child is not node.orelse[0]]
        return max(1 + _depth(rest), _depth_of(node.orelse[0]))
    return _depth(children) + isinstance(node, _BLOCKS)


def _module_name(package: Path, path: Path) -> str:
    parts = [package.resolve().name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(module: str, tree: ast.Module, path: Path, known: set[str]) -> set[str]:
    """Returns the modules of the package that a module imports at its top level."""
    imported: set[str] = set()
    folder = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _top_level(tree.body):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = folder.split(".")[: len(folder.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            targets = {f"{source}.{alias.name}" for alias in node.names}
            imported |= {target if target in known else source for target in targets}
    return imported & known


def _reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


if __name__ == "__main__":
    main()
