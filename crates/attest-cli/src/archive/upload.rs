//! A large object that is written in parts, some of which are on their way while the next one is made.

use super::manifest::Object;
use super::store::Store;
use anyhow::Result;
use attest_log::hex;
use object_store::{MultipartUpload, PutPayload};
use ring::digest::{self, SHA256};
use std::collections::VecDeque;
use std::io::{self, Write};
use tokio::task::JoinHandle;

/// Bytes of a part. S3 takes 10,000 parts of at least 5 MiB.
const PART: usize = 8 << 20;
/// Parts that are on their way at once; more wait.
const IN_FLIGHT: usize = 3;

/// A large object on its way. Dropped before it is finished, it is aborted: nothing of it stays.
pub struct Upload {
    store: Store,
    name: String,
    parts: Box<dyn MultipartUpload>,
    part: Vec<u8>,
    on_their_way: VecDeque<JoinHandle<object_store::Result<()>>>,
    bytes: u64,
    hash: digest::Context,
    whole: bool,
}

impl Upload {
    pub fn new(store: Store, name: &str, parts: Box<dyn MultipartUpload>) -> Self {
        Self {
            store,
            name: name.to_owned(),
            parts,
            part: Vec::new(),
            on_their_way: VecDeque::new(),
            bytes: 0,
            hash: digest::Context::new(&SHA256),
            whole: false,
        }
    }

    /// Sends the last part and makes the object be there. `path` is its name within the archive.
    pub fn into_object(mut self, path: String) -> Result<Object> {
        if !self.part.is_empty() || self.bytes == 0 {
            self.send()?;
        }
        while !self.on_their_way.is_empty() {
            self.wait()?;
        }
        let store = self.store.clone();
        store
            .runtime()
            .block_on(self.parts.complete())
            .map_err(|error| store.explain("write", &self.name, error))?;
        self.whole = true;
        Ok(Object {
            path,
            bytes: self.bytes,
            sha256: hex(self.hash.clone().finish().as_ref()),
        })
    }

    fn send(&mut self) -> Result<()> {
        while self.on_their_way.len() >= IN_FLIGHT {
            self.wait()?;
        }
        let part = PutPayload::from(std::mem::take(&mut self.part));
        let sending = self.parts.put_part(part);
        self.on_their_way
            .push_back(self.store.runtime().spawn(sending));
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let Some(first) = self.on_their_way.pop_front() else {
            return Ok(());
        };
        self.store
            .runtime()
            .block_on(first)?
            .map_err(|error| self.store.explain("write", &self.name, error))
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART - self.part.len());
        let bytes = &bytes[..taken];
        self.part.extend_from_slice(bytes);
        self.hash.update(bytes);
        self.bytes += taken as u64;
        if self.part.len() == PART {
            self.send().map_err(io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.whole {
            return;
        }
        for part in &self.on_their_way {
            part.abort();
        }
        // What failed has been told; an upload that cannot be aborted is for the bucket's own rules to clear.
        let _ = self.store.runtime().block_on(self.parts.abort());
    }
}
