//! Wrapping and unwrapping the private options under a key-encryption key.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use proplet_types::ResourceUri;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::error::OcicryptError;
use super::options::PrivateOptions;
use super::packet::{AnnotationPacket, WrapType};

/// Opens the private options in `packet` with the key-encryption key `kek` (32 bytes).
///
/// With [`WrapType::A256Ctr`] nothing authenticates them: a wrong key shows only as nonsense, and
/// whoever can change the packet can change bits of key, nonce and digest. The caller decides
/// whether to allow it.
///
/// # Errors
/// [`OcicryptError::KeyLength`], [`OcicryptError::Unwrap`], or [`OcicryptError::Malformed`] when
/// authentic options are not of the form that OCIcrypt writes.
pub fn unwrap_options(
    packet: &AnnotationPacket,
    kek: &[u8],
) -> Result<PrivateOptions, OcicryptError> {
    if kek.len() != 32 {
        return Err(OcicryptError::KeyLength { length: kek.len() });
    }
    let mut json = Zeroizing::new(packet.wrapped().to_vec());
    match packet.wrap() {
        WrapType::A256Gcm => {
            let nonce =
                Nonce::try_assume_unique_for_key(packet.iv()).map_err(|_| OcicryptError::Unwrap)?;
            let length = gcm_key(kek)?
                .open_in_place(nonce, Aad::empty(), &mut json)
                .map_err(|_| OcicryptError::Unwrap)?
                .len();
            json.truncate(length);
            PrivateOptions::from_json(&json)
        }
        WrapType::A256Ctr => {
            Ctr128BE::<Aes256>::new_from_slices(kek, packet.iv())
                .map_err(|_| OcicryptError::Unwrap)?
                .apply_keystream(&mut json);
            // Without a tag, nonsense is what a wrong key looks like.
            PrivateOptions::from_json(&json).map_err(|_| OcicryptError::Unwrap)
        }
    }
}

/// Wraps private options under the key-encryption key `kek` (32 bytes) with A256GCM and a random
/// initialisation vector.
///
/// # Errors
/// [`OcicryptError::KeyLength`] or [`OcicryptError::Random`].
pub fn wrap_options(
    options: &PrivateOptions,
    kek: &[u8],
    kid: ResourceUri,
) -> Result<AnnotationPacket, OcicryptError> {
    let mut iv = [0; NONCE_LEN];
    SystemRandom::new()
        .fill(&mut iv)
        .map_err(|_| OcicryptError::Random)?;
    seal(options, kek, kid, iv)
}

/// Wraps under a given initialisation vector, which must be a new one for each call.
fn seal(
    options: &PrivateOptions,
    kek: &[u8],
    kid: ResourceUri,
    iv: [u8; NONCE_LEN],
) -> Result<AnnotationPacket, OcicryptError> {
    if kek.len() != 32 {
        return Err(OcicryptError::KeyLength { length: kek.len() });
    }
    let mut data = options.to_json();
    let tag = gcm_key(kek)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(iv),
            Aad::empty(),
            data.as_mut_slice(),
        )
        .map_err(|_| OcicryptError::Unwrap)?;
    let mut wrapped = data.to_vec();
    wrapped.extend_from_slice(tag.as_ref());
    AnnotationPacket::new(kid, wrapped, iv.to_vec(), WrapType::A256Gcm)
}

fn gcm_key(kek: &[u8]) -> Result<LessSafeKey, OcicryptError> {
    UnboundKey::new(&AES_256_GCM, kek)
        .map(LessSafeKey::new)
        .map_err(|_| OcicryptError::KeyLength { length: kek.len() })
}

#[cfg(test)]
mod tests {
    use proplet_types::Digest;

    use super::*;

    fn kid() -> ResourceUri {
        "kbs:///default/key/1".parse().unwrap()
    }

    #[test]
    fn known_answer_of_a_gcm_packet() {
        let kek = hex::decode("b794385f2d1ef7ab4d9273d1906381b44f2f6f2588a3efb96a49188331984753")
            .unwrap();
        let json = r#"{"kid":"kbs:///default/key/1","wrapped_data":"j8ot/R6dw4dgW1EzoZCbAErFsm//+zcQOnGHp6N4LqK6mmJ7P3CXVho4jI8BjENle325eUFtr9nSrGmydjfuw2iVrrNcstzPeaS8sY/KCv82m6v7WyNSk9Mec+A6XqH5m6g6ScesLUPzZPWTGVMEwRxWRFn/S7oGM9yDpNum2ynYuiKBmbm5Gg7I5jPBK9lORsGC+dGnc6s7cKLExa+GyKF9uF/RQlHcvPC6K71YZ3RMswSZciENTmlS0HHkFG13nqCVwpO46kBN0DnBVuI2UTU=","iv":"AAECAwQFBgcICQoL","wrap_type":"A256GCM"}"#;
        let packet = AnnotationPacket::from_json(json.as_bytes()).unwrap();
        let options = unwrap_options(&packet, &kek).unwrap();
        assert_eq!(
            options.to_json().as_slice(),
            br#"{"symkey":"PH8vmIg1BPxpdqqk8KXvby8678vrDg3ohk0wp4eEzYk=","digest":"sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476","cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}}"#
        );
    }

