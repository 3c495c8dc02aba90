//! What operators do with the database: users, tokens and the audit log.

pub(crate) mod audit;
mod import;
mod noted;
mod table;
pub(crate) mod token;
pub(crate) mod user;
mod who;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use auth::{Issuer, IssuerError, Operator};
use clap::Args;
use domain::{Chance, SystemClock};
use secrecy::SecretString;
use serde_json::Value;

use crate::config::{self, Source};
use crate::{dev, say, services};

/// Which database, and how the answer looks.
#[derive(Args)]
pub(crate) struct Common {
    /// Another database than `DATABASE_URL` names, such as `sqlite://.af/auth.db`
    #[arg(long, value_name = "URL", global = true)]
    database: Option<String>,
    /// The database and the secrets of `afd dev`, in this folder
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".af", require_equals = true,
          conflicts_with = "database", global = true)]
    dev: Option<PathBuf>,
    /// JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    fn source(&self) -> anyhow::Result<Source> {
        let mut source = Source::of_process();
        if let Some(url) = &self.database {
            source.set("DATABASE_URL".to_owned(), url.clone());
            source.set("DATABASE_URL_FILE".to_owned(), String::new());
        }
        if let Some(folder) = &self.dev {
            dev::take_over(&mut source, folder)?;
        }
        Ok(source)
    }

    /// For commands that need no secret.
    pub(crate) async fn operator(&self) -> anyhow::Result<Operator> {
        open(config::operator(self.source()?)?).await
    }

    /// For how long the service keeps audit events; `None` for ever.
    pub(crate) fn audit_retention(&self) -> anyhow::Result<Option<Duration>> {
        Ok(config::operator(self.source()?)?.audit_retention)
    }

    /// For commands that make secrets, and need the one under which the service seals them.
    pub(crate) async fn issuer(&self) -> anyhow::Result<Issuer> {
        let config::IssuerSettings { operator, sealing, bcrypt_cost } = config::issuer(self.source()?)?;
        let operator = open(operator).await?;
        Issuer::new(operator, &sealing, bcrypt_cost).await.map_err(|error| match error {
            IssuerError::OtherSecret => config::Problems::one(
                "JWT_SECRET",
                "is not the one that the auth service uses with this database (nor is TOKEN_SEAL_KEY): it would not \
                 find the tokens",
            )
            .into(),
            error => error.into(),
        })
    }

    /// The secrets under which the service seals, where they are at hand here.
    fn sealing(&self) -> Option<Vec<SecretString>> {
        config::issuer(self.source().ok()?).ok().map(|settings| settings.sealing)
    }

    /// Prints the answer: for people, or as JSON.
    pub(crate) fn answer(&self, for_people: impl FnOnce() -> String, for_programs: &Value) {
        if self.json { say(&format!("{for_programs:#}")) } else { say(&for_people()) }
    }
}

async fn open(settings: config::OperatorSettings) -> anyhow::Result<Operator> {
    let store = services::open_existing_store(&settings.database_url).await?;
    ensure!(
        store.is_migrated().await?,
        "the database is older than this program; bring it up to date with: afd migrate"
    );
    Ok(Operator::new(store, Arc::new(SystemClock), Chance::of_the_system(), settings.name))
}

/// `1 token`, `2 tokens`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
