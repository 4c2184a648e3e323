//! What a step throws away for good, and what that excuses: what it did, and nothing else.

use crate::harness::{WORLD, case, manifest, of, report, world};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use stepback_core::Call;
use stepback_core::calls::EbsCall;
use stepback_core::event::Verdict;
use stepback_core::step::EffectOutcome;
use stepback_provider::{Around, EffectContext, Provider};
use stepback_rehearse::Rehearsal;
use stepback_simulated::Simulated;

/// The demo world with an instance that is stopped, and a volume on it.
fn with_a_stopped_one(rest: &str) -> Rehearsal {
    let more = "[instances.i-off]\nstate = \"stopped\"\ntype = \"m5.large\"\n\
                zone = \"us-east-1a\"\n\
                [volumes.vol-off]\nsize_gib = 8\ntype = \"gp3\"\nzone = \"us-east-1a\"\n\
                attachments = [{ instance = \"i-off\", device = \"/dev/sdf\" }]\n\
                [volumes.vol-free]\nsize_gib = 8\ntype = \"gp3\"\nzone = \"us-east-1a\"\n";
    let mut rehearsal = of(&manifest(rest), &[]);
    rehearsal.world = world(&format!("{WORLD}\n{more}"));
    rehearsal
}

fn terminate(instance: &str, more: &str) -> String {
    format!(
        "[[steps]]\nid = \"end\"\nuses = \"ec2/terminate-instance\"\nirreversible = \"a test\"\n\
         {more}with = {{ instance = \"{instance}\" }}\n"
    )
}

fn tag(id: &str, volume: &str, more: &str) -> String {
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"ebs/tag-volume\"\n{more}\
         with = {{ volume = \"{volume}\", key = \"k\", value = \"1\" }}\n"
    )
}

/// Its volumes are on it, whether it runs or not.
#[test]
fn a_stopped_instance_that_is_terminated_loses_its_volumes_and_that_is_named() {
    let rehearsal =
        with_a_stopped_one(&format!("{}{}", terminate("i-off", ""), tag("note", "vol-free", "")));
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::RestoredExceptDeclared));
    let named = |id: &str| {
        shown.state.not_restored.iter().any(|one| one.resource.to_string().ends_with(id))
    };
    assert!(named("i-off") && named("vol-off"), "{:?}", shown.state.not_restored);
    assert!(report(&rehearsal).is_well());
}

/// A look that failed beside it is no leave for everything.
#[test]
fn what_is_terminated_excuses_no_tag_whoever_could_not_look() {
    let steps =
        [tag("first", "vol-db-main", ""), terminate("i-db-1", ""), tag("note", "vol-free", "")];
    let rehearsal = with_a_stopped_one(&steps.concat());
    let mut told = 0;
    for nth in 1..=16 {
        let name = format!("look#{nth}=refuse+ebs.tag#2=refuse+undo:ebs.untag#1=refuse-always");
        let shown = case(&rehearsal, &name);
        if shown.fired.iter().any(|fired| !fired) {
            continue;
        }
        for one in &shown.state.not_restored {
            let is_tagged = one.resource.to_string().ends_with("vol-db-main");
            told += usize::from(is_tagged);
            assert!(!(is_tagged && one.declared), "{name}: {one:?}");
        }
    }
    assert!(told > 3, "it is met in {told} cases alone");
}

/// A window that threw the service away does not close because nothing is left to be undone.
#[test]
fn a_downtime_is_not_over_where_the_window_threw_the_service_away() {
    let window = "phase = \"downtime\"\n";
    let steps = [terminate("i-db-1", window), tag("note", "vol-free", window)];
    let rehearsal =
        with_a_stopped_one(&format!("[downtime]\nbudget = \"10m\"\n{}", steps.concat()));
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert!(shown.state.downtime.since.is_some(), "{:?}", shown.state.downtime);
    assert!(shown.ended.is_down);
}

