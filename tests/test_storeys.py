"""The house: six storeys, imports go down only, rooms on a storey do not know each other, no circles."""

from __future__ import annotations

import ast
from pathlib import Path

import fairmark

SOURCE = Path(fairmark.__file__).parent

STOREYS = [
    {"errors", "rubric", "records", "results", "study"},  # nouns
    {"load", "store", "providers", "graders", "calls", "table", "stats"},  # hands
    {"run", "grade", "audit", "people", "calibrate", "analyse", "report", "plan", "tuning"},  # steps
    {"workbench"},  # bench
    {"web"},  # windows
    {"cli"},  # doors
]
NOUNS = STOREYS[0]
DATA_ONLY = {"demo"}  # folders that hold files and no code
STATS_MAY_KNOW = {"results", "errors"}
LIBRARIES = {  # who may speak to which library
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "aiohttp": {"providers", "web"},
    "ruamel": {"load"},
    "pydantic": {"load"},
    "typer": {"cli"},
    "rich": {"cli"},
    "jinja2": {"report", "web"},
    "xllamacpp": {"providers"},
    "ray": {"providers"},
}


def _modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
        if path != SOURCE / "__init__.py"
    }


def _imports(name: str, tree: ast.Module) -> set[str]:
    """Dotted names of everything imported anywhere in the module, lazily or for types alike."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= named
            # `from package import module` needs the module; the package's own names are not used
            if not all(_is_module(name) for name in named):
                found.add(node.module or "")
    return found


def _is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def _room(module: str) -> str:
    return module.split(".")[0]


def _storey(room: str) -> int:
    for height, rooms in enumerate(STOREYS):
        if room in rooms:
            return height
    raise AssertionError(f"{room} has no storey: give it one in STOREYS or say why not")


def test_every_room_has_a_storey() -> None:
    for module in _modules():
        if _room(module) not in DATA_ONLY:
            _storey(_room(module))


def test_imports_go_down_and_rooms_do_not_know_each_other() -> None:
    wrong: list[str] = []
    for module, tree in _modules().items():
        room = _room(module)
        if room in DATA_ONLY:
            continue
        for name in _imports(module, tree):
            if not name.startswith("fairmark."):
                continue
            other = name.split(".")[1]
            if other == room or other == "__version__":
                continue
            if room == "stats" and other not in STATS_MAY_KNOW:
                wrong.append(f"{module} -> {other}: stats knows arrays, results and errors only")
            elif _storey(other) > _storey(room) or (_storey(other) == _storey(room) and room not in NOUNS):
                wrong.append(f"{module} -> {other}")
    assert not wrong, "\n".join(wrong)


def test_no_import_circles() -> None:
    modules = _modules()
    names = {module.removesuffix(".__init__") for module in modules}
    graph = {
        module.removesuffix(".__init__"): {
            name.removeprefix("fairmark.")
            for name in _imports(module, tree)
            if name.startswith("fairmark.") and name.removeprefix("fairmark.") in names
        }
        - {module.removesuffix(".__init__")}
        for module, tree in modules.items()
    }
    done: set[str] = set()

    def visit(node: str, path: tuple[str, ...]) -> None:
        assert node not in path, " -> ".join((*path, node))
        if node not in done:
            for other in sorted(graph[node]):
                visit(other, (*path, node))
            done.add(node)

    for node in sorted(graph):
        visit(node, ())


def test_libraries_stay_in_their_rooms() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, tree in _modules().items()
        for name in _imports(module, tree)
        if name.split(".")[0] in LIBRARIES and _room(module) not in LIBRARIES[name.split(".")[0]]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_utils_room() -> None:
    assert not [module for module in _modules() if {"utils", "util", "helpers", "common"} & set(module.split("."))]
