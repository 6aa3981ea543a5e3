//! OCI pull and push with OCIcrypt decryption in memory.
