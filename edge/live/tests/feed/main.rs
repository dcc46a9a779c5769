//! The feed station from outside: a simulated network by seed, scripted scenes, and arbitrary bytes.

mod fuzz;
mod scenes;
mod speed;
mod world;
