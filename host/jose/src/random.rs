//! Random bytes from the operating system.

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::Error;

/// An array of random bytes, wiped when dropped.
pub(crate) fn secret<const N: usize>() -> Result<Zeroizing<[u8; N]>, Error> {
    let mut bytes = Zeroizing::new([0_u8; N]);
    SystemRandom::new()
        .fill(bytes.as_mut())
        .map_err(|_| Error::Crypto("the operating system gave no random bytes"))?;
    Ok(bytes)
}