fn docker(id: &str, uses: &str, container: &str, more: &str) -> String {
    let irreversible = match uses {
        "remove-container" => "irreversible = \"a test\"\n",
        _ => "",
    };
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"docker/{uses}\"\n{irreversible}\
         with = {{ host = \"i-db-1\", container = \"{container}\"{more} }}\n"
    )
}

fn aside(id: &str, from: &str, to: &str) -> String {
    docker(id, "rename-container", from, &format!(", to = \"{to}\""))
}

/// A world with one more container beside the database.
fn with_a_neighbour(steps: &[String]) -> Rehearsal {
    let mut rehearsal = with_a_stopped_one(&steps.concat());
    let engine = rehearsal.world.engines.get_mut("i-db-1").expect("an engine");
    let mut other = engine.containers["main"].clone();
    "another".clone_into(&mut other.id);
    other.spec.mounts.clear();
    other.spec.ports.clear();
    engine.containers.insert("other".to_owned(), other);
    rehearsal
}

/// A thing is followed by which one it is: its name is another's when it is thrown away.
#[test]
fn what_is_renamed_and_thrown_away_is_declared_under_the_name_it_had() {
    let rehearsal = with_a_neighbour(&[
        docker("stop", "stop-container", "other", ""),
        aside("aside", "other", "old"),
        docker("rm", "remove-container", "old", ""),
        tag("note", "vol-free", ""),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::RestoredExceptDeclared), "{:?}", shown.state);
    let named: Vec<String> =
        shown.state.not_restored.iter().map(|one| one.resource.to_string()).collect();
    assert_eq!(named, ["docker:i-db-1/container/other"]);
    assert!(report(&rehearsal).is_well(), "{:?}", report(&rehearsal).wrong);
}

/// What was thrown away had the name of what was put aside, which comes back.
#[test]
fn what_has_the_name_of_the_thing_thrown_away_is_put_back() {
    let rehearsal = with_a_neighbour(&[
        aside("aside", "main", "old"),
        docker("stop", "stop-container", "other", ""),
        aside("swap", "other", "main"),
        docker("rm", "remove-container", "main", ""),
        tag("note", "vol-free", ""),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::RestoredExceptDeclared), "{:?}", shown.state);
    let named: Vec<String> =
        shown.state.not_restored.iter().map(|one| one.resource.to_string()).collect();
    assert_eq!(named, ["docker:i-db-1/container/other"]);
    assert!(report(&rehearsal).is_well(), "{:?}", report(&rehearsal).wrong);
    // Nobody declared that this one does not come back.
    let shown = case(&rehearsal, "ebs.tag#1=refuse+undo:docker.rename-container#1=refuse-always");
    assert_eq!(shown.state.verdict, Some(Verdict::Incomplete));
}

/// What is on an instance that is stopped is gone with it, though nobody can look any more.
#[test]
fn what_is_on_an_instance_stopped_and_terminated_is_gone_as_declared() {
    let stop = |id: &str, uses: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nuses = \"ec2/{uses}\"\nwith = {{ instance = \"i-db-1\" }}\n"
        )
    };
    let rehearsal = with_a_neighbour(&[
        docker("rest", "stop-container", "other", ""),
        stop("stop", "stop-instance"),
        terminate("i-db-1", ""),
        tag("note", "vol-free", ""),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::RestoredExceptDeclared), "{:?}", shown.state);
    assert!(report(&rehearsal).is_well(), "{:?}", report(&rehearsal).wrong);
}

