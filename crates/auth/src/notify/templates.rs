//! The texts of messages, and an operator's own ones in their place.

use std::path::Path;

use domain::{OneTimeCode, PhoneNumber};
use minijinja::{Environment, context};
use secrecy::ExposeSecret;

use super::{LeakMail, LinkMail, Mail, SecurityMail, SignInMail, Sms};
use crate::notices::ToldEvent;

/// The templates of all messages: built-in ones, or files of the same name in the operator's folder.
///
/// A template sees `product`, `code` and `minutes`, those of the
/// sign-in mail also `link`; those of a leaked token `product`, `token`, `prefix`, `url` and
/// `remedy` (`revoked`, `secret_ended` or `told`); those of a security mail `product`, `subject`, `events` (each with
/// `what` and its `facts`, each a `label` and a `text`), `more`, `is_deleted`, `undo` (the link, if there is one) and `hours`. Names ending in `.html` escape what they insert.
pub struct Templates {
    environment: Environment<'static>,
    product: String,
}

/// A template of the operator's that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct TemplateError {
    name: &'static str,
    problem: String,
}

const BUILT_IN: [(&str, &str); 14] = [
    ("sign_in.subject.txt", include_str!("../../templates/sign_in.subject.txt")),
    ("sign_in.txt", include_str!("../../templates/sign_in.txt")),
    ("sign_in.html", include_str!("../../templates/sign_in.html")),
    ("sign_in.sms.txt", include_str!("../../templates/sign_in.sms.txt")),
    ("link.subject.txt", include_str!("../../templates/link.subject.txt")),
    ("link.txt", include_str!("../../templates/link.txt")),
    ("link.html", include_str!("../../templates/link.html")),
    ("link.sms.txt", include_str!("../../templates/link.sms.txt")),
    ("leak.subject.txt", include_str!("../../templates/leak.subject.txt")),
    ("leak.txt", include_str!("../../templates/leak.txt")),
    ("leak.html", include_str!("../../templates/leak.html")),
    ("security.subject.txt", include_str!("../../templates/security.subject.txt")),
    ("security.txt", include_str!("../../templates/security.txt")),
    ("security.html", include_str!("../../templates/security.html")),
];

impl Templates {
    /// Loads the templates and tries each once, so that a mistake shows at start and not at somebody's sign-in.
    ///
    /// # Errors
    /// Names the first template that cannot be read, parsed or filled in.
    pub fn load(folder: Option<&Path>, product: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        for (name, built_in) in BUILT_IN {
            let failed = |problem: String| TemplateError { name, problem };
            let own = folder.map(|folder| folder.join(name)).filter(|path| path.exists());
            let text = match own {
                Some(path) => std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?,
                None => built_in.to_owned(),
            };
            environment.add_template_owned(name, text).map_err(|error| failed(error.to_string()))?;
        }
        let templates = Self { environment, product };
        for (name, _) in BUILT_IN {
            templates
                .render(name, "012345", "https://localhost/", 10)
                .map_err(|error| TemplateError { name, problem: error.to_string() })?;
        }
        Ok(templates)
    }

    /// What messages and pages call the installation.
    pub(crate) fn product(&self) -> &str {
        &self.product
    }

    fn render(&self, name: &str, code: &str, link: &str, minutes: u64) -> Result<String, minijinja::Error> {
        let product = &self.product;
        self.environment.get_template(name)?.render(context! { product, code, link, minutes })
    }

    pub(crate) fn sign_in_sms(
        &self,
        to: &PhoneNumber,
        code: &OneTimeCode,
        minutes: u64,
    ) -> Result<Sms, minijinja::Error> {
        let text = self.render("sign_in.sms.txt", code.expose(), "", minutes)?;
        Ok(Sms { to: to.clone(), text: text.trim().into() })
    }

    pub(crate) fn link_sms(&self, to: &PhoneNumber, code: &OneTimeCode, minutes: u64) -> Result<Sms, minijinja::Error> {
        let text = self.render("link.sms.txt", code.expose(), "", minutes)?;
        Ok(Sms { to: to.clone(), text: text.trim().into() })
    }

