//! Evaluates a key broker's resource policy as Trustee does: the claims of the token are `input`, the request is
//! `data`, and the rule is `data.policy.allow`.
#![deny(missing_docs)]

use regorus::Engine;
use serde_json::{Value, json};

/// Whether a policy allows a resource to the bearer of a token with these claims.
///
/// # Errors
/// What is wrong with the policy, in words. Trustee answers with an error then, and releases nothing.
pub fn allows(policy: &str, path: &str, claims: &Value) -> Result<bool, String> {
    let mut engine = Engine::new();
    let path: Vec<&str> = path.split('/').collect();
    let data = json!({ "plugin": "resource", "resource-path": path, "query": {} });
    let mut evaluate = || {
        engine.add_policy("policy.rego".to_owned(), policy.to_owned())?;
        engine.add_data_json(&data.to_string())?;
        engine.set_input_json(&claims.to_string())?;
        engine.eval_bool_query("data.policy.allow".to_owned(), false)
    };
    evaluate().map_err(|error| error.to_string())
}
