//! Which calls are held against a real part, so that the simulator is known to answer as it does.

use crate::outcome::Outcome;
use crate::place::Kind;
use std::collections::BTreeSet;
use stepback_core::Interface;

/// Whether the conformance suite holds the simulator against the very thing that serves an
/// interface.
fn is_confirmed(interface: Interface) -> bool {
    match interface {
        // Docker Engine; HAProxy.
        Interface::Docker | Interface::LoadBalancer => true,
        // moto's server speaks as EC2 does, and is none.
        Interface::Ec2 | Interface::Ebs => false,
        // No world answers these.
        Interface::Log | Interface::Clock | Interface::Effects => true,
    }
}

/// The functions that the cases have asked for and that no real part has confirmed.
pub(crate) fn unconfirmed(outcomes: &[Outcome]) -> Vec<&'static str> {
    let all = outcomes.iter().flat_map(|one| &one.case.0);
    let asked: BTreeSet<&str> = all
        .filter_map(|planned| match planned.at.kind {
            Kind::Call { function, .. } => Some(function),
            Kind::Look | Kind::Settle | Kind::Search | Kind::Commit => None,
        })
        .collect();
    let is_open = |function: &&str| {
        let interface = function.split('.').next().and_then(Interface::from_name);
        !interface.is_some_and(is_confirmed)
    };
    asked.into_iter().filter(is_open).collect()
}
