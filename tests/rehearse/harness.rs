//! A rehearsal of a manifest in the demo world, with the plugins that the build made.

use crate::built::Built;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use stepback_core::inputs::Given;
use stepback_engine::{Limits, Request, SecretSource};
use stepback_rehearse::{CaseId, Faults, NotRehearsed, Rehearsal, Report, Shown, rehearse, show};
use stepback_simulated::world::World;
use stepback_wasm::{Runtime, RuntimeConfig, Turns};

/// The world that every rehearsal here begins with.
pub const WORLD: &str = include_str!("../../operations/demo-world.toml");

static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rehearse-cache");
    let turns = Turns::UntilACall;
    let config = RuntimeConfig { cache_dir: Some(cache), turns, ..RuntimeConfig::default() };
    Arc::new(Runtime::new(config).expect("a sandbox"))
});

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn resolve(&self, reference: &str) -> Result<String, String> {
        Err(format!("there is no {reference}"))
    }
}

/// The world of a text in TOML.
pub fn world(text: &str) -> World {
    stepback_simulated::parse(text).expect("a world")
}

/// A manifest to rehearse, in the demo world.
pub fn of(manifest: &str, given: &[(&str, &str)]) -> Rehearsal {
    let given = given.iter();
    let inputs = given.map(|(name, value)| ((*name).into(), Given::Text((*value).into())));
    Rehearsal {
        request: Request {
            manifest_name: "case.toml".into(),
            manifest: manifest.to_owned(),
            base_dir: ".".into(),
            inputs: inputs.collect(),
            secrets: BTreeMap::new(),
            environment: "local".into(),
            actor: "test".into(),
            no_wait: true,
        },
        world: world(WORLD),
        plugins: Arc::new(Built),
        runtime: Arc::clone(&RUNTIME),
        secrets: Arc::new(NoSecrets),
        faults: Faults::Single,
        jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        limits: Limits::default(),
        behind: None,
        behind_store: None,
        shares: true,
    }
}

/// Its report.
#[track_caller]
pub fn report(rehearsal: &Rehearsal) -> Report {
    match rehearse(rehearsal, &|_, _| {}) {
        Ok(report) => report,
        Err(NotRehearsed::Refused(refusal)) => panic!("it is refused: {refusal}"),
        Err(why) => panic!("{why}"),
    }
}

/// One case of it.
pub fn case(rehearsal: &Rehearsal, name: &str) -> Shown {
    let case: CaseId = name.parse().expect("a case");
    show(rehearsal, &case).expect("it is rehearsed")
}

/// The steps of a manifest around these.
pub fn manifest(rest: &str) -> String {
    format!(
        "schema = 1\n[operation]\nname = \"case\"\nlocks = [\"case\"]\ntimeout = \"1h\"\n{rest}"
    )
}
