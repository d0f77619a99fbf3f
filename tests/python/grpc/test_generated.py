"""The generated code is that of the `.proto` files."""

from scripts.proto import differences


def test_the_committed_code_is_what_protoc_makes_of_the_definitions() -> None:
    assert differences() == []
