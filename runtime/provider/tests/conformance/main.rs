//! One suite for every provider: what an operation may rely on, whatever the world is.
//!
//! A case is written once and runs against every world that the table below does not except it
//! from, with the reason. Where a stand-in is laxer than what it stands for, the reason says so.

mod advice;
mod apps;
#[allow(dead_code, reason = "it is the AWS provider's tests' own, who use more of it")]
#[path = "../../../providers/aws/tests/aws/balancers.rs"]
mod balancers;
mod bench;
mod cloud;
mod engine;
mod every;
#[allow(dead_code, reason = "it is the program's tests' own, who use more of it")]
#[path = "../../../../tests/real/haproxy.rs"]
mod haproxy;
mod hosts;
mod identity;
mod limits;
#[allow(dead_code, reason = "it is the AWS provider's tests' own, who use more of it")]
#[path = "../../../providers/aws/tests/aws/moto.rs"]
mod moto;
#[allow(dead_code, reason = "they are the program's tests' own, who use more of them")]
#[path = "../../../../tests/real/parts.rs"]
mod parts;
mod pausing;
mod pools;
#[allow(dead_code, reason = "it is the AWS provider's tests' own, who use more of it")]
#[path = "../../../providers/aws/tests/aws/proxy.rs"]
mod proxy;
mod shown;
mod strict;
#[path = "../../../../tests/real/turn.rs"]
mod turn;
mod worlds;

use bench::{Bench, World};
use std::collections::BTreeSet;
use std::pin::Pin;
use stepback_core::Interface;

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

struct Case {
    module: &'static str,
    name: &'static str,
    run: for<'a> fn(&'a Bench) -> Running<'a>,
    /// The worlds it does not run against, and why.
    but: &'static [(World, &'static str)],
}

impl Case {
    /// Why it does not run against a world, if it does not.
    fn left_out(&self, world: World) -> Option<&'static str> {
        // What is said of a cloud or of engines asks for one.
        const OF_ALL: [&str; 3] = ["every", "advice", "pools"];
        const OF_ALL_STRICT: [&str; 2] =
            ["a_call_that_is_nobodys_is_a_defect", "a_takeover_waits_out_what_is_not_refused"];
        let is_of_all = OF_ALL.contains(&self.module) || OF_ALL_STRICT.contains(&self.name);
        let excepted = self.but.iter().find(|(of, _)| *of == world).map(|(_, why)| *why);
        excepted.or_else(|| (world == World::HaProxy && !is_of_all).then_some(ONLY_POOLS))
    }
}

macro_rules! case {
    ($module:ident :: $name:ident $(, $world:ident: $why:expr)* $(,)?) => {
        Case {
            module: stringify!($module),
            name: stringify!($name),
            run: |bench| Box::pin($module::$name(bench)),
            but: &[$((World::$world, $why)),*],
        }
    };
}

const NO_CLOUD: &str = "a Docker Engine has no instances or volumes of its own";
const NO_ENGINE: &str = "EC2 has no Docker Engine of its own; one is joined to it";
const FIXED: &str = "its instances are engines of this machine, which it does not change";
const NO_POOLS: &str = "it has no load balancer: another provider is joined to it";
const ONE_STATE: &str = "a target group adds and enables in one, and has no state between";
const TWO_STATES: &str = "it adds and enables a server apart";
const ONLY_POOLS: &str = "HAProxy has pools and nothing else";
const NO_NETWORK: &str = "these engines publish nothing: they have no bridge";
const NO_DEVICES: &str = "its host's devices are another provider's";

