//! The graph of a manifest's steps, by their places in the file, with all that comes before each.
//!
//! Sets of steps are bit sets: a manifest of thousands of steps is checked as fast as it is read.

use super::Manifest;
use crate::ids::StepId;
use std::collections::{HashMap, VecDeque};

/// A set of steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps(Vec<u64>);

impl Steps {
    pub(super) fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(super) fn insert(&mut self, step: usize) {
        self.0[step / 64] |= 1 << (step % 64);
    }

    pub(super) fn contains(&self, step: usize) -> bool {
        self.0.get(step / 64).is_some_and(|word| word & (1 << (step % 64)) != 0)
    }

    pub(super) fn extend(&mut self, other: &Steps) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    pub(super) fn meets(&self, other: &Steps) -> bool {
        self.0.iter().zip(&other.0).any(|(mine, theirs)| mine & theirs != 0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let of_word = |(index, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| index * 64 + bit)
        };
        self.0.iter().enumerate().flat_map(of_word)
    }
}

/// A graph without a circle.
pub(super) struct Graph {
    places: HashMap<StepId, usize>,
    /// By place: every step that must be complete before it starts.
    above: Vec<Steps>,
}

impl Graph {
    /// The graph of steps whose ids are unique and whose needs are known.
    ///
    /// # Errors
    /// The places of steps that wait for each other in a circle.
    pub(super) fn of(manifest: &Manifest) -> Result<Self, Vec<usize>> {
        let count = manifest.steps.len();
        let places: HashMap<StepId, usize> =
            manifest.steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
        let dependencies = manifest.dependencies();
        let needs: Vec<Vec<usize>> = manifest
            .steps
            .iter()
            .map(|step| dependencies[&step.id].iter().map(|need| places[need]).collect())
            .collect();
        let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut dependents = vec![vec![]; count];
        for (step, needs) in needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[*need].push(step));
        }
        let mut ready: VecDeque<usize> = (0..count).filter(|step| waiting[*step] == 0).collect();
        let mut above = vec![Steps::none(count); count];
        let mut placed = 0;
        while let Some(step) = ready.pop_front() {
            placed += 1;
            let mut all = Steps::none(count);
            for need in &needs[step] {
                all.insert(*need);
                all.extend(&above[*need]);
            }
            above[step] = all;
            for next in &dependents[step] {
                waiting[*next] -= 1;
                if waiting[*next] == 0 {
                    ready.push_back(*next);
                }
            }
        }
        if placed == count { Ok(Self { places, above }) } else { Err(circle(&needs, &waiting)) }
    }

    /// A step's place, if there is such a step.
    pub(super) fn place(&self, id: &StepId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// Every step that must be complete before the one at a place.
    pub(super) fn above(&self, place: usize) -> &Steps {
        &self.above[place]
    }
}

/// One circle among the steps that were never ready: follow what each waits for until it repeats.
fn circle(needs: &[Vec<usize>], waiting: &[usize]) -> Vec<usize> {
    let Some(mut at) = waiting.iter().position(|count| *count > 0) else { return vec![] };
    let mut path: Vec<usize> = vec![];
    loop {
        if let Some(start) = path.iter().position(|step| *step == at) {
            let mut members = path.split_off(start);
            members.sort_unstable();
            return members;
        }
        path.push(at);
        match needs[at].iter().find(|need| waiting[**need] > 0) {
            Some(next) => at = *next,
            None => return path,
        }
    }
}
