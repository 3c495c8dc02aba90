//! A process that is killed again and again within a minute admits no more than one that is not.

use serde_json::json;

use crate::databases::{Database, on_both_databases};
use crate::installation::Installation;

on_both_databases! {
    four_kills_within_a_minute_admit_no_more_than_the_limit,
    a_stop_in_order_loses_no_window,
}

/// So long a window that a slow machine does not leave it.
const LIMIT: (&str, &str) = ("RATE_LIMIT_TOKEN_PER_MINUTE", "300");

async fn admitted(installation: &Installation, token: &str, asked: usize) -> usize {
    let asking = (0..asked).map(|_| installation.validate(token));
    let replies = futures_util::future::join_all(asking).await;
    replies.iter().filter(|reply| reply.status == 200).count()
}

async fn token(installation: &Installation) -> String {
    let session = installation.sign_in("ann@example.com").await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "a token" })).await;
    created.text("/token/token").to_owned()
}

async fn four_kills_within_a_minute_admit_no_more_than_the_limit(database: Database) {
    let mut installation = Installation::on(&database, &[LIMIT]).await;
    let mut auth = installation.auth.start().await;
    let token = token(&installation).await;
    let started = tokio::time::Instant::now();
    let mut sum = 0;
    for _ in 0..4 {
        sum += admitted(&installation, &token, 100).await;
        auth.kill().await;
        installation.forget_connections();
        auth = installation.auth.start().await;
    }
    sum += admitted(&installation, &token, 400).await;
    // Had it taken longer than a window, more would be right.
    assert!(started.elapsed().as_secs() >= 60 || sum <= 300, "{sum} were admitted of 300");
    assert!(sum >= 180, "{sum}: four kills take a tenth each");
}

async fn a_stop_in_order_loses_no_window(database: Database) {
    let mut installation = Installation::on(&database, &[LIMIT]).await;
    let mut auth = installation.auth.start().await;
    let token = token(&installation).await;
    let started = tokio::time::Instant::now();
    let before = admitted(&installation, &token, 123).await;
    assert_eq!(before, 123);
    assert_eq!(auth.terminate().await, Some(0));
    installation.forget_connections();
    let _auth = installation.auth.start().await;
    let after = admitted(&installation, &token, 300).await;
    assert!(started.elapsed().as_secs() >= 59 || after == 177, "{after}");
}
