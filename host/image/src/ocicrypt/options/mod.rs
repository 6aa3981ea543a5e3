//! Public and private options of an encrypted layer.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proplet_types::Digest;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::error::OcicryptError;

/// The one cipher of OCIcrypt.
const CIPHER: &str = "AES_256_CTR_HMAC_SHA256";

/// The public options: the HMAC of the ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOptions {
    hmac: [u8; 32],
    nonce: Option<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublic<'a> {
    #[serde(borrow)]
    cipher: Cow<'a, str>,
    #[serde(borrow)]
    hmac: Cow<'a, str>,
    #[serde(borrow)]
    cipheroptions: RawCipherOptions<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCipherOptions<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    nonce: Option<Cow<'a, str>>,
}

impl PublicOptions {
    /// Public options with this HMAC.
    pub fn new(hmac: [u8; 32]) -> Self {
        Self { hmac, nonce: None }
    }

    /// Parses the JSON text in the `pubopts` annotation.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`], naming the member.
    pub fn from_json(json: &[u8]) -> Result<Self, OcicryptError> {
        let raw: RawPublic<'_> =
            serde_json::from_slice(json).map_err(|e| OcicryptError::malformed("pubopts", e))?;
        if raw.cipher != CIPHER {
            return Err(OcicryptError::malformed(
                "pubopts, cipher",
                format!("it is not {CIPHER}, the only cipher of OCIcrypt"),
            ));
        }
        let hmac = decode(&raw.hmac, "pubopts, hmac")?;
        let nonce = match raw.cipheroptions.nonce {
            Some(text) => Some(*decode(&text, "pubopts, nonce")?),
            None => None,
        };
        Ok(Self { hmac: *hmac, nonce })
    }

    /// The options as JSON, in the member order of `ocicrypt`.
    pub fn to_json(&self) -> String {
        let nonce = match &self.nonce {
            Some(nonce) => format!("\"nonce\":\"{}\"", STANDARD.encode(nonce)),
            None => String::new(),
        };
        format!(
            "{{\"cipher\":\"{CIPHER}\",\"hmac\":\"{}\",\"cipheroptions\":{{{nonce}}}}}",
            STANDARD.encode(self.hmac)
        )
    }

    /// HMAC-SHA256 over the whole ciphertext.
    pub fn hmac(&self) -> &[u8; 32] {
        &self.hmac
    }
}

/// The private options: what opens a layer. Zeroized when dropped, and never printed.
pub struct PrivateOptions {
    symkey: Zeroizing<[u8; 32]>,
    digest: Digest,
    nonce: [u8; 16],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrivate<'a> {
    #[serde(borrow)]
    symkey: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    #[serde(borrow)]
    cipheroptions: RawCipherOptions<'a>,
}

impl Drop for RawPrivate<'_> {
    fn drop(&mut self) {
        // Owned only when the JSON text used escapes; the borrowed text is the caller's to wipe.
        if let Cow::Owned(text) = &mut self.symkey {
            text.zeroize();
        }
    }
}

impl PrivateOptions {
    /// Options for a new layer.
    pub fn new(symkey: Zeroizing<[u8; 32]>, digest: Digest, nonce: [u8; 16]) -> Self {
        Self {
            symkey,
            digest,
            nonce,
        }
    }

    /// Parses the JSON text that was wrapped.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`], naming the member and none of its content.
    pub fn from_json(json: &[u8]) -> Result<Self, OcicryptError> {
        // The parser's own words could quote the text, so they are left out.
        let raw: RawPrivate<'_> = serde_json::from_slice(json).map_err(|_| {
            OcicryptError::malformed(
                "private options",
                "they are not symkey, digest, cipheroptions",
            )
        })?;
        let digest = raw
            .digest
            .parse()
            .map_err(|e| OcicryptError::malformed("private options, digest", e))?;
        let nonce =
            raw.cipheroptions.nonce.as_ref().ok_or_else(|| {
                OcicryptError::malformed("private options, nonce", "it is missing")
            })?;
        Ok(Self {
            symkey: decode(&raw.symkey, "private options, symkey")?,
            digest,
            nonce: *decode(nonce, "private options, nonce")?,
        })
    }

    /// The options as JSON, in the member order of `ocicrypt`.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut symkey = Zeroizing::new([0u8; 44]);
        // 44 is the length of 32 bytes in base64, so the slice is never too short.
        let _ = STANDARD.encode_slice(self.symkey.as_slice(), symkey.as_mut_slice());
        let rest = format!(
            "\",\"digest\":\"{}\",\"cipheroptions\":{{\"nonce\":\"{}\"}}}}",
            self.digest,
            STANDARD.encode(self.nonce)
        );
        let start = b"{\"symkey\":\"";
        let mut json = Zeroizing::new(Vec::with_capacity(start.len() + 44 + rest.len()));
        json.extend_from_slice(start);
        json.extend_from_slice(symkey.as_slice());
        json.extend_from_slice(rest.as_bytes());
        json
    }

    /// Refuses public options that would take the choice of the nonce out of the wrapped, and so
    /// authenticated, private options. `ocicrypt` lets the public ones win.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`] when the public options name another nonce.
    pub fn agree_with(&self, public: &PublicOptions) -> Result<(), OcicryptError> {
        match public.nonce {
            Some(nonce) if nonce != self.nonce => Err(OcicryptError::malformed(
                "pubopts, nonce",
                "it is not the nonce in the wrapped options",
            )),
            _ => Ok(()),
        }
    }

    /// Key of cipher and HMAC.
    pub(crate) fn symkey(&self) -> &[u8; 32] {
        &self.symkey
    }

    /// Digest that the decrypted layer must have.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The initial counter block.
    pub(crate) fn nonce(&self) -> &[u8; 16] {
        &self.nonce
    }
}

impl std::fmt::Debug for PrivateOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateOptions").finish_non_exhaustive()
    }
}

/// Decodes standard base64 of exactly `N` bytes without leaving copies behind.
fn decode<const N: usize>(text: &str, what: &str) -> Result<Zeroizing<[u8; N]>, OcicryptError> {
    let wrong = || OcicryptError::malformed(what, format!("it is not the base64 of {N} bytes"));
    let mut buffer = Zeroizing::new([0u8; 64]);
    // A longer text is refused by the decoder, which does not grow the slice.
    let length = STANDARD
        .decode_slice(text, buffer.as_mut_slice())
        .map_err(|_| wrong())?;
    let bytes = buffer.get(..length).ok_or_else(wrong)?;
    let mut exact = Zeroizing::new([0u8; N]);
    if bytes.len() != N {
        return Err(wrong());
    }
    exact.copy_from_slice(bytes);
    Ok(exact)
}

#[cfg(test)]
mod tests;
