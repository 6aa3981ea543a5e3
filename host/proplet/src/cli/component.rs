//! What is inside a component, told without compiling it.

use std::collections::BTreeSet;

use proplet_component::Policy;
use proplet_types::{Code, Digest, text::line};
use serde_json::{Value, json};
use wasmparser::{Parser, Payload};

use super::{error::CliError, policy};

/// A component (or core module) as its owner sees it.
pub(super) struct Component {
    digest: Digest,
    policy: Option<(Policy, Digest)>,
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

impl Component {
    /// Reads the binary. Only names at the top level count: they are what the host links.
    pub(super) fn read(wasm: &[u8]) -> Result<Self, CliError> {
        let policy = Policy::extract(wasm)
            .map_err(|error| CliError::new(Code::PolicyInvalid, error.to_string()))?;
        let mut component = Self {
            digest: Digest::of(wasm),
            policy,
            imports: BTreeSet::new(),
            exports: BTreeSet::new(),
        };
        component.read_names(wasm).map_err(|error| {
            CliError::new(
                Code::ComponentInvalid,
                format!("the component is malformed: {error}"),
            )
        })?;
        Ok(component)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "digest": self.digest.to_string(),
            "policy_digest": self.policy.as_ref().map(|(_, digest)| digest),
            "policy": self.policy.as_ref().map(|(policy, _)| policy::to_json(policy)),
            "imports": self.imports,
            "exports": self.exports,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("component   {}\n", self.digest);
        match &self.policy {
            None => text.push_str("policy      none\n"),
            Some((policy, digest)) => {
                text.push_str(&format!("policy      {digest}\n"));
                text.push_str(&policy::to_text(policy));
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

    #[test]
    fn a_module_without_anything_has_a_digest() {
        let component = Component::read(b"\0asm\x01\0\0\0").unwrap();
        assert!(component.to_text().contains("policy      none"));
        assert_eq!(component.to_json()["imports"], json!([]));
    }

    #[test]
    fn what_is_not_wasm_is_refused() {
        assert!(Component::read(b"not wasm").is_err());
    }

    proptest::proptest! {
        #[test]
        fn bytes_never_panic(bytes: Vec<u8>) {
            let _ = Component::read(&bytes);
            let _ = Component::read(&[b"\0asm\x01\0\0\0".as_slice(), &bytes].concat());
            let _ = Component::read(&[b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat());
        }
    }
}
