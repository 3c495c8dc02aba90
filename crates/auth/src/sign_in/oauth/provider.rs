//! The providers: where they are, what they are asked for, how they want to be spoken to.

use std::fmt;

use secrecy::SecretString;
use url::Url;

/// A provider that this service knows how to speak to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderName {
    /// Google, by `OpenID` Connect's userinfo.
    Google,
    /// GitHub.
    GitHub,
    /// Twitter, also known as X, by its API 2.
    Twitter,
    /// Discord.
    Discord,
}

/// A provider that is switched on.
pub struct OAuthProvider {
    /// Which one.
    pub name: ProviderName,
    /// The client's id there.
    pub client_id: String,
    /// The client's secret there.
    pub client_secret: SecretString,
    /// Where the provider sends browsers back to; it has to be registered there.
    pub redirect_uri: Url,
    /// Where people are asked.
    pub auth_url: Url,
    /// Where codes are exchanged for tokens.
    pub token_url: Url,
    /// Where a token tells who somebody is.
    pub userinfo_url: Url,
    /// Where a token tells somebody's addresses, with GitHub.
    pub emails_url: Option<Url>,
}

impl ProviderName {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Google, Self::GitHub, Self::Twitter, Self::Discord];

    /// The name in paths, replies and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::GitHub => "github",
            Self::Twitter => "twitter",
            Self::Discord => "discord",
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Google => "Google",
            Self::GitHub => "GitHub",
            Self::Twitter => "Twitter",
            Self::Discord => "Discord",
        }
    }

    /// Where people are asked, unless the configuration says otherwise.
    #[must_use]
    pub const fn default_auth_url(self) -> &'static str {
        match self {
            Self::Google => "https://accounts.google.com/o/oauth2/v2/auth",
            Self::GitHub => "https://github.com/login/oauth/authorize",
            Self::Twitter => "https://x.com/i/oauth2/authorize",
            Self::Discord => "https://discord.com/oauth2/authorize",
        }
    }

    /// Where codes are exchanged for tokens, likewise.
    #[must_use]
    pub const fn default_token_url(self) -> &'static str {
        match self {
            Self::Google => "https://oauth2.googleapis.com/token",
            Self::GitHub => "https://github.com/login/oauth/access_token",
            Self::Twitter => "https://api.x.com/2/oauth2/token",
            Self::Discord => "https://discord.com/api/oauth2/token",
        }
    }

    /// Where a token tells who somebody is, likewise.
    #[must_use]
    pub const fn default_userinfo_url(self) -> &'static str {
        match self {
            Self::Google => "https://openidconnect.googleapis.com/v1/userinfo",
            Self::GitHub => "https://api.github.com/user",
            Self::Twitter => "https://api.x.com/2/users/me?user.fields=profile_image_url",
            Self::Discord => "https://discord.com/api/users/@me",
        }
    }

    /// Where a token tells somebody's addresses, likewise; `None` where that is part of the above.
    #[must_use]
    pub const fn default_emails_url(self) -> Option<&'static str> {
        match self {
            Self::GitHub => Some("https://api.github.com/user/emails"),
            Self::Google | Self::Twitter | Self::Discord => None,
        }
    }

    /// What is asked for: who somebody is, and nothing that one could do with their account.
    pub(crate) const fn scopes(self) -> &'static str {
        match self {
            Self::Google => "openid email profile",
            Self::GitHub => "read:user user:email",
            Self::Twitter => "users.read tweet.read",
            Self::Discord => "identify email",
        }
    }

    /// Whether the client's id and secret go into the `Authorization` header of a token request (RFC 6749 §2.3.1)
    /// and not into its body.
    pub(crate) const fn takes_basic_auth(self) -> bool {
        matches!(self, Self::Twitter)
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
