//! Whether a downtime is over that a rollback came back through.

use crate::harness::{WORLD, case, manifest, of, report, world};
use async_trait::async_trait;
use std::sync::Arc;
use stepback_core::event::{Event, Record, Verdict};
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Direction, DockerCall};
use stepback_provider::{Around, EffectContext, Provider};
use stepback_rehearse::Rehearsal;
use stepback_simulated::Simulated;

/// A volume beside the database's, on an instance without containers.
const VOLUME: &str = "[volumes.vol-x]\nsize_gib = 8\ntype = \"gp3\"\nzone = \"us-east-1a\"\n\
                      attachments = [{ instance = \"i-db-2\", device = \"/dev/sdx\" }]\n";

const DETACH: &str = "[[steps]]\nid = \"off\"\nuses = \"ebs/detach-volume\"\nphase = \"downtime\"\n\
                      with = { volume = \"vol-x\", instance = \"i-db-2\" }\n";

fn docker(id: &str, uses: &str, container: &str, more: &str) -> String {
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"docker/{uses}\"\nphase = \"downtime\"\n\
         with = {{ host = \"i-db-1\", container = \"{container}\"{more} }}\n"
    )
}

/// The operation whose window has these steps, and whose last step comes behind it.
fn with_window(window: &str) -> Rehearsal {
    let note = "[[steps]]\nid = \"note\"\nuses = \"ebs/tag-volume\"\n\
                with = { volume = \"vol-x\", key = \"k\", value = \"1\" }\n";
    let mut rehearsal = of(&manifest(&format!("{window}{note}")), &[]);
    rehearsal.world = world(&format!("{WORLD}\n{VOLUME}"));
    rehearsal
}

/// Whether the downtime is over where the last step is refused, and so is this call of its way
/// back, always.
#[track_caller]
fn is_over(window: &str, refused: &str) -> bool {
    let shown =
        case(&with_window(window), &format!("ebs.tag#1=refuse+undo:{refused}#1=refuse-always"));
    assert_eq!(shown.fired, [true, true], "{window}");
    assert_eq!(shown.state.verdict, Some(Verdict::Incomplete), "{window}");
    let is_over = shown.state.downtime.since.is_none();
    assert!(!(is_over && shown.ended.is_down), "{window}");
    is_over
}

#[test]
fn a_downtime_is_over_once_what_the_window_took_away_is_back() {
    let stop = |name: &str| docker("stop", "stop-container", name, "");
    let aside = docker("aside", "rename-container", "main", ", to = \"old\"");
    for (window, refused, wanted) in [
        // A volume that is off is missed by somebody, whatever else runs.
        (DETACH.to_owned(), "ebs.attach", false),
        (format!("{aside}{DETACH}"), "ebs.attach", false),
        (format!("{}{DETACH}", stop("main")), "ebs.attach", false),
        (stop("main"), "docker.start-container", false),
        // It runs, by another name.
        (aside.clone(), "docker.rename-container", true),
        (format!("{aside}{}", stop("old")), "docker.rename-container", true),
    ] {
        assert_eq!(is_over(&window, refused), wanted, "{window}");
        // Where all of it is taken back, it is over.
        let shown = case(&with_window(&window), "ebs.tag#1=refuse");
        assert_eq!(shown.state.verdict, Some(Verdict::Restored), "{window}");
        assert!(shown.state.downtime.since.is_none(), "{window}");
    }
}

/// Somebody makes a container of the name that is to be given back, at that moment.
struct TakesTheName(Arc<Simulated>);

#[async_trait]
impl Around for TakesTheName {
    fn inner(&self) -> &dyn Provider {
        &*self.0
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        if let (true, Call::Docker(DockerCall::RenameContainer { .. })) = (context.undo, call) {
            let taken = self.0.change(|world| {
                let engine = world.engines.get_mut("i-db-1").expect("an engine");
                let mut other = engine.containers["old"].clone();
                "another".clone_into(&mut other.id);
                (other.running, other.spec.ports) = (true, vec![]);
                engine.containers.entry("main".to_owned()).or_insert(other);
                Ok(())
            });
            taken.expect("a world");
        }
        self.0.perform(call, context).await
    }
}

#[test]
fn somebody_elses_container_of_that_name_is_not_the_service() {
    let window = docker("stop", "stop-container", "main", "")
        + &docker("aside", "rename-container", "main", ", to = \"old\"");
    let mut rehearsal = with_window(&window);
    rehearsal.behind = Some(Arc::new(|world| Arc::new(TakesTheName(world))));
    let shown = case(&rehearsal, "ebs.tag#1=refuse");
    assert_eq!(shown.state.verdict, Some(Verdict::Incomplete));
    assert!(shown.state.downtime.since.is_some(), "{:?}", shown.state.downtime);
}

