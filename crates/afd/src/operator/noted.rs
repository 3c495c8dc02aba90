//! What `afd audit head` has printed and somebody has kept, and the key that it is signed with.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use domain::Chance;
use domain::audit_head::{AuditKey, AuditPublicKey, SignedAuditHead};
use secrecy::{ExposeSecret as _, SecretString};

/// Reads a note, or a file of notes, one a line. With a key all of them must be signed by it.
pub(super) fn read(expect: &str, key: Option<&Path>) -> anyhow::Result<Vec<SignedAuditHead>> {
    let key = key.map(|path| AuditPublicKey::from_pem(&secret(path)?).with_context(|| path.display().to_string()));
    let key = key.transpose()?;
    let is_line = expect.trim_start().starts_with("afd-audit-head ");
    let text =
        if is_line { expect.to_owned() } else { fs::read_to_string(expect).with_context(|| expect.to_owned())? };
    let mut notes = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let note: SignedAuditHead = line.parse().with_context(|| format!("{line:?}"))?;
        if let Some(key) = &key
            && *key != note.key
        {
            bail!("{line:?} is not signed by {key}");
        }
        notes.push(note);
    }
    ensure!(!notes.is_empty(), "{expect:?} holds no line that afd audit head has printed");
    Ok(notes)
}

/// Reads the key, or makes it, for its owner alone, where there is no such file.
pub(super) fn key_that_signs(path: &Path) -> anyhow::Result<AuditKey> {
    let context = || path.display().to_string();
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let key = AuditKey::generate(&Chance::of_the_system());
            file.write_all(key.to_pem().expose_secret().as_bytes()).with_context(context)?;
            file.sync_all().with_context(context)?;
            Ok(key)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            AuditKey::from_pem(&secret(path)?).with_context(context)
        }
        Err(error) => Err(error).with_context(context),
    }
}

fn secret(path: &Path) -> anyhow::Result<SecretString> {
    Ok(fs::read_to_string(path).with_context(|| path.display().to_string())?.into())
}
