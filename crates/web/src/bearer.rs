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
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(NoBearer::Absent)?;
    // Not by `to_str`, which looks at each byte by itself: a JWT has hundreds.
    let text = Some(value.as_bytes()).filter(|bytes| bytes.is_ascii() && values.next().is_none());
    let text = text.and_then(|bytes| str::from_utf8(bytes).ok()).ok_or(NoBearer::Malformed)?;
    let (scheme, credential) = text.split_once(' ').ok_or(NoBearer::Malformed)?;
    let credential = credential.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty() {
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
