//! Guests that misbehave, and what comes of it: one explained fallback each, and service again afterwards.

mod corners;
mod faults;
mod ground;
mod guests;
mod loading;
mod placers;
mod trouble;
mod worlds;
