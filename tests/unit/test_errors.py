"""The tree of errors: each class has a gRPC code, and survives the wire."""

import pickle

import grpc
import pytest

from runtime import errors
from runtime.errors import TabletopError


def all_kinds() -> list[type[TabletopError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TabletopError)]


@pytest.mark.parametrize("kind", [kind for kind in all_kinds() if kind is not TabletopError])
def test_every_kind_has_a_code_and_comes_back_from_the_wire_as_itself(kind: type[TabletopError]):
    error = kind("what was found")
    assert errors.status_code(error) is not grpc.StatusCode.UNKNOWN
    again = errors.error_from_wire(type(error).__name__, error.message, definite=error.definite)
    assert (type(again), again.message, again.definite) == (kind, error.message, error.definite)


def test_a_kind_from_the_future_is_still_an_error_with_its_message():
    error = errors.error_from_wire("QuotaOfNextYear", "too much", definite=True)
    assert type(error) is TabletopError and error.message == "too much"


def test_errors_survive_pickling_with_their_definiteness():
    error = pickle.loads(pickle.dumps(errors.Unavailable("gone", definite=True)))
    assert type(error) is errors.Unavailable and error.definite


def test_the_servers_that_failed_survive_pickling_and_the_wire():
    error = errors.MutationFailed("half of it", servers=("cs1", "cs3"))
    assert pickle.loads(pickle.dumps(error)).servers == ("cs1", "cs3")
    again = errors.error_from_wire("MutationFailed", error.message, definite=False, servers=error.servers)
    assert again.servers == ("cs1", "cs3") and errors.Unavailable("gone").servers == ()


def test_orders_of_a_passed_epoch_and_of_another_namespace_are_certainly_not_carried_out():
    assert errors.Superseded("epoch 3, now 4").definite and errors.ForeignNamespace("cluster b").definite


def test_a_subclass_of_another_room_takes_the_code_of_its_ancestor():
    class UnknownTable(errors.NotFound):
        pass

    assert errors.status_code(UnknownTable("t")) is grpc.StatusCode.NOT_FOUND


def test_the_transport_reports_what_it_cannot_know_as_indefinite():
    assert not errors.error_from_status(grpc.StatusCode.UNAVAILABLE, "gone").definite
    assert not errors.error_from_status(grpc.StatusCode.DEADLINE_EXCEEDED, "late").definite
