//! Backup and restore, as `docs/operations.md` has it: its shell blocks are run as they are.

use std::fs;
use std::path::Path;

use serde_json::json;
use testkit::{Launch, Postgres};

use crate::installation::Installation;

/// The shell block of the documentation that begins with this comment.
fn block(title: &str) -> &'static str {
    let documentation = include_str!("../../../../docs/operations.md");
    let begins = |block: &&str| block.starts_with(title);
    let block = documentation.split("```sh\n").find(begins).unwrap_or_else(|| panic!("there is no block {title}"));
    block.split("```").next().unwrap_or_default()
}

/// Runs a block where `afd` is the program under test.
async fn run(title: &str, settings: &[(&str, &str)]) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_afd")).parent().unwrap().display().to_string();
    let mut shell = Launch::new("/bin/bash")
        .args(["-euo", "pipefail", "-c", block(title)])
        .env("PATH", format!("{programs}:/usr/bin:/bin"));
    for (name, value) in settings {
        shell = shell.env(*name, *value);
    }
    let finished = shell.run().await;
    assert_eq!(finished.code, Some(0), "{title}:\n{}", finished.output);
    finished.output
}

/// Signs somebody in, lets them have a token, backs up, does more, loses everything, restores; `destroy` loses it.
async fn there_and_back(
    installation: &Installation,
    titles: [&str; 2],
    settings: &[(&str, &str)],
    destroy: impl FnOnce(),
) {
    let mut auth = installation.auth.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "kept" })).await;
    let kept = created.text("/token/token").to_owned();
    assert_eq!(installation.validate(&kept).await.status, 200);

    run(titles[0], settings).await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "later" })).await;
    let later = created.text("/token/token").to_owned();
    auth.terminate().await;
    destroy();

    let shown = run(titles[1], settings).await;
    assert!(shown.contains("The chain is whole: "), "{shown}");
    let _auth = installation.auth.start().await;
    assert_eq!(installation.validate(&kept).await.status, 200, "a token of before the backup");
    assert_eq!(installation.get("/auth/me", &session).await.text("/user/email"), "ann@example.com");
    assert_eq!(installation.validate(&later).await.status, 401, "what came after the backup is lost");
    installation.sign_in("ann@example.com").await;
}

#[tokio::test]
async fn sqlite() {
    let installation = Installation::new(&[]).await;
    let backup = tempfile::tempdir().unwrap();
    let data = installation.auth.folder().join("data");
    let file = data.join("auth.db").display().to_string();
    let settings = [("DATABASE_FILE", &*file), ("BACKUP_FOLDER", backup.path().to_str().unwrap())];
    let titles = ["# Back up SQLite", "# Restore SQLite"];
    there_and_back(&installation, titles, &settings, || {
        for entry in fs::read_dir(&data).unwrap() {
            fs::write(entry.unwrap().path(), "a disk that went bad").unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn postgresql() {
    let postgres = Postgres::start();
    let database = postgres.database();
    let installation = Installation::new(&[("DATABASE_URL", &database)]).await;
    let backup = tempfile::tempdir().unwrap();
    let settings = [("DATABASE_URL", &*database), ("BACKUP_FOLDER", backup.path().to_str().unwrap())];
    let titles = ["# Back up PostgreSQL", "# Restore PostgreSQL"];
    there_and_back(&installation, titles, &settings, || {
        postgres.sql(&database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    })
    .await;
}
