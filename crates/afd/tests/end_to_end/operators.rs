//! What operators do beside a running service.

use serde_json::{Value, json};
use testkit::Finished;

use crate::databases::{Database, on_both_databases};
use crate::installation::{Installation, JWT_SECRET, afd};

on_both_databases! {
    a_revoked_token_is_refused_when_the_command_returns,
    a_disabled_user_is_out_at_once_and_enabling_brings_the_tokens_back,
    people_get_tables_and_the_secret_alone_on_standard_output,
}

/// Somebody who has the database and the service's secret.
struct Operator {
    database: String,
}

impl Operator {
    async fn of_service_on(db: &Database) -> (Installation, Self) {
        (Installation::new(&[("DATABASE_URL", &db.url)]).await, Self { database: db.url.clone() })
    }

    async fn run(&self, command: &[&str]) -> Finished {
        afd(command)
            .env("DATABASE_URL", &self.database)
            .env("JWT_SECRET", JWT_SECRET)
            .env("BCRYPT_COST", "4")
            .run()
            .await
    }

    async fn does(&self, command: &[&str]) -> String {
        let done = self.run(command).await;
        assert_eq!(done.code, Some(0), "{command:?}: {}", done.output);
        done.output
    }

    async fn json(&self, command: &[&str]) -> Value {
        let text = self.does(&[command, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn fails(&self, command: &[&str], code: i32) -> String {
        let done = self.run(command).await;
        assert_eq!(done.code, Some(code), "{command:?}: {}", done.output);
        done.output
    }
}

async fn a_revoked_token_is_refused_when_the_command_returns(db: Database) {
    let (installation, operator) = Operator::of_service_on(&db).await;
    let _auth = installation.auth.start().await;
    let user = operator.json(&["user", "create", "--email", "Bob@Example.com", "--name", "Bob"]).await;
    let id = user["id"].as_str().unwrap();

    for round in 0..3 {
        let command = ["token", "issue", "--user", "bob@example.com", "--name", "by hand", "--scopes", "projects:read"];
        let issued = operator.json(&[&command[..], &["--expires", "30d"]].concat()).await;
        let (token, token_id) = (issued["token"].as_str().unwrap(), issued["id"].as_str().unwrap());
        let valid = installation.validate(token).await;
        assert_eq!((valid.status, valid.text("/userId")), (200, id), "round {round}");
        assert_eq!(valid.body["scopes"], json!(["projects:read"]));

        let rotated = operator.json(&["token", "rotate", token_id]).await;
        assert_eq!(installation.validate(token).await.status, 401);
        let token = rotated["token"].as_str().unwrap();
        assert_eq!(installation.validate(token).await.status, 200);

        assert_eq!(operator.does(&["token", "revoke", token_id]).await, "1 token revoked.\n");
        assert_eq!(installation.validate(token).await.status, 401);
        assert_eq!(operator.fails(&["token", "revoke", token_id], 1).await, format!("there is no token {token_id}\n"));
    }

    let events = operator.json(&["audit", "list", "--user", id]).await;
    let kinds: Vec<_> = events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    let round = ["token.deleted", "token.rotated", "token.created"];
    let made_by_operators: Vec<_> = kinds.into_iter().filter(|kind| *kind != "token.used").collect();
    assert_eq!(made_by_operators, [&round[..], &round, &round, &["user.created"]].concat());
    assert!(events.as_array().unwrap().iter().all(|event| event["actor"]["service"] == "afd"), "{events}");
    let of_all = operator.json(&["audit", "list", "--type", "token.rotated"]).await;
    assert_eq!(of_all.as_array().unwrap().len(), 3);
    assert!(operator.does(&["audit", "verify"]).await.starts_with("The chain is whole: "));
}

async fn a_disabled_user_is_out_at_once_and_enabling_brings_the_tokens_back(db: Database) {
    let (installation, operator) = Operator::of_service_on(&db).await;
    let (_auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "ci" })).await;
    let (token, token_id) = (created.text("/token/token"), created.text("/token/id"));
    assert_eq!(installation.validate(token).await.status, 200);
    assert_eq!(installation.get("/auth/me", &session).await.status, 200);

    let told = operator.does(&["user", "disable", "ann@example.com"]).await;
    assert!(told.contains(" is disabled: 1 session ended, 1 token refused."), "{told}");
    assert_eq!(installation.validate(token).await.status, 401);
    assert_eq!(installation.validate(&session).await.status, 401);
    assert_eq!(installation.get("/auth/me", &session).await.status, 401);
    let asked = installation.graphql(Some(token), "{ me { email } }", json!({})).await;
    assert_eq!(asked.status, 401);

    let asked = installation.post("/auth/email/request", None, json!({ "email": "ann@example.com" })).await;
    assert_eq!(asked.status, 200, "known and unknown addresses answer alike");
    let mail = installation.mail.mails().pop().unwrap();
    let code = mail.text.split_whitespace().find(|word| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit()));
    let refused =
        installation.post("/auth/email/verify", None, json!({ "email": "ann@example.com", "code": code })).await;
    assert!(refused.status >= 400, "{refused:?}");

