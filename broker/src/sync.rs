//! What the modules that wake one another are built on. `tests/model/` compiles them a second time
//! with a `sync` of its own, in which every order of steps can be tried.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic};

pub(crate) use tokio::sync::Notify;