const CASES: &[Case] = &[
    case!(every::answers_have_the_simulators_shape),
    case!(every::a_lost_request_or_answer_is_settled_by_looking),
    case!(every::every_reversible_effect_goes_back_to_what_it_was),
    case!(every::facts_are_those_that_count),
    case!(every::what_is_not_there_is_a_precondition),
    case!(every::the_world_is_the_same_when_it_is_opened_again),
    case!(advice::every_kind_has_advice_that_reaches_its_own_world),
    case!(
        every::an_epoch_is_its_stores_own,
        Aws: "EC2 knows no epochs: a takeover waits until requests are over",
        Docker: "an engine knows no epochs: a takeover waits until requests are over",
        HaProxy: "HAProxy knows no epochs: a takeover waits until requests are over",
    ),
    case!(
        every::an_older_epoch_is_refused,
        Aws: "EC2 knows no epochs: a takeover waits until requests are over",
        Docker: "an engine knows no epochs: a takeover waits until requests are over",
        HaProxy: "HAProxy knows no epochs: a takeover waits until requests are over",
    ),
    case!(
        cloud::a_repeated_token_takes_effect_once,
        Aws: "moto ignores client tokens; that they are told is shown in the provider's own tests",
        Docker: NO_CLOUD,
    ),
    case!(cloud::where_the_api_knows_no_token_the_same_again_is_another,
        Docker: NO_CLOUD,
        Onebox: "it keeps a ledger, in which a token is found for every call",
    ),
    case!(
        cloud::an_attached_volume_is_not_attached_elsewhere,
        Aws: "moto attaches it twice; EC2 says VolumeInUse",
        Docker: NO_CLOUD,
    ),
    case!(cloud::a_detached_volume_is_not_detached, Docker: NO_CLOUD),
    case!(cloud::a_volume_is_provisioned_as_it_was_asked_for,
        Docker: NO_CLOUD,
        Onebox: "its volumes are plain files, which nothing encrypts",
    ),
    case!(cloud::a_volume_only_grows,
        Aws: "moto shrinks it; EC2 says InvalidParameterValue",
        Docker: NO_CLOUD,
    ),
    case!(
        cloud::a_volume_that_was_just_grown_is_not_grown_again,
        Aws: "moto knows no cool-down; EC2 says VolumeModificationRateExceeded",
        Docker: NO_CLOUD,
        Onebox: "a file grows as often as it is told to",
    ),
    case!(
        cloud::a_volume_is_attached_by_a_name_that_ec2_has,
        Aws: "moto takes any name; EC2 says InvalidParameterValue",
        Docker: NO_CLOUD,
    ),
    case!(
        cloud::zones_are_kept_apart,
        Aws: "moto attaches across zones; EC2 says InvalidVolume.ZoneMismatch",
        Docker: NO_CLOUD,
    ),
    case!(cloud::what_someone_else_changed_is_not_touched, Docker: NO_CLOUD),
    case!(engine::names_are_used_once, Aws: NO_ENGINE),
    case!(engine::what_runs_or_is_in_use_is_not_removed, Aws: NO_ENGINE),
    case!(engine::a_container_needs_its_image_and_its_volumes, Aws: NO_ENGINE),
    case!(engine::a_command_needs_a_container_that_runs, Aws: NO_ENGINE),
    case!(apps::containers_are_found_by_all_of_their_labels, Aws: NO_ENGINE),
    case!(apps::a_port_that_is_chosen_is_kept, Aws: NO_ENGINE),
    case!(
        apps::a_port_that_somebody_has_is_tried_again,
        Aws: NO_ENGINE,
        Docker: NO_NETWORK,
        Onebox: NO_NETWORK,
    ),
    case!(engine::a_volume_keeps_its_options, Aws: NO_ENGINE),
    case!(
        pools::a_target_gets_traffic_once_it_is_healthy,
        Aws: ONE_STATE, Docker: NO_POOLS, Onebox: NO_POOLS,
    ),
    case!(
        pools::the_floor_is_kept,
        Aws: "moto calls a target healthy at once; the provider's own tests show ELB's states",
        Docker: NO_POOLS, Onebox: NO_POOLS,
    ),
    case!(
        pools::what_gets_traffic_is_not_removed,
        Aws: ONE_STATE, Docker: NO_POOLS, Onebox: NO_POOLS,
    ),
    case!(
        pools::a_pool_that_is_not_there_is_told,
        Docker: NO_POOLS, Onebox: NO_POOLS,
    ),
    case!(
        pools::a_pool_that_nothing_uses_is_told,
        Docker: NO_POOLS, Onebox: NO_POOLS,
        HaProxy: "it does not tell which frontends use a backend",
    ),
    case!(
        pools::one_state_is_two_facts,
        Docker: NO_POOLS, Onebox: NO_POOLS, HaProxy: TWO_STATES,
    ),
    case!(pausing::a_container_is_frozen_until_it_goes_on, Aws: NO_ENGINE),
    case!(pausing::a_paused_container_is_not_healthy, Aws: NO_ENGINE),
    case!(pausing::a_paused_container_is_not_stopped_unasked, Aws: NO_ENGINE),
    case!(
        engine::a_container_starts_only_on_its_device,
        Aws: NO_ENGINE,
        Docker: NO_DEVICES,
    ),
    case!(
        engine::only_what_is_blank_gets_a_file_system,
        Aws: NO_ENGINE,
        Docker: NO_DEVICES,
    ),
    case!(
        limits::a_volume_is_as_large_and_fast_as_its_type_allows,
        Aws: "moto takes any number; EC2 says InvalidParameterValue",
        Docker: NO_CLOUD,
    ),
    case!(
        limits::a_type_is_one_that_there_is,
        Aws: "moto takes any name; EC2 says UnknownVolumeType",
        Docker: NO_CLOUD,
    ),
    case!(limits::a_resource_has_fifty_tags_at_most, Docker: NO_CLOUD),
    case!(
        limits::a_tag_is_not_longer_than_ec2_takes_it,
        Aws: "moto takes any length; EC2 says InvalidParameterValue",
        Docker: NO_CLOUD,
    ),
    case!(limits::no_time_is_too_long, Aws: NO_ENGINE),
    case!(limits::a_restart_policy_is_shown_as_the_engine_has_it, Aws: NO_ENGINE),
    case!(identity::what_was_made_anew_is_another, Aws: NO_ENGINE),
    case!(identity::what_has_another_name_is_the_same, Aws: NO_ENGINE),
    case!(identity::what_only_has_the_name_is_not_taken_back, Aws: NO_ENGINE),
    case!(hosts::waiting_for_an_engine_ends_when_it_answers, Aws: NO_ENGINE),
    case!(hosts::an_engine_that_is_down_tells_nothing, Aws: NO_ENGINE),
    case!(hosts::what_comes_up_with_its_host_is_told_by_its_policy, Aws: NO_ENGINE),
    case!(strict::what_makes_no_sense_is_invalid_input, Aws: NO_ENGINE),
    case!(strict::a_port_is_read_as_an_engine_reads_it, Aws: NO_ENGINE),
    case!(strict::an_image_that_no_registry_has_is_not_pulled, Aws: NO_ENGINE),
    case!(strict::a_repeated_token_makes_one_container, Aws: NO_ENGINE),
    case!(strict::what_never_ran_has_no_exit_code, Aws: NO_ENGINE),
    case!(shown::a_container_shows_what_it_was_made_of, Aws: NO_ENGINE),
    case!(strict::a_command_that_is_cut_off_says_so, Aws: NO_ENGINE),
    case!(
        strict::a_command_that_can_not_begin_leaves_nothing,
        Aws: NO_ENGINE,
        Docker: NO_DEVICES,
    ),
    case!(
        strict::what_is_not_attached_does_not_show_up,
        Aws: NO_ENGINE,
        Docker: NO_DEVICES,
    ),
    case!(
        strict::a_file_system_is_one_that_can_be_made,
        Aws: NO_ENGINE,
        Docker: NO_DEVICES,
    ),
    case!(strict::reserved_tags_are_not_written, Docker: NO_CLOUD),
    case!(strict::attaching_where_it_is_attached_is_done, Docker: NO_CLOUD),
    case!(
        strict::an_instance_that_runs_keeps_its_type,
        Aws: "moto changes it while it runs; EC2 says IncorrectInstanceState",
        Docker: NO_CLOUD,
        Onebox: FIXED,
    ),
    case!(
        strict::a_terminated_instance_stays_so,
        Aws: "moto brings it back to life; EC2 says IncorrectInstanceState",
        Docker: NO_CLOUD,
        Onebox: FIXED,
    ),
    case!(
        strict::a_terminated_instance_is_not_waited_for,
        Docker: NO_CLOUD,
        Onebox: FIXED,
    ),
    case!(strict::a_volume_comes_from_a_snapshot_that_is_there, Docker: NO_CLOUD),
    case!(
        strict::a_volume_holds_its_snapshot,
        Aws: "moto makes a smaller one; EC2 says InvalidParameterValue",
        Docker: NO_CLOUD,
    ),
    case!(strict::a_type_takes_what_it_can_be_provisioned_with, Docker: NO_CLOUD),
    case!(strict::a_call_that_is_nobodys_is_a_defect),
    case!(strict::a_takeover_waits_out_what_is_not_refused),
];

