//! What bounds a credential bounds it through the backend as well: whatever is done by REST and by GraphQL is allowed or
//! refused alike, and what is refused changes nothing.

use std::fmt;
use std::time::Duration;

use domain::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::databases::{Database, on_both_databases};
use crate::installation::{Installation, JWT_SECRET, Reply, afd};

on_both_databases! {
    rest_and_graphql_allow_the_same_to_every_kind_of_credential,
}

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const HOUR: u64 = 3_600;

/// By what somebody calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Session,
    EndedSession,
    Token,
    /// With the scope `tokens:read` alone.
    Reading,
    /// That ends in an hour.
    Ending,
    /// For use from this machine only, or from elsewhere only.
    AllowedHere,
    AllowedElsewhere,
    Deleted,
    /// A secret that a rotation has replaced and that works for two hours more.
    Replaced,
    /// The same of a token that ends before those two hours.
    ReplacedAndEnding,
    /// JWTs got by token exchange: with all scopes of a token, with `tokens:read`, for some other service, by a secret
    /// that a rotation has replaced.
    Narrowed,
    NarrowedReading,
    NarrowedToAudience,
    NarrowedByReplaced,
    /// A token whose owner an operator has shut out.
    OfDisabledUser,
}

use Kind::*;

const KINDS: [Kind; 15] = [
    Session,
    EndedSession,
    Token,
    Reading,
    Ending,
    AllowedHere,
    AllowedElsewhere,
    Deleted,
    Replaced,
    ReplacedAndEnding,
    Narrowed,
    NarrowedReading,
    NarrowedToAudience,
    NarrowedByReplaced,
    OfDisabledUser,
];

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    /// A token with few scopes, for this machine, for five minutes.
    CreateLittle,
    /// Of the token by which one calls; with a session, of some token.
    RotateOwn,
    RotateOther,
    DeleteOwn,
    DeleteOther,
    List,
    Limits,
    Audit,
    Me,
}

use Operation::*;

const OPERATIONS: [Operation; 10] =
    [Create, CreateLittle, RotateOwn, RotateOther, DeleteOwn, DeleteOther, List, Limits, Audit, Me];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Rest,
    GraphQl,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Known, and not allowed.
    Forbidden,
    /// Nobody.
    Unauthenticated,
    Else(u16, Value),
}

/// What has to come of it, by whichever door.
fn expected(kind: Kind, operation: Operation) -> Outcome {
    if matches!(kind, EndedSession | AllowedElsewhere | Deleted | NarrowedToAudience | OfDisabledUser) {
        return Outcome::Unauthenticated;
    }
    let is_allowed = match kind {
        Reading | NarrowedReading => matches!(operation, List | Limits),
        // Nothing wider or longer-lived than oneself.
        Ending | AllowedHere => !matches!(operation, Create | RotateOther),
        // Whoever has a secret that was replaced must not replace the one in its place, nor make one that could.
        Replaced | ReplacedAndEnding => !matches!(operation, Create | CreateLittle | RotateOwn | RotateOther),
        Narrowed | NarrowedByReplaced => !matches!(operation, Create | CreateLittle | RotateOwn | RotateOther),
        _ => true,
    };
    if is_allowed { Outcome::Done } else { Outcome::Forbidden }
}

/// One of the installation's people, with what a case needs of theirs.
struct Case {
    credential: String,
    own: String,
    other: String,
}

struct World {
    installation: Installation,
    database: Database,
}

impl World {
    fn in_(seconds: u64) -> Value {
        json!(SystemClock.now().plus(Duration::from_secs(seconds)))
    }

    /// A token's id and secret.
    async fn token(&self, session: &str, mut wish: Value) -> (String, String) {
        wish["name"] = "fixture".into();
        let created = self.installation.post("/tokens", Some(session), wish).await;
        assert_eq!(created.status, 201, "{created:?}");
        (created.text("/token/id").to_owned(), created.text("/token/token").to_owned())
    }

