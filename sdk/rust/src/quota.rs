//! `canopy:quota@1`: what limits mean.
//!
//! A call carries several claims of one project. [`Ledger`] decides them one after the other and keeps the
//! book, so that a [`Rule`] only ever sees one [`Question`] with usage as it is for that claim.

mod ledger;
mod limits;

use serde::de::DeserializeOwned;

#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/quota/v1",
        world: "rule",
        pub_export_macro: true,
        default_bindings_module: "canopy_sdk::quota::bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::exports::canopy::quota::limits::{
    Book, Claims, Countable, Denial, Holder, HolderKind, Verdict,
};
pub use ledger::Ledger;

/// One claim, with what the project, those above it and the user may use and do use.
pub struct Question<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) claim: usize,
}

/// Limit and usage of one holder and resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Whose: the project, one above it, or the user.
    pub kind: HolderKind,
    /// The id of the project, domain or user.
    pub id: &'a str,
    /// −1 means no limit.
    pub limit: i64,
    /// Without the claim that is asked about.
    pub used: i64,
}

/// A pure quota rule.
///
/// ```
/// use canopy_sdk::quota::{Denial, Question, Rule, Verdict};
///
/// /// Keeps one flavor for one project.
/// #[derive(canopy_sdk::serde::Deserialize)]
/// #[serde(crate = "canopy_sdk::serde")]
/// struct Reserved { flavor: String, project: String }
///
/// impl Rule for Reserved {
///     type Config = Self;
///
///     fn init(config: Self) -> Result<Self, String> {
///         Ok(config)
///     }
///
///     fn check(&self, question: &Question<'_>) -> Verdict {
///         if question.attribute("flavor") == Some(&self.flavor) && question.project() != self.project {
///             let reason = format!("flavor {} is reserved", self.flavor);
///             return Verdict::Deny(Denial { resource: "instances".into(), reason });
///         }
///         Verdict::Allow
///     }
/// }
/// canopy_sdk::export_rule!(Reserved);
/// ```
pub trait Rule: Sized + 'static {
    /// Read from the operator's JSON; use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned;

    /// Called once before anything else. The error is for the operator.
    fn init(config: Self::Config) -> Result<Self, String>;

    /// The verdict on one claim; the reason of a denial is shown to the client as it is.
    fn check(&self, question: &Question<'_>) -> Verdict;
}

/// Makes a [`Rule`] the rule that this component exports. Once per crate; nothing outside wasm32.
#[macro_export]
macro_rules! export_rule {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use ::std::cell::OnceCell;
            use $crate::quota::{Book, Claims, Ledger, Rule, Verdict, bindings};

            ::std::thread_local! {
                static PLUGIN: OnceCell<$plugin> = const { OnceCell::new() };
            }

            fn ask<T>(question: impl FnOnce(&$plugin) -> T) -> T {
                PLUGIN.with(|cell| question(cell.get().expect($crate::__private::NOT_READY)))
            }

            struct Component;

            impl bindings::exports::canopy::quota::limits::Guest for Component {
                fn init(config: String) -> Result<(), String> {
                    let plugin = <$plugin as Rule>::init($crate::parse_config(&config)?)?;
                    PLUGIN.with(|cell| cell.set(plugin)).map_err(|_| $crate::__private::TWICE.to_owned())
                }

                fn check(book: Book, claims: Claims) -> Vec<Verdict> {
                    ask(|plugin| Ledger::new(book, claims).decide(plugin))
                }
            }

    bindings::export!(Component with_types_in bindings);
        };
    };
}
