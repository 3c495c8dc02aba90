//! Phone numbers: one number, one spelling, one account.

use std::fmt;
use std::str::FromStr;

use phonenumber::{Mode, Type};

/// A number in the form of E.164: `+` and at most 15 digits, in a range that its country has given out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// Text that is no phone number that a code can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a phone number with its country's code, such as +14155550132")]
pub struct PhoneNumberError;

/// 15 digits, and as people group them.
const MAX_LENGTH: usize = 32;

impl PhoneNumber {
    /// The normalised number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = PhoneNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        // The parser guesses at letters, extensions and carrier codes; nobody who means one number writes them.
        let digits = text.strip_prefix('+').ok_or(PhoneNumberError)?;
        if text.len() > MAX_LENGTH || !digits.bytes().all(|byte| byte.is_ascii_digit() || b" -.()".contains(&byte)) {
            return Err(PhoneNumberError);
        }
        let number = phonenumber::parse(None, text).map_err(|_| PhoneNumberError)?;
        // Numbers that cost extra are how SMS gateways are robbed.
        let costs_extra =
            matches!(number.number_type(&phonenumber::metadata::DATABASE), Type::PremiumRate | Type::SharedCost);
        if !number.is_valid() || costs_extra {
            return Err(PhoneNumberError);
        }
        Ok(Self(number.format().mode(Mode::E164).to_string()))
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_number_are_one() {
        for text in ["+14155552671", " +1 415 555 2671 ", "+1 (415) 555-2671", "+1.415.555.2671"] {
            assert_eq!(text.parse::<PhoneNumber>().unwrap().as_str(), "+14155552671", "{text:?}");
        }
    }

    #[test]
    fn usual_numbers_pass() {
        for text in ["+4915123456789", "+447400123456", "+819012345678", "+5511961234567", "+393123456789"] {
            assert_eq!(text.parse::<PhoneNumber>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "+",
            "+1",
            "+0000000000",
            "4155552671",
            "004915123456789",
            "+1415555267",
            "+141555526711",
            "+1415555CALL",
            "+14155552671;ext=5",
            "+14155552671x5",
            "++14155552671",
            "+1\u{0}4155552671",
            "+１4155552671",
            "+9991234567890",
            "+12025550123456789012",
            "+19002345678",
            "+14155552671\r\nTo: +4915123456789",
            &format!("+{}", "1".repeat(10_000)),
        ] {
            assert_eq!(text.parse::<PhoneNumber>(), Err(PhoneNumberError), "{text:?}");
        }
    }
}
