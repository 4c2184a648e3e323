//! Whose files are used, and for whom files are made.
//!
//! What steers the program, or tells it what it did, is used only where nobody can have put it
//! there who is not trusted anyway ([`trust`]); what it keeps is for its owner alone, or for a
//! group that shares it, whatever the umask ([`private`]); a lock that somebody else holds is not
//! waited for without end ([`lock`]); what nobody may make or guess is made by a key ([`key`]); and
//! users and groups are named as people know them ([`who`]). Nothing here knows what is in any
//! other file.

mod acl;
pub mod key;
pub mod lock;
pub mod private;
pub mod trust;
pub mod who;