/// What one step stopped, renamed and started is back whatever fails once on the way.
#[test]
fn what_was_started_under_another_name_is_taken_back_whatever_fails() {
    let call = |call: &str, name: &str, more: &str| {
        format!("{{ call = \"{call}\", host = \"i-db-1\", container = \"{name}\"{more} }}")
    };
    let run = [
        call("stop-container", "main", ""),
        call("rename", "main", ", to = \"aa\""),
        call("start", "aa", ""),
        call("rename", "aa", ", to = \"bb\""),
    ];
    let window = format!(
        "[[steps]]\nid = \"swap\"\nuses = \"attack/attack\"\nphase = \"downtime\"\n\
         [steps.with]\ncheck = []\nundo = []\nrun = [{}]\n",
        run.join(", ")
    );
    let report = report(&with_window(&window));
    assert!(report.is_well(), "{:#?}", report.wrong);
}

/// What one step stopped and started runs again as soon as both are taken back: an undo that is
/// tried again stops it no second time.
#[test]
fn an_undo_that_is_tried_again_takes_nothing_down_again() {
    let window = "[[steps]]\nid = \"again\"\nuses = \"attack/attack\"\nphase = \"downtime\"\n\
                  [steps.with]\ncheck = []\nundo = []\nrun = [\
                  { call = \"tag\", volume = \"vol-db-main\", key = \"a\", value = \"1\" }, \
                  { call = \"stop-container\", host = \"i-db-1\", container = \"main\" }, \
                  { call = \"start\", host = \"i-db-1\", container = \"main\" }]\n";
    let shown = case(&with_window(window), "ebs.tag#2=refuse+undo:ebs.untag#1=refuse");
    assert_eq!(shown.fired, [true, true]);
    assert_eq!(shown.state.verdict, Some(Verdict::Restored));
    let is_stop = |record: &&Record| {
        matches!(&record.event, Event::CallStarted { id, call, .. }
            if id.of.direction == Direction::Undo && call.function() == "docker.stop-container")
    };
    assert_eq!(shown.records.iter().filter(is_stop).count(), 1);
}

/// The downtime is not over where an undo behind the window's takes down what the window was about,
/// or the window's is not tried.
#[test]
fn no_downtime_is_over_while_the_service_is_down() {
    let step = |id: &str, uses: &str, phase: &str, more: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nuses = \"docker/{uses}\"\nphase = \"{phase}\"\n\
             with = {{ host = \"i-db-1\", container = \"main\"{more} }}\n"
        )
    };
    let (always, aside) = (", restart = \"always\"", ", to = \"old\"");
    for (steps, refused) in [
        // The window's undo is not tried.
        (
            step("stop", "stop-container", "downtime", "")
                + &step("policy", "set-restart-policy", "live", always),
            "docker.update-container",
        ),
        // The service was stopped and started before the window.
        (
            step("stop", "stop-container", "live", "")
                + &step("start", "start-container", "live", "")
                + &step("aside", "rename-container", "downtime", aside),
            "docker.start-container",
        ),
        (
            step("quiet", "pause-container", "live", "")
                + &step("policy", "set-restart-policy", "downtime", always),
            "docker.unpause-container",
        ),
    ] {
        let name = format!("ebs.tag#1=refuse+undo:{refused}#1=refuse-always");
        let shown = case(&with_window(&steps), &name);
        assert_eq!(shown.fired, [true, true], "{steps}");
        assert!(shown.ended.is_down && shown.state.downtime.since.is_some(), "{steps}");
        assert_eq!(shown.wrong, [""; 0], "{steps}");
    }
}

/// The old one goes though the new one could not be started; and a pool whose targets are all
/// drained serves nobody.
#[test]
fn a_service_that_nobody_has_in_the_end_is_down() {
    let cleanup = |id: &str, uses: &str, name: &str, more: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nuses = \"docker/{uses}\"\nphase = \"cleanup\"\n\
             with = {{ host = \"i-web-1\", container = \"{name}\" }}\n{more}"
        )
    };
    let new = "[[steps]]\nid = \"new\"\nuses = \"docker/create-container\"\nwith = { host = \
               \"i-web-1\", container = \"next\", image = \"shop:1\", ports = [\"auto:80\"] }\n";
    let gone = "irreversible = \"it has gone\"\n";
    let swap = manifest(&format!(
        "{new}{}{}{}",
        cleanup("stop", "stop-container", "shop-r1-1", ""),
        cleanup("start", "start-container", "next", ""),
        cleanup("remove", "remove-container", "shop-r1-1", gone),
    ));
    let shown = case(&of(&swap, &[]), "docker.start-container#1=refuse");
    assert!(shown.ended.is_down, "{:?}", shown.ended);
    let whole = case(&of(&swap, &[]), "docker.create-container#1=transient");
    assert!(!whole.ended.is_down, "{:?}", whole.ended);

    let drain = |host: &str| {
        format!(
            "[[steps]]\nid = \"{host}\"\nuses = \"load-balancer/drain-target\"\n\
             with = {{ pool = \"web\", host = \"{host}\", port = 20000, floor = 0 }}\n"
        )
    };
    let all = manifest(&format!("{}{}", drain("i-web-1"), drain("i-web-2")));
    let report = report(&of(&all, &[]));
    assert!(report.still_down > 0, "{:?}", report.endings);
}
