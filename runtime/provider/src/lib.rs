//! The port to what stands behind the host functions: one trait, and what is said at it.
//!
//! A provider is asked for one [`Call`] at a time. It never sends an effect again, unless the
//! answer proves that nothing happened; it never guesses an outcome, and tells three things apart:
//! done, refused (proof that nothing happened) and unknown. It knows nothing of journals, plans
//! or guests.

pub mod addresses;
pub mod advice;
pub mod decoded;
pub mod devices;
pub mod endpoint;
pub mod engines;
pub mod faults;
pub mod faulty;
pub mod inventory;
pub mod locks;
pub mod looked;
pub mod mends;
pub mod passwords;
pub mod pools;
pub mod ports;
pub mod restart;
pub mod router;
pub mod rules;
pub mod tags;
pub mod turn;
pub mod volume_options;

mod around;
mod notes;

pub use around::Around;
pub use notes::{Note, Notes};
pub use stepback_children as children;

use crate::advice::Advice;
use crate::inventory::Inventory;
use crate::locks::WorldLocks;
use crate::looked::Looked;
use async_trait::async_trait;
use serde_json::Value;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Epoch, Facts, Failure, FailureClass, Interface, OperationId, Resource, ResourceKind,
    StoreId, Token,
};
use tokio_util::sync::CancellationToken;

/// The code of what a provider refuses because a later lease of the operation was used already.
pub const STALE_EPOCH: &str = "StaleEpoch";

/// What an effect is made under.
#[derive(Clone, Debug)]
pub struct EffectContext {
    /// The store that the operation is kept in: numbers of operations are its own.
    pub store: StoreId,
    /// The operation that makes it; a tag or label of what is created has its number.
    pub operation: OperationId,
    /// The idempotence token, stamped on what is created.
    pub token: Token,
    /// The lease's epoch; a provider that can refuses an older one than it has seen.
    pub epoch: Epoch,
    /// Whether an undo asks.
    pub undo: bool,
    /// The containers that its grants were held against, by what they were called then.
    pub looked: Looked,
    /// Ends an interruptible effect (a pull) early; its outcome is then settled by looking.
    pub cancel: CancellationToken,
    /// What it has to say meanwhile.
    pub notes: Notes,
}

/// What asking the world told of an effect whose answer was lost (R3).
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// It took place; this is the answer that was lost.
    Done(Value),
    /// It did not take place, and the same call may be made again.
    NotHappened,
    /// Nobody can say whether it took place, and why.
    CantKnow(String),
}

/// What a search for stamps told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stamped {
    /// What carries one, with the stamp that it carries.
    pub found: Vec<(Token, Resource)>,
    /// The hosts whose engines could not be asked, each with why: what is on them may carry one.
    pub not_asked: Vec<(String, String)>,
    /// Why the cloud could not be asked, if it could not: what is there may carry one.
    pub cloud_not_asked: Option<String>,
}

impl Stamped {
    /// What of one kind was found, if anything was.
    ///
    /// # Errors
    /// Nothing was, and it may be on a host that could not be asked.
    pub fn only(self, kind: ResourceKind) -> Result<Option<Resource>, Failure> {
        let mut found = self.found.into_iter().map(|(_, resource)| resource);
        let found = found.find(|found| found.kind() == kind);
        let is_on_engine = matches!(kind, ResourceKind::Container | ResourceKind::DockerVolume);
        let not_asked = match is_on_engine {
            true => self.not_asked.first().map(|(host, why)| (host.as_str(), why)),
            false => self.cloud_not_asked.as_ref().map(|why| ("the cloud", why)),
        };
        match (found, not_asked) {
            (None, Some((whom, why))) => {
                let message = format!("{whom} could not be asked what carries the stamp: {why}");
                Err(Failure::new(FailureClass::Transient, message).with_code("not-asked"))
            }
            (found, _) => Ok(found),
        }
    }
}

