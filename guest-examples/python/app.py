"""Publishes evidence of itself over the challenge that it is given."""

from componentize_py_types import Err
from wit_world import WitWorld
from wit_world.imports import attestation, results


class WitWorld(WitWorld):
    def run(self, input: bytes) -> bytes:
        try:
            bundle = attestation.evidence(input).to_json()
            results.publish(bundle, "application/json")
        except Err as error:
            raise Err(str(error.value))
        return bundle
