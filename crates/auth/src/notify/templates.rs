//! The texts of messages, and an operator's own ones in their place.

use std::path::Path;

use domain::{ClientInfo, OneTimeCode, PhoneNumber, Timestamp};
use minijinja::{Environment, context};
use secrecy::{ExposeSecret, SecretString};

use super::{Asked, LeakMail, LetInMail, LinkMail, Mail, ReauthMail, SecurityMail, SignInMail, Sms};
use crate::asker::Asker;
use crate::notices::ToldEvent;

/// The templates of all messages: built-in ones, or files of the same name in the operator's folder.
///
/// A template sees `product`, `code` and `minutes`, those of the
/// sign-in mail also `link`, and `asked` with `program`, `address` and `at`; those of `reauth` also `address`, from where
/// it was asked for; those of a program that wants to be let in also `program` and, in mails, `agent`, `network` and `at`,
/// which say who asked for it; those of a leaked token `product`, `token`, `prefix`, `url` and
/// `remedy` (`revoked`, `secret_ended` or `told`); those of a security mail `product`, `subject`, `events` (each with
/// `what` and its `facts`, each a `label` and a `text`), `more`, `is_deleted`, `undo` (the link, if there is one) and
/// `hours`. Names ending in `.html` escape what they insert.
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

const BUILT_IN: [(&str, &str); 22] = [
    ("sign_in.subject.txt", include_str!("../../templates/sign_in.subject.txt")),
    ("sign_in.txt", include_str!("../../templates/sign_in.txt")),
    ("sign_in.html", include_str!("../../templates/sign_in.html")),
    ("sign_in.sms.txt", include_str!("../../templates/sign_in.sms.txt")),
    ("let_in.subject.txt", include_str!("../../templates/let_in.subject.txt")),
    ("let_in.txt", include_str!("../../templates/let_in.txt")),
    ("let_in.html", include_str!("../../templates/let_in.html")),
    ("let_in.sms.txt", include_str!("../../templates/let_in.sms.txt")),
    ("link.subject.txt", include_str!("../../templates/link.subject.txt")),
    ("link.txt", include_str!("../../templates/link.txt")),
    ("link.html", include_str!("../../templates/link.html")),
    ("link.sms.txt", include_str!("../../templates/link.sms.txt")),
    ("reauth.subject.txt", include_str!("../../templates/reauth.subject.txt")),
    ("reauth.txt", include_str!("../../templates/reauth.txt")),
    ("reauth.html", include_str!("../../templates/reauth.html")),
    ("reauth.sms.txt", include_str!("../../templates/reauth.sms.txt")),
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
            let asked = Asked::of(&ClientInfo::default(), Timestamp::from_millis(0));
            templates
                .render(name, "012345", "https://localhost/", 10, Some(&asked))
                .map_err(|error| TemplateError { name, problem: error.to_string() })?;
        }
        Ok(templates)
    }

    /// What messages and pages call the installation.
    pub(crate) fn product(&self) -> &str {
        &self.product
    }

    fn render(
        &self,
        name: &str,
        code: &str,
        link: &str,
        minutes: u64,
        asked: Option<&Asked>,
    ) -> Result<String, minijinja::Error> {
        let (product, asked) = (&self.product, asked.map(Asked::shown));
        self.environment.get_template(name)?.render(context! { product, code, link, minutes, asked })
    }

    pub(crate) fn sign_in_sms(
        &self,
        to: &PhoneNumber,
        code: &SecretString,
        minutes: u64,
    ) -> Result<Sms, minijinja::Error> {
        let text = self.render("sign_in.sms.txt", code.expose_secret(), "", minutes, None)?;
        Ok(Sms { to: to.clone(), text: text.trim().into() })
    }

    pub(crate) fn link_sms(
        &self,
        to: &PhoneNumber,
        code: &SecretString,
        minutes: u64,
    ) -> Result<Sms, minijinja::Error> {
        let text = self.render("link.sms.txt", code.expose_secret(), "", minutes, None)?;
        Ok(Sms { to: to.clone(), text: text.trim().into() })
    }

    pub(crate) fn link(&self, mail: &LinkMail<'_>) -> Result<Mail, minijinja::Error> {
        let render = |name| self.render(name, mail.code.expose_secret(), "", mail.minutes, None);
        Ok(Mail {
            to: mail.to.clone(),
            subject: render("link.subject.txt")?.trim().to_owned(),
            text: render("link.txt")?.into(),
            html: render("link.html")?.into(),
        })
    }

    pub(crate) fn reauth_sms(
        &self,
        to: &PhoneNumber,
        code: &OneTimeCode,
        minutes: u64,
    ) -> Result<Sms, minijinja::Error> {
        let text = self.render("reauth.sms.txt", code.expose(), "", minutes, None)?;
        Ok(Sms { to: to.clone(), text: text.trim().into() })
    }

    pub(crate) fn reauth(&self, mail: &ReauthMail<'_>) -> Result<Mail, minijinja::Error> {
        let (product, code, minutes) = (&self.product, mail.code.expose(), mail.minutes);
        let address = mail.asked_from.map(|address| address.to_string());
        let render = |name| {
            let template = self.environment.get_template(name)?;
            template.render(context! { product, code, minutes, address => &address })
        };
        Ok(Mail {
            to: mail.to.clone(),
            subject: render("reauth.subject.txt")?.trim().to_owned(),
            text: render("reauth.txt")?.into(),
            html: render("reauth.html")?.into(),
        })
    }

    /// With the code to decide about a program that waits.
    pub(crate) fn let_in(&self, mail: &LetInMail<'_>) -> Result<Mail, minijinja::Error> {
        let (product, code, program, minutes) = (&self.product, mail.code.expose_secret(), mail.program, mail.minutes);
        let Asker { agent, network, at } = mail.asked_by;
        let render = |name| {
            let template = self.environment.get_template(name)?;
            template.render(context! { product, code, program, minutes, agent, network, at })
        };
        Ok(Mail {
            to: mail.to.clone(),
            subject: render("let_in.subject.txt")?.trim().to_owned(),
            text: render("let_in.txt")?.into(),
            html: render("let_in.html")?.into(),
        })
    }

    /// The same as an SMS.
    pub(crate) fn let_in_sms(
        &self,
        to: &PhoneNumber,
        code: &SecretString,
        program: &str,
        minutes: u64,
    ) -> Result<Sms, minijinja::Error> {
        let (product, code) = (&self.product, code.expose_secret());
        let template = self.environment.get_template("let_in.sms.txt")?;
        let text = template.render(context! { product, code, program, minutes })?;
        Ok(Sms { to: to.clone(), text: text.trim().into() })
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
        let (code, link) = (mail.code.expose_secret(), mail.link.expose_secret());
        let render = |name| self.render(name, code, link, mail.minutes, Some(mail.asked));
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

    fn render(templates: &Templates) -> Mail {
        let to = "ann@example.com".parse().unwrap();
        let code: SecretString = "012345".into();
        let link: SecretString = "https://auth.example.com/login/email/x".into();
        let client = ClientInfo {
            ip: Some("192.0.2.1".parse().unwrap()),
            user_agent: Some("Call 555 now Firefox/127.0".to_owned()),
            request_id: None,
        };
        let asked = Asked::of(&client, Timestamp::from_millis(1_762_603_200_000));
        templates.sign_in(&SignInMail { to: &to, code: &code, link: &link, minutes: 10, asked: &asked }).unwrap()
    }

    #[test]
    fn the_code_is_in_subject_and_bodies_and_who_asked_too() {
        let mail = render(&Templates::load(None, "Example".to_owned()).unwrap());
        assert!(mail.text.expose_secret().contains("012345"));
        assert!(mail.html.expose_secret().contains("012345"));
        assert!(mail.text.expose_secret().contains("https://auth.example.com/login/email/x"));
        assert!(mail.html.expose_secret().contains("auth.example.com"));
        assert_eq!(mail.subject, "012345 is your code for Example");
        for body in [&mail.text, &mail.html] {
            let body = body.expose_secret();
            for part in ["Firefox", "192.0.2.1", "2025-11-08 12:00 UTC"] {
                assert!(body.contains(part), "{part}: {body}");
            }
            assert!(!body.contains("555"), "whoever asks writes no part of it: {body}");
        }
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