/// One thing that an operation would need, looked at.
#[derive(Clone, Debug)]
pub struct Checked {
    /// `Docker Engine of i-db-1`, `helper image on i-db-1`.
    pub what: String,
    /// What it said of itself, or why it can't be used.
    pub found: Result<String, Failure>,
}

/// A world that operations can change.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The provider's name, for messages and for the world's identity.
    fn name(&self) -> &str;

    /// The host interfaces whose calls it answers, and whose resources it knows.
    fn serves(&self) -> &[Interface];

    /// The pools of load balancers that it has, where others of one environment have more; none
    /// where it is asked for every pool.
    fn pools(&self) -> Vec<String> {
        vec![]
    }

    /// Which world this is: account, region, engine ids (R14).
    async fn identity(&self) -> Result<Value, Failure>;

    /// Look at everything that an operation would need, and change nothing.
    async fn check(&self) -> Vec<Checked> {
        let found = self.identity().await.map(|identity| identity.to_string());
        vec![Checked { what: self.name().to_owned(), found }]
    }

    /// The locks that the world holds itself, for operations of any state directory, if it can.
    fn locks(&self) -> Option<&dyn WorldLocks> {
        None
    }

    /// What it made so far to look with, for people: it is no effect, and goes by itself.
    fn looks_through(&self) -> Vec<String> {
        vec![]
    }

    /// Answer a call of class *read*.
    async fn read(&self, call: &Call) -> Result<Value, Failure>;

    /// Whether an effect would be let be made, as far as can be asked without making it: whether
    /// it is permitted, and whether something is in its way that stays there. Whether the world is
    /// ready for it by then is not asked. Of a wait it is asked whether it could ever be over in
    /// time.
    ///
    /// # Errors
    /// What speaks against it. Where nobody can be asked, nothing does.
    async fn may(&self, _call: &Call) -> Result<(), Failure> {
        Ok(())
    }

    /// Answer a call of class *wait*; dropping the future ends the wait.
    async fn wait(&self, call: &Call) -> Result<Value, Failure>;

    /// Make an effect, once.
    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome;

    /// Find out what became of an effect whose answer was lost.
    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled;

    /// The effect's outcome is durable: what was kept only to settle it by may go.
    ///
    /// Called at least once, and again after a crash.
    async fn forget(&self, _call: &Call, _context: &EffectContext) {}

    /// Another runner goes on with a store's operation: refuse older epochs from here on, if it
    /// can.
    async fn take_over(
        &self,
        _store: &StoreId,
        _operation: OperationId,
        _epoch: Epoch,
    ) -> Result<(), Failure> {
        Ok(())
    }

    /// Add what there is to what was found so far, and change nothing.
    ///
    /// Instances and volumes come first: engines are looked at on the running instances that were
    /// found by then.
    async fn import(&self, found: &mut Inventory) -> Result<(), Failure>;

    /// How long after it was sent, in milliseconds, a request can still take effect.
    ///
    /// 0 for a provider that refuses older epochs itself.
    fn request_ms_max(&self) -> u64;

    /// The facts that count of a resource, transitional states waited out (bounded).
    ///
    /// [`Resource::Created`] is found by its stamp.
    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure>;

    /// What a person can do about a resource that is not as it was.
    ///
    /// A command in it reaches this world and no other. It goes into the journal; the resource and
    /// the facts are as the journal has them, with no secret in them. It follows from these alone:
    /// nobody is asked, so it takes no time.
    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice;

    /// How long, in milliseconds of its clock, what was just created may not be found by its stamp:
    /// whoever looks once and sooner has not seen that it is not there.
    fn visible_after_ms(&self) -> u64 {
        0
    }

    /// What carries one of these stamps.
    ///
    /// Of a host that could not be asked nothing is told, and that is told: *nothing carries it*
    /// is true only of the others. Whoever made nothing on such a host need not mind. Each
    /// question is bounded.
    ///
    /// # Errors
    /// A cloud that can't be searched.
    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure>;
}
