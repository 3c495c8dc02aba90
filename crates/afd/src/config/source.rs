//! Where settings come from: the environment, `.env` under it, `afd.toml` under that.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use secrecy::SecretString;

/// A setting that cannot be used, named as its variable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    name: String,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// All that is wrong with a configuration.
#[derive(Debug)]
pub(crate) struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The configuration cannot be used:")?;
        self.0.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// One that only shows later than the others.
    pub(crate) fn one(name: &str, what: &str) -> Self {
        Self(vec![Problem { name: name.to_owned(), what: what.to_owned() }])
    }
}

/// Reads settings one by one and remembers what is wrong with them, so that everything is told at once.
#[derive(Clone)]
pub(crate) struct Source {
    settings: BTreeMap<String, String>,
    problems: Vec<Problem>,
    /// The names that were asked for, by this and all its clones.
    #[cfg(test)]
    asked: std::rc::Rc<std::cell::RefCell<std::collections::BTreeSet<String>>>,
}

impl Source {
    /// The process's environment over `.env` over `afd.toml`, both in the current folder.
    pub(crate) fn of_process() -> Self {
        let mut source = Self::new(BTreeMap::new());
        source.read_toml(Path::new("afd.toml"));
        match dotenvy::dotenv_iter() {
            Ok(lines) => {
                for line in lines {
                    match line {
                        Ok((name, value)) => source.set(name, value),
                        Err(error) => source.problem(".env", &error.to_string()),
                    }
                }
            }
            Err(error) if error.not_found() => {}
            Err(error) => source.problem(".env", &error.to_string()),
        }
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                source.set(name, value);
            }
        }
        source
    }

    /// Sets what is absent; `NAME_FILE` counts as `NAME`.
    pub(crate) fn default(&mut self, name: &str, value: &str) {
        if self.text(name).is_none() && self.text(&format!("{name}_FILE")).is_none() {
            self.set(name.to_owned(), value.to_owned());
        }
    }

    /// Exactly these settings.
    pub(crate) fn new(settings: BTreeMap<String, String>) -> Self {
        Self {
            settings,
            problems: Vec::new(),
            #[cfg(test)]
            asked: std::rc::Rc::default(),
        }
    }

    /// Sets it, whatever it was.
    pub(crate) fn set(&mut self, name: String, value: String) {
        self.settings.insert(name, value);
    }

    fn read_toml(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.problem("afd.toml", &error.to_string()),
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.problem("afd.toml", &error.to_string()),
        };
        for (key, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                    items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
                }
                _ => {
                    self.problem(
                        "afd.toml",
                        &format!("{key} must be a text, a whole number, true, false or a list of texts"),
                    );
                    continue;
                }
            };
            self.set(key.to_uppercase(), value);
        }
    }

    /// Notes that a setting cannot be used.
    pub(crate) fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(Problem { name: name.to_owned(), what: what.to_owned() });
    }

    /// Notes that a setting without a default is absent, unless something is wrong with it already.
    pub(crate) fn missing(&mut self, name: &str, what: &str) {
        let of_this = |problem: &Problem| problem.name == name || problem.name == format!("{name}_FILE");
        if !self.problems.iter().any(of_this) {
            self.problem(name, &format!("is required: {what}"));
        }
    }

    /// The setting's text; empty is as good as absent, so that `NAME=` in a compose file means the default.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        #[cfg(test)]
        self.asked.borrow_mut().insert(name.to_owned());
        self.settings.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The names that were asked for since the last time.
    #[cfg(test)]
    pub(super) fn take_asked(&self) -> std::collections::BTreeSet<String> {
        self.asked.take()
    }

    /// The setting, read by `parse`; `None` when it is absent or was noted as a problem.
    pub(crate) fn read<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|error| self.problem(name, &error.to_string())).ok()
    }

    /// The setting, or `default` where it is absent.
    pub(crate) fn read_or<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        self.read(name, parse).unwrap_or(default)
    }

    /// A whole number between two bounds.
    pub(crate) fn number(&mut self, name: &'static str, default: u32, least: u32, most: u32) -> u32 {
        self.read_or(name, default, |text| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            number.ok_or(format!("must be a whole number between {least} and {most}"))
        })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.read_or(name, default, |text| text.parse().map_err(|_| "must be true or false"))
    }

    /// A comma-separated list, each item read by `parse`.
    pub(crate) fn list<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let text = self.text(name).unwrap_or_default();
        let mut items = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match parse(item) {
                Ok(value) => items.push(value),
                Err(error) => self.problem(name, &format!("{item}: {error}")),
            }
        }
        items
    }

    /// A secret: the setting itself, or the content of the file that `NAME_FILE` names.
    pub(crate) fn secret(&mut self, name: &'static str, file_name: &'static str) -> Option<SecretString> {
        let path = self.text(file_name);
        let direct = self.text(name);
        match (direct, path) {
            (Some(_), Some(_)) => {
                self.problem(name, &format!("is set twice, here and by {file_name}; keep one"));
                None
            }
            (Some(secret), None) => Some(secret.into()),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(secret) if !secret.trim().is_empty() => Some(secret.trim().into()),
                Ok(_) => {
                    self.problem(file_name, &format!("{path} is empty"));
                    None
                }
                Err(error) => {
                    self.problem(file_name, &format!("{path}: {error}"));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// `value`, if nothing was wrong with any setting.
    ///
    /// # Errors
    /// All problems, in the order in which they were found.
    pub(crate) fn finish<T>(&mut self, value: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(value) } else { Err(Problems(std::mem::take(&mut self.problems))) }
    }
}
