//! From readings to an assessment: what each resource allows, which stops first, what should
//! change.

use serde::Serialize;

use super::limits::MachineLimits;
use super::notes::{Note, notes};
use super::remedy::Remedy;
use super::resource::{Allowance, RESOURCES, Resource};
use super::setup::Setup;

/// The findings about a server on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Assessment {
    #[serde(flatten)]
    pub(super) setup: Setup,
    /// Whether the wanted connections fit; `None` if no number is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fits: Option<bool>,
    /// The lowest bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stops_first: Option<Stop>,
    /// All bounds, the lowest first.
    pub(super) bounds: Vec<ConnectionBound>,
    /// Remarks that are not bounds on connections.
    pub(super) notes: Vec<Note>,
}

/// The resource that stops the server, and at how many connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stop {
    pub(super) name: &'static str,
    pub(super) connections: u64,
}

/// How many connections a resource allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ConnectionBound {
    pub(super) name: &'static str,
    pub(super) connections: u64,
    /// How the number comes about.
    pub(super) why: String,
    /// Changes that raise the bound far enough, and any one of them suffices. Empty if the bound is
    /// high enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remedies: Vec<Remedy>,
}

impl Assessment {
    /// Assesses `setup` on the machine that has `limits`.
    ///
    /// A bound should change if it allows fewer connections than wanted. If no number is wanted, it
    /// should change if it allows fewer than fit into memory, which no setting changes.
    pub(super) fn new(limits: &MachineLimits, setup: Setup) -> Self {
        let mut found: Vec<(Resource, Allowance)> = RESOURCES
            .into_iter()
            .filter_map(|resource| Some((resource, (resource.allows)(limits, &setup)?)))
            .collect();
        found.sort_by_key(|(_, allowance)| allowance.connections);
        let physical = found
            .iter()
            .find(|(resource, _)| resource.is_physical)
            .map(|(_, allowance)| allowance.connections);
        let target = setup.wanted.or(physical).unwrap_or(0);
        let bounds: Vec<ConnectionBound> = found
            .into_iter()
            .map(
                |(resource, Allowance { connections, why })| ConnectionBound {
                    name: resource.name,
                    connections,
                    why,
                    remedies: if connections < target {
                        (resource.remedies)(limits, &setup, target)
                    } else {
                        Vec::new()
                    },
                },
            )
            .collect();
        let least = bounds.first();
        Self {
            setup,
            fits: setup
                .wanted
                .map(|wanted| least.is_none_or(|least| least.connections >= wanted)),
            stops_first: least.map(|least| Stop {
                name: least.name,
                connections: least.connections,
            }),
            notes: notes(limits, &setup),
            bounds,
        }
    }

    /// Returns the bounds that should change.
    pub(super) fn too_low(&self) -> impl Iterator<Item = &ConnectionBound> {
        self.bounds
            .iter()
            .filter(|bound| !bound.remedies.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, setup};
    use super::*;

    fn wanting(wanted: u64) -> Setup {
        Setup {
            wanted: Some(wanted),
            both_ends: true,
            ..setup(2)
        }
    }

    fn lines(assessment: &Assessment) -> Vec<(&str, Vec<&str>)> {
        assessment
            .too_low()
            .map(|bound| {
                (
                    bound.name,
                    bound.remedies.iter().map(Remedy::line).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn the_least_bound_stops_first() {
        let machine = Machine::ordinary();
        let assessment = Assessment::new(&machine.limits(), setup(2));
        let least = assessment.stops_first.clone().unwrap();
        assert_eq!((least.name, least.connections), ("RLIMIT_NOFILE", 38_554));
        assert!(
            assessment
                .bounds
                .is_sorted_by_key(|bound| bound.connections)
        );
        assert_eq!(assessment.fits, None);
        machine.write("proc/sys/fs/epoll/max_user_watches", "1000\n");
        let assessment = Assessment::new(&machine.limits(), setup(2));
        let least = assessment.stops_first.unwrap();
        assert_eq!(
            (least.name, least.connections),
            ("fs.epoll.max_user_watches", 992)
        );
    }

    #[test]
    fn only_bounds_below_the_target_should_change() {
        let limits = Machine::ordinary().limits();
        let assessment = Assessment::new(&limits, wanting(2_000_000));
        assert_eq!(assessment.fits, Some(false));
        assert_eq!(
            lines(&assessment),
            [
                (
                    "RLIMIT_NOFILE",
                    vec!["--reactors 105", "LimitNOFILE=1048576"]
                ),
                ("fs.file-max", vec!["sysctl -w fs.file-max=4100000"]),
            ]
        );
        assert_eq!(lines(&Assessment::new(&limits, wanting(30_000))), []);
        let assessment = Assessment::new(&limits, wanting(30_000));
        assert_eq!(assessment.fits, Some(true));
    }

    #[test]
    fn memory_that_no_setting_provides_is_reported() {
        let limits = Machine::ordinary().limits();
        let assessment = Assessment::new(&limits, wanting(100_000_000));
        let lines = lines(&assessment);
        let of = |name| lines.iter().find(|it| it.0 == name).unwrap().1.clone();
        assert_eq!(of("memory"), ["937.4 GB more memory"]);
        assert_eq!(of("--max-connections"), ["--max-connections 100000000"]);
        let watches = "sysctl -w fs.epoll.max_user_watches=210000000";
        assert_eq!(of("fs.epoll.max_user_watches"), [watches]);
        assert_eq!(of("fs.nr_open"), ["sysctl -w fs.nr_open=51000000"]);
    }

    #[test]
    fn without_a_wanted_number_memory_is_the_target() {
        let limits = Machine::ordinary().limits();
        let assessment = Assessment::new(&limits, setup(2));
        let memory = assessment
            .bounds
            .iter()
            .find(|bound| bound.name == "memory")
            .unwrap();
        assert!(memory.remedies.is_empty());
        for bound in &assessment.bounds {
            let should_change = bound.connections < memory.connections;
            assert_eq!(!bound.remedies.is_empty(), should_change, "{bound:?}");
        }
    }

    #[test]
    fn a_machine_without_readings_has_no_bounds() {
        let limits = Machine::empty().limits();
        let setup = Setup {
            max_connections: None,
            ..wanting(5)
        };
        let assessment = Assessment::new(&limits, setup);
        assert_eq!(
            (assessment.fits, assessment.stops_first),
            (Some(true), None)
        );
        assert_eq!((assessment.bounds, assessment.notes), (vec![], vec![]));
    }
}
