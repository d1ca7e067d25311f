//! `canopy:network@1`: how tenant networks are made real on a host.

use serde::de::DeserializeOwned;

pub mod items;
pub mod view;

#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/network/v1",
        world: "backend",
        pub_export_macro: true,
        default_bindings_module: "canopy_sdk::network::bindings",
        additional_derives: [PartialEq],
    });
}

#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod placer_bindings {
    wit_bindgen::generate!({
        path: "../wit/network/v1",
        world: "placer",
        pub_export_macro: true,
        export_macro_name: "export_placer",
        default_bindings_module: "canopy_sdk::network::placer_bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::exports::canopy::network::planning::Item;
pub use placer_bindings::exports::canopy::network::placing::Assignment;
pub use view::{
    Cidr, ClusterNetwork, ClusterView, FixedIp, HostRoute, Network, Port, Provider, Subnet, View,
};

/// A network backend: from networks to the items that a host needs, and never an action.
///
/// ```
/// use canopy_sdk::network::{Backend, Item, View, items};
///
/// /// A bare bridge per network.
/// struct Bridges;
///
/// impl Backend for Bridges {
///     type Config = canopy_sdk::serde_json::Value;
///
///     fn init(_: Self::Config, kinds: &[String]) -> Result<Self, String> {
///         if kinds.iter().any(|kind| kind == items::BRIDGE) { Ok(Self) } else { Err("needs bridge@1".into()) }
///     }
///
///     fn validate(&self, _: &View) -> Result<(), String> {
///         Ok(())
///     }
///
///     fn plan_host(&self, view: &View) -> Result<Vec<Item>, String> {
///         view.networks.iter().map(|network| {
///             let bridge = items::Bridge { name: items::bridge_name(network.segment)?, mtu: network.mtu };
///             items::item(items::BRIDGE, &network.id, &bridge)
///         }).collect()
///     }
/// }
/// canopy_sdk::export_backend!(Bridges);
/// ```
pub trait Backend: Sized + 'static {
    /// Read from the operator's JSON; use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned;

    /// Called once before anything else, with the item kinds that the core can apply. The error is for the
    /// operator.
    fn init(config: Self::Config, kinds: &[String]) -> Result<Self, String>;

    /// Can this backend realise these networks? The error is shown to the client.
    fn validate(&self, view: &View) -> Result<(), String>;

    /// What one host needs for the networks with a port on it; an error leaves the last plan in force.
    fn plan_host(&self, view: &View) -> Result<Vec<Item>, String>;
}

/// A backend that also says where in the operator's networks each network is.
///
/// ```
/// use canopy_sdk::network::{Assignment, Backend, ClusterBackend, ClusterView, Item, Provider, View, items};
///
/// /// Every network is the operator's one.
/// struct Shared;
///
/// impl Backend for Shared {
///     type Config = canopy_sdk::serde_json::Value;
///
///     fn init(_: Self::Config, _: &[String]) -> Result<Self, String> {
///         Ok(Self)
///     }
///
///     fn validate(&self, _: &View) -> Result<(), String> {
///         Ok(())
///     }
///
///     fn plan_host(&self, _: &View) -> Result<Vec<Item>, String> {
///         Ok(vec![])
///     }
/// }
///
/// impl ClusterBackend for Shared {
///     fn plan_cluster(&self, view: &ClusterView) -> Result<Vec<Assignment>, String> {
///         let mut new = view.networks.iter().filter(|network| network.provider.is_none());
///         let (Some(network), None) = (new.next(), new.next()) else {
///             return Err("only one network can be the operator's".into());
///         };
///         let place = Provider { physical_network: "external".into(), segmentation_id: None };
///         Ok(vec![items::segment(&network.id, &place)?])
///     }
/// }
/// canopy_sdk::export_cluster_backend!(Shared);
/// ```
pub trait ClusterBackend: Backend {
    /// Places of the networks that have none. The error is shown to the client.
    fn plan_cluster(&self, view: &ClusterView) -> Result<Vec<Assignment>, String>;
}

/// Makes a [`ClusterBackend`] the backend that this component exports, instead of [`export_backend!`].
#[macro_export]
macro_rules! export_cluster_backend {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::network::{Assignment, ClusterBackend, ClusterView, placer_bindings};

            $crate::__export_planning!($plugin);

            impl placer_bindings::exports::canopy::network::placing::Guest for Component {
                fn plan_cluster(view: String) -> Result<Vec<Assignment>, String> {
                    let view = ClusterView::parse(&view)?;
                    ask(|plugin| plugin.plan_cluster(&view))
                }
            }

    placer_bindings::export_placer!(Component with_types_in placer_bindings);
        };
    };
}

/// Makes a [`Backend`] the backend that this component exports. Once per crate; nothing outside wasm32.
#[macro_export]
macro_rules! export_backend {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::__export_planning!($plugin);
        };
    };
}

/// The one instance and the interface that every backend exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_planning {
    ($plugin:ty) => {
        use ::std::cell::OnceCell;
        use $crate::network::{Backend, Item, View, bindings};

        ::std::thread_local! {
            static PLUGIN: OnceCell<$plugin> = const { OnceCell::new() };
        }

        fn ask<T>(question: impl FnOnce(&$plugin) -> T) -> T {
            PLUGIN.with(|cell| question(cell.get().expect($crate::__private::NOT_READY)))
        }

        struct Component;

        impl bindings::exports::canopy::network::planning::Guest for Component {
            fn init(config: String, kinds: Vec<String>) -> Result<(), String> {
                let plugin = <$plugin as Backend>::init($crate::parse_config(&config)?, &kinds)?;
                PLUGIN.with(|cell| cell.set(plugin)).map_err(|_| $crate::__private::TWICE.to_owned())
            }

            fn validate(view: String) -> Result<(), String> {
                let view = View::parse(&view)?;
                ask(|plugin| plugin.validate(&view))
            }

            fn plan_host(view: String) -> Result<Vec<Item>, String> {
                let view = View::parse(&view)?;
                ask(|plugin| plugin.plan_host(&view))
            }
        }

        bindings::export!(Component with_types_in bindings);
    };
}
