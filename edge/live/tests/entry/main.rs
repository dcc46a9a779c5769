//! Order-entry sessions from outside: scenarios, and a venue over a line that breaks.

mod fix;
mod hostile;
mod lossy;
mod scenarios;
mod speed;
mod world;
