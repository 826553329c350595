//! What the client does, as the fuzzer writes it.
//!
//! Bytes stand for themselves, so that dictionaries of HTTP and PROXY headers work. The bytes from
//! 0xF5 on, which no UTF-8 text contains, are commands:
//!
//! | bytes | command |
//! |---|---|
//! | `FF` | send what has been collected, and run a turn |
//! | `FE n` | let n² milliseconds pass, and run a turn |
//! | `FD n` | read 64·n bytes, or everything if n is 0 |
//! | `FC first n …` | a masked frame with this first byte and the next n bytes as its payload |
//! | `FB n` | the last piece again, n times |
//! | `FA` | send what has been collected, and then no more |
//! | `F9 n` | the byte n |
//! | `F8 n` | a reaction of the kind n, as a frame |
//! | `F7 n` | a WebSocket handshake: with presence if n is 1, with a session if n is 2 |
//! | `F6` | the bystander reacts |
//! | `F5` | stop reading of one's own accord, or begin again |

use std::time::Duration;

/// Maximum number of bytes that a script sends.
const MAX_SENT_BYTES: usize = 128 * 1024;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The key of RFC 6455, section 1.3, whose answer is known.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What the client does next.
#[derive(Debug)]
pub enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    Read(usize),
    EndWriting,
    BystanderReacts,
    ToggleReading,
}

/// The steps that `bytes` stand for.
pub fn steps(bytes: &[u8]) -> Vec<Step> {
    let mut script = Script::default();
    let mut bytes = bytes.iter().copied();
    while let Some(byte) = bytes.next() {
        script.command(byte, &mut bytes);
    }
    script.cut();
    script.steps
}

/// The handshake of the command `F7`.
pub fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: ovation.test\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// The targets of the command `F7`. The last has a session, in which messages are numbered.
pub const TARGETS: [&str; 3] = [
    "/party/talk",
    "/party/talk?presence=1",
    "/party/talk?session=0123456789abcdef0123456789abcdef",
];

#[derive(Debug, Default)]
struct Script {
    steps: Vec<Step>,
    collected: Vec<u8>,
    /// The start in `collected` of the last piece.
    piece: usize,
    is_literal: bool,
    sent: usize,
}

impl Script {
    fn command(&mut self, byte: u8, rest: &mut impl Iterator<Item = u8>) {
        let mut next = || rest.next().unwrap_or_default();
        let was_literal = std::mem::take(&mut self.is_literal);
        match byte {
            0xff => self.cut(),
            0xfe => {
                self.cut();
                let n = u64::from(next());
                self.steps.push(Step::Wait(Duration::from_millis(n * n)));
            }
            0xfd => self.steps.push(Step::Read(match next() {
                0 => usize::MAX,
                n => 64 * usize::from(n),
            })),
            0xfc => {
                let (first, length) = (next(), next());
                let payload: Vec<u8> = rest.take(length.into()).collect();
                self.add(&masked(first, &payload));
            }
            0xfb => {
                let piece = self.collected[self.piece..].to_vec();
                for _ in 0..next() {
                    if self.sent + self.collected.len() + piece.len() > MAX_SENT_BYTES {
                        break;
                    }
                    self.collected.extend_from_slice(&piece);
                }
            }
            0xfa => {
                self.cut();
                self.steps.push(Step::EndWriting);
            }
            0xf9 => self.add(&[next()]),
            0xf8 => self.add(&reaction(next())),
            0xf7 => self.add(handshake(TARGETS[usize::from(next() % 3)]).as_bytes()),
            0xf6 => self.steps.push(Step::BystanderReacts),
            0xf5 => self.steps.push(Step::ToggleReading),
            literal => {
                self.is_literal = true;
                if was_literal {
                    self.collected.push(literal);
                } else {
                    self.add(&[literal]);
                }
            }
        }
    }

    fn add(&mut self, piece: &[u8]) {
        self.piece = self.collected.len();
        self.collected.extend_from_slice(piece);
    }

    fn cut(&mut self) {
        self.piece = 0;
        self.sent += self.collected.len();
        let bytes = std::mem::take(&mut self.collected);
        self.steps.push(Step::Send(bytes));
    }
}

/// A reaction of one of a few kinds, as a frame.
fn reaction(kind: u8) -> Vec<u8> {
    let kind = ["love", "clap", "❤", "🎉"][usize::from(kind % 4)];
    masked(0x81, format!(r#"{{"kind":"{kind}"}}"#).as_bytes())
}

/// A masked frame whose length has its shortest form.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let key = MASK.iter().cycle();
    frame.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
    frame
}
