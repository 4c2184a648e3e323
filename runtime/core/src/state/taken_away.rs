//! What an operation did to something, and then did to the same again: how it is by the last of it.

use super::State;
use crate::calls::{Call, Class, EbsCall};
use crate::ids::Direction;
use crate::resource::{Facts, Resource, ResourceKind};
use crate::step::{Change, EffectOutcome, PastEffect};

impl State {
    /// Every step's effects, in the order in which they began.
    pub fn effects_in_order(&self) -> Vec<&PastEffect> {
        let of_steps = self.steps.values();
        let all = of_steps.flat_map(|step| step.effect_seqs.iter().zip(&step.effects));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(seq, _)| **seq);
        all.into_iter().map(|(_, effect)| effect).collect()
    }

    /// The effects that came after this one; what was refused is none.
    fn made_after<'a>(&'a self, effect: &PastEffect) -> impl Iterator<Item = &'a PastEffect> {
        let of_steps = self.steps.values();
        let all = of_steps.flat_map(|step| step.effect_seqs.iter().zip(&step.effects));
        let at = all.clone().find(|(_, one)| one.id == effect.id).map(|(seq, _)| *seq);
        let later = all.filter(move |(seq, _)| at.is_some_and(|at| **seq > at));
        let later = later.map(|(_, one)| one);
        later.filter(|one| !matches!(one.outcome, EffectOutcome::Refused(_)))
    }

    /// Those of them that changed this resource.
    pub fn effects_after<'a>(
        &'a self,
        effect: &PastEffect,
        resource: &'a Resource,
    ) -> impl Iterator<Item = &'a PastEffect> {
        let changes = |one: &PastEffect| one.changes.iter().any(|one| one.resource == *resource);
        self.made_after(effect).filter(move |one| changes(one))
    }

    /// How the operation left a resource on an instance that did not run when it came: when that is
    /// stopped again, nobody can say any more.
    pub fn left_on_a_host_that_was_down(&self, resource: &Resource) -> Option<Facts> {
        if !self.was_down(resource) {
            return None;
        }
        for effect in self.effects_in_order().into_iter().rev() {
            let is_it = |change: &Change| change.resource == *resource;
            let Some(at) = effect.changes.iter().position(is_it) else { continue };
            let change = &effect.changes[at];
            let goes_down = at > 0 && effect.call.beside().is_some();
            match (&change.after, &change.before) {
                (Some(after), _) => return Some(after.clone()),
                // It went down with its instance just after it was looked at.
                (None, before @ Facts::Present(_)) if goes_down => {
                    return Some(before.without_power());
                }
                // Nobody saw it then, and nothing else was done to it.
                (None, Facts::Unknown(_)) if goes_down => {}
                // What was read before that tells nothing of it.
                (None, _) => return None,
            }
        }
        None
    }

    /// Whether an effect without an inverse took away what this one was about, or the instance that
    /// it took a volume off: what it did is gone with that, and there is nothing left to take back.
    /// What the operation made itself it may have taken away, too.
    pub fn is_taken_away(&self, effect: &PastEffect) -> bool {
        let Some(main) = effect.changes.first() else { return false };
        let facts = match main.before.identity() {
            Some(_) => &main.before,
            None => main.after.as_ref().unwrap_or(&main.before),
        };
        let was_on = match &effect.call {
            Call::Ebs(EbsCall::Detach { instance, .. }) => Some(instance.as_str()),
            _ => None,
        };
        let takes_away = |change: &Change| {
            change.after == Some(Facts::Absent)
                && (change.is_of(&main.resource, facts)
                    || change.ends_host_of(&main.resource)
                    || was_on.is_some_and(|instance| change.ends_instance(instance)))
        };
        let removes = |one: &PastEffect| {
            one.call.class() == Class::Irreversible && one.id.of.direction == Direction::Do
        };
        let mut later = self.made_after(effect);
        later.any(|one| removes(one) && one.changes.iter().any(takes_away))
    }
}

impl Change {
    /// Whether it is about this thing, which may have been renamed in between: by which one it is,
    /// where that is known of both, and else by the name.
    pub fn is_of(&self, resource: &Resource, facts: &Facts) -> bool {
        let is_there =
            self.resource.kind() == resource.kind() && self.resource.host() == resource.host();
        let seen = self.before.identity().or(self.after.as_ref().and_then(Facts::identity));
        match (seen, facts.identity()) {
            (Some(one), Some(other)) => is_there && one == other,
            _ => self.resource == *resource,
        }
    }

    /// Whether this instance is gone by it.
    pub fn ends_instance(&self, instance: &str) -> bool {
        let is_it = matches!(&self.resource, Resource::Instance { id } if id == instance);
        is_it && self.after == Some(Facts::Absent)
    }

    /// Whether it is about the instance that this is on, and is gone with.
    pub fn ends_host_of(&self, resource: &Resource) -> bool {
        let goes_with_it = match resource.kind() {
            ResourceKind::Container
            | ResourceKind::Containers
            | ResourceKind::DockerVolume
            | ResourceKind::Image => true,
            // That is on the volume, which stays.
            ResourceKind::FileSystem
            | ResourceKind::Volume
            | ResourceKind::Snapshot
            | ResourceKind::Instance
            | ResourceKind::Pool
            | ResourceKind::PoolTarget => false,
        };
        goes_with_it && resource.host().is_some_and(|host| self.ends_instance(host))
    }
}
