//! The host functions: in a component they reach the host, in a native test a scripted world.

/// An interface's functions, each with what it does ([`crate::testing::Does`]), by which a scripted
/// world is as strict as the host.
macro_rules! functions {
    ($package:ident::$module:ident $interface:literal {
        $( $(#[$doc:meta])* $does:ident $function:ident $wire:literal
            ( $($arg:ident : $type:ty),* ) -> $answer:ty; )*
    }) => {
        #[cfg(not(target_arch = "wasm32"))]
        pub(crate) const FUNCTIONS: &[(&str, crate::testing::Does)] =
            &[$((concat!($interface, ".", $wire), crate::testing::Does::$does)),*];

    $(
        $(#[$doc])*
        #[cfg_attr(not(target_arch = "wasm32"), track_caller)]
        pub fn $function($($arg: $type),*) -> Result<$answer, $crate::Failure> {
            #[cfg(target_arch = "wasm32")]
            return $crate::bindings::stepback::$package::$module::$function($($arg),*);
            #[cfg(not(target_arch = "wasm32"))]
            return $crate::testing::answer(
                concat!($interface, ".", $wire),
                serde_json::json!({ $(stringify!($arg): $arg),* }),
            );
        }
    )* };
}

/// Every function, by its name.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn functions() -> impl Iterator<Item = (&'static str, crate::testing::Does)> {
    let all = [clock::FUNCTIONS, effects::FUNCTIONS, ec2::FUNCTIONS, ebs::FUNCTIONS];
    all.into_iter().chain([docker::FUNCTIONS, load_balancer::FUNCTIONS]).flatten().copied()
}

/// Lines and progress for the operation's log.
pub mod log {
    pub use crate::bindings::stepback::log::log::Level;

    /// One line.
    pub fn line(level: Level, text: &str) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::stepback::log::log::line(level, text);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::logged(level, text);
    }

    /// One line of level *info*.
    pub fn info(text: &str) {
        line(Level::Info, text);
    }

    /// How far something long is, in whatever unit the text names.
    pub fn progress(text: &str, done: u64, total: Option<u64>) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::stepback::log::log::progress(text, done, total);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::logged(Level::Info, &format!("{text}: {done} of {total:?}"));
    }
}

/// Time, as the journal tells it.
pub mod clock {
    functions! { clock::clock "clock" {
        /// Milliseconds since the Unix epoch.
        Read now "now" () -> u64;
        /// Ends early with `cancelled`.
        Wait sleep "sleep" (duration_ms: u64) -> ();
    }}
}

/// Taking back what was done.
pub mod effects {
    pub use crate::bindings::stepback::effects::effects::Reversal;

    functions! { effects::effects "effects" {
        /// Put each resource of a past effect back to that effect's `before`.
        Reverse reverse "reverse" (id: &str) -> Reversal;
    }}
}

/// EC2 instances.
pub mod ec2 {
    use crate::Pair;
    pub use crate::bindings::stepback::ec2::instances::{Instance, InstanceState, RunSpec};

    functions! { ec2::instances "ec2" {
        /// An instance as it is now; a failure if there is none of this id.
        Read describe "describe" (instance: &str) -> Instance;
        /// Instances that carry all these tags, terminated ones left out, by id.
        Read find "find" (tags: &[Pair]) -> Vec<Instance>;
        /// Make an instance, and give it when it runs; taken back, it is terminated.
        Effect run_instance "run-instance" (spec: &RunSpec) -> Instance;
        /// Start a stopped instance, and give it when it runs.
        Effect start "start" (instance: &str) -> Instance;
        /// Stop an instance, and all that runs on it with it; give it when it is stopped.
        Effect stop "stop" (instance: &str) -> Instance;
        /// End an instance for good: nothing takes this back.
        Effect terminate "terminate" (instance: &str) -> ();
        /// The instance must be stopped.
        Effect set_instance_type "set-instance-type" (instance: &str, instance_type: &str) -> ();
        /// Wait until an instance is in this state; a `deadline` failure if that takes longer.
        Wait wait_state "wait-state"
            (instance: &str, state: InstanceState, timeout_ms: u64) -> Instance;
        /// Put a tag on an instance; one of the same key is replaced.
        Effect tag "tag" (instance: &str, key: &str, value: &str) -> ();
        /// Take a tag off an instance, if it has one of this key.
        Effect untag "untag" (instance: &str, key: &str) -> ();
    }}
}

