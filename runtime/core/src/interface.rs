//! The host interfaces: what a plugin may be granted, and a provider may serve.

use crate::resource::ResourceKind;
use std::fmt;

/// An interface of the contract that a component may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// Lines and progress for the operation's log.
    Log,
    /// The time, and sleeping.
    Clock,
    /// Taking back what the step itself did.
    Effects,
    /// EC2 instances.
    Ec2,
    /// EBS volumes and snapshots.
    Ebs,
    /// Docker Engines.
    Docker,
    /// Load balancers.
    LoadBalancer,
}

impl Interface {
    /// Every interface, in the contract's order.
    pub const ALL: [Interface; 7] = [
        Self::Log,
        Self::Clock,
        Self::Effects,
        Self::Ec2,
        Self::Ebs,
        Self::Docker,
        Self::LoadBalancer,
    ];

    /// The name in the contract and in grants.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Clock => "clock",
            Self::Effects => "effects",
            Self::Ec2 => "ec2",
            Self::Ebs => "ebs",
            Self::Docker => "docker",
            Self::LoadBalancer => "load-balancer",
        }
    }

    /// The interface of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }

    /// Whether it reaches the outside world and so must be granted. What a guest says, the time,
    /// and taking back its own effects need no grant.
    pub fn needs_grant(self) -> bool {
        match self {
            Self::Log | Self::Clock | Self::Effects => false,
            Self::Ec2 | Self::Ebs | Self::Docker | Self::LoadBalancer => true,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ResourceKind {
    /// The interface that acts on things of this kind.
    pub fn interface(self) -> Interface {
        match self {
            Self::Instance => Interface::Ec2,
            Self::Volume | Self::Snapshot => Interface::Ebs,
            Self::Container
            | Self::Image
            | Self::DockerVolume
            | Self::FileSystem
            | Self::Containers => Interface::Docker,
            Self::Pool | Self::PoolTarget => Interface::LoadBalancer,
        }
    }
}
