//! A host for `cargo test`: says what the test told it to say, and protects nothing.
//!
//! It exists in native builds only, so no component can hold it. It answers on the thread that runs
//! [`Host::run`]. Tests that need real evidence, real key release and real limits run the component
//! in the real runtime with the fakes of `proplet-testkit`.
//!
//! ```
//! use proplet_sdk::{Failure, results, secrets, testing::Host};
//!
//! fn run(input: String) -> Result<(), Failure> {
//!     let greeting = String::from_utf8(secrets::get("kbs:///default/text/greeting")?.reveal()?)?;
//!     results::publish(format!("{greeting}, {input}"), "text/plain")?;
//!     Ok(())
//! }
//!
//! let host = Host::new().with_secret("kbs:///default/text/greeting", "Hello");
//! host.run(|| run("Ada".into())).unwrap();
//! assert_eq!(host.published().unwrap().content, b"Hello, Ada");
//! ```

mod host;

pub use self::host::Host;
pub(crate) use self::host::part;
pub use crate::attestation::native::Evidence;
pub use crate::results::native::Published;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inputs, results};

    #[test]
    #[should_panic(expected = "inputs::count needs a host")]
    fn a_call_without_a_host_panics_and_says_so() {
        inputs::count();
    }

    #[test]
    fn hosts_nest_and_are_put_back() {
        let (outer, inner) = (Host::new().with_input("a"), Host::new());
        outer.run(|| {
            assert_eq!(inner.run(inputs::count), 0);
            assert_eq!(inputs::count(), 1);
        });
    }

    #[test]
    fn a_media_type_is_checked() {
        Host::new().run(|| {
            let refused = results::publish("a", "json").unwrap_err();
            assert_eq!(refused, results::Error::InvalidMediaType("json".into()));
        });
    }
}
