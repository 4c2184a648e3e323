//! One file a command; the name of the file is the name of the command.

pub mod activity;
pub mod cancel;
pub mod completions;
pub mod env;
pub mod list;
pub mod locks;
pub mod logs;
pub mod manual;
pub mod plan;
pub mod plugin;
pub mod rehearse;
pub mod resume;
pub mod rollback;
pub mod run;
pub mod schema;
pub mod show;
pub mod unlock;
pub mod validate;

mod course;
mod does;
mod ending;
mod like;
mod manifest;
mod may;
mod past;
mod signals;
