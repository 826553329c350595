//! A client's message, and what the application made of it.

/// A whole message from a client.
#[derive(Debug, Clone, Copy)]
pub enum Message<'m> {
    /// A text message.
    Text(&'m str),
    /// A binary message.
    Binary(&'m [u8]),
}

/// What an application made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The application accepted the message.
    Accepted,
    /// The application accepted the message, which counts as so many.
    Batch(u16),
    /// The application had the message before, or it came too early. It was not counted.
    Repeated,
    /// The application dropped the message, through no fault of the client.
    Dropped,
    /// The application dropped the message as invalid. The reactor closes a connection that sends
    /// more than [`super::ConnectionLimits::max_invalid_messages`] of them.
    Invalid,
}
