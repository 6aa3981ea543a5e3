//! What a policy decides about.

use serde_json::Value;

/// A request that a policy decides about.
#[derive(Debug)]
pub struct ResourceRequest<'a> {
    /// `repository/type/tag`.
    pub path: &'a str,
    /// The token's claims, as Trustee gives them to Rego as `input`.
    pub claims: &'a Value,
}

impl ResourceRequest<'_> {
    /// The TEE of the CPU's evidence, such as `snp`.
    pub fn tee(&self) -> Option<&str> {
        let evidence = self
            .claims
            .pointer("/submods/cpu0/ear.veraison.annotated-evidence")?;
        ["snp", "tdx", "sample"]
            .into_iter()
            .find(|tee| evidence.get(tee).is_some())
    }

    /// The launch measurement in hexadecimal; MRTD for TDX.
    pub fn measurement(&self) -> Option<&str> {
        let evidence = self
            .claims
            .pointer("/submods/cpu0/ear.veraison.annotated-evidence")?;
        ["/snp/measurement", "/tdx/quote/body/mr_td"]
            .into_iter()
            .find_map(|pointer| evidence.pointer(pointer))
            .and_then(Value::as_str)
    }

    /// Whether every submodule's `ear.status` is `affirming`, as Trustee's `affirming.rego` demands.
    pub fn is_affirming(&self) -> bool {
        let submods = self.claims.get("submods").and_then(Value::as_object);
        submods.is_some_and(|submods| {
            !submods.is_empty()
                && submods.values().all(|s| {
                    s.get("ear.status")
                        .is_some_and(|status| status == "affirming")
                })
        })
    }
}
