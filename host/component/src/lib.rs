//! Components, from where they come in to where they are compiled.
//!
//! A [`Component`] is made once, by whoever got its bytes: the image crate, which hashes a layer while it
//! decrypts it, or a reader of files. It goes unchanged to the runtime. Its digest and its policy go with it,
//! and cannot be given with it: the digest is one that was computed from these bytes ([`Hashed`]), and the
//! policy is the one that was read from them. So nobody behind has a reason to compute either again.
#![deny(missing_docs)]

mod hashed;
pub mod policy;

use std::fmt;

use proplet_types::Digest;
use zeroize::Zeroizing;

pub use hashed::Hashed;
use policy::PolicyError;
pub use policy::{EmbeddedPolicy, Policy};

/// A component or core module: its bytes, their digest, and the policy in them. The bytes are wiped when it is
/// dropped.
///
/// Whether the bytes are WebAssembly at all is for the engine to say; until then they are only bytes.
///
/// ```
/// use proplet_component::Component;
/// let component = Component::of(b"\0asm\x01\0\0\0".to_vec());
/// assert_eq!(component.policy(), Ok(None));
/// ```
///
/// There is no way to make one with a digest or a policy of somebody's choice:
///
/// ```compile_fail
/// use proplet_component::Component;
/// let hashed = proplet_component::Hashed::of(Vec::new());
/// Component { hashed, policy: Ok(None) };
/// ```
pub struct Component {
    hashed: Hashed,
    policy: Result<Option<EmbeddedPolicy>, PolicyError>,
}

impl Component {
    /// The component in these bytes. Hashes them; it belongs on a thread that may block.
    #[must_use]
    pub fn of(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self::new(Hashed::of(bytes))
    }

    /// The component in bytes that are hashed already. Reads the policy, which is one pass over the structure
    /// of the binary; it belongs on a thread that may block.
    #[must_use]
    pub fn new(hashed: Hashed) -> Self {
        Self {
            policy: Policy::extract(hashed.bytes()),
            hashed,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.hashed.bytes()
    }

    /// The bytes, for whoever makes something else of them.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.hashed.into_bytes()
    }

    /// The digest of the bytes: the component digest of claims and receipts.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hashed.digest()
    }

    /// The policy that the component carries. Whether it counts is another question (see [`policy`]).
    ///
    /// # Errors
    /// [`PolicyError`] when there is one that cannot be read, or when the bytes are not WebAssembly. A policy
    /// that cannot be read is never the same as none.
    pub fn policy(&self) -> Result<Option<&EmbeddedPolicy>, &PolicyError> {
        self.policy.as_ref().map(Option::as_ref)
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Component({}, {} bytes)",
            self.digest(),
            self.bytes().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn digest_and_policy_are_those_of_the_bytes() {
        let toml = b"version = 1\nexports = [\"run\"]\n";
        let bytes = Policy::embed(MODULE, toml).unwrap();
        let component = Component::of(bytes.clone());
        assert_eq!(component.digest(), Digest::of(&bytes));
        let embedded = component.policy().unwrap().unwrap();
        assert_eq!(embedded.digest, Digest::of(toml));
        assert_eq!(*embedded.policy, Policy::parse(toml).unwrap());
        assert_eq!(component.into_bytes().as_slice(), bytes);
    }

    #[test]
    fn what_is_not_wasm_has_an_error_for_a_policy() {
        for bytes in [&b""[..], b"not wasm", b"\0asm\x01\0\0\0\xff"] {
            let component = Component::of(bytes.to_vec());
            assert!(matches!(component.policy(), Err(PolicyError::NotWasm(_))));
        }
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let component = Component::of(b"4711".to_vec());
        let shown = format!("{component:?}");
        assert!(shown.ends_with("4 bytes)") && !shown.contains("4711"));
    }
}
