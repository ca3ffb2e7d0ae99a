"""The specs whose lives are recorded."""

from pathlib import Path

import yaml

CASES = yaml.safe_load(Path(__file__).with_name("specs.yaml").read_text(encoding="utf-8"))