    async fn narrowed(&self, subject: &str, more: &[(&str, &str)]) -> String {
        let form = [("grant_type", TOKEN_EXCHANGE), ("subject_token", subject), ("subject_token_type", ACCESS_TOKEN)];
        let request = self.installation.http.post(format!("{}/oauth/token", self.installation.auth_url));
        let reply = Reply::of(request.form(&[&form[..], more].concat()).send().await.unwrap()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.text("/access_token").to_owned()
    }

    async fn case(&self, kind: Kind, email: &str, session: &str) -> Case {
        let other = self.token(session, json!({})).await.0;
        let wish = match kind {
            Reading => json!({ "scopes": ["tokens:read"] }),
            Ending | ReplacedAndEnding => json!({ "expiresAt": Self::in_(HOUR) }),
            AllowedHere => json!({ "allowedIps": ["127.0.0.0/8"] }),
            AllowedElsewhere => json!({ "allowedIps": ["203.0.113.0/24"] }),
            _ => json!({}),
        };
        let (own, secret) = self.token(session, wish).await;
        if matches!(kind, Replaced | ReplacedAndEnding | NarrowedByReplaced) {
            let path = format!("/tokens/{own}/rotate");
            let rotated = self.installation.post(&path, Some(session), json!({ "graceSeconds": 2 * HOUR })).await;
            assert_eq!(rotated.status, 201, "{rotated:?}");
        }
        let credential = match kind {
            Session => session.to_owned(),
            EndedSession => {
                let ended = self.installation.sign_in(email).await;
                let out = self.installation.post("/auth/logout", Some(&ended), json!({})).await;
                assert_eq!(out.status, 200, "{out:?}");
                ended
            }
            Deleted => {
                let url = format!("{}/tokens/{own}", self.installation.auth_url);
                let gone = self.installation.http.delete(url).bearer_auth(session).send().await.unwrap();
                assert_eq!(gone.status(), 200);
                secret
            }
            Narrowed | NarrowedByReplaced => self.narrowed(&secret, &[]).await,
            NarrowedReading => self.narrowed(&secret, &[("scope", "tokens:read")]).await,
            NarrowedToAudience => self.narrowed(&secret, &[("audience", "https://api.example.com")]).await,
            _ => secret,
        };
        Case { credential, own, other }
    }

    /// Everything that an operation could change.
    async fn state(&self, user: &str) -> String {
        let of = format!("user_id = (SELECT id FROM users WHERE email = '{user}')");
        let tokens = format!("SELECT id, name, version, updated_at FROM personal_access_tokens WHERE {of} ORDER BY id");
        let secrets = format!(
            "SELECT id, valid_until FROM token_secrets WHERE token_id IN \
             (SELECT id FROM personal_access_tokens WHERE {of}) ORDER BY id"
        );
        let events = format!("SELECT COUNT(*) FROM audit_events WHERE {of} AND type <> 'token.used'");
        let mut state = String::new();
        for sql in [tokens, secrets, events] {
            state += &self.database.sql(&sql).await;
            state.push('\n');
        }
        state
    }

    async fn attempt(&self, door: Door, operation: Operation, case: &Case) -> Outcome {
        let Case { credential, own, other } = case;
        let id = if matches!(operation, RotateOwn | DeleteOwn) { own } else { other };
        let wish = match operation {
            CreateLittle => json!({ "name": "made", "scopes": ["tokens:read"], "allowedIps": ["127.0.0.1"],
                                    "expiresAt": Self::in_(300) }),
            _ => json!({ "name": "made" }),
        };
        match door {
            Door::Rest => {
                let (method, path, body) = match operation {
                    Create | CreateLittle => ("POST", "/tokens".to_owned(), Some(wish)),
                    RotateOwn | RotateOther => ("POST", format!("/tokens/{id}/rotate"), Some(json!({}))),
                    DeleteOwn | DeleteOther => ("DELETE", format!("/tokens/{id}"), None),
                    List => ("GET", "/tokens".to_owned(), None),
                    Limits => ("GET", "/tokens/limits".to_owned(), None),
                    Audit => ("GET", "/audit".to_owned(), None),
                    Me => ("GET", "/auth/me".to_owned(), None),
                };
                let url = format!("{}{path}", self.installation.auth_url);
                let mut request = self.installation.http.request(method.parse().unwrap(), url).bearer_auth(credential);
                if let Some(body) = body {
                    request = request.json(&body);
                }
                let reply = Reply::of(request.send().await.unwrap()).await;
                match (reply.status, reply.body["code"].as_str()) {
                    (200 | 201, None) => Outcome::Done,
                    (401, Some(_)) => Outcome::Unauthenticated,
                    (403, Some("FORBIDDEN")) => Outcome::Forbidden,
                    _ => Outcome::Else(reply.status, reply.body),
                }
            }
            Door::GraphQl => {
                let document = match operation {
                    Create => "mutation($name: String!) { createPersonalAccessToken(name: $name) { id } }",
                    CreateLittle => {
                        "mutation($name: String!, $scopes: [String!], $allowedIps: [String!], $expiresAt: Date) {
                         createPersonalAccessToken(name: $name, scopes: $scopes, allowedIps: $allowedIps,
                                                   expiresAt: $expiresAt) { id } }"
                    }
                    RotateOwn | RotateOther => "mutation($id: ID!) { rotatePersonalAccessToken(id: $id) { id } }",
                    DeleteOwn | DeleteOther => "mutation($id: ID!) { deletePersonalAccessToken(id: $id) }",
                    List => "{ personalAccessTokens { id } }",
                    Limits => "{ apiKeyRateLimit { remaining } }",
                    Audit => "{ auditEvents { nodes { id } } }",
                    Me => "{ me { id } }",
                };
                let variables = match operation {
                    Create | CreateLittle => wish,
                    RotateOwn | RotateOther | DeleteOwn | DeleteOther => json!({ "id": id }),
                    List | Limits | Audit | Me => json!({}),
                };
                let reply = self.installation.graphql(Some(credential), document, variables).await;
                match (reply.status, reply.body.pointer("/errors/0/extensions/code").and_then(Value::as_str)) {
                    (200, None) => Outcome::Done,
                    (401, Some("UNAUTHENTICATED")) => Outcome::Unauthenticated,
                    (200, Some("FORBIDDEN")) => Outcome::Forbidden,
                    _ => Outcome::Else(reply.status, reply.body),
                }
            }
        }
    }

