//! One type per id, so that a port's id never stands where a network's belongs.
//!
//! UUIDs are v4 with dashes; projects, users and roles are 32 hex digits, as in keystone; flavor and
//! domain ids are short strings (the default domain is literally `default`).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadId(pub &'static str);

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a valid {} id", self.0)
    }
}

impl std::error::Error for BadId {}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident = $noun:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                Uuid::try_parse(s).map(Self).map_err(|_| BadId($noun))
            }
        }
    )*};
}

uuid_id! {
    ServerId = "server",
    ImageId = "image",
    NetworkId = "network",
    SubnetId = "subnet",
    PortId = "port",
    SecurityGroupId = "security group",
    SecurityGroupRuleId = "security group rule",
    ServerGroupId = "server group",
    /// A compute host; also the uuid of its resource provider.
    HostId = "host",
    DecisionId = "decision",
    /// The import of an image.
    TaskId = "task",
    /// What offers resources: a host, a part of one, or something that hosts share.
    ProviderId = "resource provider",
    /// What holds resources: a server of this cloud, or whatever another service names so.
    ConsumerId = "consumer",
}

impl From<HostId> for ProviderId {
    fn from(host: HostId) -> Self {
        Self(host.0)
    }
}

impl From<ServerId> for ConsumerId {
    fn from(server: ServerId) -> Self {
        Self(server.0)
    }
}

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(s: &str) -> Self {
                Self(s.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(s: String) -> Self {
                Self(s)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_id! { ProjectId, UserId, GroupId, RoleId, DomainId, FlavorId }

macro_rules! random_hex {
    ($($name:ident),*) => {$(
        impl $name {
            pub fn random() -> Self {
                Self(Uuid::new_v4().as_simple().to_string())
            }
        }
    )*};
}

random_hex! { ProjectId, UserId, GroupId, RoleId, DomainId }

impl FlavorId {
    /// For a flavor that is made without an id: a UUID, as nova does.
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_hyphenated().to_string())
    }
}

/// `req-<uuid>`: one id from the HTTP request to the libvirt call.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

impl RequestId {
    pub fn random() -> Self {
        Self(format!("req-{}", Uuid::new_v4().as_hyphenated()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_refuse_nonsense() {
        let id = ServerId::random();
        assert_eq!(id.to_string().parse::<ServerId>(), Ok(id));
        assert_eq!(id.to_string().len(), 36);
        assert!("../../etc/passwd".parse::<ServerId>().is_err());
        assert_eq!(ProjectId::random().0.len(), 32);
    }
}
