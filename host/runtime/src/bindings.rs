//! Generated from `wit/confidential`. Private: what others see is [`crate::interfaces`] and the traits of
//! [`crate::services`].
#![allow(
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

wasmtime::component::bindgen!({
    path: "../../wit/confidential",
    inline: "
        package proplet:host;
        world host {
            import propeller:confidential/attestation@0.1.0;
            import propeller:confidential/secrets@0.1.0;
            import propeller:confidential/inputs@0.1.0;
            import propeller:confidential/results@0.1.0;
        }
    ",
    world: "proplet:host/host",
    imports: {
        "propeller:confidential/attestation.evidence": async | trappable,
        "propeller:confidential/secrets.get": async | trappable,
        default: trappable,
    },
    with: {
        "propeller:confidential/attestation.evidence-bundle": crate::interfaces::attestation::Evidence,
        "propeller:confidential/secrets.secret": crate::interfaces::secrets::Secret,
        "propeller:confidential/results.receipt": crate::services::PublishedReceipt,
    },
});
