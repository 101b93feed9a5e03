"""The house rules: floors, no cycles, no model named in the harness, documentation."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from benchmark.registry import model_class, model_names

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("protocols", "benchmark", "qamoe", "baselines", "reports")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# What each floor may import of the project; the contract is the only part of the harness that
# models may know.
ALLOWED = {
    "protocols": {"protocols"},
    "qamoe": {"protocols", "benchmark.interface", "qamoe"},
    "baselines": {"protocols", "benchmark.interface", "baselines"},
    "benchmark": {"protocols", "benchmark"},
    "reports": {"protocols", "benchmark", "reports"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, at_load: bool = False) -> set[str]:
    """Project modules that a file imports; ``at_load`` leaves out those inside functions."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    deferred = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if at_load and (id(node) in deferred or id(node) in typing_only):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return {name for name in found if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_file_imports_only_from_the_floors_below(path: Path) -> None:
    allowed = ALLOWED[module_name(path).split(".")[0]]
    for name in imports(path):
        assert any(name == a or name.startswith(a + ".") for a in allowed), name


def test_the_contract_stands_on_protocols_alone() -> None:
    assert all(n.startswith("protocols") for n in imports(ROOT / "benchmark" / "interface.py"))


def test_one_module_for_each_engine() -> None:
    users: dict[str, set[str]] = {"mlflow": set(), "optuna": set(), "ray": set()}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.split(".")[0] in users:
                    users[name.split(".")[0]].add(module_name(path))
    assert users["mlflow"] == {"benchmark.tracking.mlflow_store"}
    assert len(users["optuna"]) <= 1
    assert users["ray"] == {"benchmark.execution.hosts"}


def test_no_import_cycles() -> None:
    names = {module_name(path) for path in SOURCES}
    graph = {
        module_name(path): {n for n in imports(path, at_load=True) if n in names}
        for path in SOURCES
    }
    done: set[str] = set()

    def visit(node: str, trail: tuple[str, ...]) -> None:
        assert node not in trail, " -> ".join([*trail, node])
        if node in done:
            return
        for target in graph[node]:
            visit(target, (*trail, node))
        done.add(node)

    for name in graph:
        visit(name, ())


def test_the_harness_names_no_model() -> None:
    titles = [model_class(name).card.title for name in model_names()]
    pattern = re.compile(
        "|".join(rf"\b{re.escape(word)}\b" for word in (*model_names(), *titles)), re.IGNORECASE
    )
    for path in (*(ROOT / "benchmark").rglob("*.py"), *(ROOT / "protocols").rglob("*.py")):
        code = ast.parse(path.read_text())
        for node in ast.walk(code):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = "" if _is_prose(node.value) else node.value
        assert not pattern.search(ast.unparse(code)), path


def _is_prose(text: str) -> bool:
    """Docstrings and help may give examples; what the program compares with may not."""
    return " " in text.strip()


def test_public_names_are_documented() -> None:
    for package in PACKAGES:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            if info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            assert module.__doc__, info.name
            for name, thing in vars(module).items():
                if name.startswith("_") or getattr(thing, "__module__", None) != info.name:
                    continue
                if inspect.isclass(thing) or inspect.isfunction(thing):
                    assert thing.__doc__, f"{info.name}.{name}"


def test_files_fit_in_the_head() -> None:
    long = {module_name(p): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 330}
    assert not long
