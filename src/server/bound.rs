//! The second stage: all addresses are bound.

use crate::admin::{self, AdminError, BoundAdmin};
use crate::config::{ServeArgs, advice};
use crate::reactor::{self, BindError, ListenAddress, ReactorParts};
use crate::rooms::RoomNotice;

use super::error::ServeError;
use super::opened::Opened;

/// A server that listens, before any of its threads run.
pub(super) struct Bound {
    pub(super) opened: Opened,
    pub(super) parts: Vec<ReactorParts<RoomNotice>>,
    pub(super) addresses: Vec<ListenAddress>,
    pub(super) admin: Option<BoundAdmin>,
}

impl Bound {
    /// Binds the addresses of the rooms and of the admin side.
    ///
    /// # Errors
    /// [`ServeError`] if one of them can't be bound. The store is then closed.
    pub(super) fn bind(opened: Opened, args: &ServeArgs) -> Result<Self, ServeError> {
        match bind_all(args) {
            Ok((parts, addresses, admin)) => Ok(Self {
                opened,
                parts,
                addresses,
                admin,
            }),
            Err(error) => {
                opened.abandon();
                Err(error)
            }
        }
    }
}

type BoundParts = (
    Vec<ReactorParts<RoomNotice>>,
    Vec<ListenAddress>,
    Option<BoundAdmin>,
);

fn bind_all(args: &ServeArgs) -> Result<BoundParts, ServeError> {
    let reactors = args.listen.reactor_count();
    let options = args.tuning.socket_options();
    let (listeners, addresses) = reactor::bind(&args.listen.listen, reactors, &options)?;
    let admin = bind_admin(args)?;
    let parts: Result<_, _> = listeners.into_iter().map(ReactorParts::new).collect();
    let parts = parts.map_err(ServeError::system("make a poll"))?;
    Ok((parts, addresses, admin))
}

/// Binds the admin side, if there is to be one. A default address that is in use is no reason not
/// to start: it belongs to a second server on this machine.
fn bind_admin(args: &ServeArgs) -> Result<Option<BoundAdmin>, AdminError> {
    let Some(settings) = args.admin.settings() else {
        return Ok(None);
    };
    match admin::bind(&settings) {
        Ok(admin) => Ok(Some(admin)),
        Err(AdminError::Bind(BindError::InUse(address))) if !settings.is_explicit => {
            tracing::warn!("{}", advice::admin_left_out(&address));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