    pub(crate) fn link(&self, mail: &LinkMail<'_>) -> Result<Mail, minijinja::Error> {
        let render = |name| self.render(name, mail.code.expose(), "", mail.minutes);
        Ok(Mail {
            to: mail.to.clone(),
            subject: render("link.subject.txt")?.trim().to_owned(),
            text: render("link.txt")?.into(),
            html: render("link.html")?.into(),
        })
    }

    pub(crate) fn leak(&self, mail: &LeakMail<'_>) -> Result<Mail, minijinja::Error> {
        let (product, token, prefix, url) = (&self.product, mail.token, mail.prefix, mail.url);
        let remedy = mail.remedy.as_str();
        let render = |name| {
            let template = self.environment.get_template(name)?;
            template.render(context! { product, token, prefix, url, remedy })
        };
        Ok(Mail {
            to: mail.to.clone(),
            subject: render("leak.subject.txt")?.trim().to_owned(),
            text: render("leak.txt")?.into(),
            html: render("leak.html")?.into(),
        })
    }

    pub(crate) fn security(&self, mail: &SecurityMail<'_>) -> Result<Mail, minijinja::Error> {
        let (product, told, hours) = (&self.product, mail.told, mail.hours);
        let undo = mail.undo.map(ExposeSecret::expose_secret);
        let fact = |(label, text): &(&'static str, String)| context! { label => *label, text };
        let event = |event: &ToldEvent| {
            let facts: Vec<_> = event.facts.iter().map(fact).collect();
            context! { what => event.what.as_str(), facts }
        };
        let events: Vec<_> = told.events.iter().map(event).collect();
        let (subject, more, is_deleted) = (&told.subject, told.more, told.is_deleted);
        let told = context! { product, subject, events, more, is_deleted, undo, hours };
        let render = |name| self.environment.get_template(name)?.render(told.clone());
        Ok(Mail {
            to: mail.to.clone(),
            subject: render("security.subject.txt")?.trim().to_owned(),
            text: render("security.txt")?.into(),
            html: render("security.html")?.into(),
        })
    }

    pub(crate) fn sign_in(&self, mail: &SignInMail<'_>) -> Result<Mail, minijinja::Error> {
        let render = |name| self.render(name, mail.code.expose(), mail.link.expose_secret(), mail.minutes);
        Ok(Mail {
            to: mail.to.clone(),
            subject: render("sign_in.subject.txt")?.trim().to_owned(),
            text: render("sign_in.txt")?.into(),
            html: render("sign_in.html")?.into(),
        })
    }
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Templates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn render(templates: &Templates) -> Mail {
        let to = "ann@example.com".parse().unwrap();
        let code = "012345".parse().unwrap();
        let link: SecretString = "https://auth.example.com/login/email/x".into();
        templates.sign_in(&SignInMail { to: &to, code: &code, link: &link, minutes: 10 }).unwrap()
    }

    #[test]
    fn the_code_is_in_the_bodies_and_nowhere_else() {
        let mail = render(&Templates::load(None, "Example".to_owned()).unwrap());
        assert!(mail.text.expose_secret().contains("012345"));
        assert!(mail.html.expose_secret().contains("012345"));
        assert!(mail.text.expose_secret().contains("https://auth.example.com/login/email/x"));
        assert!(mail.html.expose_secret().contains("auth.example.com"));
        assert_eq!(mail.subject, "Sign in to Example");
        assert_eq!(format!("{mail:?}"), "Mail([REDACTED])");
    }

    #[test]
    fn an_operators_template_takes_the_place_of_the_built_in_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sign_in.txt"), "{{ product }}: {{ code }}").unwrap();
        let mail = render(&Templates::load(Some(folder.path()), "<Acme>".to_owned()).unwrap());
        assert_eq!(mail.text.expose_secret(), "<Acme>: 012345");
        assert!(mail.html.expose_secret().contains("&lt;Acme&gt;"), "HTML escapes what it inserts");
    }

    #[test]
    fn a_broken_template_is_named_at_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sign_in.html"), "{{ code").unwrap();
        let error = Templates::load(Some(folder.path()), "Acme".to_owned()).unwrap_err();
        assert!(error.to_string().starts_with("sign_in.html: "), "{error}");
    }
}