/// Whether a world serves an interface, or why it does not: an interface more, or a world, does not
/// compile before somebody has said so.
fn serves(world: World, interface: Interface) -> Result<(), &'static str> {
    const NOBODYS: &str = "it is answered before any provider is asked";
    match (interface, world) {
        (Interface::Log | Interface::Clock | Interface::Effects, _) => Err(NOBODYS),
        (Interface::Ec2 | Interface::Ebs, World::Simulated | World::Aws | World::Onebox) => Ok(()),
        (Interface::Ec2 | Interface::Ebs, World::Docker) => Err(NO_CLOUD),
        (Interface::Docker, World::Simulated | World::Docker | World::Onebox) => Ok(()),
        (Interface::Docker, World::Aws) => Err(NO_ENGINE),
        (Interface::LoadBalancer, World::Simulated | World::Aws | World::HaProxy) => Ok(()),
        (Interface::Ec2 | Interface::Ebs | Interface::Docker, World::HaProxy) => Err(ONLY_POOLS),
        (Interface::LoadBalancer, World::Docker | World::Onebox) => Err(NO_POOLS),
    }
}

/// What no world served would be tested nowhere.
#[test]
fn every_interface_that_is_granted_is_served_by_the_simulator_and_a_real_one() {
    for interface in Interface::ALL {
        let real = [World::Aws, World::Docker, World::Onebox, World::HaProxy];
        let is_served = real.into_iter().any(|world| serves(world, interface).is_ok());
        assert_eq!(is_served, interface.needs_grant(), "{interface}");
        let is_simulated = serves(World::Simulated, interface).is_ok();
        assert_eq!(is_simulated, interface.needs_grant(), "{interface}");
    }
}