    let again = operator.fails(&["user", "disable", "ann@example.com"], 1).await;
    assert!(again.contains(" is disabled already"), "{again}");
    let issue = ["token", "issue", "--user", "ann@example.com", "--name", "x"];
    assert!(operator.fails(&issue, 1).await.contains("is disabled"));
    assert!(operator.does(&["user", "list", "--disabled"]).await.contains("ann@example.com"));

    operator.does(&["user", "enable", "ann@example.com"]).await;
    assert_eq!(installation.validate(token).await.status, 200);
    assert_eq!(installation.validate(&session).await.status, 401, "sessions stay ended");
    installation.sign_in("ann@example.com").await;

    let shown = operator.does(&["user", "show", "ann@example.com"]).await;
    assert!(shown.contains(token_id) && !shown.contains(token), "{shown}");
    operator.fails(&["user", "delete", "ann@example.com"], 2).await;
    let id = operator.json(&["user", "show", "ann@example.com"]).await["id"].as_str().unwrap().to_owned();
    let told = operator.does(&["user", "delete", "ann@example.com", "--yes"]).await;
    assert_eq!(told, format!("User {id} is deleted, with 1 session and 1 token.\n"));
    assert_eq!(installation.validate(token).await.status, 401);
    assert!(operator.fails(&["token", "revoke", token_id], 1).await.contains("there is no token"));
    assert!(operator.fails(&["user", "enable", &id], 1).await.contains("there is no user"));
    assert!(operator.fails(&["user", "create", "--id", &id], 1).await.contains("being deleted"));
    assert_eq!(operator.fails(&["user", "show", "ann@example.com"], 1).await, "there is no user ann@example.com\n");
}

async fn people_get_tables_and_the_secret_alone_on_standard_output(db: Database) {
    let (installation, operator) = Operator::of_service_on(&db).await;
    let mut auth = installation.auth.start().await;
    assert_eq!(auth.terminate().await, Some(0));
    operator.does(&["user", "create", "--id", "u1", "--phone", "+1 415 555 2671"]).await;
    assert_eq!(operator.fails(&["user", "create", "--id", "u1"], 1).await, "there is a user u1 already\n");
    let taken = operator.fails(&["user", "create", "--phone", "+14155552671"], 1).await;
    assert_eq!(taken, "the address or number is that of user u1 already\n");

    let issued = operator.does(&["token", "issue", "--user", "u1", "--name", "ci"]).await;
    let (secret, rest) = issued.split_once('\n').unwrap();
    assert!(domain::token::is_well_formed(secret), "{issued}");
    assert!(rest.starts_with("Token ") && !rest.contains(secret), "{rest}");

    let listed = operator.does(&["token", "list", "--user", "+14155552671"]).await;
    let mut lines = listed.lines();
    let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(header.find("NAME"), row.find("ci"), "{listed}");
    assert!(listed.is_ascii() || !listed.contains('\u{1b}'), "no colours where nobody sees them");
    assert!(!listed.contains(secret));

    for (command, code) in [
        (&["token", "issue", "--user", "u1"][..], 2),
        (&["token", "issue", "--user", "nobody@", "--name", "x"], 2),
        (&["token", "issue", "--user", "u1", "--name", "a/b"], 2),
        (&["token", "issue", "--user", "u1", "--name", "x", "--expires", "2020-01-01T00:00:00Z"], 2),
        (&["token", "rotate", "gone"], 1),
        (&["user", "show", "nobody"], 1),
        (&["user", "create"], 2),
        (&["audit", "list", "--type", "token.eaten"], 2),
    ] {
        operator.fails(command, code).await;
    }
    let told = afd(&["user", "list"]).env("DATABASE_URL", "mysql://x").run().await;
    assert_eq!(told.code, Some(78), "{}", told.output);
}

#[tokio::test]
async fn a_database_of_an_older_program_is_not_touched() {
    let launch = afd(&["user", "list"]).env("DATABASE_URL", "sqlite://old.db");
    std::fs::write(launch.folder().join("old.db"), "").unwrap();
    let told = launch.run().await;
    assert_eq!(told.code, Some(1));
    assert!(told.output.contains("afd migrate"), "{}", told.output);
}
