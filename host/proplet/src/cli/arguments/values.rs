//! Values of options that more than one group of commands takes.

use proplet_net::{Proxy, ProxyError};

/// The address of a proxy, for everything.
pub(super) fn proxy(text: &str) -> Result<Proxy, ProxyError> {
    Proxy::new(text, &[])
}
