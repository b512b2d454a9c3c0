"""Public keys that are known beforehand."""

from collections.abc import Mapping

import jwt


class GivenKeys:
    """A `KeySource` that asks nobody."""

    def __init__(self, keys: Mapping[str, jwt.PyJWK]) -> None:
        self._keys = keys

    async def key(self, kid: str) -> jwt.PyJWK | None:
        return self._keys.get(kid)
