//! The parameters of `skopeo copy --encryption-key provider:attestation-agent:PARAMETERS`.
//!
//! `name=value` pairs with `::` in between, as CoCo's `coco_keyprovider` takes them. What that program passes over
//! in silence is refused here, because the silence makes images that do not open, or that everybody can open: an
//! unknown or repeated name, an algorithm that it would not use, a key id that key brokers do not understand,
//! and the sample key.

use std::path::PathBuf;

use proplet_types::ResourceUri;

/// How a layer's key is to be wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrapParameters {
    /// `keyid`: where the key broker has, or will have, the key.
    pub key_id: ResourceUri,
    /// `keypath`: the file with the key's 32 bytes. Without one, a new key.
    pub key_path: Option<PathBuf>,
}

/// Why parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParametersError {
    /// A part without `=`.
    #[error(
        "parameters are name=value with :: in between, as keyid=kbs:///repository/key/tag::keypath=/path"
    )]
    Form,
    /// A name that has no meaning.
    #[error("the parameter {0:?} is not known: there are keyid, keypath and algorithm")]
    Unknown(String),
    /// A name that is there twice.
    #[error("the parameter {0} is given twice")]
    Twice(&'static str),
    /// No key id.
    #[error(
        "keyid is missing: name where the key broker has the key, as keyid=kbs:///repository/key/tag"
    )]
    NoKeyId,
    /// A key id that is no resource's address.
    #[error("keyid: {0}")]
    KeyId(String),
    /// Another algorithm than A256GCM.
    #[error(
        "algorithm: only A256GCM is written; A256CTR does not authenticate the layer's key, and hosts refuse it"
    )]
    Algorithm,
    /// The sample key.
    #[error(
        "sample: everybody knows the sample key, so nothing is encrypted with it; give keyid and keypath"
    )]
    Sample,
}

impl WrapParameters {
    /// Reads parameters.
    ///
    /// # Errors
    /// [`ParametersError`].
    pub fn parse(text: &str) -> Result<Self, ParametersError> {
        let (mut key_id, mut key_path, mut algorithm, mut sample) = (None, None, None, None);
        for part in text.split("::") {
            let (name, value) = part.split_once('=').ok_or(ParametersError::Form)?;
            let (name, place) = match name {
                "keyid" => ("keyid", &mut key_id),
                "keypath" => ("keypath", &mut key_path),
                "algorithm" => ("algorithm", &mut algorithm),
                "sample" => ("sample", &mut sample),
                other => return Err(ParametersError::Unknown(other.chars().take(32).collect())),
            };
            if place.replace(value).is_some() {
                return Err(ParametersError::Twice(name));
            }
        }
        if sample.is_some_and(|sample| sample != "false") {
            return Err(ParametersError::Sample);
        }
        if algorithm.is_some_and(|algorithm| algorithm != "A256GCM") {
            return Err(ParametersError::Algorithm);
        }
        let key_id: &str = key_id.ok_or(ParametersError::NoKeyId)?;
        let refused = |words: String| ParametersError::KeyId(words);
        let key_id: ResourceUri = key_id
            .parse()
            .map_err(|error| refused(format!("{error}")))?;
        if key_id.host().is_some() {
            return Err(refused(format!(
                "leave the host out, kbs:///{}: each host has its own key broker",
                key_id.path()
            )));
        }
        Ok(Self {
            key_id,
            key_path: key_path.map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_of_the_stock_tools_are_read() {
        let read = |text: &str| WrapParameters::parse(text).unwrap();
        let key_id: ResourceUri = "kbs:///default/key/one".parse().unwrap();
        let expected = |path: Option<&str>| WrapParameters {
            key_id: key_id.clone(),
            key_path: path.map(PathBuf::from),
        };
        assert_eq!(
            read("keypath=/tmp/key::keyid=kbs:///default/key/one::algorithm=A256GCM"),
            expected(Some("/tmp/key"))
        );
        assert_eq!(
            read("keyid=kbs:///default/key/one::sample=false"),
            expected(None)
        );
        assert_eq!(
            read("keyid=kbs:///default/key/one::keypath=a=b:c"),
            expected(Some("a=b:c"))
        );
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        let refused = |text: &str| WrapParameters::parse(text).unwrap_err();
        let id = "keyid=kbs:///default/key/one";
        assert_eq!(refused(""), ParametersError::Form);
        assert_eq!(refused("keyid"), ParametersError::Form);
        assert_eq!(refused(&format!("{id}::")), ParametersError::Form);
        assert_eq!(
            refused(&format!("{id}::keyPath=/x")),
            ParametersError::Unknown("keyPath".to_owned())
        );
        assert_eq!(
            refused(&format!("{id}::{id}")),
            ParametersError::Twice("keyid")
        );
        assert_eq!(refused("keypath=/x"), ParametersError::NoKeyId);
        assert_eq!(
            refused(&format!("{id}::algorithm=A256CTR")),
            ParametersError::Algorithm
        );
        for sample in ["sample=true", "sample=1"] {
            assert_eq!(refused(sample), ParametersError::Sample);
        }
        for bad in [
            "/default/key/one",
            "kbs:///default/key",
            "kbs://kbs.example/default/key/one",
            "kbs+x:///default/key/one",
        ] {
            let error = refused(&format!("keyid={bad}"));
            assert!(matches!(error, ParametersError::KeyId(_)), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(keyid=kbs:///a/key/1|.{0,20})(::.{0,20}){0,3}") {
            let _ = WrapParameters::parse(&text);
        }
    }
}
