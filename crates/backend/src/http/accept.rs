//! In which of the two media types of GraphQL over HTTP to answer.

use http::{HeaderMap, header};

/// The media type of a reply. It decides about statuses as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `application/json`: 200 for whatever GraphQL has an answer to, errors included.
    Json,
    /// `application/graphql-response+json`: 400 for a document that does not parse or validate.
    GraphQlResponse,
}

impl MediaType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphQlResponse => "application/graphql-response+json; charset=utf-8",
        }
    }

    /// What the client prefers. Whoever names neither type gets JSON, which every client reads.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let mut json = None;
        let mut graphql = None;
        for (media_type, quality) in ranges(headers) {
            match media_type.as_str() {
                "application/json" | "application/*" | "*/*" => json = json.max(Some(quality)),
                "application/graphql-response+json" => graphql = graphql.max(Some(quality)),
                _ => {}
            }
        }
        if graphql > Some(0) && graphql >= json { Self::GraphQlResponse } else { Self::Json }
    }
}

/// Whether the client names HTML, as browsers do when a person opens a page.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    ranges(headers).any(|(media_type, quality)| media_type == "text/html" && quality > 0)
}

/// The media ranges of `Accept` with their quality in thousandths (RFC 9110 §12.5.1).
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (String, u16)> {
    let lines = headers.get_all(header::ACCEPT).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    lines.map(|range| {
        // A range that is no text names nothing, and hides none of the others.
        let range = str::from_utf8(range).unwrap_or_default();
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        (media_type, quality.map_or(1000, thousandths))
    })
}

fn thousandths(quality: &str) -> u16 {
    let quality: f32 = quality.trim().parse().unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000 before")]
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0).round() as u16;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn the_preferred_type_is_taken() {
        use MediaType::{GraphQlResponse, Json};
        for (accept, expected) in [
            ("", Json),
            ("*/*", Json),
            ("text/html", Json),
            ("application/json", Json),
            ("application/graphql-response+json", GraphQlResponse),
            ("Application/GraphQL-Response+JSON; charset=utf-8", GraphQlResponse),
            ("application/graphql-response+json, application/json", GraphQlResponse),
            ("application/json, application/graphql-response+json", GraphQlResponse),
            ("application/graphql-response+json;q=0.5, application/json", Json),
            ("application/json;q=0.9, application/graphql-response+json", GraphQlResponse),
            ("application/graphql-response+json;q=0", Json),
            ("application/graphql-response+json;q=NaN", Json),
            ("application/graphql-response+json;q=9", GraphQlResponse),
        ] {
            assert_eq!(MediaType::accepted(&headers(accept)), expected, "{accept:?}");
        }
        assert_eq!(MediaType::accepted(&HeaderMap::new()), Json);
        for (accept, expected) in [
            (&b"\xff"[..], Json),
            (b"application/graphql-response+json\xff", Json),
            (b"\xff, application/graphql-response+json", GraphQlResponse),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_bytes(accept).unwrap())]);
            assert_eq!(MediaType::accepted(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn browsers_are_recognised() {
        assert!(wants_html(&headers("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")));
        assert!(!wants_html(&headers("*/*")));
        assert!(!wants_html(&headers("text/html;q=0, application/json")));
    }
}
