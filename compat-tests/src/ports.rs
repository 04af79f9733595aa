//! Free ports on the loopback address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::{Error, Result};

/// An error if somebody listens at `address` already: a program that is started there would not be the one
/// that answers.
pub fn expect_free(address: SocketAddr, step: &str) -> Result<()> {
    let held = TcpListener::bind(address);
    held.map(drop).map_err(Error::io(format!(
        "{step} at {address}, which somebody else may have"
    )))
}

/// `N` different ports nobody listens on. They are let go here and taken a moment later by the
/// program they are for, so another program may win the race; the start then fails and says so.
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
