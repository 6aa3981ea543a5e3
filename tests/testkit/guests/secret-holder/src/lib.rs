//! Holds a secret that it cannot read: it never calls `reveal`, so it does not import it, and whoever
//! reads its import list knows.
#![deny(missing_docs)]

use proplet_sdk::{Failure, secrets};

/// Gets the secret at the address that is the input, and gives back the address.
#[proplet_sdk::main]
fn run(uri: String) -> Result<String, Failure> {
    Ok(secrets::get(&uri)?.uri())
}

#[cfg(test)]
mod tests {
    use proplet_sdk::testing::Host;

    use super::*;

    #[test]
    fn an_opaque_secret_is_held() {
        let uri = "kbs:///default/test/opaque";
        assert_eq!(
            Host::new()
                .with_opaque_secret(uri)
                .run(|| run(uri.into()))
                .unwrap(),
            uri
        );
    }
}
