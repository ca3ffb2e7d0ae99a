"""Names such as $namespace in texts, which the operator replaces."""

import re
from collections.abc import Collection

QUERY = r"\$(\{?)([A-Za-z_]\w*)"
"""Of a query, in which other dollars have a meaning of their own, such as the end of a line."""
ARN = r"\$()([A-Za-z0-9]*)"
"""Of the ARN of a role: no dollar has another meaning, and an underscore ends the name."""


def check(text: str, known: Collection[str], form: str = QUERY) -> str:
    """Return the text. Raises ValueError for a name that is none of these: it would stand there as it is."""
    for braced, name in re.findall(form, text):
        if braced or name not in known:
            names = ", ".join(f"${one}" for one in known)
            group = "; a group of a regular expression is named by its number" if form == QUERY else ""
            raise ValueError(f"${braced}{name} is not replaced: use {names}{group}")
    return text
