//! The operator's configuration, from JSON text to the plugin's own type.

use serde::de::DeserializeOwned;

/// Reads a configuration; the error is for the operator and names the place.
///
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { weight: f64 }
/// let config: Config = canopy_sdk::parse_config(r#"{"weight": 2.0}"#)?;
/// assert_eq!(config.weight, 2.0);
/// assert!(canopy_sdk::parse_config::<Config>(r#"{"wieght": 2.0}"#).is_err_and(|e| e.contains("wieght")));
/// # Ok::<(), String>(())
/// ```
pub fn parse<C: DeserializeOwned>(json: &str) -> Result<C, String> {
    serde_json::from_str(json).map_err(|e| format!("configuration: {e}"))
}
