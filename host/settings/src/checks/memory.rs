//! `[audit] path` in a folder that is memory.
//!
//! There the log ends with the machine, and it shares little room with everything else: without a bound whoever may start
//! tasks could fill that room, and nothing else that is kept there could be written any more. So it has a bound unless the
//! document sets one, and the operator is told.

use crate::document;

/// Folders that are memory of the machine, by convention and in the VM image.
const FOLDERS: &[&str] = &["/run", "/var/run", "/dev/shm"];
/// One file in such a folder.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// All files in such a folder: a quarter of what the VM image has there, for the log and for everything else.
const BYTES: u64 = 16 * 1024 * 1024;

/// Sets what the document leaves open, if the log is in memory. Gives what the operator is told of it.
pub(crate) fn bound_in_memory(document: &mut document::Audit) -> Option<String> {
    let path = document.path.as_deref()?;
    let folder = FOLDERS.iter().find(|folder| path.starts_with(folder))?;
    let file = *document.max_file_bytes.get_or_insert(FILE_BYTES);
    if document.max_bytes.is_some() {
        return None;
    }
    let most = BYTES.max(file.saturating_mul(2));
    document.max_bytes = Some(most);
    Some(format!(
        "[audit] path is below {folder}, which is memory: the log ends with the machine, and its oldest files are \
         removed once all together have more than {most} bytes; copy them away, or set [audit] max_bytes"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, environment::Environment};

    /// One file and all of them, and whether the operator is told.
    fn bounds(text: &str) -> (u64, Option<u64>, bool) {
        let text = format!("[audit]\n{text}");
        let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
        let told = settings.notices.join("\n").contains("[audit] path");
        let audit = settings.audit;
        (audit.max_file_bytes, audit.max_bytes, told)
    }

    #[test]
    fn a_log_in_memory_has_a_bound_and_the_operator_is_told() {
        for folder in ["/run/proplet/audit", "/var/run/a", "/dev/shm/a"] {
            let bounded = bounds(&format!("path = \"{folder}\""));
            assert_eq!(bounded, (FILE_BYTES, Some(BYTES), true), "{folder}");
        }
        // Two files fit, however large.
        let large = bounds("path = \"/run/a\"\nmax_file_bytes = 16777216");
        assert_eq!(large, (16_777_216, Some(33_554_432), true));
    }

    #[test]
    fn what_the_document_sets_holds_and_a_disk_has_no_bound_by_itself() {
        let set = bounds("path = \"/run/a\"\nmax_bytes = 1000000000");
        assert_eq!(set, (FILE_BYTES, Some(1_000_000_000), false));
        for folder in ["/var/lib/proplet/audit", "/runs/a", "run/a"] {
            let (_, most, told) = bounds(&format!("path = \"{folder}\""));
            assert_eq!((most, told), (None, false), "{folder}");
        }
    }
}
