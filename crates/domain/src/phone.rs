//! Phone numbers: one number, one spelling, one account.

use std::fmt;
use std::str::FromStr;

use phonenumber::metadata::DATABASE;
use phonenumber::{Mode, Type};

use crate::Country;

/// A number in the form of E.164: `+` and at most 15 digits, in a range that its country has given out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber {
    text: String,
    mobile_in: Option<Country>,
}

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
        &self.text
    }

    /// The country in which it can be a mobile phone; `None` where it is none, or of no country.
    ///
    /// In some countries, the United States for one, mobile and landline numbers look alike, and these count. Satellite
    /// and other networks of no country (+870, +878, +881, +882, +883), personal numbers (UK 070), toll-free ones and
    /// landlines do not: an SMS there reaches nobody, or costs what whoever rents the number shares in.
    #[must_use]
    pub fn mobile_in(&self) -> Option<Country> {
        self.mobile_in
    }

    /// All but its last four digits: numbers are given out, and rented, by the ten thousand.
    #[must_use]
    pub fn block(&self) -> &str {
        &self.text[..self.text.len().saturating_sub(4)]
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
        let kind = number.number_type(&DATABASE);
        if !number.is_valid() || matches!(kind, Type::PremiumRate | Type::SharedCost) {
            return Err(PhoneNumberError);
        }
        let text = number.format().mode(Mode::E164).to_string();
        let metadata = number.metadata(&DATABASE);
        let is_mobile = match kind {
            Type::Mobile | Type::FixedLineOrMobile => true,
            // The type is told without the zeros that a number begins with where they are part of it (Ivory Coast).
            Type::Unknown => metadata.and_then(|metadata| metadata.descriptors().mobile()).is_some_and(|mobile| {
                let code = format!("+{}", number.code().value());
                text.strip_prefix(&code).is_some_and(|national| national.starts_with('0') && mobile.is_match(national))
            }),
            _ => false,
        };
        let region = metadata.and_then(|metadata| metadata.id().parse().ok());
        Ok(Self { mobile_in: region.filter(|_| is_mobile), text })
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    fn mobile_numbers_have_a_country_and_others_have_none() {
        let of = |text: &str| text.parse::<PhoneNumber>().ok().and_then(|number| number.mobile_in());
        for (text, country) in [
            ("+14155552671", "US"),
            ("+14165552671", "CA"),
            ("+4915123456789", "DE"),
            ("+447400123456", "GB"),
            ("+447624123456", "IM"),
            ("+919812345678", "IN"),
            ("+5511961234567", "BR"),
            ("+524421234567", "MX"),
            ("+8613912345678", "CN"),
            // A zero is part of these.
            ("+2250701234567", "CI"),
            ("+2250101234567", "CI"),
            ("+242061234567", "CG"),
            ("+242041234567", "CG"),
            ("+2290197123456", "BJ"),
        ] {
            assert_eq!(of(text).map(|country| country.to_string()).as_deref(), Some(country), "{text}");
        }
        for text in [
            // Satellites: Inmarsat, Globalstar, Iridium, Thuraya.
            "+870773111632",
            "+88184000001",
            "+881612345678",
            "+8821621234567",
            "+8835100123456",
            "+878101234567890",
            "+447012345678",
            "+442079460958",
            "+448001234567",
            "+18005550123",
            "+15005550123",
            "+4930123456",
            // Landlines of Ivory Coast and Congo-Brazzaville.
            "+2252721234567",
            "+242222123456",
            "+80012345678",
            "+979123456789",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!("+14155552671".parse::<PhoneNumber>().unwrap().block(), "+1415555");
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
