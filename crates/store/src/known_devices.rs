//! With what a person has signed in before: enough to tell them when it is something else, and no more.

use domain::audit::EventType;
use domain::{Digest, DigestKey, UserId};
use sqlx::AnyConnection;

use crate::StoreError;
use crate::audit::NewEvent;
use crate::notices;

/// Of how many devices a person is known; the one that was used longest ago is forgotten first.
const KNOWN: i64 = 50;

/// Notes that the user, whose row is locked, has signed in with `device`, and has them told if they never have before.
/// Not at the first sign-in of an account, which is its owner's own.
pub(crate) async fn note(
    tx: &mut AnyConnection,
    user_id: &UserId,
    device: &Digest,
    is_first: bool,
    event: &NewEvent,
) -> Result<(), StoreError> {
    // Of this user: two people behind one address have no row in common.
    let digest = DigestKey::derive(device.as_bytes(), "device of a user").digest(&[user_id.as_str()]).to_string();
    let seen = sqlx::query("UPDATE known_devices SET last_seen_at = $1 WHERE user_id = $2 AND digest = $3")
        .bind(event.at.as_millis())
        .bind(user_id.as_str())
        .bind(digest.as_str())
        .execute(&mut *tx)
        .await?;
    if seen.rows_affected() > 0 {
        return Ok(());
    }
    sqlx::query("INSERT INTO known_devices (user_id, digest, last_seen_at) VALUES ($1, $2, $3)")
        .bind(user_id.as_str())
        .bind(digest.as_str())
        .bind(event.at.as_millis())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "DELETE FROM known_devices WHERE user_id = $1 AND digest NOT IN (SELECT digest FROM known_devices \
         WHERE user_id = $1 ORDER BY last_seen_at DESC, digest LIMIT $2)",
    )
    .bind(user_id.as_str())
    .bind(KNOWN)
    .execute(&mut *tx)
    .await?;
    if is_first { Ok(()) } else { notices::write(tx, EventType::SignInSucceeded, user_id, event).await }
}
