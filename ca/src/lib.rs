//! The service: declares, decides, logs, signs, serves. `docs/ARCHITECTURE.md` has the map.

pub mod clock;
pub mod command;
pub mod data_dir;
pub mod door;
pub mod evidence;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod randomness;
pub mod recordings;
pub mod road;
pub mod state;
pub mod verify;
pub mod views;
