//! Moving from SQLite to PostgreSQL.

use serde_json::json;

use crate::databases::Database;
use crate::installation::{Installation, afd};

/// Enough for the copy to be still at it when it is killed.
const OLD_EVENTS: &str = "
    INSERT INTO audit_events (id, app_id, type, at, metadata)
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 40000)
    SELECT 'old' || n, 'default', 'token.used', n, '{}' FROM numbers";

#[tokio::test]
async fn a_copy_that_is_killed_goes_on_and_then_everything_works_on_postgresql() {
    let (sqlite, postgres) = (Database::sqlite(), Database::postgres());
    let before = Installation::on(&sqlite, &[]).await;
    let mut auth = before.auth.start().await;
    let session = before.sign_in("ann@example.com").await;
    let created = before.post("/tokens", Some(&session), json!({ "name": "ci" })).await;
    let token = created.text("/token/token").to_owned();
    assert_eq!(auth.terminate().await, Some(0));
    sqlite.sql(OLD_EVENTS).await;

    let copy = afd(&["store", "copy", "--from", &sqlite.url, "--to", &postgres.url]);
    let mut copying = copy.start().await;
    copying.printed("audit_events: 5000 of ").await;
    copying.kill().await;
    let arrived: u32 = postgres.sql("SELECT COUNT(*) FROM audit_events").await.parse().unwrap();
    assert!((5_000..40_000).contains(&arrived), "{arrived}: it was killed in the middle");

    let whole = sqlite.sql("SELECT COUNT(*) FROM audit_events").await;
    let done = copy.run().await;
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(done.output.contains("Everything is copied and counted; the audit chain is whole:"), "{}", done.output);
    assert_eq!(postgres.sql("SELECT COUNT(*) FROM audit_events").await, whole);
    let once = done.output.matches("audit_events: 5000 of ").count();
    assert_eq!(once, 1, "the second run did not begin anew:\n{}", done.output);

    // Somebody who was signed in still is, and the token works.
    let mut after = Installation::on(&postgres, &[("PUBLIC_URL", &before.auth_url)]).await;
    after.mail = before.mail;
    let _auth = after.auth.start().await;
    assert_eq!(after.get("/auth/me", &session).await.text("/user/email"), "ann@example.com");
    assert_eq!(after.validate(&token).await.status, 200);
    assert_eq!(after.get("/audit?limit=100", &session).await.status, 200);
}

#[tokio::test]
async fn a_copy_that_cannot_be_says_why_and_writes_nothing() {
    let (sqlite, postgres) = (Database::sqlite(), Database::postgres());
    let copy = afd(&["store", "copy", "--from", &sqlite.url, "--to", &postgres.url]);
    let missing = copy.run().await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.output.contains("there is no database at "), "{}", missing.output);

    for database in [&sqlite, &postgres] {
        let migrated = afd(&["migrate"]).env("DATABASE_URL", &database.url).run().await;
        assert_eq!(migrated.code, Some(0), "{}", migrated.output);
    }
    postgres.sql("INSERT INTO users (id, app_id, created_at, updated_at) VALUES ('eve', 'default', 1, 1)").await;
    let refused = copy.run().await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.output.contains("the target is not empty: users holds data"), "{}", refused.output);
    assert_eq!(postgres.sql("SELECT id FROM users").await, "eve");
}
