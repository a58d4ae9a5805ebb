//! The directory: one file for each account, one for each certificate with its chain and key.
//!
//! A file is written whole under another name and then renamed, so that a crash leaves the old one or the new one; and chain
//! and key lie in one file, so that they always go with each other.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use ring::digest::{SHA256, digest};

use super::validity::Validity;
use super::{CertificateNames, Kept};
use crate::Certificate;

/// For their owner only.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The account at an authority. `None`: there is none, or none that can be used.
    pub(super) fn account(&self, directory_url: &str) -> Option<AccountCredentials> {
        let text = fs::read(self.account_file(directory_url)).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(%error, "an account that cannot be read; another is made"))
            .ok()
    }

    pub(super) fn put_account(&self, directory_url: &str, account: &AccountCredentials) -> io::Result<()> {
        self.put(&self.account_file(directory_url), &serde_json::to_vec(account)?)
    }

    pub(super) fn forget_account(&self, directory_url: &str) -> io::Result<()> {
        fs::remove_file(self.account_file(directory_url))
    }

    /// The certificate for exactly these names. `None`: there is none, or none that can be used.
    pub(super) fn certificate(&self, names: &CertificateNames) -> Option<Kept> {
        let pem = fs::read(self.certificate_file(names)).ok()?;
        let kept = Kept::from_pem(&pem);
        if kept.is_none() {
            tracing::warn!(names = ?names.0, "a certificate that cannot be read; another is obtained");
        }
        kept
    }

    pub(super) fn put_certificate(&self, names: &CertificateNames, pem: &str) -> io::Result<()> {
        self.put(&self.certificate_file(names), pem.as_bytes())
    }

    fn account_file(&self, directory_url: &str) -> PathBuf {
        self.directory.join(format!("account-{}.json", short_hash(directory_url)))
    }

    fn certificate_file(&self, names: &CertificateNames) -> PathBuf {
        let mut sorted: Vec<_> = names.iter().collect();
        sorted.sort_unstable();
        let first = names.iter().next().unwrap_or_default();
        self.directory.join(format!("{first}-{}.pem", short_hash(&sorted.join(","))))
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_added_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The rename too is to outlive a crash of the machine.
        File::open(&self.directory)?.sync_all()
    }
}

impl Kept {
    /// Of a chain and its key in one text.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_pem(pem, pem).ok()?;
        let validity = Validity::of_pem(pem)?;
        Some(Self { certificate, validity })
    }
}

fn short_hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