/// EBS volumes and snapshots.
pub mod ebs {
    use crate::Pair;
    pub use crate::bindings::stepback::ebs::volumes::{
        Attachment, Snapshot, SnapshotState, Volume, VolumeSpec, VolumeState,
    };

    functions! { ebs::volumes "ebs" {
        /// A volume as it is now; a failure if there is none of this id.
        Read describe "describe" (volume: &str) -> Volume;
        /// Volumes that carry all these tags, by id.
        Read find "find" (tags: &[Pair]) -> Vec<Volume>;
        /// Make a volume, and give it when it is available; taken back, it is deleted.
        Effect create_volume "create-volume" (spec: &VolumeSpec) -> Volume;
        /// Delete a volume, attached nowhere, for good: nothing takes this back.
        Effect delete_volume "delete-volume" (volume: &str) -> ();
        /// Attach a volume to an instance of its zone, as a device whose name is free.
        Effect attach "attach" (volume: &str, instance: &str, device: &str) -> Volume;
        /// Detach a volume, which must not be mounted; it is never forced.
        Effect detach "detach" (volume: &str, instance: &str) -> Volume;
        /// Growth only.
        Effect modify_volume "modify-volume" (volume: &str, size_gib: u32) -> Volume;
        /// Begin a snapshot: it counts from then on, and `wait_snapshot` waits for the rest.
        Effect create_snapshot "create-snapshot"
            (volume: &str, description: &str, tags: &[Pair]) -> Snapshot;
        /// A snapshot as it is now; a failure if there is none of this id.
        Read describe_snapshot "describe-snapshot" (snapshot: &str) -> Snapshot;
        /// Snapshots of the account's own that carry all these tags, by id.
        Read find_snapshots "find-snapshots" (tags: &[Pair]) -> Vec<Snapshot>;
        /// Delete a snapshot for good: nothing takes this back.
        Effect delete_snapshot "delete-snapshot" (snapshot: &str) -> ();
        /// Wait until a volume is in this state; a `deadline` failure if that takes longer.
        Wait wait_volume "wait-volume"
            (volume: &str, state: VolumeState, timeout_ms: u64) -> Volume;
        /// Wait until a snapshot is complete; a `deadline` failure if that takes longer.
        Wait wait_snapshot "wait-snapshot" (snapshot: &str, timeout_ms: u64) -> Snapshot;
        /// Put a tag on a volume; one of the same key is replaced.
        Effect tag "tag" (volume: &str, key: &str, value: &str) -> ();
        /// Take a tag off a volume, if it has one of this key.
        Effect untag "untag" (volume: &str, key: &str) -> ();
    }}
}

/// Docker Engines; the first argument is always the host: the instance the engine runs on.
pub mod docker {
    use crate::Pair;
    pub use crate::bindings::stepback::docker::engine::{
        CommandResult, Container, ContainerSpec, ContainerState, DockerVolume, Ended, Health,
        Image, Like, Mount, Protocol, PublishedPort, RestartPolicy,
    };

