// Publishes evidence of itself over the challenge that it is given.
import { evidence } from "propeller:confidential/attestation@0.1.0";
import { publish } from "propeller:confidential/results@0.1.0";

export function run(input) {
  try {
    const bundle = evidence(input).toJson();
    publish(bundle, "application/json");
    return bundle;
  } catch (error) {
    // The error of this world is a string; those of the host are variants.
    throw `${error.payload?.tag ?? error}`;
  }
}
