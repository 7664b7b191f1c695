//! Where archives are: a folder or an object store (S3, GCS, Azure).
//!
//! Invariant: a name holds a whole object or what it held before. Credentials come from the environment, never from the URL.

use super::upload::Upload;
use crate::layout;
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use attest_log::hex;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, ObjectStoreScheme, RetryConfig};
use ring::digest::{self, SHA256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use url::Url;

/// How long a request is tried again: a store that is away is told before somebody gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of a store, in which objects have relative names.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    prefix: Path,
    /// Of a local folder.
    folder: Option<PathBuf>,
    /// As the user named it.
    name: String,
}

/// An object's bytes, in a file.
pub struct Fetched {
    pub file: File,
    pub bytes: u64,
    pub sha256: String,
}

/// Whether this names an object store or a file by URL.
pub fn is_url(place: &str) -> bool {
    place.contains("://")
}

impl Store {
    /// Opens a folder (a path, or `file://…`) or an object store (`s3://bucket/…`, `gs://…`, `az://…`).
    pub fn open(place: &str) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let runtime = Arc::new(runtime);
        let name = place.trim_end_matches('/').to_owned();
        if !is_url(place) {
            let folder = std::path::absolute(place)?;
            return Self::local(folder, name, runtime);
        }
        let url: Url = place
            .parse()
            .with_context(|| format!("{place} is not a URL"))?;
        ensure!(
            url.username().is_empty() && url.password().is_none() && url.query().is_none(),
            "the URL has credentials or parameters, which other users of this machine can read; put them into the environment"
        );
        if url.scheme() == "file" {
            let folder = url
                .to_file_path()
                .map_err(|()| anyhow!("{place} is not the URL of a folder of this machine"))?;
            return Self::local(folder, name, runtime);
        }
        // Installed once; a second time it is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).with_context(|| {
            format!("{place} is none of s3://, gs://, az://, file:// or a path")
        })?;
        let retry = RetryConfig {
            retry_timeout: PATIENCE,
            ..RetryConfig::default()
        };
        let objects: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => Arc::new(
                AmazonS3Builder::from_env()
                    .with_url(place)
                    .with_retry(retry)
                    .build()?,
            ),
            ObjectStoreScheme::GoogleCloudStorage => Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_url(place)
                    .with_retry(retry)
                    .build()?,
            ),
            ObjectStoreScheme::MicrosoftAzure => Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_url(place)
                    .with_retry(retry)
                    .build()?,
            ),
            _ => bail!("{place} is none of s3://, gs://, az://, file:// or a path"),
        };
        Ok(Self {
            objects,
            runtime,
            prefix,
            folder: None,
            name,
        })
    }

    fn local(folder: PathBuf, name: String, runtime: Arc<Runtime>) -> Result<Self> {
        Ok(Self {
            objects: Arc::new(LocalFileSystem::new().with_fsync(true)),
            runtime,
            prefix: Path::from_absolute_path(&folder)?,
            folder: Some(folder),
            name,
        })
    }

    /// A folder in this one.
    pub fn inside(&self, name: &str) -> Self {
        Self {
            prefix: self.prefix.clone().join(name),
            folder: self.folder.as_ref().map(|folder| folder.join(name)),
            name: format!("{}/{name}", self.name),
            ..self.clone()
        }
    }

    /// What a person calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, for the record: absolute.
    pub fn uri(&self) -> String {
        match &self.folder {
            Some(folder) => Url::from_file_path(folder)
                .map_or_else(|()| folder.display().to_string(), |url| url.to_string()),
            None => self.name.clone(),
        }
    }

    fn at(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), Path::join)
    }

    /// Writes a small object.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let path = self.at(name);
        self.runtime
            .block_on(self.objects.put(&path, bytes.into()))
            .map(drop)
            .map_err(|error| self.explain("write", name, error))
    }

    /// Removes an object.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.runtime
            .block_on(self.objects.delete(&self.at(name)))
            .map_err(|error| self.explain("remove", name, error))
    }

    /// Begins a large object, which is there once [`Upload::finish`] says so.
    pub fn create(&self, name: &str) -> Result<Upload> {
        let upload = self
            .runtime
            .block_on(self.objects.put_multipart(&self.at(name)))
            .map_err(|error| self.explain("write", name, error))?;
        Ok(Upload::new(self.clone(), name, upload))
    }

    /// A small object; None where there is none.
    pub fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        if let Some(folder) = &self.folder {
            let path = folder.join(name);
            let about = || format!("cannot read {}", path.display());
            let Some(file) = layout::open(&path).with_context(about)? else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            let size = file
                .take(most + 1)
                .read_to_end(&mut bytes)
                .with_context(about)?;
            ensure!(
                size as u64 <= most,
                "{} has more than {most} bytes",
                path.display()
            );
            return Ok(Some(bytes));
        }
        let path = self.at(name);
        let get = async {
            let got = self.objects.get(&path).await?;
            if got.meta.size > most {
                return Ok(Err(got.meta.size));
            }
            got.bytes().await.map(Ok)
        };
        match self.runtime.block_on(get) {
            Ok(Ok(bytes)) => Ok(Some(bytes.to_vec())),
            Ok(Err(size)) => bail!("{}/{name} has {size} bytes, more than {most}", self.name),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.explain("read", name, error)),
        }
    }

    /// An object as a file on this machine, with its hash; None where there is none. What is hashed is what is read later.
    pub fn fetch(&self, name: &str) -> Result<Option<Fetched>> {
        if let Some(folder) = &self.folder {
            let path = folder.join(name);
            let about = || format!("cannot read {}", path.display());
            let file = layout::open(&path).with_context(about)?;
            return file.map(hashed).transpose().with_context(about);
        }
        let path = self.at(name);
        let mut file = tempfile::tempfile().context("no room for a temporary file")?;
        let (mut hash, mut bytes) = (digest::Context::new(&SHA256), 0);
        let copy = async {
            let mut stream = self.objects.get(&path).await?.into_stream();
            while let Some(chunk) = stream.next().await {
                let chunk: Bytes = chunk?;
                hash.update(&chunk);
                bytes += chunk.len() as u64;
                if let Err(error) = file.write_all(&chunk) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        };
        match self.runtime.block_on(copy) {
            Ok(written) => written.context("cannot write a temporary file")?,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.explain("read", name, error)),
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(Some(Fetched {
            file,
            bytes,
            sha256: hex(hash.finish().as_ref()),
        }))
    }

    /// The names of all objects.
    pub fn list(&self) -> Result<Vec<String>> {
        let list = self
            .objects
            .list(Some(&self.prefix))
            .map_ok(|object| object.location)
            .try_collect::<Vec<_>>();
        let found = match self.runtime.block_on(list) {
            Ok(found) => found,
            Err(error) if self.folder.is_some() && is_absent(&error) => Vec::new(),
            Err(error) => return Err(self.explain("list", "", error)),
        };
        let name = |path: &Path| {
            let parts = path.prefix_match(&self.prefix)?;
            let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        let mut names: Vec<_> = found.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// The folders in this one.
    pub fn folders(&self) -> Result<Vec<String>> {
        let list = self.objects.list_with_delimiter(Some(&self.prefix));
        let found = match self.runtime.block_on(list) {
            Ok(found) => found.common_prefixes,
            Err(error) if self.folder.is_some() && is_absent(&error) => Vec::new(),
            Err(error) => return Err(self.explain("list", "", error)),
        };
        let mut names: Vec<_> = found
            .iter()
            .filter_map(|path| path.filename().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Removes what an attempt that was broken off has left of this folder, parts of files included.
    pub fn clear(&self, subfolder: &str) -> Result<()> {
        if let Some(folder) = &self.folder {
            let path = folder.join(subfolder);
            return match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove {}", path.display()))
                }
                _ => Ok(()),
            };
        }
        let left = self.inside(subfolder);
        for name in left.list()? {
            left.remove(&name)?;
        }
        Ok(())
    }

    /// What is done on the store's own threads.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What went wrong, in words that lead on.
    pub fn explain(&self, verb: &str, name: &str, error: object_store::Error) -> Error {
        use object_store::Error as E;
        let what = match name {
            "" => self.name.clone(),
            name => format!("{}/{name}", self.name),
        };
        let why = match (&error, &self.folder) {
            (_, Some(_)) => None,
            (E::NotFound { .. }, _) => Some("there is no such bucket or container"),
            (E::PermissionDenied { .. } | E::Unauthenticated { .. }, _) => Some(
                "the store refuses these credentials, which are those of the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_KEY, …) or of this machine's role",
            ),
            _ => None,
        };
        let about = match why {
            Some(why) => format!("cannot {verb} {what}: {why}"),
            None => format!("cannot {verb} {what}"),
        };
        Error::new(error).context(about)
    }
}

fn is_absent(error: &object_store::Error) -> bool {
    // A bucket that is not there is no empty one.
    matches!(error, object_store::Error::NotFound { .. })
        && !error.to_string().contains("NoSuchBucket")
}

fn hashed(mut file: File) -> io::Result<Fetched> {
    let (mut hash, mut bytes) = (digest::Context::new(&SHA256), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(Fetched {
        file,
        bytes,
        sha256: hex(hash.finish().as_ref()),
    })
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&SHA256, bytes).as_ref())
}
