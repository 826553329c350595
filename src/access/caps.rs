//! What a client may do in a room.

use std::fmt;
use std::str::FromStr;

/// One thing that a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// See the counts.
    Watch,
    /// React. Implies [`Cap::Watch`].
    React,
    /// Freeze, close and empty the room.
    Moderate,
}

impl Cap {
    /// All caps, in the order of their names in documentation.
    pub const ALL: [Self; 3] = [Self::Watch, Self::React, Self::Moderate];

    /// The name in the claim `caps`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::React => "react",
            Self::Moderate => "moderate",
        }
    }
}

impl FromStr for Cap {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|cap| cap.name() == name)
            .ok_or_else(|| "it is not watch, react or moderate".to_owned())
    }
}

/// What a client may do in a room: a set of caps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps(u8);

impl Caps {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// See the counts.
    pub const WATCH: Self = Self(1 << Cap::Watch as u8);
    /// See the counts and react. Tokens without the claim `caps` give this.
    pub const REACT: Self = Self(1 << Cap::React as u8 | Self::WATCH.0);

    /// Whether the set has `cap`.
    pub fn has(self, cap: Cap) -> bool {
        self.0 & 1 << cap as u8 != 0
    }

    /// The set with `cap` and what it implies.
    #[must_use]
    pub fn with(self, cap: Cap) -> Self {
        let added = match cap {
            Cap::Watch => Self::WATCH.0,
            Cap::React => Self::REACT.0,
            Cap::Moderate => 1 << Cap::Moderate as u8,
        };
        Self(self.0 | added)
    }
}

impl FromIterator<Cap> for Caps {
    fn from_iter<I: IntoIterator<Item = Cap>>(caps: I) -> Self {
        caps.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Writes the names, such as `watch, react`.
impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = Cap::ALL.into_iter().filter(|cap| self.has(*cap));
        let names: Vec<&str> = held.map(Cap::name).collect();
        match names.as_slice() {
            [] => f.write_str("nothing"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn react_implies_watch_and_moderate_implies_neither() {
        let set = |caps: &[Cap]| caps.iter().copied().collect::<Caps>().to_string();
        assert_eq!(set(&[Cap::React]), "watch, react");
        assert_eq!(set(&[Cap::Moderate]), "moderate");
        assert_eq!(set(&[Cap::Watch, Cap::Moderate]), "watch, moderate");
        assert_eq!(set(&[]), "nothing");
        assert_eq!(Caps::REACT, Caps::NONE.with(Cap::React));
        assert_eq!(Caps::WATCH, Caps::NONE.with(Cap::Watch));
    }

    #[test]
    fn caps_are_parsed_by_their_names() {
        for cap in Cap::ALL {
            assert_eq!(cap.name().parse(), Ok(cap));
        }
        assert!("Watch".parse::<Cap>().is_err());
    }
}
