//! From rows of a CSV file (RFC 4180) to tokens.

use std::collections::BTreeMap;
use std::str;

use anyhow::{bail, ensure};
use auth::OldToken;
use csv::ByteRecord;
use domain::token::TokenSecret;
use domain::{Timestamp, TokenName};

use super::time;

/// Which column is where.
pub(super) struct Columns {
    places: BTreeMap<&'static str, usize>,
    count: usize,
}

/// A row that can be imported, and what its owner should know about it.
#[derive(Debug)]
pub(super) struct OldRow {
    pub(super) token: OldToken,
    pub(super) note: Option<String>,
}

const REQUIRED: [&str; 3] = ["id", "token", "userId"];
const OPTIONAL: [&str; 5] = ["name", "expiresAt", "lastUsedAt", "createdAt", "email"];

impl Columns {
    /// Reads the header: case and underscores make no difference (`user_id` is `userId`). Returns the names of columns
    /// that are not used as well.
    pub(super) fn of(header: &ByteRecord) -> anyhow::Result<(Self, Vec<String>)> {
        let mut places = BTreeMap::new();
        let mut ignored = Vec::new();
        for (place, name) in header.iter().enumerate() {
            let name = String::from_utf8_lossy(name).trim().to_owned();
            let folded = name.replace('_', "").to_lowercase();
            let known = REQUIRED.iter().chain(&OPTIONAL).find(|known| known.to_lowercase() == folded);
            match known {
                Some(known) => ensure!(places.insert(*known, place).is_none(), "the header names {known} twice"),
                None => ignored.push(name),
            }
        }
        let missing: Vec<_> = REQUIRED.into_iter().filter(|name| !places.contains_key(name)).collect();
        if !missing.is_empty() {
            // Not what is there instead: without a header, the first line holds a token.
            bail!("the first line has to name the columns, separated by commas; missing: {}", missing.join(", "));
        }
        Ok((Self { places, count: header.len() }, ignored))
    }

    /// The row's token.
    ///
    /// # Errors
    /// Why it cannot be imported; the text holds no token.
    pub(super) fn read(&self, row: &ByteRecord) -> Result<OldRow, String> {
        if row.len() != self.count {
            return Err(format!("has {} fields, the first line {}", row.len(), self.count));
        }
        let field = |name: &'static str| -> Result<&str, String> {
            let Some(&place) = self.places.get(name) else { return Ok("") };
            Ok(str::from_utf8(&row[place]).map_err(|_| format!("{name} is not UTF-8"))?.trim())
        };
        let time = |name: &'static str| -> Result<Option<Timestamp>, String> {
            time::read(field(name)?).map_err(|what| format!("{name} {what}"))
        };
        for name in REQUIRED {
            if field(name)?.is_empty() {
                return Err(format!("{name} is empty"));
            }
        }
        let malformed_id = |name: &str| format!("{name} is no id: 1 to 64 letters, digits, hyphens and underscores");
        let email = match field("email")? {
            "" => None,
            address => Some(address.parse().map_err(|error| format!("email {error}"))?),
        };
        let name = TokenName::nearest(field("name")?);
        let note = (name.as_str() != field("name")? && self.places.contains_key("name"))
            .then(|| format!("the name is kept as {name}"));
        let token = OldToken {
            id: field("id")?.parse().map_err(|_| malformed_id("id"))?,
            user_id: field("userId")?.parse().map_err(|_| malformed_id("userId"))?,
            email,
            name,
            secret: TokenSecret::of_older_system(field("token")?).map_err(|error| error.to_string())?,
            expires_at: time("expiresAt")?,
            last_used_at: time("lastUsedAt")?,
            created_at: time("createdAt")?,
        };
        Ok(OldRow { token, note })
    }
}

