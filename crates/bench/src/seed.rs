//! Many tokens, written straight into a database: to create them through the service costs a bcrypt each.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use domain::token::{Kind, TokenSecret};
use domain::{DigestKey, TokenId, TokenSecretId};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::stage::JWT_SECRET;

/// Rows of one statement.
const BATCH: usize = 500;

/// Adds `count` tokens of `user_id` to the SQLite database at `path` and writes each on a line of `lines`.
pub(crate) async fn sqlite(path: &Path, user_id: &str, count: usize, lines: &Path) -> Result<()> {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
    sqlx::raw_sql("PRAGMA busy_timeout = 10000; PRAGMA synchronous = OFF;").execute(&mut connection).await?;
    for statements in tokens(user_id, count, lines)? {
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN IMMEDIATE; {statements} COMMIT;"))).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

/// The same in a PostgreSQL database.
pub(crate) async fn postgres(url: &str, user_id: &str, count: usize, lines: &Path) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    for statements in tokens(user_id, count, lines)? {
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {statements} COMMIT;"))).execute(&mut connection).await?;
    }
    sqlx::raw_sql("ANALYZE").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Statements that write `count` tokens, batch by batch; each token is on a line of `lines`.
fn tokens(user_id: &str, count: usize, lines: &Path) -> Result<Vec<String>> {
    #[expect(clippy::disallowed_methods, reason = "what is measured does not depend on the tokens' characters")]
    let mut rng = rand::rng();
    let key = DigestKey::derive(JWT_SECRET.as_bytes(), "tokens");
    let mut written = String::with_capacity(count * 47);
    let mut batches = Vec::with_capacity(count.div_ceil(BATCH));
    let mut left = count;
    while left > 0 {
        let (mut tokens, mut secrets) = (String::new(), String::new());
        for _ in 0..BATCH.min(left) {
            let (id, secret) = (TokenId::generate(&mut rng), TokenSecret::generate(Kind::Live, &mut rng));
            let digest = key.digest(&[secret.expose()]);
            let comma = if tokens.is_empty() { "" } else { "," };
            write!(tokens, "{comma}('{id}', 'default', '{user_id}', 'seeded', '*', 0, 0, 1)")?;
            write!(
                secrets,
                "{comma}('{}', '{id}', '-', '{digest}', '{}', '{}', 0)",
                TokenSecretId::generate(&mut rng),
                key.id().as_str(),
                secret.prefix()
            )?;
            writeln!(written, "{}", secret.expose())?;
        }
        left = left.saturating_sub(BATCH);
        batches.push(format!(
            "INSERT INTO personal_access_tokens (id, app_id, user_id, name, scopes, created_at, updated_at, version) \
             VALUES {tokens}; \
             INSERT INTO token_secrets (id, token_id, hash, digest, seal_key, prefix, created_at) VALUES {secrets};"
        ));
    }
    std::fs::write(lines, written)?;
    Ok(batches)
}

/// Writes `count` well-formed tokens that nobody has on lines of `lines`.
pub(crate) fn strangers(count: usize, lines: &Path) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "what is measured does not depend on the tokens' characters")]
    let mut rng = rand::rng();
    let mut written = String::with_capacity(count * 47);
    for _ in 0..count {
        writeln!(written, "{}", TokenSecret::generate(Kind::Live, &mut rng).expose())?;
    }
    std::fs::write(lines, written)?;
    Ok(())
}