    /// `ocicrypt-rs/data/sample_kbc_annotation.json` of Confidential Containers' guest components:
    /// under its key and vector, its options give its wrapped data, whose SHA-256 stands here.
    #[test]
    fn known_answer_of_the_sample_packet_of_guest_components() {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        let kek = STANDARD
            .decode("2Zt3BbC6ehaClbOjNnJwsN2bNxv1FMqLm6fwozcR2uo=")
            .unwrap();
        let iv = STANDARD
            .decode("3PQMqtjbR4hxCr83")
            .unwrap()
            .try_into()
            .unwrap();
        let options = PrivateOptions::from_json(br#"{"symkey":"1jL2jJV0Oyz2nmPkLtqulW6cKcpIUN5FpILcVnP5Uqs=","digest":"sha256:18be1897f9402f27c8c0eba7c86e0c00f5656db62961b5949d55f9565c42c6e7","cipheroptions":{"nonce":"r10F9oaCu+nWFXfod3l83g=="}}"#).unwrap();
        let packet = seal(&options, &kek, kid(), iv).unwrap();
        assert_eq!(
            Digest::of(packet.wrapped()).hex(),
            "9c0f6894377be1c4dd90e4237475aaca88ba3bf1cb75da30990482ac0bd9c2ba"
        );
        assert_eq!(
            unwrap_options(&packet, &kek).unwrap().to_json(),
            options.to_json()
        );
    }

    #[test]
    fn what_is_wrapped_opens_under_its_key_only() {
        let options = PrivateOptions::new(Zeroizing::new([7; 32]), Digest::of(b"plain"), [9; 16]);
        let packet = wrap_options(&options, &[1; 32], kid()).unwrap();
        let opened = unwrap_options(&packet, &[1; 32]).unwrap();
        assert_eq!(opened.to_json(), options.to_json());
        assert_eq!(
            unwrap_options(&packet, &[2; 32]).unwrap_err(),
            OcicryptError::Unwrap
        );
        assert_eq!(
            unwrap_options(&packet, &[1; 31]).unwrap_err(),
            OcicryptError::KeyLength { length: 31 }
        );
        assert!(matches!(
            wrap_options(&options, b"short", kid()),
            Err(OcicryptError::KeyLength { length: 5 })
        ));
    }

    #[test]
    fn every_flipped_bit_of_packet_data_and_iv_is_refused() {
        let options = PrivateOptions::new(Zeroizing::new([7; 32]), Digest::of(b"plain"), [9; 16]);
        let packet = wrap_options(&options, &[1; 32], kid()).unwrap();
        for bit in 0..packet.wrapped().len() * 8 {
            let mut wrapped = packet.wrapped().to_vec();
            wrapped[bit / 8] ^= 1 << (bit % 8);
            let bad =
                AnnotationPacket::new(kid(), wrapped, packet.iv().to_vec(), packet.wrap()).unwrap();
            assert_eq!(
                unwrap_options(&bad, &[1; 32]).unwrap_err(),
                OcicryptError::Unwrap
            );
        }
        for bit in 0..packet.iv().len() * 8 {
            let mut iv = packet.iv().to_vec();
            iv[bit / 8] ^= 1 << (bit % 8);
            let bad =
                AnnotationPacket::new(kid(), packet.wrapped().to_vec(), iv, packet.wrap()).unwrap();
            assert_eq!(
                unwrap_options(&bad, &[1; 32]).unwrap_err(),
                OcicryptError::Unwrap
            );
        }
    }

    #[test]
    fn ctr_packets_open_and_wrong_keys_show_as_nonsense() {
        let options = PrivateOptions::new(Zeroizing::new([7; 32]), Digest::of(b"plain"), [9; 16]);
        let mut data = options.to_json().to_vec();
        Ctr128BE::<Aes256>::new(&[1; 32].into(), &[3; 16].into()).apply_keystream(&mut data);
        let packet = AnnotationPacket::new(kid(), data, vec![3; 16], WrapType::A256Ctr).unwrap();
        assert_eq!(
            unwrap_options(&packet, &[1; 32]).unwrap().to_json(),
            options.to_json()
        );
        assert_eq!(
            unwrap_options(&packet, &[2; 32]).unwrap_err(),
            OcicryptError::Unwrap
        );
    }
}
