//! Tokens of an older system: imported by the real program, used over HTTP.

use std::fmt::Write as _;

use serde_json::json;
use testkit::{Finished, Launch, until};

use crate::databases::{Database, on_both_databases};
use crate::installation::{Installation, JWT_SECRET, afd};

const HEADER: &str = "id,name,token,userId,expiresAt,lastUsedAt,createdAt\n";

/// A token as the older system made them: any characters after a beginning like ours, and no checksum.
fn old_token(number: usize) -> String {
    format!("af_live_{number:06}9f86d081884c7d659a2feaa0c5")
}

fn importing(database: &str, arguments: &[&str]) -> Launch {
    afd(&["token", "import"])
        .args(arguments.iter().copied())
        .env("DATABASE_URL", database)
        .env("JWT_SECRET", JWT_SECRET)
        .env("BCRYPT_COST", "4")
        .env("USER", "olga")
}

on_both_databases! {
    imported_tokens_are_tokens_like_any_other,
    every_kind_of_bad_row_is_told_with_its_line_and_the_rest_is_imported,
    an_import_that_was_killed_goes_on_where_it_was,
}

/// Runs the command in a new folder with this file in it, so that each run's output is its own.
async fn import(database: &str, content: &str, options: &[&str]) -> Finished {
    let launch = importing(database, &[&["old.csv"], options].concat());
    std::fs::write(launch.folder().join("old.csv"), content).unwrap();
    launch.run().await
}

async fn migrated(db: &Database) -> &str {
    let done = afd(&["migrate"]).env("DATABASE_URL", &db.url).run().await;
    assert_eq!(done.code, Some(0), "{}", done.output);
    &db.url
}

/// Waits until a running service knows what another process has imported.
async fn until_valid(installation: &Installation, token: &str) -> serde_json::Value {
    until("the token to be accepted", async || installation.validate(token).await, |reply| reply.status == 200)
        .await
        .body
}