/// Counts lines as editors do. The reader's own count is that of the line before, where lines are empty.
pub(super) struct Lines<'a> {
    content: &'a [u8],
    place: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    pub(super) const fn of(content: &'a [u8]) -> Self {
        Self { content, place: 0, line: 1 }
    }

    /// The line in which this record begins; records have to come in order.
    pub(super) fn of_record(&mut self, record: &ByteRecord) -> u64 {
        let begin = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(usize::MAX));
        while let Some(&byte) = self.content.get(self.place) {
            let is_end_of_line = byte == b'\n' || (byte == b'\r' && self.content.get(self.place + 1) != Some(&b'\n'));
            if self.place >= begin && byte != b'\n' && byte != b'\r' {
                break;
            }
            self.line += u64::from(is_end_of_line);
            self.place += 1;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "af_live_9f86d081884c7d659a2feaa0c55ad015";

    fn record(fields: &[&str]) -> ByteRecord {
        ByteRecord::from(fields.to_vec())
    }

    #[test]
    fn columns_come_in_any_order_and_spelling() {
        let header = record(&["CREATED_AT", "Token", "notes", "user_id", "id"]);
        let (columns, ignored) = Columns::of(&header).unwrap();
        assert_eq!(ignored, ["notes"]);
        let row = columns.read(&record(&["1762603200000", TOKEN, "x", "u1", "t1"])).unwrap();
        assert_eq!((row.token.id.as_str(), row.token.user_id.as_str()), ("t1", "u1"));
        assert_eq!(row.token.secret.expose(), TOKEN);
        assert_eq!(row.token.created_at, Some(Timestamp::from_millis(1_762_603_200_000)));
        assert_eq!((row.token.name.as_str(), row.note), ("imported", None));
    }

    #[test]
    fn a_file_without_a_header_is_refused_without_repeating_it() {
        for header in [&["t1", "u1", TOKEN][..], &["id;token;userId"], &[]] {
            let error = Columns::of(&record(header)).err().unwrap().to_string();
            assert!(error.contains("missing: id, token, userId"), "{error}");
            assert!(!error.contains(TOKEN));
        }
        let twice = Columns::of(&record(&["id", "token", "userId", "user_id"])).err().unwrap();
        assert!(twice.to_string().contains("userId twice"));
    }

    #[test]
    fn what_cannot_be_imported_has_a_reason_without_the_token() {
        let (columns, _) = Columns::of(&record(&["id", "token", "userId", "expiresAt", "email"])).unwrap();
        for (row, reason) in [
            (["", TOKEN, "u1", "", ""], "id is empty"),
            (["t1", "", "u1", "", ""], "token is empty"),
            (["t1", TOKEN, " ", "", ""], "userId is empty"),
            (["t 1", TOKEN, "u1", "", ""], "id is no id"),
            (["t1", TOKEN, "u/1", "", ""], "userId is no id"),
            (["t1", "af_live_short", "u1", "", ""], "fewer than 20"),
            (["t1", "af_live_9f86d081 884c7d659a2f", "u1", "", ""], "white space"),
            (["t1", TOKEN, "u1", "soon", ""], "expiresAt is not a time"),
            (["t1", TOKEN, "u1", "1762603200", ""], "expiresAt looks like seconds"),
            (["t1", TOKEN, "u1", "", "ann"], "email must be"),
        ] {
            let told = columns.read(&record(&row)).unwrap_err();
            assert!(told.contains(reason), "{told}");
            assert!(!told.contains("af_live_"), "{told}");
        }
        assert_eq!(columns.read(&record(&["t1", TOKEN])).unwrap_err(), "has 2 fields, the first line 5");
        let latin1 = ByteRecord::from(vec![&b"t\xe4"[..], TOKEN.as_bytes(), b"u1", b"", b""]);
        assert_eq!(columns.read(&latin1).unwrap_err(), "id is not UTF-8");
    }

    #[test]
    fn lines_are_counted_as_editors_count_them() {
        let content = b"id\r\nfirst\n\n\nsecond\n\"of\ntwo\"\r\rlast";
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&content[..]);
        let mut lines = Lines::of(content);
        let mut found = Vec::new();
        for record in reader.byte_records() {
            found.push(lines.of_record(&record.unwrap()));
        }
        assert_eq!(found, [1, 2, 5, 6, 9]);
    }
}
