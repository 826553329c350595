//! How many reactions a server must count of what a client has sent, as far as that is plain.

use std::collections::HashSet;

use serde_json::Value;

use super::frames::{Read, Sender, read};
use super::script::{TARGETS, handshake};

const MAX_KIND_BYTES: usize = 32;
/// Maximum number of kinds in a room, of which the bystander may use one.
const MAX_KINDS: usize = 63;
/// Number of invalid messages after which the next one ends the connection.
const MAX_INVALID: usize = 10;

/// The limits that the server holds the connection to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub head_bytes: usize,
    pub message_bytes: usize,
}

/// The number of valid reactions in `sent`, or `None` if the model can't tell how the server must
/// read it.
pub fn reactions(sent: &[u8], limits: Limits) -> Option<u64> {
    let mut model = Model {
        limits,
        count: 0,
        kinds: HashSet::new(),
    };
    model.requests(sent)?;
    Some(model.count)
}

struct Model {
    limits: Limits,
    count: u64,
    /// The rooms and kinds that have been counted.
    kinds: HashSet<(String, String)>,
}

/// What the model knows of a field of a request.
enum Field {
    Host,
    Length(usize),
    Close,
    Ignored,
}

impl Model {
    fn requests(&mut self, mut bytes: &[u8]) -> Option<()> {
        loop {
            // Messages of sessions have rules of their own, which this model doesn't know.
            for target in &TARGETS[..2] {
                if let Some(frames) = bytes.strip_prefix(handshake(target).as_bytes()) {
                    return self.frames(frames);
                }
            }
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut fields);
            let head_length = match request.parse(bytes) {
                Ok(httparse::Status::Complete(length)) => length,
                // Nothing that follows is a request.
                Ok(httparse::Status::Partial) | Err(_) => return Some(()),
            };
            if head_length > self.limits.head_bytes || request.version != Some(1) {
                return None;
            }
            let (mut hosts, mut body_length, mut is_last) = (0, None, false);
            for field in request.headers.iter() {
                match known(field)? {
                    Field::Host => hosts += 1,
                    Field::Length(length) if body_length.is_none() => body_length = Some(length),
                    Field::Length(_) => return None,
                    Field::Close => is_last = true,
                    Field::Ignored => {}
                }
            }
            if hosts != 1 {
                return None;
            }
            let body_length = body_length.unwrap_or(0);
            if body_length > self.limits.message_bytes {
                return Some(());
            }
            let Some(body) = bytes.get(head_length..head_length + body_length) else {
                return Some(());
            };
            if request.method == Some("POST") {
                self.post(request.path?, body)?;
            }
            if is_last {
                return Some(());
            }
            bytes = &bytes[head_length + body_length..];
        }
    }

    fn post(&mut self, target: &str, body: &[u8]) -> Option<()> {
        let main = target.strip_prefix("/parties/main/");
        let room = main.or_else(|| target.strip_prefix("/party/"))?;
        if room.is_empty() || !room.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        if let Some(kind) = std::str::from_utf8(body).ok().and_then(kind_of) {
            self.count(room, kind)?;
        }
        Some(())
    }

    fn frames(&mut self, mut bytes: &[u8]) -> Option<()> {
        let mut message: Option<(u8, Vec<u8>)> = None;
        let mut invalid = 0;
        loop {
            let frame = match read(bytes, Sender::Client) {
                Read::Frame(frame, length) => {
                    bytes = &bytes[length..];
                    frame
                }
                Read::Unfinished | Read::Violation(_) => return Some(()),
            };
            match (frame.opcode, &mut message) {
                (8, _) => return Some(()),
                (9 | 10, _) => continue,
                (0, Some((_, payload))) => payload.extend(frame.payload),
                (1 | 2, None) => message = Some((frame.opcode, frame.payload)),
                _ => return Some(()),
            }
            let length = message.as_ref().map_or(0, |(_, payload)| payload.len());
            if length > self.limits.message_bytes {
                return Some(());
            }
            if !frame.is_final {
                continue;
            }
            let Some((opcode, payload)) = message.take() else {
                continue;
            };
            let text = match (opcode, String::from_utf8(payload)) {
                (1, Ok(text)) => Some(text),
                (1, Err(_)) => return Some(()),
                _ => None,
            };
            match text.as_deref().and_then(kind_of) {
                Some(kind) => self.count("talk", kind)?,
                None if invalid == MAX_INVALID => return Some(()),
                None => invalid += 1,
            }
        }
    }

    fn count(&mut self, room: &str, kind: String) -> Option<()> {
        // Which characters are invisible is for the server to know.
        let is_plain = |it: char| it.is_ascii() || matches!(it, '❤' | '\u{1f300}'..='\u{1faff}');
        if !kind.chars().all(is_plain) {
            return None;
        }
        self.kinds.insert((room.to_owned(), kind));
        self.count += 1;
        (self.kinds.len() <= MAX_KINDS).then_some(())
    }
}

/// What a field means; `None` if the model doesn't know.
fn known(field: &httparse::Header<'_>) -> Option<Field> {
    let value = std::str::from_utf8(field.value).ok()?;
    match field.name.to_ascii_lowercase().as_str() {
        "host" => Some(Field::Host),
        "content-length" => {
            let is_number = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
            let length = value.parse().ok().filter(|_| is_number && value.len() < 7);
            length.map(Field::Length)
        }
        "connection" if value == "close" => Some(Field::Close),
        "connection" if value == "keep-alive" => Some(Field::Ignored),
        "origin" | "user-agent" | "content-type" | "accept-language" => Some(Field::Ignored),
        "accept" if value == "*/*" => Some(Field::Ignored),
        _ => None,
    }
}

/// The kind of a valid reaction.
fn kind_of(text: &str) -> Option<String> {
    // A `Value` refuses numbers that no f64 can represent, which the server skips. So this model
    // may take a valid reaction for an invalid one; the caller's comparison allows for that.
    let value: Value = serde_json::from_str(text).ok()?;
    let kind = value.get("kind")?.as_str()?;
    let is_valid = !kind.is_empty() && kind.len() <= MAX_KIND_BYTES && !kind.starts_with('$');
    (is_valid && !kind.chars().any(char::is_control)).then(|| kind.to_owned())
}
