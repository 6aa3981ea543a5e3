//! JWE, JWS, JWK and JCS for the key broker protocol and sealed results.
