"""Every rpc of the contract has its handler in some service, and is in the role matrix or for clients."""

import ast
import importlib
import pkgutil
import re
from functools import cache
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

import tether.v1
from tether.identity import ROLE_MATRIX

ROOT = Path(__file__).parents[2]
CLIENT_SERVICES = {"tether.v1.InferenceService"}  # called with API keys, so not in the role matrix


def methods() -> list[MethodDescriptor]:
    """Return every rpc of the contract."""
    files = [
        importlib.import_module(f"tether.v1.{module.name}").DESCRIPTOR
        for module in pkgutil.iter_modules(tether.v1.__path__)
        if module.name.endswith("_pb2")
    ]
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


METHODS = methods()
IDS = [f"{method.containing_service.name}/{method.name}" for method in METHODS]


@cache
def sources() -> dict[Path, ast.Module]:
    """Return the modules that may hold handlers."""
    paths = [*ROOT.glob("services/tether_*/**/*.py"), *ROOT.glob("python/tether/link/*.py")]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(paths)}


def handlers(service: str, method: str) -> list[str]:
    """Find where a method is handled: a method of `XServicer`, or a key of a module that names the service."""
    wanted = f"{service.rpartition('.')[2].removesuffix('Service')}Servicer"
    found = []
    for path, tree in sources().items():
        in_class = any(
            isinstance(node, ast.ClassDef)
            and node.name == wanted
            and any(isinstance(item, ast.AsyncFunctionDef) and item.name == method for item in node.body)
            for node in ast.walk(tree)
        )
        in_table = f'"{method}"' in path.read_text(encoding="utf-8") and names(path, service)
        if in_class or in_table:
            found.append(str(path.relative_to(ROOT)))
    return found


def names(path: Path, service: str) -> bool:
    """Tell whether a module names a service, in full or by its descriptor."""
    text = path.read_text(encoding="utf-8")
    return f'"{service}"' in text or re.search(rf'services_by_name\["{service.rpartition(".")[2]}"\]', text) is not None


def test_contract_has_services() -> None:
    assert len(METHODS) >= 20


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_rpc_has_a_handler(method: MethodDescriptor) -> None:
    assert handlers(method.containing_service.full_name, method.name)


def test_rpc_without_a_handler_would_be_seen() -> None:
    assert handlers("tether.v1.InferenceService", "Teleport") == []


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_rpc_is_in_the_role_matrix_or_for_clients(method: MethodDescriptor) -> None:
    service = method.containing_service.full_name
    assert (f"/{service}/{method.name}" in ROLE_MATRIX) != (service in CLIENT_SERVICES)


def test_role_matrix_names_no_method_that_is_gone() -> None:
    known = {f"/{method.containing_service.full_name}/{method.name}" for method in METHODS}
    assert set(ROLE_MATRIX) <= known


def test_servicers_are_async() -> None:
    for tree in sources().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Servicer"):
                plain = [
                    item.name for item in node.body if isinstance(item, ast.FunctionDef) and item.name[0].isupper()
                ]
                assert plain == [], f"{node.name} would block the loop"
