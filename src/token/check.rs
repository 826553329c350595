//! `ovation token check`: whether a server would accept a token, and what it allows.

use std::io::{self, Read, Write};
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use data_encoding::BASE64URL_NOPAD;

use super::error::TokenError;
use super::now;
use crate::access::verify::MAX_TOKEN_BYTES;
use crate::access::{Access, Claims, Denied};
use crate::config::VerificationArgs;

/// Check a token as a server with the same keys would
#[derive(Debug, Clone, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    verification: VerificationArgs,

    /// Room in which the token must hold [default: those it is for]
    #[arg(long, value_name = "PARTY/ROOM", value_parser = room)]
    room: Option<(String, String)>,

    /// Token; - reads it from standard input
    #[arg(value_name = "TOKEN", default_value = "-")]
    token: String,
}

fn room(text: &str) -> Result<(String, String), String> {
    let (party, room) = text
        .split_once('/')
        .ok_or("it is not PARTY/ROOM, such as main/talk")?;
    Ok((party.to_owned(), room.to_owned()))
}

/// Writes the claims of the token and the verdict to `output`. Returns whether the token is
/// accepted.
pub(super) fn run(args: &CheckArgs, output: &mut impl Write) -> Result<bool, TokenError> {
    let access = args.verification.access()?.ok_or(TokenError::NoKey)?;
    let token = match &*args.token {
        "-" => from_input().map_err(TokenError::io("read the token"))?,
        token => token.to_owned(),
    };
    let verdict = verdict(&access, &token, args.room.as_ref());
    let mut lines = Vec::new();
    // What a token claims helps to see why it is refused.
    lines.extend(payload(&token));
    lines.push(match &verdict {
        Ok(claims) => accepted(claims),
        Err(denied) => format!("refused: {denied}"),
    });
    let report = lines.join("\n");
    writeln!(output, "{report}").map_err(TokenError::io("write the report"))?;
    Ok(verdict.is_ok())
}

/// Reads a token from standard input, without the space around it.
fn from_input() -> io::Result<String> {
    let mut text = String::new();
    // Far more than a token is refused for its length.
    let mut input = io::stdin().take(2 * MAX_TOKEN_BYTES as u64);
    input.read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn verdict(
    access: &Access,
    token: &str,
    room: Option<&(String, String)>,
) -> Result<Claims, Denied> {
    let claims = access.verify(token, now())?;
    match room {
        Some((party, room)) if !claims.covers(party, room) => Err(Denied::WrongRoom),
        _ => Ok(claims),
    }
}

/// The payload of a token as a line of JSON, whoever signed it; `None` if it isn't JSON.
fn payload(token: &str) -> Option<String> {
    let payload = BASE64URL_NOPAD
        .decode(token.split('.').nth(1)?.as_bytes())
        .ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some(payload.to_string())
}

fn accepted(claims: &Claims) -> String {
    let until = match claims.expires_at() {
        None => "without end".to_owned(),
        Some(seconds) => match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
            // The formatter knows years of four digits only.
            Some(time) if seconds < 253_402_300_800 => {
                format!("until {}", humantime::format_rfc3339_seconds(time))
            }
            _ => "without end".to_owned(),
        },
    };
    format!(
        "accepted: may {} in {}, {until}",
        claims.caps(),
        claims.channel
    )
}
