//! The credential that a request shows.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Why a request shows no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBearer {
    /// It has no `Authorization` header: nobody claims to be anybody.
    Absent,
    /// It has one that is of another scheme or of none, or several of them.
    Malformed,
}

/// The credential of `Authorization: Bearer X` (RFC 6750 §2.1; the scheme in any case). Two headers are as good as none.
///
/// # Errors
///
/// If there is none.
pub fn bearer(headers: &HeaderMap) -> Result<&str, NoBearer> {
    let credential = bearer_bytes(headers)?;
    let text = Some(credential).filter(|credential| credential.is_ascii());
    text.and_then(|text| str::from_utf8(text).ok()).ok_or(NoBearer::Malformed)
}

/// The same, for whoever compares it with what is known: that each of its bytes belongs into a credential has not been
/// looked at, which takes as long as all the rest.
///
/// # Errors
///
/// If there is none.
pub fn bearer_bytes(headers: &HeaderMap) -> Result<&[u8], NoBearer> {
    const SCHEME: &[u8] = b"bearer ";
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(NoBearer::Absent)?;
    let (scheme, credential) = value.as_bytes().split_at_checked(SCHEME.len()).ok_or(NoBearer::Malformed)?;
    let credential = credential.trim_ascii();
    if scheme.eq_ignore_ascii_case(SCHEME) && !credential.is_empty() && values.next().is_none() {
        Ok(credential)
    } else {
        Err(NoBearer::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&[u8]]) -> Result<String, NoBearer> {
        let lines = lines.iter().map(|line| (AUTHORIZATION, http::HeaderValue::from_bytes(line).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn one_header_of_the_scheme_shows_a_credential() {
        assert_eq!(of(&[b"Bearer af_live_x"]).unwrap(), "af_live_x");
        assert_eq!(of(&[b"bEARER  af_live_x "]).unwrap(), "af_live_x");
        assert_eq!(of(&[]), Err(NoBearer::Absent));
        for lines in [
            &[b"" as &[u8]] as &[&[u8]],
            &[b"Bearer"],
            &[b"Bearer  "],
            &[b"af_live_x"],
            &[b"Basic YTpi"],
            &[b"Bearer \xff"],
            &[b"Bearer a", b"Bearer a"],
        ] {
            assert_eq!(of(lines), Err(NoBearer::Malformed), "{lines:?}");
        }
    }
}