    functions! { docker::engine "docker" {
        /// A container as it is now, if there is one of this name.
        Read inspect_container "inspect-container"
            (host: &str, container: &str) -> Option<Container>;
        /// All containers, running or not, by name; Stepback's own helpers are left out.
        Read list_containers "list-containers" (host: &str) -> Vec<Container>;
        /// The containers that have all of these labels, running or not, by name.
        Read find_containers "find-containers" (host: &str, labels: &[Pair]) -> Vec<Container>;
        /// The image that the host has by this name, if it has one.
        Read inspect_image "inspect-image" (host: &str, image: &str) -> Option<Image>;
        /// A Docker volume, if there is one of this name.
        Read inspect_volume "inspect-volume" (host: &str, volume: &str) -> Option<DockerVolume>;
        /// The file system on a volume attached to the host, `none` if it is blank.
        Read filesystem "filesystem" (host: &str, volume: &str) -> String;
        /// Fails where what looks into volumes is missing on the host.
        Read check_helper "check-helper" (host: &str) -> ();
        /// Pull an image; taken back, its name means again what it meant, and the image stays.
        Effect pull_image "pull-image" (host: &str, image: &str) -> Image;
        /// Make a name mean the image of this digest, which the host has already.
        Effect tag_image "tag-image" (host: &str, image: &str, digest: &str) -> ();
        /// Make a container, which is not started; taken back, it is removed.
        Effect create_container "create-container"
            (host: &str, container: &str, spec: &ContainerSpec) -> Container;
        /// Start a container; one that runs already is left as it is.
        Effect start_container "start-container" (host: &str, container: &str) -> Container;
        /// Stop a container; what has not ended after the grace is killed.
        Effect stop_container "stop-container"
            (host: &str, container: &str, grace_ms: u64) -> Container;
        /// Freeze every process of a container that runs; it stays up, and does nothing.
        Effect pause_container "pause-container" (host: &str, container: &str) -> Container;
        /// Let the processes of a paused container go on.
        Effect unpause_container "unpause-container" (host: &str, container: &str) -> Container;
        /// Give a container another name, which must be free.
        Effect rename_container "rename-container" (host: &str, container: &str, to: &str) -> ();
        /// Set the restart policy.
        Effect update_container "update-container"
            (host: &str, container: &str, restart: RestartPolicy) -> ();
        /// Remove a stopped container for good; its volumes stay.
        Effect remove_container "remove-container" (host: &str, container: &str) -> ();
        /// Take the name off an image for good; no container may be of it.
        Effect remove_image "remove-image" (host: &str, image: &str) -> ();
        /// Wait until the host's engine answers.
        Wait wait_engine "wait-engine" (host: &str, timeout_ms: u64) -> ();
        /// Wait until its health check says so; of a container without one, until it stays up.
        Wait wait_healthy "wait-healthy"
            (host: &str, container: &str, timeout_ms: u64) -> Container;
        /// Wait for an attached volume's device node; returns its file system.
        Wait wait_device "wait-device" (host: &str, volume: &str, timeout_ms: u64) -> String;
        /// Wait until nothing on the host has a volume mounted.
        Wait wait_unmounted "wait-unmounted" (host: &str, volume: &str, timeout_ms: u64) -> ();
        /// The last lines that a container printed, to standard output or standard error.
        Read logs "logs" (host: &str, container: &str, tail_lines: u32) -> Vec<String>;
        /// An ephemeral container run to completion; then it is removed.
        Effect run_once "run-once"
            (host: &str, spec: &ContainerSpec, timeout_ms: u64) -> CommandResult;
        /// A command in a running container; what it did is not undone.
        Effect exec "exec"
            (host: &str, container: &str, command: &[String], timeout_ms: u64) -> CommandResult;
        /// Make a Docker volume; one of this name that is there must have these options.
        Effect create_volume "create-volume"
            (host: &str, volume: &str, options: &[Pair]) -> DockerVolume;
        /// Remove a Docker volume, which no container may use, for good.
        Effect remove_volume "remove-volume" (host: &str, volume: &str) -> ();
        /// Refuses what is not blank.
        Effect make_filesystem "make-filesystem"
            (host: &str, volume: &str, filesystem_type: &str) -> ();
        /// Grow the file system to its volume's size.
        Effect grow_filesystem "grow-filesystem" (host: &str, volume: &str) -> ();
    }}
}

/// Pools of load balancers, and the targets that they send traffic to.
pub mod load_balancer {
    pub use crate::bindings::stepback::load_balancer::pools::{
        OnTimeout, Place, Pool, Target, TargetHealth,
    };

    functions! { load_balancer::pools "load-balancer" {
        /// A pool's targets; a failure if the environment has none of this name.
        Read describe_pool "describe-pool" (pool: &str) -> Pool;
        /// Let a pool check a target, which gets no traffic yet where the balancer can do that.
        Effect add "add" (target: &Place, weight: Option<u32>, floor: u32) -> Target;
        /// Wait until the checks of what is there now pass.
        Wait wait_healthy "wait-healthy"
            (target: &Place, timeout_ms: u64, on_timeout: OnTimeout) -> Target;
        /// Send traffic to a target.
        Effect enable "enable" (target: &Place, floor: u32) -> Target;
        /// Send no new traffic to a target; `transient` where too few others would be left.
        Effect drain "drain" (target: &Place, floor: u32) -> Target;
        /// Wait until nobody is served by a target any more, and nothing more comes.
        Wait wait_drained "wait-drained"
            (target: &Place, timeout_ms: u64, on_timeout: OnTimeout) -> Target;
        /// Take a target out of its pool.
        Effect remove "remove" (target: &Place, floor: u32) -> Target;
    }}
}
