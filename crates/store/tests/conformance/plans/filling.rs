//! A large installation: a million audit events, 100,000 accounts, tokens and sessions, and as many of everything else.

/// How a large installation comes into being.
pub(super) struct Filled;

/// The numbers of a table's rows. A third of them belongs to one account, a few to each other.
const NUMBERED: &str = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $max - 1)";

impl Filled {
    /// The statements that make it, and those by which PostgreSQL learns what is there.
    pub(super) fn statements(is_postgres: bool) -> Vec<String> {
        let mut all = Vec::new();
        for (table, columns, values, rows) in TABLES {
            let numbers = NUMBERED.replace("$max", &rows.to_string());
            let owner = "'r' || CASE WHEN i % 3 = 0 THEN 0 ELSE i % 100000 END";
            let values = values.replace("$owner", owner).replace("$name", "'r' || i");
            all.push(if is_postgres {
                format!("INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series(0, {}) AS i", rows - 1)
            } else {
                format!("{numbers} INSERT INTO {table} ({columns}) SELECT {values} FROM n")
            });
        }
        if is_postgres {
            all.push("VACUUM ANALYZE".to_owned());
        }
        all
    }
}

type Table = (&'static str, &'static str, &'static str, u32);

/// Each after those that it refers to. One row in two thousand is over, and half of the codes are used.
const TABLES: &[Table] = &[
    (
        "users",
        "id, app_id, email, email_verified, created_at, updated_at, disabled_at",
        "$name, 'default', 'r' || i, 1, i, i, CASE WHEN i % 2000 = 7 THEN i END",
        100_000,
    ),
    (
        "auth_methods",
        "id, app_id, user_id, type, provider, identifier, verified, is_primary, created_at",
        "$name, 'default', $name, 'email', '', 'r' || i, 1, 1, i",
        100_000,
    ),
    (
        "sessions",
        "id, app_id, user_id, generation, refresh_digest, created_at, last_seen_at, rotated_at, expires_at, \
         absolute_expires_at",
        "$name, 'default', $owner, 0, 'd' || i, i, i, i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 2000000 + i END, 9000000",
        100_000,
    ),
    (
        "personal_access_tokens",
        "id, app_id, user_id, name, scopes, expires_at, created_at, updated_at",
        "$name, 'default', $owner, 'token', 'a:b', CASE WHEN i % 2 = 0 THEN 900000 + i END, i, i",
        100_000,
    ),
    (
        "token_secrets",
        "id, token_id, hash, digest, seal_key, prefix, created_at, imported_in, hint",
        "$name, $name, '$2b$', 'r' || i, 'present', 'r' || i, i, CASE WHEN i % 2 = 0 THEN 1 END, \
         CASE WHEN i % 2 = 0 THEN 'r' || i END",
        100_000,
    ),
    ("imported_tokens", "token_id, app_id, imported_at", "$name, 'default', i", 20_000),
    (
        "one_time_codes",
        "id, app_id, purpose, subject, digest, created_at, expires_at, consumed_at, link_digest",
        "$name, 'default', 'sign_in', 'r' || i, 'd' || i, i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END, \
         CASE WHEN i % 2 = 0 THEN 900000 END, 'r' || i",
        100_000,
    ),
    (
        "sign_in_flows",
        "digest, app_id, subject, guesses, counted, expires_at",
        "$name, 'default', 'r' || (i % 30000), 1, CASE WHEN i % 2 = 0 THEN 1 ELSE 0 END, \
         CASE WHEN i % 2000 < 2 THEN 1 ELSE 900000 + i END",
        100_000,
    ),
    ("guarded_subjects", "subject, app_id, last_guess_at", "$name, 'default', i", 20_000),
    ("guess_minutes", "minute, instance, right_ones, wrong_ones", "i / 3, 'r' || (i % 3), 1, 1", 20_000),
    ("totp_guesses", "guesser, user_id, wrong, last_at", "$name, 'r' || (i / 10), 1, 900000 + i", 20_000),
    ("totp_factors", "user_id, sealed_secret, seal_key, created_at, enabled_at", "$name, 's', 'present', i, i", 20_000),
    ("backup_codes", "user_id, digest", "'r' || (i / 10), 'r' || i", 20_000),
    (
        "mfa_challenges",
        "digest, app_id, user_id, method, created_at, expires_at",
        "$name, 'default', $name, 'email', i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "exchange_codes",
        "digest, app_id, type, identifier, created_at, expires_at",
        "$name, 'default', 'email', 'r' || i, i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "wallet_challenges",
        "digest, app_id, purpose, user_id, chain, chain_id, address, message, created_at, expires_at",
        "$name, 'default', 'link', $name, 'ethereum', '1', 'r' || i, 'm', i, \
         CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "oauth_states",
        "digest, app_id, provider, user_id, redirect_url, created_at, expires_at",
        "$name, 'default', 'github', $name, 'u', i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "oauth_proofs",
        "digest, app_id, purpose, user_id, session_id, provider, identifier, created_at, expires_at",
        "$name, 'default', 'link', $name, $name, 'github', 'r' || i, i, \
         CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "mail_links",
        "digest, app_id, subject, created_at, expires_at",
        "$name, 'default', 'r' || i, i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "pairings",
        "id, app_id, poll_digest, user_code, name, scopes, created_at, expires_at, status, user_id",
        "$name, 'default', 'd', 'r' || i, 'cli', 'a:b', i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END, \
         'pending', $name",
        20_000,
    ),
    ("pairing_forms", "digest, pairing_id, user_id, expires_at", "$name, $name, $name, 900000 + i", 20_000),
    (
        "link_codes",
        "user_id, type, identifier, digest, expires_at",
        "$name, 'email', 'r' || i, 'd', CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "reauth_flows",
        "digest, session_id, type, identifier, code_digest, created_at, expires_at",
        "$name, $name, 'email', 'r' || i, 'd', i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    (
        "message_days",
        "app_id, day, channel, share, sent",
        "'default', CASE WHEN i % 2000 = 7 THEN 1 ELSE 2000000 + i % 2 END, 'sms', 'r' || i, 1",
        20_000,
    ),
    (
        "security_notices",
        "event_id, recipient, app_id, user_id, type, at, details, due_at",
        "$name, 'r' || i, 'default', $name, 'token.created', i, '{}', CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        100_000,
    ),
    (
        "security_mail_budgets",
        "user_id, recipient, spent_until",
        "$name, 'r' || i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        100_000,
    ),
    (
        "undo_links",
        "digest, user_id, created_at, expires_at",
        "$name, $name, i, CASE WHEN i % 2000 = 7 THEN 1 ELSE 900000 + i END",
        20_000,
    ),
    ("known_devices", "user_id, digest, last_seen_at", "'r' || (i / 50), 'r' || i, i", 100_000),
    ("owed_marks", "credential, ends", "'pat:r' || i, 900000 + i", 1_000),
    (
        "audit_events",
        "id, app_id, user_id, type, at, ip, metadata, seq, link",
        "$name, 'default', $owner, CASE WHEN i % 100 = 0 THEN 'token.created' ELSE 'token.used' END, i, '192.0.2.1', \
         '{}', CASE WHEN i < 999000 THEN i + 1 END, CASE WHEN i < 999000 THEN 'link' END",
        1_000_000,
    ),
];
