//! The annotations of an encrypted layer's descriptor.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::OcicryptError;
use super::options::PublicOptions;
use super::packet::AnnotationPacket;

/// What every annotation of OCIcrypt starts with.
const PREFIX: &str = "org.opencontainers.image.enc.";
/// Annotation that holds the public options.
pub const PUBOPTS_ANNOTATION: &str = "org.opencontainers.image.enc.pubopts";
/// What the annotations of key providers start with; the provider's name follows.
pub const PROVIDER_ANNOTATION_PREFIX: &str = "org.opencontainers.image.enc.keys.provider.";
/// Name of the key provider whose packets are written.
pub const KEY_PROVIDER: &str = "attestation-agent";
/// The most key packets that one layer may have: each may cost a request to the KBS.
pub const MAX_KEY_PACKETS: usize = 16;

/// Public options and key packets of one layer. There is at least one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEncryption {
    public: PublicOptions,
    first: AnnotationPacket,
    more: Vec<AnnotationPacket>,
}

impl LayerEncryption {
    /// Encryption of a new layer for one key.
    pub fn new(public: PublicOptions, packet: AnnotationPacket) -> Self {
        Self {
            public,
            first: packet,
            more: Vec::new(),
        }
    }

    /// Reads the annotations of a layer. `None` when there is none of OCIcrypt's.
    ///
    /// Packets of every key provider are read, since any one of several recipients suffices.
    /// Packets that are not in the attestation agent's form are passed over when another one is.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`], naming the annotation.
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, OcicryptError> {
        if !annotations.keys().any(|name| name.starts_with(PREFIX)) {
            return Ok(None);
        }
        let Some(public) = annotations.get(PUBOPTS_ANNOTATION) else {
            return Err(OcicryptError::malformed(
                PUBOPTS_ANNOTATION,
                "it is missing",
            ));
        };
        let public = decode(PUBOPTS_ANNOTATION, public)?;
        let public = PublicOptions::from_json(&public)?;

        let mut packets = Vec::new();
        let mut refused = None;
        let mut seen = 0;
        for (name, value) in annotations {
            if !name.starts_with(PROVIDER_ANNOTATION_PREFIX) {
                continue;
            }
            for text in value.split(',') {
                seen += 1;
                if seen > MAX_KEY_PACKETS {
                    return Err(OcicryptError::malformed(
                        PROVIDER_ANNOTATION_PREFIX,
                        format!("more than {MAX_KEY_PACKETS} key packets"),
                    ));
                }
                match decode(name, text).and_then(|json| AnnotationPacket::from_json(&json)) {
                    Ok(packet) => packets.push(packet),
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
        }
        let mut packets = packets.into_iter();
        match (packets.next(), refused) {
            (Some(first), _) => Ok(Some(Self {
                public,
                first,
                more: packets.collect(),
            })),
            (None, Some(error)) => Err(error),
            (None, None) => Err(OcicryptError::malformed(
                format!("{PROVIDER_ANNOTATION_PREFIX}{KEY_PROVIDER}"),
                "it is missing; encrypt for a key provider (jwe, pgp and pkcs7 recipients are not \
                 read)",
            )),
        }
    }

    /// The annotations that say this, to be put on the descriptor of the encrypted layer.
    ///
    /// # Errors
    /// [`OcicryptError::Malformed`] when a packet cannot be serialised, which none causes.
    pub fn to_annotations(&self) -> Result<BTreeMap<String, String>, OcicryptError> {
        let packets: Vec<String> = self
            .packets()
            .map(|packet| packet.to_json().map(|json| STANDARD.encode(json)))
            .collect::<Result<_, _>>()?;
        Ok(BTreeMap::from([
            (
                PUBOPTS_ANNOTATION.to_owned(),
                STANDARD.encode(self.public.to_json()),
            ),
            (
                format!("{PROVIDER_ANNOTATION_PREFIX}{KEY_PROVIDER}"),
                packets.join(","),
            ),
        ]))
    }

    /// The public options.
    pub fn public(&self) -> &PublicOptions {
        &self.public
    }

    /// All key packets, in the order of the annotations.
    pub fn packets(&self) -> impl Iterator<Item = &AnnotationPacket> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The first packet that is wrapped with authentication, else the first.
    pub fn preferred(&self) -> &AnnotationPacket {
        self.packets()
            .find(|packet| packet.wrap() == super::WrapType::A256Gcm)
            .unwrap_or(&self.first)
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, OcicryptError> {
    STANDARD
        .decode(text)
        .map_err(|e| OcicryptError::malformed(format!("annotation {name}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocicrypt::WrapType;
    use proptest::prelude::*;

    fn packet(kid: &str, wrap: WrapType) -> AnnotationPacket {
        AnnotationPacket::new(
            kid.parse().unwrap(),
            vec![1, 2],
            vec![0; wrap.iv_len()],
            wrap,
        )
        .unwrap()
    }

    fn one() -> LayerEncryption {
        LayerEncryption::new(
            PublicOptions::new([5; 32]),
            packet("kbs:///default/key/1", WrapType::A256Gcm),
        )
    }

    #[test]
    fn annotations_round_trip() {
        let annotations = one().to_annotations().unwrap();
        assert_eq!(
            LayerEncryption::from_annotations(&annotations).unwrap(),
            Some(one())
        );
    }

    #[test]
    fn several_recipients_and_providers_are_read() {
        let mut annotations = one().to_annotations().unwrap();
        let name = format!("{PROVIDER_ANNOTATION_PREFIX}{KEY_PROVIDER}");
        let ctr = packet("kbs:///default/key/0", WrapType::A256Ctr)
            .to_json()
            .unwrap();
        let gcm = annotations[&name].clone();
        annotations.insert(name, format!("{},{gcm}", STANDARD.encode(ctr)));
        annotations.insert(
            format!("{PROVIDER_ANNOTATION_PREFIX}zzz"),
            STANDARD.encode("not a packet"),
        );
        let read = LayerEncryption::from_annotations(&annotations)
            .unwrap()
            .unwrap();
        assert_eq!(read.packets().count(), 2);
        assert_eq!(read.preferred().kid().path(), "default/key/1");
    }

    #[test]
    fn plain_layers_have_none() {
        let annotations = BTreeMap::from([("org.opencontainers.image.title".into(), "a".into())]);
        assert_eq!(
            LayerEncryption::from_annotations(&annotations).unwrap(),
            None
        );
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let name = format!("{PROVIDER_ANNOTATION_PREFIX}{KEY_PROVIDER}");
        for (change, value, named) in [
            (PUBOPTS_ANNOTATION, None, "pubopts"),
            (PUBOPTS_ANNOTATION, Some("%"), "pubopts"),
            (name.as_str(), None, "attestation-agent"),
            (name.as_str(), Some("%"), "attestation-agent"),
            (name.as_str(), Some("e30="), "kid"),
            (name.as_str(), Some(""), "key packet"),
        ] {
            let mut annotations = one().to_annotations().unwrap();
            match value {
                None => annotations.remove(change),
                Some(value) => annotations.insert(change.to_owned(), value.to_owned()),
            };
            let error = LayerEncryption::from_annotations(&annotations)
                .unwrap_err()
                .to_string();
            assert!(error.contains(named), "{change} {value:?}: {error}");
        }
        let mut annotations = one().to_annotations().unwrap();
        annotations.insert(name, vec!["e30="; MAX_KEY_PACKETS + 1].join(","));
        assert!(LayerEncryption::from_annotations(&annotations).is_err());
    }

    proptest! {
        #[test]
        fn any_annotations_are_read_or_refused(public in ".{0,80}", packets in ".{0,80}") {
            let annotations = BTreeMap::from([
                (PUBOPTS_ANNOTATION.to_owned(), public),
                (format!("{PROVIDER_ANNOTATION_PREFIX}{KEY_PROVIDER}"), packets),
            ]);
            let _ = LayerEncryption::from_annotations(&annotations);
        }
    }
}
