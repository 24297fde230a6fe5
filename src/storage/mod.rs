//! How an index lies in its relation's pages.
//!
//! Block 0 is the [`meta`] page. It names the root of the [`manifest`] and the growing segment's
//! lanes. The manifest lists every segment and where its parts lie. A [`part`] is an array or a
//! byte tape over runs of pages; an address in it is arithmetic. Every page's special area bears a
//! [`page::Stamp`].
//!
//! Rules that everything above relies on:
//! - Pages of a sealed part never change, tombstones aside. They are written before the manifest
//!   names them.
//! - The manifest changes by one WAL record on the meta page ([`edit::Edit::publish`]), under the
//!   manifest's lock.
//! - Pages of a segment in the making ([`draft`]) are listed in the manifest before they are
//!   written.
//! - Pages that a manifest gives up are handed out again only when no snapshot can be older than
//!   that manifest.
//! - Nothing that is read from a page is believed before it was checked against its bounds.

#![forbid(unsafe_code)]

pub mod draft;
pub mod edit;
pub mod extent;
pub mod manifest;
pub mod meta;
pub mod page;
pub mod pages;
pub mod part;
pub mod part_reader;
pub mod part_writer;
pub mod parts;
pub mod sealed;
mod share;
pub mod snapshot;
pub mod tasks;
