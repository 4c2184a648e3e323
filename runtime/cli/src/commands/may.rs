//! What plugins may do where, and what bounds everybody, in words.

use crate::output::Style;
use crate::shown::Shown;
use serde_json::{Value, json};
use stepback_core::grants::{Grant, Grants, Policy};
use stepback_engine::{Preview, Reaches};

/// What a plan tells of it; nothing where only the program's own plugins run, unbounded.
pub fn as_text(preview: &Preview, style: &Style) -> Shown {
    let mut text = Shown::default();
    for (plugin, grants) in preview.job.grants().filter(|(_, grants)| **grants != Grants::all()) {
        text.push(&shown!("{}\n", style.bold(&shown!("plugin `{}` may", plugin))));
        text.push(&lines(grants.iter(), style));
    }
    let Policy { allow, deny } = &preview.policy;
    if let Some(allow) = allow {
        text.push(&shown!("{}\n", style.bold("in this environment only this may be done")));
        text.push(&lines(allow.iter(), style));
    }
    if !deny.is_empty() {
        text.push(&shown!("{}\n", style.bold("in this environment nobody may")));
        text.push(&lines(deny.iter(), style));
    }
    for Reaches { step, what } in &preview.reaches {
        let (mark, what) = (style.yellow("!"), what.join("; "));
        text.push(&shown!("{} the new container of `{}` reaches its host: {}\n", mark, step, what));
    }
    if !text.is_empty() {
        text.push(&Shown::from("\n"));
    }
    text
}

/// A grant a line; one that reaches all of a host is marked.
pub fn lines<'a>(grants: impl Iterator<Item = &'a Grant>, style: &Style) -> Shown {
    let line = |grant: &Grant| match grant.root {
        true => shown!("  {} {}\n", style.yellow("!"), grant),
        false => shown!("  {}\n", grant),
    };
    let text: Shown = grants.map(line).collect();
    if text.is_empty() { "  nothing that reaches the world\n".into() } else { text }
}

/// The same for programs.
pub fn as_json(preview: &Preview) -> Value {
    let words = |grants: &Grants| -> Vec<String> { grants.iter().map(Grant::to_string).collect() };
    let plugins = preview.job.grants().filter(|(_, grants)| **grants != Grants::all());
    let reaches = preview.reaches.iter();
    json!({
        "plugins": plugins
            .map(|(plugin, grants)| json!({ "plugin": plugin, "may": words(grants) }))
            .collect::<Vec<_>>(),
        "allow": preview.policy.allow.as_ref().map(words),
        "deny": words(&preview.policy.deny),
        "reaches": reaches
            .map(|one| json!({ "step": one.step.to_string(), "what": one.what }))
            .collect::<Vec<_>>(),
    })
}