async fn imported_tokens_are_tokens_like_any_other(db: Database) {
    let settings = [("RATE_LIMIT_TOKEN_PER_MINUTE", "5"), ("DATABASE_URL", db.url.as_str())];
    let installation = Installation::new(&settings).await;
    let (mut auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let ann = installation.get("/auth/me", &session).await.text("/user/id").to_owned();
    let database = db.url.as_str();

    let foreign = "12|AnotherSystemsTokenWithoutAnyOfOurs";
    let file = format!(
        "{HEADER}old-1,CI deploy,{},{ann},2035-01-01T00:00:00Z,1762603200000,2024-02-03 04:05:06.789\n\
         old-2,other form,{foreign},{ann},,,\n\
         old-3,expired,{},{ann},2025-01-01T00:00:00Z,,2024-01-01T00:00:00Z\n",
        old_token(1),
        old_token(3)
    );
    assert_eq!(installation.validate(&old_token(1)).await.status, 401);
    let told = import(database, &file, &[]).await;
    assert_eq!((told.code, told.output.trim_end()), (Some(0), "3 tokens imported, 0 already there, 0 refused."));

    // The running service learns of it by itself.
    let valid = until_valid(&installation, &old_token(1)).await;
    assert_eq!((&valid["tokenId"], &valid["userId"]), (&json!("old-1"), &json!(ann)));
    assert_eq!(
        (&valid["name"], &valid["scopes"], &valid["expiresAt"]),
        (&json!("CI deploy"), &json!(["*"]), &json!("2035-01-01T00:00:00.000Z"))
    );
    assert_eq!(installation.validate(foreign).await.text("/tokenId"), "old-2");
    let expired = installation.validate(&old_token(3)).await;
    assert_eq!((expired.status, expired.text("/error")), (401, "This token has expired"));
    let wrong = format!("{}d", &old_token(1)[..old_token(1).len() - 1]);
    assert_eq!(installation.validate(&wrong).await.status, 401);

    // At the backend and at auth's own routes, and listed with its dates.
    let me = installation.graphql(Some(foreign), "{ me { email } }", json!({})).await;
    assert_eq!(me.text("/data/me/email"), "ann@example.com");
    let listed = installation.get("/tokens", &session).await;
    let first = listed.body["tokens"].as_array().unwrap().iter().find(|token| token["id"] == "old-1").unwrap();
    assert_eq!(first["createdAt"], "2024-02-03T04:05:06.789Z");
    assert_eq!(first["prefix"], "af_live_00");

    // Limited,
    for _ in 0..4 {
        assert_eq!(installation.validate(&old_token(1)).await.status, 200);
    }
    assert_eq!(installation.validate(&old_token(1)).await.status, 429);
    // rotated,
    let rotated = installation.post("/tokens/old-1/rotate", Some(&session), json!({})).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    assert_eq!(installation.validate(&old_token(1)).await.status, 401);
    assert!(domain::token::is_well_formed(rotated.text("/token/token")));
    // deleted,
    let delete = installation.http.delete(format!("{}/tokens/old-2", installation.auth_url)).bearer_auth(&session);
    assert_eq!(delete.send().await.unwrap().status(), 200);
    assert_eq!(installation.validate(foreign).await.status, 401);
    // on record,
    let events = installation.get("/audit?type=token.imported", &session).await;
    assert_eq!(events.body["events"].as_array().unwrap().len(), 3);
    assert_eq!(events.text("/events/0/actor/service"), "afd");
    assert_eq!(events.text("/events/0/metadata/operator"), "olga");

    // and neither comes back with the file.
    let again = import(database, &file, &[]).await;
    assert_eq!(again.code, Some(0), "{}", again.output);
    assert!(
        again.output.contains("0 tokens imported, 2 already there, 0 refused. 1 deleted since"),
        "{}",
        again.output
    );
    for token in [&old_token(1), foreign] {
        assert_eq!(installation.validate(token).await.status, 401);
    }

    // Nothing at rest and nothing printed holds a token; a restart forgets none.
    assert_eq!(auth.terminate().await, Some(0));
    let files = [auth.output().into_bytes(), told.output.into_bytes(), again.output.into_bytes(), db.kept_bytes()];
    for secret in [old_token(1), foreign.to_owned(), old_token(3)] {
        assert!(files.iter().all(|file| !file.windows(secret.len()).any(|part| part == secret.as_bytes())));
    }
    let _auth = installation.auth.start().await;
    let expired = installation.validate(&old_token(3)).await;
    assert_eq!(expired.text("/error"), "This token has expired", "it is known to have been one");
}

async fn every_kind_of_bad_row_is_told_with_its_line_and_the_rest_is_imported(db: Database) {
    let database = migrated(&db).await;

    let good = old_token(1);
    let file = "\u{feff}createdAt;ignored\r\n,x\r\n";
    let told = import(database, file, &[]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.output.contains("the first line has to name the columns"), "{}", told.output);

    let mut file = "\u{feff}user_id,TOKEN,id,name,expiresAt,email,team\r\n".to_owned();
    let rows = [
        format!("u1,{good},t1,\"Ann's \"\"laptop\"\"\r\n(old)\",,ann@example.com,red"), // lines 2 and 3
        String::new(),                                                                  // 4
        format!("u1,{},t2,two fields,x", old_token(2)),                                 // 5
        format!("u1,{},t1,same id,,,", old_token(3)),                                   // 6
        format!("u1,{good},t3,same token,,,"),                                          // 7
        "u1,af_live_short,t4,short,,,".to_owned(),                                      // 8
        format!("u1,{},t 5,no id,,,", old_token(5)),                                    // 9
        format!("u1,{},t6,seconds,1762603200,,", old_token(6)),                         // 10
        format!("u1,{},t7,no date,tomorrow,,", old_token(7)),                           // 11
        format!(",{},t8,no user,,,", old_token(8)),                                     // 12
        format!("u2,{},t9,taken address,,ANN@example.com,", old_token(9)),              // 13
        "u1,eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl,t10,JWT,,,".to_owned(),   // 14
        format!("u3,{},t11,fine,2035-01-01 00:00:00+00,,", old_token(11)),              // 15
    ];
    for row in &rows {
        write!(file, "{row}\r\n").unwrap();
    }
    let checked = import(database, &file, &["--create-users", "--check"]).await;
    assert_eq!(checked.code, Some(1), "{}", checked.output);
    assert_eq!(db.number("SELECT COUNT(*) FROM users").await, 0, "looking changes nothing");

    let told = import(database, &file, &["--create-users"]).await;
    assert_eq!(told.code, Some(1), "{}", told.output);
    for (line, what) in [
        (1, "note: columns that are not used: team"),
        (2, "note: the name is kept as Ann-s -laptop----old-"),
        (5, "refused: has 5 fields, the first line 7"),
        (6, "refused: the id is that of line 2 too"),
        (7, "refused: the same token is kept under the id t1"),
        (8, "refused: the token has fewer than 20 characters: it could be guessed"),
        (9, "refused: id is no id: 1 to 64 letters, digits, hyphens and underscores"),
        (10, "refused: expiresAt looks like seconds, and has to be milliseconds since 1970"),
        (11, "refused: expiresAt is not a time such as 2025-11-08T12:00:00.000Z"),
        (12, "refused: userId is empty"),
        (13, "refused: the e-mail address is that of user u1 already"),
        (14, "refused: the token is a JWT, which is checked by its signature and cannot be imported"),
    ] {
        assert!(told.output.contains(&format!("old.csv:{line}: {what}\n")), "{line} in:\n{}", told.output);
    }
    assert!(
        told.output.contains("2 tokens imported, 0 already there, 10 refused. 2 users created."),
        "{}",
        told.output
    );
    assert!(!told.output.contains(&good) && !told.output.contains("af_live_"), "{}", told.output);

    // What operators ask afterwards.
    let shown = afd(&["user", "show", "ann@example.com", "--json", "--database", database]).run().await;
    let shown: serde_json::Value = serde_json::from_str(&shown.output).unwrap();
    assert_eq!((&shown["id"], &shown["emailVerified"]), (&json!("u1"), &json!(true)));
    assert_eq!(shown["tokens"][0]["id"], "t1");

    // Without the flag, and as programs read it, from standard input.
    let file = format!("id,token,userId\nt20,{},nobody\nt21,{},u1\n", old_token(20), old_token(21));
    let shell = format!("exec {} token import - --json < input", env!("CARGO_BIN_EXE_afd"));
    let piped = Launch::new("/bin/sh").args(["-c", &shell]);
    std::fs::write(piped.folder().join("input"), &file).unwrap();
    let piped = piped.env("DATABASE_URL", database).env("JWT_SECRET", JWT_SECRET).env("BCRYPT_COST", "4").run().await;
    assert_eq!(piped.code, Some(1), "{}", piped.output);
    let told: serde_json::Value = serde_json::from_str(&piped.output).unwrap();
    assert_eq!(told["imported"], 1);
    assert_eq!(told["refused"], json!([{ "line": 2, "reason": "there is no user nobody" }]));
}

async fn an_import_that_was_killed_goes_on_where_it_was(db: Database) {
    const ROWS: usize = 3_000;
    let database = migrated(&db).await;
    let mut file = HEADER.to_owned();
    for number in 0..ROWS {
        writeln!(file, "t{number},n{number},{},u{},,,", old_token(number), number % 7).unwrap();
    }
    let launch = importing(database, &["old.csv", "--create-users"]);
    std::fs::write(launch.folder().join("old.csv"), &file).unwrap();
    let imported = async || db.number("SELECT COUNT(*) FROM personal_access_tokens").await;

    let mut running = launch.start().await;
    while imported().await < 300 {}
    running.kill().await;
    let before = imported().await;
    assert!((300..ROWS).contains(&before), "{before} were imported before the kill");
    assert_eq!(before % 100, 0, "batches are whole");
    let consistent = "SELECT COUNT(*) FROM apps WHERE \
                      (SELECT COUNT(*) FROM imported_tokens) = (SELECT COUNT(*) FROM token_secrets) AND \
                      (SELECT COUNT(*) FROM token_secrets) = \
                      (SELECT COUNT(*) FROM audit_events WHERE type = 'token.imported')";
    assert_eq!(db.number(consistent).await, 1);

    let told = import(database, &file, &["--create-users"]).await;
    assert_eq!(told.code, Some(0), "{}", told.output);
    assert!(
        told.output.contains(&format!("{} tokens imported, {before} already there, 0 refused.", ROWS - before)),
        "{}",
        told.output
    );
    assert_eq!(imported().await, ROWS);
    assert_eq!(db.number(consistent).await, 1);
    assert_eq!(db.number("SELECT COUNT(*) FROM users").await, 7);
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_is_done() {
    let db = Database::sqlite();
    let database = db.url.as_str();
    let installation = Installation::new(&[("DATABASE_URL", database)]).await;
    let mut auth = installation.auth.start().await;
    assert_eq!(auth.terminate().await, Some(0));

    let other_secret = importing(database, &["-"]).env("JWT_SECRET", "another secret of at least 32 bytes");
    let told = other_secret.run().await;
    assert_eq!(told.code, Some(78), "{}", told.output);
    assert!(told.output.contains("JWT_SECRET: is not the one that the auth service uses"), "{}", told.output);

    let told = importing(database, &["-"]).env("JWT_SECRET", "short").env("BCRYPT_COST", "x").run().await;
    assert_eq!(told.code, Some(78), "{}", told.output);
    for name in ["JWT_SECRET: ", "BCRYPT_COST: "] {
        assert!(told.output.contains(name), "{}", told.output);
    }

    let told = importing(database, &["nowhere.csv"]).run().await;
    assert_eq!((told.code, told.output.lines().count()), (Some(1), 1), "{}", told.output);
    assert!(told.output.starts_with("nowhere.csv cannot be read: "), "{}", told.output);

    let told = importing("sqlite://nowhere.db", &["-"]).run().await;
    assert_eq!((told.code, told.output.trim_end()), (Some(1), "there is no database at nowhere.db"));
    assert_eq!(importing(database, &[]).run().await.code, Some(2));
}
