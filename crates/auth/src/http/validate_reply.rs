//! The bodies of validate's replies: [`ValidReply`](auth_api::ValidReply) and [`InvalidReply`](auth_api::InvalidReply), written by hand. Most
//! of each is the same every time, and serde would take longer for the rest than it takes to validate. The tests hold
//! the two together.

use std::io::Write as _;

use auth_api::{ErrorCode, RateLimit};
use domain::Timestamp;
use limiter::Quota;
use web::RequestId;

use crate::keys::NarrowedClaims;
use crate::tokens::Credential;

/// A [`ValidReply`](auth_api::ValidReply). All of it but its last field is the same each time and is kept with the cached
/// credential.
pub(super) fn valid(credential: &Credential, quota: Quota) -> Vec<u8> {
    let constant = &credential.description;
    let mut json = Vec::with_capacity(constant.len() + 96);
    json.extend_from_slice(constant);
    write_rate_limit(&mut json, quota);
    json.push(b'}');
    json
}

/// Adds the [`Bounds`](auth_api::Bounds) to a [`ValidReply`].
pub(super) fn add_bounds(credential: &Credential, reply: &mut Vec<u8>) {
    reply.pop();
    reply.extend_from_slice(br#","bounds":{"#);
    // The characters of ids are written as they are.
    if let Some(secret_id) = &credential.secret_id {
        reply.extend_from_slice(br#""secretId":""#);
        reply.extend_from_slice(secret_id.as_str().as_bytes());
        reply.push(b'"');
    }
    // Only a token is narrowed, and it has a secret.
    if let Some(audience) = credential.narrowed().and_then(NarrowedClaims::audience) {
        reply.extend_from_slice(br#","audience":"#);
        serde_json::to_writer(&mut *reply, audience).expect("memory takes what is written, and texts are JSON");
    }
    reply.extend_from_slice(b"}}");
}

/// What an [`InvalidReply`](auth_api::InvalidReply) says besides, with `RATE_LIMIT_EXCEEDED`.
pub(super) struct Limited {
    /// Seconds until the next request is admitted.
    pub(super) retry_after: u64,
    /// When it is.
    pub(super) reset_at: Timestamp,
    pub(super) quota: Quota,
}

/// An [`InvalidReply`](auth_api::InvalidReply). Neither the message nor the code nor the id has characters that JSON
/// would write otherwise.
pub(super) fn invalid(
    message: &'static str,
    code: ErrorCode,
    request_id: &RequestId,
    limited: Option<&Limited>,
) -> Vec<u8> {
    let mut json = Vec::with_capacity(320);
    for text in [r#"{"valid":false,"error":""#, message, r#"","code":""#, code.as_str(), r#"","requestId":""#] {
        json.extend_from_slice(text.as_bytes());
    }
    json.extend_from_slice(request_id.as_bytes());
    json.push(b'"');
    if let Some(Limited { retry_after, reset_at, quota }) = limited {
        json.extend_from_slice(br#","retryAfter":"#);
        write_number(&mut json, *retry_after);
        json.extend_from_slice(br#","resetAt":"#);
        write_moment(&mut json, *reset_at);
        json.extend_from_slice(br#","rateLimit":"#);
        write_rate_limit(&mut json, *quota);
    }
    json.push(b'}');
    json
}

/// A window as it is on the wire.
pub(super) fn rate_limit(quota: Quota) -> RateLimit {
    RateLimit { limit: quota.limit, remaining: quota.remaining, reset_at: quota.reset_at }
}

/// A [`RateLimit`].
fn write_rate_limit(json: &mut Vec<u8>, quota: Quota) {
    let Quota { limit, remaining, reset_at } = quota;
    json.extend_from_slice(br#"{"limit":"#);
    write_number(json, limit);
    json.extend_from_slice(br#","remaining":"#);
    write_number(json, remaining);
    json.extend_from_slice(br#","resetAt":"#);
    write_moment(json, reset_at);
    json.push(b'}');
}

fn write_number(json: &mut Vec<u8>, number: impl itoa::Integer) {
    json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_moment(json: &mut Vec<u8>, moment: Timestamp) {
    json.push(b'"');
    match moment.iso_8601() {
        Some(text) => json.extend_from_slice(&text),
        None => write!(json, "{moment}").expect("memory takes what is written"),
    }
    json.push(b'"');
}

#[cfg(test)]
mod tests {
    use auth_api::InvalidReply;
    use domain::Chance;
    use http::HeaderMap;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    const MOMENTS: [i64; 4] = [0, 1_762_603_200_001, -1, i64::MAX];

    #[test]
    fn a_window_is_written_as_serde_writes_it() {
        for reset_at in MOMENTS.map(Timestamp::from_millis) {
            let quota = Quota { limit: u32::MAX, remaining: 0, reset_at };
            let mut written = Vec::new();
            write_rate_limit(&mut written, quota);
            assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&rate_limit(quota)).unwrap());
        }
    }

    #[test]
    fn a_refusal_is_written_as_serde_writes_it() {
        let request_id = RequestId::of(&HeaderMap::new(), &Chance::new(rand_chacha::ChaCha20Rng::from_seed([7; 32])));
        let (message, code) = ("This token is not valid", ErrorCode::InvalidToken);
        let mut reply = InvalidReply {
            valid: false,
            error: message.to_owned(),
            code,
            request_id: request_id.to_string(),
            retry_after: None,
            reset_at: None,
            rate_limit: None,
        };
        let written = invalid(message, code, &request_id, None);
        assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&reply).unwrap());

        for reset_at in MOMENTS.map(Timestamp::from_millis) {
            let quota = Quota { limit: 1000, remaining: 0, reset_at };
            let limited = Limited { retry_after: u64::MAX, reset_at, quota };
            reply.retry_after = Some(u64::MAX);
            reply.reset_at = Some(reset_at);
            reply.rate_limit = Some(rate_limit(quota));
            let written = invalid(message, code, &request_id, Some(&limited));
            assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&reply).unwrap());
        }
    }
}
