//! `ovation token new`: a new token.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::error::TokenError;
use super::now;
use crate::access::claims::{Audience, Seconds};
use crate::access::mint::{Mint, MintError};
use crate::access::{Cap, Claims};
use crate::os::secret_file::{self, Content};

/// Make a token, for a try or for a moderator
#[derive(Debug, Clone, Args)]
pub(super) struct NewArgs {
    #[command(flatten)]
    key: SigningKey,

    /// Name of the key, by which a server with several finds it
    #[arg(long, value_name = "KID")]
    kid: Option<String>,

    /// Room that the token is for, or the start of several rooms' names and `*`, such as main/talk
    /// or 'main/day2-*'
    #[arg(long, value_name = "PARTY/ROOM", value_parser = channel)]
    room: String,

    /// What the token allows: watch, react or moderate; may be given several times
    #[arg(
        long,
        value_name = "CAP",
        value_delimiter = ',',
        default_value = "watch,react"
    )]
    caps: Vec<Cap>,

    /// Time until the token expires, such as 2h, or never
    #[arg(long, value_name = "TIME", value_parser = expiry, default_value = "2h")]
    expires: Expiry,

    /// User that the token is for
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,

    /// Audience, if the server has --token-audience
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,

    /// Issuer, if the server has --token-issuer
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct SigningKey {
    /// File with the secret (HS256)
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// File with the private key in PEM, PKCS#8: RSA, P-256 or Ed25519
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// When a token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    /// After this time.
    After(Duration),
    /// Never.
    Never,
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let after = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    Ok(Expiry::After(after))
}

fn channel(text: &str) -> Result<String, String> {
    let is_room = text
        .split_once('/')
        .is_some_and(|(_, room)| !room.is_empty());
    if is_room || text.ends_with('*') {
        return Ok(text.to_owned());
    }
    Err("it is not PARTY/ROOM, such as main/talk".to_owned())
}

/// Writes a new token to `output`.
pub(super) fn run(args: &NewArgs, output: &mut impl Write) -> Result<(), TokenError> {
    let mint = args.key.mint()?.with_kid(args.kid.clone());
    let now = now();
    let claims = Claims {
        sub: args.subject.clone(),
        channel: args.room.clone(),
        exp: match args.expires {
            Expiry::After(time) => Some(Seconds(now.saturating_add(time.as_secs()))),
            Expiry::Never => None,
        },
        expire_at: None,
        iat: Some(Seconds(now)),
        nbf: None,
        aud: args.audience.clone().map(Audience::One),
        iss: args.issuer.clone(),
        caps: Some(args.caps.iter().map(|cap| cap.name().into()).collect()),
    };
    let token = mint.token(&claims).map_err(args.key.failed())?;
    writeln!(output, "{token}").map_err(TokenError::io("write the token"))
}

impl SigningKey {
    fn mint(&self) -> Result<Mint, TokenError> {
        let path = self.path();
        let read = secret_file::read(path, Content::Secret);
        let bytes = read.map_err(|source| TokenError::File {
            path: path.to_owned(),
            source,
        })?;
        let mint = if self.secret_file.is_some() {
            Mint::from_secret(&bytes)
        } else {
            Mint::from_private_key(&bytes)
        };
        mint.map_err(self.failed())
    }

    fn path(&self) -> &Path {
        let path = self.secret_file.as_deref().or(self.key_file.as_deref());
        path.unwrap_or(Path::new(""))
    }

    fn failed(&self) -> impl FnOnce(MintError) -> TokenError {
        let path = self.path().to_owned();
        move |source| TokenError::Mint { path, source }
    }
}
