//! The settings of operators' commands: few of the service's, and the same.

use std::time::Duration;

use secrecy::SecretString;

use super::auth::{audit_retention, bcrypt_cost, database_setting, seal_secrets};
use super::{Problems, Source, jwt_secrets};

/// What every operator's command needs to know.
pub(crate) struct OperatorSettings {
    pub database_url: String,
    /// Who sits at the terminal, for the audit log.
    pub name: Option<String>,
    /// For how long the service keeps audit events; `None` for ever.
    pub audit_retention: Option<Duration>,
}

/// What commands need that make secrets.
pub(crate) struct IssuerSettings {
    pub operator: OperatorSettings,
    /// The secret that seals, then those under which the service may have sealed before.
    pub sealing: Vec<SecretString>,
    pub bcrypt_cost: u32,
}

/// Reads the settings of commands that make no secrets.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn operator(mut source: Source) -> Result<OperatorSettings, Problems> {
    let settings = settings(&mut source);
    source.finish(settings)
}

/// Reads the settings of commands that make secrets.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn issuer(mut source: Source) -> Result<IssuerSettings, Problems> {
    let source = &mut source;
    let sealing = [seal_secrets(source), jwt_secrets(source)].concat();
    let settings = IssuerSettings { operator: settings(source), sealing, bcrypt_cost: bcrypt_cost(source) };
    source.finish(settings)
}

fn settings(source: &mut Source) -> OperatorSettings {
    // Under sudo, the person rather than root.
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| source.text(name));
    OperatorSettings {
        database_url: database_setting(source),
        name: name.filter(|name| name.len() <= 64),
        audit_retention: source.read_or("AUDIT_RETENTION", None, audit_retention),
    }
}
