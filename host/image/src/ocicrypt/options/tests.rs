use proptest::prelude::*;

use super::*;

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
        let error = PrivateOptions::from_json(PRIVATE.replace(from, to).as_bytes()).unwrap_err();
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