/// What an operation made and threw away again is in no undo's way.
#[test]
fn what_was_made_changed_and_removed_keeps_nothing_from_being_taken_back() {
    let image = ", image = \"postgres:16\"";
    let rehearsal = with_a_neighbour(&[
        docker("stop", "stop-container", "other", ""),
        aside("aside", "other", "old"),
        docker("new", "create-container", "other", image),
        docker("start", "start-container", "other", ""),
        docker("rest", "stop-container", "other", ""),
        docker("rm", "remove-container", "other", ""),
        tag("note", "vol-free", ""),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    let left = &shown.state.not_restored;
    assert!(left.is_empty(), "{left:?}");
    assert!(report(&rehearsal).is_well(), "{:?}", report(&rehearsal).wrong);
}

/// A window is about what its steps touched, whoever throws that away.
#[test]
fn a_downtime_is_not_over_where_a_later_step_threw_the_service_away() {
    let window = |step: String| step.replacen("uses = ", "phase = \"downtime\"\nuses = ", 1);
    let rehearsal = with_a_neighbour(&[
        window(docker("stop", "stop-container", "other", "")),
        docker("rm", "remove-container", "other", ""),
        tag("note", "vol-free", ""),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert!(shown.state.downtime.since.is_some(), "{:?}", shown.state.downtime);
    assert!(report(&rehearsal).is_well(), "{:?}", report(&rehearsal).wrong);
}

/// And what never ran is no service.
#[test]
fn a_downtime_is_over_where_what_was_thrown_away_never_ran() {
    let window = |step: String| step.replacen("uses = ", "phase = \"downtime\"\nuses = ", 1);
    let mut rehearsal = with_a_neighbour(&[
        window(docker("rm", "remove-container", "other", "")),
        tag("note", "vol-free", ""),
    ]);
    let engine = rehearsal.world.engines.get_mut("i-db-1").expect("an engine");
    engine.containers.get_mut("other").expect("it is there").running = false;
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.downtime.since, None);
    assert!(!shown.ended.is_down);
}

/// Where the instance is gone as declared, nothing can be attached to it again.
#[test]
fn what_was_taken_off_an_instance_that_is_terminated_stays_off_it_as_declared() {
    let volume = "[[steps]]\nid = \"off\"\nuses = \"ebs/detach-volume\"\n\
                  with = { volume = \"vol-db-main\", instance = \"i-db-1\" }\n";
    let rehearsal = with_a_neighbour(&[
        docker("stop", "stop-container", "main", ""),
        volume.to_owned(),
        terminate("i-db-1", ""),
        tag("note", "vol-free", ""),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::RestoredExceptDeclared), "{:?}", shown.state);
    assert!(report(&rehearsal).is_well(), "{:?}", report(&rehearsal).wrong);
}

/// Nor where it was called otherwise in the window.
#[test]
fn a_downtime_is_not_over_where_the_service_was_thrown_away_by_another_name() {
    let window = |step: String| step.replacen("uses = ", "phase = \"downtime\"\nuses = ", 1);
    let rehearsal = with_a_neighbour(&[
        docker("stop", "stop-container", "other", ""),
        aside("aside", "other", "old"),
        window(docker("rm", "remove-container", "old", "")),
        window(tag("note", "vol-free", "")),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert!(shown.state.downtime.since.is_some(), "{:?}", shown.state.downtime);
}

/// A provider that says that it took a volume off, and did not.
struct KeepsVolumes(Arc<Simulated>);

#[async_trait]
impl Around for KeepsVolumes {
    fn inner(&self) -> &dyn Provider {
        &*self.0
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        match call {
            Call::Ebs(EbsCall::Detach { .. }) if context.undo => EffectOutcome::Done(Value::Null),
            _ => self.0.perform(call, context).await,
        }
    }
}

/// What is attached elsewhere is not what a termination made of it.
#[test]
fn what_an_undo_left_attached_elsewhere_is_not_declared() {
    let volume = |id: &str, uses: &str, instance: &str, more: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nuses = \"ebs/{uses}\"\n\
             with = {{ volume = \"vol-db-main\", instance = \"{instance}\"{more} }}\n"
        )
    };
    let mut rehearsal = with_a_neighbour(&[
        docker("stop", "stop-container", "main", ""),
        volume("off", "detach-volume", "i-db-1", ""),
        volume("on", "attach-volume", "i-db-2", ", device = \"/dev/sdf\""),
        terminate("i-db-1", ""),
        tag("note", "vol-free", ""),
    ]);
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::RestoredExceptDeclared), "{:?}", shown.state);
    rehearsal.behind = Some(Arc::new(|world| Arc::new(KeepsVolumes(world))));
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::Incomplete));
}
