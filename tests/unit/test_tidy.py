"""The house style, held by a test: sizes, imports, docstrings, and what a decider may not touch.

Each check lists every place that breaks it, as `file:line what`. Generated code is exempt.
"""

import ast
import re
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from tether.errors import Reason

ROOT = Path(__file__).parents[2]
SERVICES = ("tether_gateway", "tether_orchestrator", "tether_registry", "tether_worker", "tether_bridge")
DECIDERS = ("tether/policy", "tether/job", "tether/placement", "tether/rules", "tether/name.py", "tether/edge")
# What decides gets time, chance, settings and I/O's results as arguments.
BANNED_IN_DECIDERS = frozenset(
    {
        "asyncio",
        "grpc",
        "os",
        "time",
        "random",
        "secrets",
        "uuid",
        "socket",
        "threading",
        "subprocess",
        "sqlite3",
        "structlog",
    }
)
# Reasons that later parts of the system raise; a reason that is raised must leave this list.
NOT_RAISED_YET = frozenset({"HOME_UNREACHABLE"})

FUNCTION_LINES_MAX, FUNCTION_LINES_TYPICAL = 70, 12
FILE_LINES_MAX = 500
LINE_CHARS_MAX = 120
MAIN_LINES_MAX = 15

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finder = Callable[[Path, ast.Module], Iterator[tuple[int, str]]]


def library() -> list[Path]:
    generated = ROOT / "python/tether/v1"
    return [path for path in sorted(ROOT.glob("python/tether/**/*.py")) if generated not in path.parents]


def services() -> list[Path]:
    return sorted(chain.from_iterable(ROOT.glob(f"services/{service}/**/*.py") for service in SERVICES))


def rust() -> list[Path]:
    return sorted(ROOT.glob("native/src/**/*.rs"))


def is_decider(path: Path) -> bool:
    inside = path.relative_to(ROOT / "python").as_posix() if ROOT / "python" in path.parents else ""
    return inside.startswith(DECIDERS)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def broken(paths: list[Path], find: Finder) -> list[str]:
    """Run a finder over files and write what it finds so that an editor can jump there."""
    return [
        f"{path.relative_to(ROOT)}:{line} {what}"
        for path in paths
        for line, what in find(path, parsed(path) if path.suffix == ".py" else ast.Module([], []))
    ]


