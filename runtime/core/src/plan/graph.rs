//! The plan's graph by places: a place is a step's number in an order in which each step comes
//! after all that it needs.

use crate::ids::StepId;
use crate::manifest::Manifest;
use std::collections::{BTreeMap, BTreeSet};

/// The graph of a validated manifest, which has no circle.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    /// By place: the index into the manifest's steps.
    pub(super) order: Vec<usize>,
    places: BTreeMap<StepId, usize>,
    needs: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
}

impl Graph {
    /// Put the steps in order: of those whose needs are met, the one that is written first.
    pub(super) fn of(manifest: &Manifest) -> Graph {
        let steps = &manifest.steps;
        let index: BTreeMap<&StepId, usize> =
            steps.iter().enumerate().map(|(i, step)| (&step.id, i)).collect();
        let needed = manifest.dependencies();
        let needs_of = |i: usize| needed[&steps[i].id].iter().map(|need| index[need]);
        let mut dependents: Vec<Vec<usize>> = vec![vec![]; steps.len()];
        let mut missing: Vec<usize> = (0..steps.len()).map(|i| needs_of(i).count()).collect();
        for i in 0..steps.len() {
            needs_of(i).for_each(|need| dependents[need].push(i));
        }
        let mut ready: BTreeSet<usize> = (0..steps.len()).filter(|i| missing[*i] == 0).collect();
        let (mut order, mut place_of) = (vec![], vec![0; steps.len()]);
        while let Some(i) = ready.pop_first() {
            place_of[i] = order.len();
            order.push(i);
            for next in &dependents[i] {
                missing[*next] -= 1;
                if missing[*next] == 0 {
                    ready.insert(*next);
                }
            }
        }
        assert!(order.len() == steps.len(), "a manifest's graph has no circle");
        let in_places = |all: Vec<usize>| all.into_iter().map(|i| place_of[i]).collect();
        Graph {
            places: order.iter().enumerate().map(|(at, i)| (steps[*i].id.clone(), at)).collect(),
            needs: order.iter().map(|i| in_places(needs_of(*i).collect())).collect(),
            dependents: order.iter().map(|i| in_places(dependents[*i].clone())).collect(),
            order,
        }
    }

    pub(super) fn place(&self, id: &StepId) -> Option<usize> {
        self.places.get(id).copied()
    }

    pub(super) fn needs(&self, place: usize) -> &[usize] {
        &self.needs[place]
    }

    pub(super) fn dependents(&self, place: usize) -> &[usize] {
        &self.dependents[place]
    }
}
