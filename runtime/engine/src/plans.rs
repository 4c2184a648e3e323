//! Plans that were made before: whoever runs one manifest again and again, as a rehearsal does, has
//! it read and held against its plugins once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::PluginDigest;
use stepback_core::diagnostic::Diagnostics;
use stepback_core::manifest::{Manifest, Strictness, parse_as};
use stepback_core::plan::{Offers, Plan};

/// So many are kept, the latest ones.
const KEPT_MAX: usize = 8;

/// The plugins of a plan, by their names in its manifest.
pub(crate) type Digests = BTreeMap<String, PluginDigest>;

/// The plans that were made last.
#[derive(Default)]
pub struct Plans {
    kept: Mutex<VecDeque<Arc<Made>>>,
}

/// A plan, and all that it was made of.
pub(crate) struct Made {
    strictness: Strictness,
    plugins: Digests,
    plan: Arc<Plan>,
}

/// A manifest that was read, now or before.
pub(crate) enum Parsed {
    Now(Box<Manifest>),
    Before(Arc<Made>),
}

impl Parsed {
    pub(crate) fn manifest(&self) -> &Manifest {
        match self {
            Self::Now(manifest) => manifest,
            Self::Before(made) => made.plan.manifest(),
        }
    }
}

impl Plans {
    /// Read a manifest, unless it was read before.
    pub(crate) fn parse(
        &self,
        strictness: Strictness,
        name: &str,
        text: &str,
    ) -> Result<Parsed, Diagnostics> {
        let is_it = |made: &&Arc<Made>| {
            let manifest = made.plan.manifest();
            made.strictness == strictness && manifest.text == text && manifest.name == name
        };
        let before = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = before.iter().rev().find(is_it).cloned();
        match before {
            Some(made) => Ok(Parsed::Before(made)),
            None => parse_as(name, text, strictness).map(|now| Parsed::Now(Box::new(now))),
        }
    }

    /// Hold it against its plugins, unless that was done with the same ones before.
    pub(crate) fn plan(
        &self,
        strictness: Strictness,
        parsed: Parsed,
        offers: &Offers,
        plugins: Digests,
    ) -> Result<Arc<Plan>, Diagnostics> {
        let manifest = match parsed {
            Parsed::Before(made) if made.plugins == plugins => return Ok(Arc::clone(&made.plan)),
            Parsed::Before(made) => made.plan.manifest().clone(),
            Parsed::Now(manifest) => *manifest,
        };
        let plan = Arc::new(Plan::hold(manifest, offers, strictness)?);
        let made = Arc::new(Made { strictness, plugins, plan: Arc::clone(&plan) });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(made);
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use stepback_core::step::StepInfo;

    const TEXT: &str = "schema = 1\n[operation]\nname = \"x\"\n[[steps]]\nid = \"a\"\n\
                        uses = \"p/s\"\nwith = {}\n";

    fn made(plans: &Plans, strictness: Strictness, text: &str, digest: &str) -> Arc<Plan> {
        let info = StepInfo {
            name: "s".into(),
            doc: digest.to_owned(),
            input_schema: json!({ "type": "object" }),
            output_schema: json!({}),
            reversible: true,
        };
        let offers = BTreeMap::from([("p".to_owned(), vec![info].into())]);
        let digests = BTreeMap::from([("p".to_owned(), PluginDigest(digest.to_owned()))]);
        let parsed = plans.parse(strictness, "x.toml", text).expect("a manifest");
        plans.plan(strictness, parsed, &offers, digests).expect("a plan")
    }

    #[test]
    fn a_plan_is_made_once_of_one_text_and_the_same_plugins() {
        let plans = Plans::default();
        let whole = |text: &str, digest| made(&plans, Strictness::Whole, text, digest);
        let first = whole(TEXT, "1");
        assert!(Arc::ptr_eq(&first, &whole(TEXT, "1")));
        // Another plugin, another text, another way to read it.
        assert!(!Arc::ptr_eq(&first, &whole(TEXT, "2")));
        assert!(!Arc::ptr_eq(&first, &whole(&format!("{TEXT}\n"), "1")));
        assert!(!Arc::ptr_eq(&first, &made(&plans, Strictness::Pinned, TEXT, "1")));
        for nth in 0..2 * KEPT_MAX {
            whole(&format!("{TEXT}# {nth}"), "1");
        }
        assert_eq!(plans.kept.lock().expect("nobody panicked").len(), KEPT_MAX);
    }
}
