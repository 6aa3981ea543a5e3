//! The two keys of a message: the one of its content, and the one that wraps it.

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use zeroize::Zeroizing;

use crate::jwk::ALG;
use crate::{Error, concat_kdf};

pub(super) const CEK_BYTES: usize = 32;

pub(super) fn key_encryption_key(
    z: &[u8],
    apu: &[u8],
    apv: &[u8],
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let derived = concat_kdf(z, ALG, apu, apv, 32)?;
    let mut kek = Zeroizing::new([0_u8; 32]);
    kek.copy_from_slice(&derived);
    Ok(kek)
}

pub(super) fn content_key(cek: &[u8]) -> Result<LessSafeKey, Error> {
    let key = UnboundKey::new(&AES_256_GCM, cek)
        .map_err(|_| Error::Crypto("the content key has an unexpected length"))?;
    Ok(LessSafeKey::new(key))
}
