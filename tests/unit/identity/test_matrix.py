import importlib
import pkgutil

import pytest

import tether.v1
from tether.errors import Reason, TetherError
from tether.identity import CLIENT_METHODS, ROLE_MATRIX, Role, allowed_roles, matrix
from tether.identity.role import known_roles
from tether.v1 import identity_pb2


def every_method():
    for module in pkgutil.iter_modules(tether.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"tether.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def test_every_rpc_is_a_clients_or_in_the_matrix_never_both():
    methods = set(every_method())
    assert len(methods) > 20
    assert methods == set(ROLE_MATRIX) | CLIENT_METHODS
    assert not set(ROLE_MATRIX) & CLIENT_METHODS
    assert all(ROLE_MATRIX.values())


def test_unknown_method_is_for_nobody():
    assert allowed_roles("/tether.v1.Nothing/Here", Role.WORKER) == frozenset()


def test_link_is_opened_by_dispatchers_at_workers_and_by_workers_and_relayed_gateways_at_orchestrators():
    assert allowed_roles(matrix.LINK_OPEN, Role.WORKER) == {Role.GATEWAY, Role.ORCHESTRATOR}
    assert allowed_roles(matrix.LINK_OPEN, Role.ORCHESTRATOR) == {Role.WORKER, Role.GATEWAY}
    assert allowed_roles(matrix.LINK_OPEN, Role.GATEWAY) == frozenset()


def test_roles_equal_those_of_the_contract():
    wire = {name.removeprefix("ROLE_"): number for name, number in identity_pb2.Role.items() if number}
    assert wire == {role.name: role.value for role in Role}


def test_role_that_is_not_known_gives_no_right():
    assert known_roles([0, 4, 99]) == {Role.WORKER}


def test_role_parses_by_its_slug_only():
    assert Role.parse("worker") is Role.WORKER
    with pytest.raises(TetherError) as error:
        Role.parse("Worker")
    assert error.value.reason is Reason.INVALID_FIELD
