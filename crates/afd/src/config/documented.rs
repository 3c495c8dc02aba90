//! What the README, the image, the compose file and the systemd units say, held against what is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::*;

const README: &str = include_str!("../../../../README.md");
const DOCKERFILE: &str = include_str!("../../../../Dockerfile");
const COMPOSE: &str = include_str!("../../../../compose.yaml");
const UNITS: [(&str, &str, &str); 2] = [
    ("auth", include_str!("../../../../packaging/afd-auth.service"), include_str!("../../../../packaging/auth.env")),
    (
        "backend",
        include_str!("../../../../packaging/afd-backend.service"),
        include_str!("../../../../packaging/backend.env"),
    ),
];

type Settings = BTreeMap<String, String>;

const SECRETS: [&str; 2] = ["an-unpublished-secret-of-32-bytes-or-more", "another-unpublished-secret-of-32-bytes"];

/// Read by the log's filter itself.
const OF_THE_FILTER: &str = "RUST_LOG";

/// Everything that is switched on by another variable is on.
fn everything() -> Settings {
    [
        ("JWT_SECRET", SECRETS[0]),
        ("JWT_REFRESH_SECRET", SECRETS[1]),
        ("PUBLIC_URL", "https://auth.example.com"),
        ("APP_URL", "https://app.example.com"),
        ("AUTH_SERVICE_URL", "https://auth.example.com"),
        ("GOOGLE_CLIENT_ID", "id"),
        ("GOOGLE_CLIENT_SECRET", "secret"),
        ("GITHUB_CLIENT_ID", "id"),
        ("GITHUB_CLIENT_SECRET", "secret"),
        ("TWITTER_CLIENT_ID", "id"),
        ("TWITTER_CLIENT_SECRET", "secret"),
        ("DISCORD_CLIENT_ID", "id"),
        ("DISCORD_CLIENT_SECRET", "secret"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The variables that each service reads, without the forms that name a file.
fn read() -> BTreeMap<&'static str, BTreeSet<String>> {
    let source = Source::new(everything());
    auth(source.clone()).unwrap();
    let of_auth = source.take_asked();
    backend(source.clone()).unwrap();
    let of_backend = source.take_asked();
    crate::logging::Settings::read(source.clone()).unwrap();
    let of_both = source.take_asked();
    [("auth", of_auth), ("backend", of_backend)]
        .map(|(service, mut names)| {
            names.extend(of_both.iter().cloned());
            names.insert(OF_THE_FILTER.to_owned());
            names.retain(|name| !name.ends_with("_FILE"));
            (service, names)
        })
        .into()
}

/// `GOOGLE_A`, `_B` of `{GOOGLE,GITHUB}_A`, `_B` and so on.
fn expanded(cell: &str) -> Vec<String> {
    let mut prefixes = Vec::new();
    let mut names = Vec::new();
    for name in cell.split('`').skip(1).step_by(2) {
        if let Some((list, rest)) = name.strip_prefix('{').and_then(|name| name.split_once('}')) {
            prefixes = list.split(',').collect();
            names.extend(prefixes.iter().map(|prefix| format!("{prefix}{rest}")));
        } else if name.starts_with('_') {
            names.extend(prefixes.iter().map(|prefix| format!("{prefix}{name}")));
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

/// The variables in the README's table, by service.
fn documented() -> BTreeMap<&'static str, BTreeSet<String>> {
    let table = README.split("\n## Configuration\n").nth(1).expect("the README has the table");
    let table = table.split("\n## ").next().unwrap_or_default();
    let mut documented = BTreeMap::from([("auth", BTreeSet::new()), ("backend", BTreeSet::new())]);
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let (names, service) = (expanded(cells.next().unwrap()), cells.next().unwrap());
        for (of, known) in &mut documented {
            if service == *of || service == "both" {
                known.extend(names.iter().cloned());
            }
        }
    }
    documented
}

#[test]
fn the_readmes_table_is_what_is_read() {
    let (read, documented) = (read(), documented());
    for service in ["auth", "backend"] {
        let undocumented: Vec<_> = read[service].difference(&documented[service]).collect();
        let unread: Vec<_> = documented[service].difference(&read[service]).collect();
        assert_eq!(
            (undocumented, unread),
            (vec![], vec![]),
            "read and not in the table, in it and not read: {service}"
        );
    }
}

/// Whether the service starts with these settings, and reads all of them. Files that hold secrets are made up.
fn suffices(service: &'static str, settings: &Settings, of: &str) {
    let folder = tempfile::tempdir().unwrap();
    let known = read().remove(service).unwrap();
    let mut used = Settings::new();
    for (name, value) in settings {
        let plain = name.strip_suffix("_FILE").unwrap_or(name);
        assert!(known.contains(plain), "{of}: {service} reads no {name}");
        let path = folder.path().join(plain);
        let content = match plain {
            "JWT_REFRESH_SECRET" => SECRETS[1],
            "DATABASE_URL" => "postgres://afd:secret@postgres/afd",
            "SMTP_URL" => "smtps://user:password@mail.example.com",
            _ => SECRETS[0],
        };
        if plain == name {
            used.insert(name.clone(), value.clone());
        } else {
            fs::write(&path, content).unwrap();
            used.insert(name.clone(), path.display().to_string());
        }
    }
    let outcome = match service {
        "auth" => auth(Source::new(used)).map(drop),
        _ => backend(Source::new(used)).map(drop),
    };
    assert_eq!(outcome.map_err(|problems| problems.to_string()), Ok(()), "{of}");
}

/// `NAME=value` lines.
fn lines(text: &str) -> Settings {
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// What the image sets for whatever runs in it.
fn image() -> Settings {
    lines(&DOCKERFILE.lines().filter_map(|line| line.strip_prefix("ENV ")).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_systemd_units_set_what_is_required_and_nothing_unknown() {
    for (service, unit, file) in UNITS {
        let of_unit = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
        let mut settings = lines(&of_unit.collect::<Vec<_>>().join("\n"));
        for path in settings.values() {
            let credential = path.strip_prefix("%d/").expect("secrets come as credentials");
            assert!(unit.contains(&format!("\nLoadCredential={credential}:/etc/afd/secrets/{credential}\n")), "{path}");
        }
        settings.extend(lines(file));
        suffices(service, &settings, &format!("packaging/afd-{service}.service"));
        assert!(unit.contains(&format!("\nExecStart=/usr/local/bin/afd {service}\n")));
        assert!(unit.contains(&format!("\nEnvironmentFile=/etc/afd/{service}.env\n")));
        assert!(unit.contains(&format!("\nRestartPreventExitStatus={}\n", crate::EXIT_CONFIG)));
    }
}

#[test]
fn the_compose_file_sets_what_is_required_and_nothing_unknown() {
    let compose: Value = serde_saphyr::from_str(COMPOSE).unwrap();
    let mut services = 0;
    for (name, service) in compose["services"].as_object().unwrap() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let environment = service["environment"].as_object().into_iter().flatten();
        let environment: Settings = environment.map(|(name, value)| (name.clone(), text(value))).collect();
        // Every secret that a service reads is given to it, and exists.
        for path in environment.iter().filter(|(name, _)| name.ends_with("_FILE")).map(|(_, path)| path) {
            let secret = path.strip_prefix("/run/secrets/").expect(path);
            assert!(service["secrets"].as_array().unwrap().iter().any(|given| given == secret), "{name}: {secret}");
            assert_eq!(compose["secrets"][secret]["file"], format!("./secrets/{secret}"));
        }
        if service["image"] != "afd" {
            continue;
        }
        services += 1;
        let command = if service["command"][0] == "auth" { "auth" } else { "backend" };
        assert_eq!(service["command"].as_array().unwrap(), &[command]);
        let mut settings = if command == "auth" { image() } else { Settings::new() };
        settings.extend(environment);
        // Compose fills it in from the environment of whoever starts it.
        settings.entry("PUBLIC_URL".to_owned()).and_modify(|url| "https://auth.example.com".clone_into(url));
        let port = settings["PORT"].clone();
        suffices(command, &settings, &format!("compose.yaml: {name}"));
        let asks = service["healthcheck"]["test"].as_array().unwrap().last().unwrap();
        assert_eq!(asks, &format!("http://127.0.0.1:{port}/ready"), "{name}");
    }
    assert_eq!(services, 3);
}

#[test]
fn the_image_sets_nothing_unknown_and_has_no_rights() {
    let known = read().remove("auth").unwrap();
    assert!(image().keys().all(|name| known.contains(name)), "{:?}", image());
    let last = DOCKERFILE.lines().rfind(|line| line.starts_with("USER ")).unwrap();
    assert_eq!(last, "USER nonroot:nonroot");
    assert!(DOCKERFILE.contains(r#"CMD ["/usr/local/bin/afd", "healthcheck"]"#));
    let rust = include_str!("../../../../rust-toolchain.toml");
    let version = DOCKERFILE.split("FROM rust:").nth(1).and_then(|rest| rest.split('-').next()).unwrap();
    assert!(rust.contains(&format!("channel = \"{version}.")), "the image is built by the toolchain of the repository");
}
