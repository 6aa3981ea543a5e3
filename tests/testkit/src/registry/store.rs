//! What a registry holds: blobs by digest, manifests by repository and reference, open uploads.

use std::collections::HashMap;

use bytes::Bytes;
use ring::digest;
use uuid::Uuid;

/// The most bytes that one upload may have.
pub(super) const MAX_BLOB_BYTES: usize = 1 << 30;
/// The most uploads that may be open.
const MAX_UPLOADS: usize = 256;

#[derive(Clone)]
pub(super) struct StoredManifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    pub(super) digest: String,
}

#[derive(Default)]
pub(super) struct Store {
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<(String, String), StoredManifest>,
    uploads: HashMap<String, Vec<u8>>,
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    format!(
        "sha256:{}",
        hex::encode(digest::digest(&digest::SHA256, bytes))
    )
}

impl Store {
    pub(super) fn insert_blob(&mut self, bytes: Bytes) -> String {
        let digest = sha256(&bytes);
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    pub(super) fn insert_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> String {
        let digest = sha256(&bytes);
        let manifest = StoredManifest {
            media_type: media_type.to_owned(),
            bytes,
            digest: digest.clone(),
        };
        self.manifests.insert(
            (repository.to_owned(), reference.to_owned()),
            manifest.clone(),
        );
        self.manifests
            .insert((repository.to_owned(), digest.clone()), manifest);
        digest
    }

    pub(super) fn blob(&self, digest: &str) -> Option<Bytes> {
        self.blobs.get(digest).cloned()
    }

    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<StoredManifest> {
        self.manifests
            .get(&(repository.to_owned(), reference.to_owned()))
            .cloned()
    }

    /// Opens an upload; none when too many are open.
    pub(super) fn open_upload(&mut self) -> Option<String> {
        if self.uploads.len() >= MAX_UPLOADS {
            return None;
        }
        let id = Uuid::new_v4().to_string();
        self.uploads.insert(id.clone(), Vec::new());
        Some(id)
    }

    /// Appends to an upload and gives its new length; none when it is not open or would become too
    /// long, or when `start` is not where it stands.
    pub(super) fn append(&mut self, id: &str, start: Option<usize>, chunk: &[u8]) -> Option<usize> {
        let upload = self.uploads.get_mut(id)?;
        if start.is_some_and(|start| start != upload.len())
            || upload.len() + chunk.len() > MAX_BLOB_BYTES
        {
            return None;
        }
        upload.extend_from_slice(chunk);
        Some(upload.len())
    }

    /// Forgets what an upload has so far.
    pub(super) fn restart_upload(&mut self, id: &str) {
        if let Some(upload) = self.uploads.get_mut(id) {
            upload.clear();
        }
    }

    /// Closes an upload without looking at it: the first `length` bytes become the blob of this digest.
    pub(super) fn close_unseen(&mut self, id: &str, digest: &str, length: usize) -> bool {
        let Some(mut bytes) = self.uploads.remove(id) else {
            return false;
        };
        bytes.truncate(length);
        self.blobs.insert(digest.to_owned(), bytes.into());
        true
    }

    /// Closes an upload, which becomes a blob if it has the digest that it should.
    pub(super) fn close_upload(&mut self, id: &str, digest: &str) -> bool {
        match self.uploads.remove(id) {
            Some(bytes) if sha256(&bytes) == digest => {
                self.insert_blob(bytes.into());
                true
            }
            _ => false,
        }
    }
}
