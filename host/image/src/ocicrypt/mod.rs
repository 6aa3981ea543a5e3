//! OCIcrypt: what the annotations of an encrypted layer mean.
//!
//! A layer is encrypted with AES-256-CTR under a random *symmetric key* and authenticated with
//! HMAC-SHA256 over the ciphertext under the same key. The symmetric key, the plaintext digest and
//! the CTR nonce are the *private options*. They are wrapped under a *key-encryption key*, which the
//! KBS releases, and the result is a *key packet* in an annotation. The HMAC stands in the *public
//! options*, another annotation.
//!
//! What protects what: the key packet is authenticated by A256GCM, so symmetric key, nonce and
//! plaintext digest are the owner's. The public options, the key id and the media type are not
//! authenticated; the HMAC in them is checked by the symmetric key, the nonce is taken from the
//! private options only, and the plaintext digest covers what comes out. Nothing decrypted is handed
//! on before ciphertext digest, HMAC and plaintext digest were all right.
//!
//! Formats: `ocicrypt` 1.2 (`spec`, `blockcipher`, `keywrap/keyprovider`) and the key provider of
//! Confidential Containers' guest components.

mod annotations;
mod error;
mod options;
mod packet;
mod wrap;

pub use annotations::{
    KEY_PROVIDER, LayerEncryption, MAX_KEY_PACKETS, PROVIDER_ANNOTATION_PREFIX, PUBOPTS_ANNOTATION,
};
pub use error::OcicryptError;
pub use options::{PrivateOptions, PublicOptions};
pub use packet::{AnnotationPacket, WrapType};
pub use wrap::{unwrap_options, wrap_options};
