//! What plugins may do where, and what bounds everybody, in words.

use crate::output::Style;
use serde_json::{Value, json};
use stepback_core::grants::{Grant, Grants, Policy};
use stepback_engine::{Preview, Reaches};

/// What a plan tells of it; nothing where only the program's own plugins run, unbounded.
pub fn as_text(preview: &Preview, style: &Style) -> String {
    let mut text = String::new();
    for (plugin, grants) in preview.job.grants().filter(|(_, grants)| **grants != Grants::all()) {
        text.push_str(&format!("{}\n", style.bold(&format!("plugin `{plugin}` may"))));
        text.push_str(&lines(grants.iter(), style));
    }
    let Policy { allow, deny } = &preview.policy;
    if let Some(allow) = allow {
        text.push_str(&format!("{}\n", style.bold("in this environment only this may be done")));
        text.push_str(&lines(allow.iter(), style));
    }
    if !deny.is_empty() {
        text.push_str(&format!("{}\n", style.bold("in this environment nobody may")));
        text.push_str(&lines(deny.iter(), style));
    }
    for Reaches { step, what } in &preview.reaches {
        let (mark, what) = (style.yellow("!"), what.join("; "));
        text.push_str(&format!("{mark} the new container of `{step}` reaches its host: {what}\n"));
    }
    if text.is_empty() { text } else { format!("{text}\n") }
}

/// A grant a line; one that reaches all of a host is marked.
pub fn lines<'a>(grants: impl Iterator<Item = &'a Grant>, style: &Style) -> String {
    let line = |grant: &Grant| match grant.root {
        true => format!("  {} {grant}\n", style.yellow("!")),
        false => format!("  {grant}\n"),
    };
    let text: String = grants.map(line).collect();
    if text.is_empty() { "  nothing that reaches the world\n".to_owned() } else { text }
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
