"""Records of older schemas become records of today's, one version at a time.

Whoever changes the schema raises `SCHEMA_VERSION` and adds here, under the version that is left
behind, the function that turns its content into that of the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

Content = dict[str, Any]
Step = Callable[[Content], Content]

MIGRATIONS: Mapping[int, Step] = {}
"""Version left behind -> what makes the next version of a record of it."""


def migrate(content: Content, to: int) -> Content:
    """Bring the JSON content of a record up to a schema version.

    Raises:
        KeyError: there is no way from the record's version.
    """
    for version in range(content["schema_version"], to):
        content = MIGRATIONS[version](content) | {"schema_version": version + 1}
    return content


def digest(content: Content) -> str:
    """Return the SHA-256 of a record's JSON content, its own digest left out."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