def functions(tree: ast.Module) -> Iterator[tuple[Function, int]]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def rust_functions(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield line, name and length of each function, by rustfmt's indentation."""
    head = re.compile(r'^(\s*)(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe |extern "C" )*fn (\w+)')
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if (match := head.match(line)) is None:
            continue
        closing = f"{match[1]}}}"
        one_line = line.rstrip().endswith(("}", ";"))
        ends = (later for later in range(number, len(lines)) if lines[later].startswith((closing, f"{match[1]}) -> ")))
        last = number if one_line else next((end for end in ends if lines[end].startswith(closing)), number)
        yield number + 1, match[2], last - number + 1


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that a module imports for real, at its top or inside a function."""
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_functions_fit_on_a_screen() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if path.suffix == ".rs":
            measured = rust_functions(path)
        else:
            measured = ((node.lineno, node.name, length) for node, length in functions(tree))
        for line, name, length in measured:
            if length > FUNCTION_LINES_MAX:
                yield line, f"{name} has {length} lines"

    assert broken([*library(), *services(), *rust()], find) == []


def test_typical_function_is_short(record_property: Callable[[str, object], None]) -> None:
    python = [length for path in [*library(), *services()] for _, length in functions(parsed(path))]
    native = [length for path in rust() for _, _, length in rust_functions(path)]
    for language, lengths in (("python", python), ("rust", native)):
        record_property(f"{language}_functions", len(lengths))
        record_property(f"{language}_median_lines", statistics.median(lengths))
        print(
            f"{language}: {len(lengths)} functions, median {statistics.median(lengths)}, longest {max(lengths)} lines"
        )
        assert statistics.median(lengths) <= FUNCTION_LINES_TYPICAL


def test_rust_functions_are_measured() -> None:
    lengths = [length for path in rust() for _, _, length in rust_functions(path)]
    assert len(lengths) > 20
    assert max(lengths) > 5


def test_files_hold_one_idea() -> None:
    def find(path: Path, _tree: ast.Module) -> Iterator[tuple[int, str]]:
        text = path.read_text(encoding="utf-8")
        lines = text.partition("#[cfg(test)]")[0].count("\n") if path.suffix == ".rs" else text.count("\n")
        if lines > FILE_LINES_MAX:
            yield 1, f"{lines} lines"

    assert broken([*library(), *services(), *rust()], find) == []


def test_lines_fit() -> None:
    def find(path: Path, _tree: ast.Module) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            bare = re.sub(r"\s+# (?:noqa|type: ignore).*", "", line)  # a tool's own words may stick out
            if len(bare) > LINE_CHARS_MAX:
                yield number, f"{len(bare)} characters"

    assert broken([*library(), *services(), *rust()], find) == []


def test_modules_begin_with_a_sentence() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        if path.name in {"tests.rs", "test.rs"}:
            return
        if path.suffix == ".rs":
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            if not first.startswith("//! "):
                yield 1, "no //! line first"
            return
        doc = ast.get_docstring(tree) or ""
        if not re.match(r"\S.*[.:!?]$", doc.partition("\n")[0]):
            yield 1, "no sentence in its first line"

    assert broken([*library(), *services(), *rust()], find) == []


def test_what_is_public_has_a_docstring() -> None:
    def find(_path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in tree.body:
            named = isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_")
            if named and ast.get_docstring(node) is None:
                yield node.lineno, f"{node.name} has none"

    assert broken([*library(), *services()], find) == []


def test_nothing_is_left_to_do() -> None:
    later = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")

    def find(path: Path, _tree: ast.Module) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if later.search(line):
                yield number, line.strip()

    assert broken([*library(), *services(), *rust(), *sorted(ROOT.glob("proto/**/*.proto"))], find) == []


def test_deciders_touch_no_world() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        for line, name in imports(tree) if is_decider(path) else ():
            if name.partition(".")[0] in BANNED_IN_DECIDERS:
                yield line, f"imports {name}"
        for node in ast.walk(tree) if is_decider(path) else ():
            if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
                yield node.lineno, f"reads the clock: {ast.unparse(node)}"
            if isinstance(node, ast.AsyncFunctionDef | ast.Await):
                yield node.lineno, "waits"

    assert broken(library(), find) == []


def test_deciders_are_found() -> None:
    assert len([path for path in library() if is_decider(path)]) >= 10


def test_native_modules_know_neither_python_nor_clock() -> None:
    rules = (("pyo3", "py"), ("Instant::now", "io"), ("SystemTime", "io"), ("std::net", "io"), ("rand::rng", "io"))

    def find(path: Path, _tree: ast.Module) -> Iterator[tuple[int, str]]:
        inside = path.relative_to(ROOT / "native/src").parts[0]
        code = path.read_text(encoding="utf-8").partition("#[cfg(test)]")[0]
        for number, line in enumerate(code.splitlines(), 1):
            for word, room in rules:
                if word in line.partition("//")[0] and inside != room:
                    yield number, f"{word} belongs into native/src/{room}/"

    assert broken(rust(), find) == []


def test_library_imports_no_service_and_no_service_another() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        own = next((part for part in path.parts if part in SERVICES), "")
        for line, name in imports(tree):
            other = name.partition(".")[0]
            if other in SERVICES and other != own:
                yield line, f"imports {name}"

    assert broken([*library(), *services()], find) == []


def test_imports_are_absolute() -> None:
    def find(_path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield node.lineno, f"from {'.' * node.level}{node.module or ''}"

    assert broken([*library(), *services()], find) == []


def test_library_neither_asserts_nor_prints() -> None:
    def find(_path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                yield node.lineno, "assert is gone under -O"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield node.lineno, "print"

    assert broken([*library(), *services()], find) == []


def test_no_exception_is_swallowed() -> None:
    def find(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree):
            silent = isinstance(node, ast.ExceptHandler) and all(
                isinstance(step, ast.Pass | ast.Continue)
                or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
                for step in node.body
            )
            if silent and not any("  # " in line for line in lines[node.lineno - 1 : node.end_lineno]):
                yield node.lineno, "says nothing; raise, convert, log and count, or say why there is nothing to do"

    assert broken([*library(), *services()], find) == []


def test_mains_are_short() -> None:
    def find(path: Path, _tree: ast.Module) -> Iterator[tuple[int, str]]:
        lines = path.read_text(encoding="utf-8").count("\n")
        if path.name == "__main__.py" and lines > MAIN_LINES_MAX:
            yield 1, f"{lines} lines"

    assert broken([*library(), *services()], find) == []


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_its_rooms(service: str) -> None:
    for name in ("__main__.py", "config.py", "app.py"):
        assert (ROOT / "services" / service / name).exists(), name


def test_every_reason_is_raised_somewhere() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*library(), *services()] if path.name != "errors.py")
    raised = {reason.name for reason in Reason if re.search(rf"\bReason\.{reason.name}\b", text)}
    native = "\n".join(path.read_text(encoding="utf-8") for path in rust())
    raised |= {reason.name for reason in Reason if f'"{reason.name}"' in native}
    unused = {reason.name for reason in Reason} - raised
    assert unused - NOT_RAISED_YET == set()
    assert NOT_RAISED_YET & raised == set(), "remove these from NOT_RAISED_YET"


def test_no_path_of_a_machine_is_written_down() -> None:
    machine = re.compile(r"(?<![\w.])/(?:root|home|Users)/\w+")
    folders = ("docs", "deploy", "tools", "bench", "proto", "services", "python/tether", "native/src", ".ci")
    texts = {".py", ".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".proto", ".json", ""}
    files = [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix in texts and path.stat().st_size < 1_000_000
    ]
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if machine.search(line)
    ]
    assert found == []
