//! Values at rest: sealed with AES-256-GCM under one key of this host.
//!
//! A value is bound to the record that it is kept in: moved to another one, it cannot be opened. Nonces are random; with 96 bits they are safe for billions of
//! values under one key.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use super::SecretValue;

/// Bytes of a key.
const KEY_LENGTH: usize = 32;

/// Seals and opens values.
pub struct SecretKey {
    key: LessSafeKey,
    random: SystemRandom,
}

/// A key cannot be used. No variant holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Others than its owner may read or write it.
    #[error("others than its owner may read or write it; mend that with chmod 600")]
    NotPrivate,
    /// It is no key.
    #[error("it is no key: {KEY_LENGTH} bytes are expected, but it has {0}")]
    Length(usize),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A value could not be sealed or opened. It says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be opened with this host's key: the key is another one, or the record was changed")]
pub struct Unopenable;

impl SecretKey {
    /// A new key that ends with this process.
    pub fn random() -> Result<Self, SecretKeyError> {
        let random = SystemRandom::new();
        let mut bytes = [0; KEY_LENGTH];
        random.fill(&mut bytes).map_err(|_| SecretKeyError::Random)?;
        Self::of(&bytes, random)
    }

    /// The key in a file of 32 bytes that only its owner may read, which is made if it is missing.
    pub fn open(path: &Path) -> Result<Self, SecretKeyError> {
        match File::open(path) {
            Ok(file) => Self::read(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match Self::create(path) {
                // Another process was faster.
                Err(SecretKeyError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Self::read(File::open(path)?)
                }
                created => created,
            },
            Err(error) => Err(error.into()),
        }
    }

    fn read(file: File) -> Result<Self, SecretKeyError> {
        let metadata = file.metadata()?;
        if !super::files::is_private(&metadata) {
            return Err(SecretKeyError::NotPrivate);
        }
        let mut bytes = Vec::with_capacity(KEY_LENGTH);
        file.take(KEY_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
        Self::of(&bytes, SystemRandom::new())
    }

    fn create(path: &Path) -> Result<Self, SecretKeyError> {
        let random = SystemRandom::new();
        let mut bytes = [0; KEY_LENGTH];
        random.fill(&mut bytes).map_err(|_| SecretKeyError::Random)?;
        // Written whole beside its place and linked there: whoever finds a key finds all of it, and a second one never takes the first one's place.
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        let draft = directory.join(format!(".key-{}", std::process::id()));
        let linked = write_private(&draft, &bytes).and_then(|()| std::fs::hard_link(&draft, path));
        std::fs::remove_file(&draft).ok();
        linked?;
        // Before anything is sealed with it: a key that a power cut took would take all values with it.
        File::open(directory)?.sync_all()?;
        Self::of(&bytes, random)
    }

    fn of(bytes: &[u8], random: SystemRandom) -> Result<Self, SecretKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SecretKeyError::Length(bytes.len()))?;
        Ok(Self { key: LessSafeKey::new(key), random })
    }

    /// A value as it is kept under `place`, in hexadecimal digits: nonce, then what is sealed.
    pub fn seal(&self, place: &str, value: &SecretValue) -> Result<String, Unopenable> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| Unopenable)?;
        let mut sealed = value.expose().as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(place.as_bytes());
        self.key.seal_in_place_append_tag(unique, aad, &mut sealed).map_err(|_| Unopenable)?;
        Ok(nonce.iter().chain(&sealed).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The value that was sealed for `place`.
    pub fn open_value(&self, place: &str, sealed: &str) -> Result<SecretValue, Unopenable> {
        let mut bytes = from_hex(sealed).ok_or(Unopenable)?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(Unopenable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopenable)?;
        let opened =
            self.key.open_in_place(nonce, Aad::from(place.as_bytes()), sealed).map_err(|_| Unopenable)?;
        let text = std::str::from_utf8(opened).map_err(|_| Unopenable)?;
        Ok(SecretValue::new(text))
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A file that only its owner may read, on the disk when this returns.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_opened_only_with_its_key_and_at_its_place() {
        let key = SecretKey::random().unwrap();
        let value = SecretValue::new("pass wörd");
        let sealed = key.seal("secret/db", &value).unwrap();
        assert_ne!(sealed, key.seal("secret/db", &value).unwrap(), "each has a nonce of its own");
        assert_eq!(key.open_value("secret/db", &sealed), Ok(value));
        assert_eq!(key.open_value("secret/other", &sealed), Err(Unopenable));
        assert_eq!(SecretKey::random().unwrap().open_value("secret/db", &sealed), Err(Unopenable));
        let last = if sealed.ends_with('0') { '1' } else { '0' };
        let changed = format!("{}{last}", &sealed[..sealed.len() - 1]);
        for wrong in [changed.as_str(), "", "00", "zz", &sealed[1..]] {
            assert_eq!(key.open_value("secret/db", wrong), Err(Unopenable), "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_made_once_and_refused_when_others_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let sealed = SecretKey::open(&path).unwrap().seal("a", &SecretValue::new("v")).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (32, 0o600));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
        // Who comes second, having seen no key, does not take the first one's place.
        let second = SecretKey::create(&path);
        assert!(
            matches!(&second, Err(SecretKeyError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists)
        );
        let again = SecretKey::open(&path).unwrap();
        assert_eq!(again.open_value("a", &sealed), Ok(SecretValue::new("v")));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SecretKey::open(&path), Err(SecretKeyError::NotPrivate)));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for wrong in [&b""[..], &[1; 33]] {
            std::fs::write(&path, wrong).unwrap();
            assert!(matches!(SecretKey::open(&path), Err(SecretKeyError::Length(_))));
        }
    }
}