    async fn operator(&self, command: &[&str]) {
        let done = afd(command).env("DATABASE_URL", &self.database.url).env("JWT_SECRET", JWT_SECRET).run().await;
        assert_eq!(done.code, Some(0), "{command:?}: {}", done.output);
    }
}

/// A line of what went wrong.
struct Wrong(Kind, Operation, Door, String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?} through {:?}: {}", self.1, self.0, self.2, self.3)
    }
}

async fn rest_and_graphql_allow_the_same_to_every_kind_of_credential(database: Database) {
    let settings = [
        ("RATE_LIMIT_TOKEN_CREATION_PER_DAY", "10000"),
        ("RATE_LIMIT_TOKEN_EXCHANGE", "10000/1m"),
        ("MAX_ACTIVE_TOKENS", "10000"),
    ];
    let installation = Installation::on(&database, &settings).await;
    let _running = installation.start().await;
    let world = World { installation, database };
    let mut wrong = Vec::new();
    for kind in KINDS {
        let email = format!("{kind:?}@example.com").to_lowercase();
        let session = world.installation.sign_in(&email).await;
        let attempts: Vec<_> = OPERATIONS
            .iter()
            .flat_map(|operation| [Door::Rest, Door::GraphQl].map(|door| (*operation, door)))
            .collect();
        let mut cases = Vec::new();
        for _ in &attempts {
            cases.push(world.case(kind, &email, &session).await);
        }
        if kind == OfDisabledUser {
            world.operator(&["user", "disable", &email]).await;
        }
        let mut before = world.state(&email).await;
        for ((operation, door), case) in attempts.into_iter().zip(&cases) {
            let (wanted, outcome) = (expected(kind, operation), world.attempt(door, operation, case).await);
            let after = world.state(&email).await;
            if outcome != wanted {
                wrong.push(Wrong(kind, operation, door, format!("{outcome:?} instead of {wanted:?}")).to_string());
            }
            let is_to_change = wanted == Outcome::Done && !matches!(operation, List | Limits | Audit | Me);
            if is_to_change != (before != after) {
                wrong.push(Wrong(kind, operation, door, "what is in the database".to_owned()).to_string());
            }
            before = after;
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), KINDS.len() * OPERATIONS.len() * 2, wrong.join("\n"));
}
