//! How far an upload is.

/// How far the upload of one blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that went out.
    pub sent: u64,
    /// Bytes of the blob.
    pub total: u64,
}

/// Who wants to know about [`Progress`]: called a few times per second while a blob is sent.
pub type Watcher<'a> = &'a mut (dyn FnMut(Progress) + Send);
