"""What sources have in common."""

import pytest

from onnxmodel_runtime.sources.source import UnreachableError, scrubbed


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "gs://a/b: HTTPSConnectionPool(host='g.com', port=443): Max retries exceeded with url: /storage/v1/b (Caused by "
            "NameResolutionError(\"HTTPSConnection(host='g.com', port=443): Failed to resolve 'g.com' ([Errno -2] Name or "
            'service not known)"))',
            "gs://a/b: Failed to resolve 'g.com' ([Errno -2] Name or service not known)",
        ),
        (
            "HTTPSConnection(host='n.example', port=443): Failed to resolve 'n.example'",
            "Failed to resolve 'n.example'",
        ),
        (
            "HTTPSConnectionPool(host='h', port=443): Read timed out. (read timeout=60)",
            "Read timed out. (read timeout=60)",
        ),
        ("the store returned 503 SlowDown", "the store returned 503 SlowDown"),
    ],
)
def test_what_a_library_prints_of_its_objects_is_left_out(said: str, told: str) -> None:
    assert str(UnreachableError(said)) == told
    assert scrubbed(said) == told
