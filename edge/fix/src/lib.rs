//! FIX sessions on sockets.

mod store;

pub use store::{
    Durability, Entry, Kind, Left, Limits, MAX_PAYLOAD, Records, Store, StoreError, carries_secret, files, folder_name,
};
