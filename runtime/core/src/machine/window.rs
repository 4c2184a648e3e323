//! The downtime window going forward: when it may open, and when it is over (R10, R11).

use super::*;

impl Machine {
    /// Whether downtime steps may start: all that comes before the window is complete, and every
    /// check that can be asked passed at the last moment (R10).
    pub(super) fn open_window(&mut self) -> Result<Progress, IllegalEvent> {
        if self.state.downtime.has_begun() || !self.index.is_window_ready() {
            return Ok(Progress::None);
        }
        match self.gate {
            Gate::NotAsked => {
                self.gate = Gate::Asked;
                let steps = self.to_check_at_the_gate();
                self.decision.commands.push(Command::Gate { steps });
                Ok(Progress::None)
            }
            Gate::Asked => Ok(Progress::None),
            Gate::Passed => {
                self.emit(Event::DowntimeStarted)?;
                Ok(Progress::Made)
            }
        }
    }

    /// Every step that has not begun and whose expressions refer to no output that is still to
    /// come: those after the window too, because what they refuse would come too late.
    fn to_check_at_the_gate(&self) -> Vec<(StepId, Scope)> {
        let known =
            |id: &StepId| self.plan.place(id).is_some_and(|place| self.index.is_complete(place));
        let places = (0..self.plan.count()).filter(|place| {
            !self.index.has_begun(*place) && self.plan.references(*place).iter().all(known)
        });
        places.map(|place| (self.plan.at(place).id.clone(), self.scope(place))).collect()
    }

    pub(super) fn close_window(&mut self) -> Result<(), IllegalEvent> {
        match self.state.downtime.since.filter(|_| self.index.left.window == 0) {
            Some(since) => {
                self.emit(Event::DowntimeEnded { downtime_ms: self.now.since_ms(since) })
            }
            None => Ok(()),
        }
    }
}
