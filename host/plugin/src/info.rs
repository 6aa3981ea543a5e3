//! What a plugin is told.

/// A task that is about to run.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its id.
    pub id: String,
    /// Its name; empty for an encrypted task.
    pub name: String,
    /// The reference of its image, if it has one; of an encrypted task the digest, if the reference has one.
    pub image_url: String,
    /// Its arguments; none for an encrypted task.
    pub cli_args: Vec<String>,
    /// Its environment; none for an encrypted task.
    pub env: Vec<(String, String)>,
    /// Whether it goes on until it is stopped.
    pub daemon: bool,
    /// Whether its component is encrypted.
    pub encrypted: bool,
}

/// How a task ended.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub task_id: String,
    /// Whether it ended well.
    pub success: bool,
    /// The result of a plain task.
    pub output: Option<String>,
    /// Why it failed; of an encrypted task the code.
    pub error: Option<String>,
}

impl TaskInfo {
    /// Of an encrypted task: ids and digests.
    #[must_use]
    pub fn encrypted(id: &str, image: &str, daemon: bool) -> Self {
        let digest = image.rsplit_once('@').map(|(_, digest)| digest);
        let digest = digest.and_then(|digest| digest.parse::<proplet_types::Digest>().ok());
        Self {
            id: id.to_owned(),
            image_url: digest.map(|digest| digest.to_string()).unwrap_or_default(),
            daemon,
            encrypted: true,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_encrypted_task_ids_and_digests_are_told() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (image, told) in [
            (format!("ghcr.io/patients/study@{digest}"), digest.as_str()),
            ("ghcr.io/patients/study:v1".to_owned(), ""),
            ("ghcr.io/patients/study@secret-words".to_owned(), ""),
        ] {
            let info = TaskInfo::encrypted("t", &image, false);
            assert_eq!((info.id.as_str(), info.image_url.as_str()), ("t", told));
            assert!(info.encrypted && info.name.is_empty() && info.env.is_empty());
        }
    }
}
