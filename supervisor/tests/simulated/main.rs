//! The supervisor as a whole, over simulated tasks on a paused clock.

mod services;
mod world;
