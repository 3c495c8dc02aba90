//! Countries, where numbers of phones are given out.

use std::fmt;
use std::str::FromStr;

/// A country by its ISO 3166 code: `US`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

/// Some countries, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Countries {
    /// All.
    All,
    /// These, and at least one.
    Only(Vec<Country>),
}

/// Text that names no countries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be ISO 3166 codes of countries such as US,CA,GB, or * for all")]
pub struct CountryError;

impl FromStr for Country {
    type Err = CountryError;

    /// The code of a country that has numbers of its own; in capitals, so that a slip is noticed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = text.as_bytes().try_into().map_err(|_| CountryError)?;
        text.parse::<phonenumber::country::Id>().map_err(|_| CountryError)?;
        Ok(Self(code))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl Countries {
    /// Whether it is one of them.
    #[must_use]
    pub fn contain(&self, country: Country) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(&country),
        }
    }
}

impl FromStr for Countries {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        text.split(',').map(|code| code.trim().parse()).collect::<Result<_, _>>().map(Self::Only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_the_star_are_read_and_slips_are_noticed() {
        let countries: Countries = "US, GB".parse().unwrap();
        assert!(countries.contain("US".parse().unwrap()) && !countries.contain("FR".parse().unwrap()));
        assert_eq!(" * ".parse(), Ok(Countries::All));
        assert!(Countries::All.contain("FR".parse().unwrap()));
        for text in ["", "us", "USA", "XX", "001", "US,", "US;GB", "*,US", "ÜS"] {
            assert_eq!(text.parse::<Countries>(), Err(CountryError), "{text:?}");
        }
    }
}
