"""What loading a model tells: the locale that its texts need."""

import subprocess
import sys
from pathlib import Path

import pytest

from onnxmodel_runtime.checks import run
from tests import models
from tests.unit.runtime.validate_support import refused


def test_a_locale_that_is_not_installed_is_named(tmp_path: Path) -> None:
    failure = refused(models.lower_case("xx_XX.UTF-8"), tmp_path).failure
    assert failure.reason == "SessionFailed"
    assert "node 'normalizer' (StringNormalizer) needs the locale 'xx_XX.UTF-8'" in failure.message
    assert failure.hint.startswith("Export with locale='en_US.UTF-8'. The runtime image has")
    default = run._session_finding(models.lower_case(), "construct locale with name:en_US.UTF-8:locale::facet")
    assert default.fix.startswith("The runtime image has en_US.UTF-8"), "it is exported with that already"


@pytest.mark.parametrize("locale", ["", "en_US", "en_US.UTF-8"])
def test_what_the_image_links_is_the_locale_that_texts_need(tmp_path: Path, locale: str) -> None:
    """The runtime image's Dockerfile makes this link where the C library looks for locales."""
    dockerfile = Path(__file__).parents[4] / "runtime-image" / "Dockerfile"
    assert "ln -s C.utf8 /usr/lib/locale/en_US" in dockerfile.read_text()
    if not Path("/usr/lib/locale/C.utf8").is_dir():
        pytest.skip("this machine has no /usr/lib/locale/C.utf8")
    (tmp_path / "locale").mkdir()
    (tmp_path / "locale" / "en_US").symlink_to("/usr/lib/locale/C.utf8")
    path = models.save(models.lower_case(locale), tmp_path)
    program = (
        "import sys, numpy, onnxruntime; session = onnxruntime.InferenceSession(sys.argv[1]);"
        "print(session.run(None, {'text': numpy.array(['ÀÉΣ Дж', 'Hello'], object)})[0].tolist())"
    )
    environment = {"LOCPATH": str(tmp_path / "locale"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "['àéσ дж', 'hello']", done.stderr
