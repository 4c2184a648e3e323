//! Calls that are asked about before they are made: what of them is known by then.

use super::{Call, Class, DockerCall, Inverse, Like};
use crate::ids::Token;
use crate::texts::MapTexts;

/// What stands in a call for what nobody can know before the operation runs, such as the id of a
/// volume that an earlier step makes. It is the plugin contract's (`step.wit`): a step's check may
/// be given it in its `with`, and may put it into what it asks about.
pub const NOT_KNOWN_YET: &str = "stepback-not-known-yet";

/// The same in a device's name, which has a volume's id without its dashes.
const NOT_KNOWN_YET_OF_DEVICE: &str = "stepbacknotknownyet";

/// Whether a text is not known yet, or a part of it.
pub fn is_not_known_yet(text: &str) -> bool {
    text.contains(NOT_KNOWN_YET) || text.contains(NOT_KNOWN_YET_OF_DEVICE)
}

impl Call {
    /// Whether all that it names is known.
    pub fn is_all_known(&self) -> bool {
        !self.texts().iter().any(|text| is_not_known_yet(text))
    }

    /// The call without those parts of a container that are not known yet: what it mounts, and
    /// what it is to be like. How far it reaches can't be told by then.
    pub fn known_part(&self) -> Call {
        let mut call = self.clone();
        if let Call::Docker(
            DockerCall::CreateContainer { spec, .. } | DockerCall::RunOnce { spec, .. },
        ) = &mut call
        {
            spec.mounts.retain(|mount| !is_not_known_yet(&mount.volume));
            let is_known = |text: &String| !is_not_known_yet(text);
            let is_dropped = |like: &mut Like| !is_known(&like.host) || !is_known(&like.container);
            if spec.like.take_if(is_dropped).is_some() {
                // Whether the other one has these, too, can't be told.
                spec.mounts.clear();
            }
        }
        call
    }

    /// Whether it is one that takes another effect back, as far as the two alone tell: both change
    /// the very same facts of the very same things, and the other has an inverse.
    pub fn may_take_back(&self, effect: &Call) -> bool {
        let token = Token(String::new());
        let areas = self.areas(&token);
        // What creates takes nothing back.
        self.class() == Class::Effect
            && !self.leaves_a_stamp()
            && !matches!(effect.entry().inverse, Inverse::None)
            && !areas.is_empty()
            && areas == effect.areas(&token)
            && self.resources(&token) == effect.resources(&token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{EbsCall, Ec2Call};

    fn attach(volume: &str, instance: &str) -> Call {
        let (volume, instance) = (volume.into(), instance.into());
        EbsCall::Attach { volume, instance, device: "/dev/sdf".into() }.into()
    }

    #[test]
    fn what_takes_back_changes_the_same_facts_of_the_same_things() {
        let detach: Call =
            EbsCall::Detach { volume: "vol-1".into(), instance: "i-1".into() }.into();
        assert!(attach("vol-1", "i-1").may_take_back(&detach));
        assert!(detach.may_take_back(&attach("vol-1", "i-1")));
        assert!(!attach("vol-1", "i-2").may_take_back(&detach));
        let stop: Call = Ec2Call::Stop { instance: "i-1".into() }.into();
        let end: Call = Ec2Call::Terminate { instance: "i-1".into() }.into();
        assert!(!detach.may_take_back(&stop) && !end.may_take_back(&stop));
        assert!(!stop.may_take_back(&end), "nothing takes that back");
    }

    #[test]
    fn a_call_says_whether_all_it_names_is_known() {
        assert!(attach("vol-1", "i-1").is_all_known());
        assert!(!attach(NOT_KNOWN_YET, "i-1").is_all_known());
        assert!(!attach("vol-1", &format!("{NOT_KNOWN_YET}-2")).is_all_known());
        assert_eq!(NOT_KNOWN_YET.replace('-', ""), NOT_KNOWN_YET_OF_DEVICE);
        assert!(is_not_known_yet(&crate::grants::device_of(NOT_KNOWN_YET)));
    }
}
