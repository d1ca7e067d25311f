//! The one binary's parts: configuration, wiring, telemetry and the commands.
//!
//! Only here are concrete implementations named and put together; everything below takes what it needs.

pub mod backup;
pub mod commands;
pub mod config;
pub mod files;
mod listen;
pub mod memory;
mod network_follow;
mod planner;
pub mod policies;
pub mod server;
pub mod telemetry;
mod web;
mod wiring;

pub use config::Config;
pub use server::{Overrides, Running};
