//! Public and private options of an encrypted layer.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proplet_types::Digest;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::OcicryptError;

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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIVATE: &str = r#"{"symkey":"PH8vmIg1BPxpdqqk8KXvby8678vrDg3ohk0wp4eEzYk=","digest":"sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476","cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}}"#;
    const PUBLIC: &str = r#"{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"FqdVpjeg65IqMRRBL/xf0km9ipkFYGSlS63ibOIp5Lg=","cipheroptions":{}}"#;

    #[test]
    fn known_options_round_trip_byte_for_byte() {
        let private = PrivateOptions::from_json(PRIVATE.as_bytes()).unwrap();
        assert_eq!(
            hex::encode(private.symkey()),
            "3c7f2f98883504fc6976aaa4f0a5ef6f2f3aefcbeb0e0de8864d30a78784cd89"
        );
        assert_eq!(private.nonce()[15], 15);
        assert_eq!(private.to_json().as_slice(), PRIVATE.as_bytes());
        let public = PublicOptions::from_json(PUBLIC.as_bytes()).unwrap();
        assert_eq!(public.to_json(), PUBLIC);
        private.agree_with(&public).unwrap();
    }

    #[test]
    fn a_public_nonce_cannot_replace_the_authenticated_one() {
        let private = PrivateOptions::from_json(PRIVATE.as_bytes()).unwrap();
        let with = |nonce: &str| {
            PublicOptions::from_json(
                PUBLIC
                    .replace("{}", &format!("{{\"nonce\":\"{nonce}\"}}"))
                    .as_bytes(),
            )
            .unwrap()
        };
        private
            .agree_with(&with("AAECAwQFBgcICQoLDA0ODw=="))
            .unwrap();
        let error = private
            .agree_with(&with("AQECAwQFBgcICQoLDA0ODw=="))
            .unwrap_err();
        assert!(error.to_string().contains("nonce"));
        let same = with("AAECAwQFBgcICQoLDA0ODw==");
        assert_eq!(
            PublicOptions::from_json(same.to_json().as_bytes()).unwrap(),
            same
        );
    }

    #[test]
    fn malformed_options_name_the_member_and_no_content() {
        for (from, to, named) in [
            ("PH8v", "PH8", "symkey"),
            ("sha256:", "sha512:", "digest"),
            ("{\"nonce\":\"AAECAwQFBgcICQoLDA0ODw==\"}", "{}", "nonce"),
            ("AAECAwQFBgcICQoLDA0ODw==", "AAEC", "nonce"),
            ("symkey", "symkez", "private options"),
        ] {
            let error =
                PrivateOptions::from_json(PRIVATE.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert!(!error.to_string().contains("mIg1BPxp"), "{error}");
        }
        for (from, to, named) in [
            ("AES_256_CTR", "AES_128_CTR", "cipher"),
            ("FqdV", "FqdV0000", "hmac"),
            ("FqdV", "", "hmac"),
            ("cipheroptions", "cipherOptions", "pubopts"),
        ] {
            let error = PublicOptions::from_json(PUBLIC.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn an_escaped_spelling_is_read_too() {
        let escaped = PRIVATE.replace("PH8v", "\\u0050H8v");
        let private = PrivateOptions::from_json(escaped.as_bytes()).unwrap();
        assert_eq!(private.to_json().as_slice(), PRIVATE.as_bytes());
    }

    #[test]
    fn private_options_do_not_print() {
        let private = PrivateOptions::from_json(PRIVATE.as_bytes()).unwrap();
        assert_eq!(format!("{private:?}"), "PrivateOptions { .. }");
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = PublicOptions::from_json(&bytes);
            let _ = PrivateOptions::from_json(&bytes);
        }

        #[test]
        fn options_round_trip(hmac: [u8; 32], symkey: [u8; 32], nonce: [u8; 16], plain: Vec<u8>) {
            let public = PublicOptions::new(hmac);
            prop_assert_eq!(PublicOptions::from_json(public.to_json().as_bytes()).unwrap(), public);
            let private = PrivateOptions::new(Zeroizing::new(symkey), Digest::of(&plain), nonce);
            let again = PrivateOptions::from_json(&private.to_json()).unwrap();
            prop_assert_eq!(again.symkey(), &symkey);
            prop_assert_eq!(again.digest(), private.digest());
            prop_assert_eq!(again.nonce(), &nonce);
        }
    }
}
