//! What is inside a component, told without compiling it.

use std::collections::BTreeSet;

use proplet_component::{Component, EmbeddedPolicy};
use proplet_types::{Code, Digest, text::line};
use serde_json::{Value, json};
use wasmparser::{Parser, Payload};

use super::{error::CliError, policy};

/// What the owner of a component (or core module) is told about it.
pub(super) struct Description {
    digest: Digest,
    policy: Option<EmbeddedPolicy>,
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

impl Description {
    /// Reads the binary. Only names at the top level count: they are what the host links.
    pub(super) fn of(component: &Component) -> Result<Self, CliError> {
        let policy = component
            .policy()
            .map_err(|error| CliError::new(Code::PolicyInvalid, error.to_string()))?;
        let mut description = Self {
            digest: component.digest(),
            policy: policy.cloned(),
            imports: BTreeSet::new(),
            exports: BTreeSet::new(),
        };
        description.read_names(component.bytes()).map_err(|error| {
            CliError::new(
                Code::ComponentInvalid,
                format!("the component is malformed: {error}"),
            )
        })?;
        Ok(description)
    }

    /// The policy in it.
    pub(super) fn policy(&self) -> Option<&EmbeddedPolicy> {
        self.policy.as_ref()
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "digest": self.digest.to_string(),
            "policy_digest": self.policy.as_ref().map(|embedded| embedded.digest),
            "policy": self.policy.as_ref().map(|embedded| policy::to_json(&embedded.policy)),
            "imports": self.imports,
            "exports": self.exports,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("component   {}\n", self.digest);
        match &self.policy {
            None => text.push_str("policy      none\n"),
            Some(embedded) => {
                text.push_str(&format!("policy      {}\n", embedded.digest));
                text.push_str(&policy::to_text(&embedded.policy));
            }
        }
        for (heading, names) in [("imports", &self.imports), ("exports", &self.exports)] {
            let mut heading = heading;
            for name in names {
                text.push_str(&format!("{heading:<12}{}\n", line(name)));
                heading = "";
            }
        }
        text
    }

    fn read_names(&mut self, wasm: &[u8]) -> Result<(), wasmparser::BinaryReaderError> {
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        self.imports.insert(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        self.exports.insert(export?.name.name.to_owned());
                    }
                }
                Payload::ImportSection(section) if depth == 0 => {
                    for import in section.into_imports() {
                        self.imports.insert(import?.module.to_owned());
                    }
                }
                Payload::ExportSection(section) if depth == 0 => {
                    for export in section {
                        self.exports.insert(export?.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(bytes: &[u8]) -> Result<Description, CliError> {
        Description::of(&Component::of(bytes.to_vec()))
    }

    #[test]
    fn a_module_without_anything_has_a_digest() {
        let component = described(b"\0asm\x01\0\0\0").unwrap();
        assert!(component.to_text().contains("policy      none"));
        assert_eq!(component.to_json()["imports"], json!([]));
    }

    #[test]
    fn what_is_not_wasm_is_refused() {
        assert!(described(b"not wasm").is_err());
    }

    proptest::proptest! {
        #[test]
        fn bytes_never_panic(bytes: Vec<u8>) {
            let _ = described(&bytes);
            let _ = described(&[b"\0asm\x01\0\0\0".as_slice(), &bytes].concat());
            let _ = described(&[b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat());
        }
    }
}