/// Run every case against a world, and see that no call that it serves was left out.
async fn suite(bench: &Bench) {
    for interface in Interface::ALL {
        let is_served = bench.provider.serves().contains(&interface);
        let told = serves(bench.world, interface);
        assert_eq!(told.is_ok(), is_served, "{:?}, {interface}: {told:?}", bench.world);
    }
    for case in CASES {
        match case.left_out(bench.world) {
            Some(why) => println!("{:?}: {} is left out: {why}", bench.world, case.name),
            None => {
                println!("{:?}: {}", bench.world, case.name);
                (case.run)(bench).await;
            }
        }
    }
    let called = bench.called();
    let served = stepback_core::Call::functions().filter(|name| bench.serves(name));
    let forgotten: Vec<_> = served.filter(|name| !called.contains(*name)).collect();
    assert!(forgotten.is_empty(), "never called in {:?}: {forgotten:?}", bench.world);
}

#[test]
fn each_exception_is_one_world_with_a_reason() {
    for case in CASES {
        let worlds: BTreeSet<String> = case.but.iter().map(|(w, _)| format!("{w:?}")).collect();
        assert_eq!(worlds.len(), case.but.len(), "{}: a world twice", case.name);
        assert!(!worlds.contains("Simulated"), "{}: the simulator is never laxer", case.name);
        assert!(case.but.iter().all(|(_, why)| why.len() > 10), "{}: no reason", case.name);
    }
}

#[tokio::test]
async fn simulated() {
    suite(&worlds::simulated()).await;
}

#[tokio::test]
async fn aws_on_moto() {
    suite(&worlds::aws().await).await;
}

/// Both in one test: they share two engines and a registry.
#[tokio::test(flavor = "multi_thread")]
async fn docker_and_onebox_on_real_engines() {
    if !parts::are_possible() {
        return;
    }
    let parts = std::rc::Rc::new(parts::TestCluster::start());
    suite(&worlds::docker(&parts)).await;
    suite(&worlds::onebox(&parts)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_of_haproxy() {
    if haproxy::is_possible() {
        suite(&worlds::haproxy()).await;
    }
}
