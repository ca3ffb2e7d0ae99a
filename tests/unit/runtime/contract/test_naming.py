"""Names of children fit into a label, and no two models share one."""

from onnxmodel_runtime.contract.naming import child


def test_a_name_is_cut_and_marked_only_where_it_is_too_long() -> None:
    assert child("magika", "0a1b2c3d") == "magika-0a1b2c3d"
    assert child("m" * 54, "0a1b2c3d") == "m" * 54 + "-0a1b2c3d"
    first, second = child("m" * 60 + "a", "0a1b2c3d"), child("m" * 60 + "b", "0a1b2c3d")
    assert first != second
    assert len(first) == 63
    assert first == "m" * 45 + "-a000e030-0a1b2c3d"
