//! Certificates from an authority: in the file, and on listeners that are open.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use coracle_balancer::{Acme, AcmeConfig, Certificate, CertificateNames, Certificates, Listener};
use tokio::task::JoinHandle;

use super::config::{refused, required};
use crate::compose::ComposeError;
use crate::compose::reader::Field;

/// Beside the file.
const STORAGE: &str = "acme";

pub(super) fn acme(field: &Field<'_>, directory: &Path) -> Result<AcmeConfig, ComposeError> {
    let mut config = AcmeConfig::new(directory.join(STORAGE));
    let mut agreed = None;
    for (key, value) in field.settings()? {
        match key {
            "termsOfServiceAgreed" => agreed = Some((value.boolean()?, value)),
            "directory" => config.set_directory(&value.string()?).map_err(|error| refused(&value, &error))?,
            "contact" => {
                config.contact = value.items()?.iter().map(contact).collect::<Result<_, _>>()?;
            }
            "storage" => config.storage = directory.join(value.string()?),
            "caFile" => {
                let path = directory.join(value.string()?);
                let in_place =
                    |error: &dyn std::fmt::Display| value.error(format!("{}: {error}", path.display()));
                let pem = std::fs::read(&path).map_err(|error| in_place(&error))?;
                config.set_roots(pem).map_err(|error| in_place(&error))?;
            }
            _ => {
                let supported = ["termsOfServiceAgreed", "directory", "contact", "storage", "caFile"];
                return Err(value.unsupported(&supported));
            }
        }
    }
    let (agreed, place) = required(field, "termsOfServiceAgreed", agreed)?;
    if !agreed {
        let message = "true is expected: an authority gives certificates to those only who agree to its terms of service";
        return Err(place.error(message));
    }
    Ok(config)
}

fn contact(field: &Field<'_>) -> Result<String, ComposeError> {
    field.parsed(|text| {
        let wrong = || format!("mailto:ADDRESS is expected, not {text:?}");
        text.strip_prefix("mailto:").filter(|it| it.contains('@')).map(|_| text.to_owned()).ok_or_else(wrong)
    })
}

/// `{domains: [example.com, www.example.com]}`.
pub(super) fn names(field: &Field<'_>) -> Result<CertificateNames, ComposeError> {
    let mut names = None;
    for (key, value) in field.settings()? {
        match key {
            "domains" => {
                let domains = value.items()?.iter().map(Field::string).collect::<Result<Vec<_>, _>>()?;
                names = Some(CertificateNames::new(domains).map_err(|error| refused(&value, &error))?);
            }
            _ => return Err(value.unsupported(&["domains"])),
        }
    }
    required(field, "domains", names)
}

/// A listener's certificate from an authority, kept up by a task that ends with this.
#[derive(Debug)]
pub(super) struct Keeping {
    acme: Acme,
    names: CertificateNames,
    shown: Arc<Shown>,
    task: JoinHandle<()>,
}

/// What a listener serves with.
#[derive(Debug)]
struct Shown {
    listener: Listener,
    certificates: Mutex<Both>,
}

#[derive(Debug)]
struct Both {
    files: Vec<Certificate>,
    obtained: Certificate,
}

impl Keeping {
    /// Begins to keep up what `listener`, which serves with [`first`] already, is to serve with.
    pub(super) fn start(
        acme: &Acme,
        names: &CertificateNames,
        files: Vec<Certificate>,
        listener: Listener,
    ) -> io::Result<Self> {
        let obtained = acme.first(names)?;
        let shown = Arc::new(Shown { listener, certificates: Mutex::new(Both { files, obtained }) });
        shown.change(|_| {});
        let (acme, names) = (acme.clone(), names.clone());
        let (kept, wanted, showing) = (acme.clone(), names.clone(), Arc::clone(&shown));
        let task = tokio::spawn(async move {
            let show = |certificate| showing.change(|both| both.obtained = certificate);
            kept.keep(&wanted, show).await;
        });
        Ok(Self { acme, names, shown, task })
    }

    pub(super) fn is_for(&self, acme: &Acme, names: &CertificateNames) -> bool {
        self.acme.config() == acme.config() && self.names == *names
    }

    /// Serves with these certificates too, and no longer with those it had.
    pub(super) fn set_files(&self, files: Vec<Certificate>) {
        self.shown.change(|both| both.files = files);
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shown {
    fn change(&self, change: impl FnOnce(&mut Both)) {
        let mut both = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut both);
        if let Some(certificates) = all(&both.files, Some(both.obtained.clone())) {
            self.listener.set_certificates(&certificates);
        }
    }
}

/// Those of files first. `None`: there are none.
pub(super) fn all(files: &[Certificate], obtained: Option<Certificate>) -> Option<Certificates> {
    let mut all = files.iter().cloned().chain(obtained);
    Some(Certificates::new(all.next()?, all.collect()))
}
