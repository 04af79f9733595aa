//! What a handler is, and what it can reach.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use reka_protocol::kafka_protocol::protocol::Request;
use reka_protocol::{Api, Checked, encode_response};

use super::error_codes::ErrorCodes;
use crate::dispatch::{Reply, refused};
use crate::group::ask::Caller;
use crate::net::answer::Answer;
use crate::net::connection::Closed;
use crate::net::shard::Shard;
use crate::node::{Listener, Services};

/// An API whose messages are the codec crate's.
pub trait Handler {
    /// Its request.
    type Request: Request<Response: ErrorCodes> + 'static;

    /// Answers. Started in arrival order, and polled once before the next request of the
    /// connection is started; what it waits for may come later.
    fn handle(
        context: Rc<Context>,
        call: Call,
        request: Self::Request,
    ) -> impl Future<Output = <Self::Request as Request>::Response> + 'static;
}

/// Decodes and starts a request of one API.
pub type Start = fn(Rc<Context>, Call, &Checked) -> Result<Reply, Closed>;

/// Which message of the conversation this is.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The API.
    pub api: &'static Api,
    /// The version the client speaks.
    pub version: i16,
    /// What the answer has to repeat.
    pub correlation_id: i32,
}

/// Who is asking, and what is in reach.
#[derive(Debug)]
pub struct Context {
    /// The node's parts.
    pub services: Arc<Services>,
    /// The shard the connection lives on.
    pub shard: Rc<Shard>,
    /// The listener the client came in on.
    pub listener: Arc<Listener>,
    /// Where the client is.
    pub peer: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// What the client calls itself, copied when it changes: a slice would pin its frame.
    client_id: RefCell<Option<Rc<str>>>,
}

impl Context {
    /// A new connection's.
    pub fn new(
        services: Arc<Services>,
        shard: Rc<Shard>,
        listener: Arc<Listener>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Context {
        Context {
            services,
            shard,
            listener,
            peer,
            local,
            client_id: RefCell::new(None),
        }
    }

    /// Where this broker says it is: what is configured for the listener, else the address the
    /// client connected to.
    pub fn advertised(&self) -> (String, u16) {
        match &self.listener.advertised {
            Some(told) => (told.host.clone(), told.port),
            None => (self.local.ip().to_string(), self.local.port()),
        }
    }

    /// What the client calls itself.
    pub fn client_id(&self) -> Option<Rc<str>> {
        self.client_id.borrow().clone()
    }

    /// Who is asking, as groups remember it.
    pub fn caller(&self) -> Caller {
        Caller {
            client_id: self.client_id().as_deref().unwrap_or_default().to_owned(),
            // As Java writes an address without a name.
            host: format!("/{}", self.peer.ip().to_canonical()),
        }
    }

    pub(crate) fn note_client_id(&self, client_id: Option<&str>) {
        let known = self.client_id.borrow().as_deref() == client_id;
        if !known {
            *self.client_id.borrow_mut() = client_id.map(Rc::from);
        }
    }
}

/// A handler as an entry of the table.
pub(super) fn entry<H: Handler + 'static>() -> (i16, Start) {
    (H::Request::KEY, start::<H>)
}

fn start<H: Handler + 'static>(
    context: Rc<Context>,
    call: Call,
    body: &Checked,
) -> Result<Reply, Closed> {
    let request: H::Request = body.decode().map_err(refused)?;
    Ok(Reply::Later(Box::pin(async move {
        let services = context.services.clone();
        let response = H::handle(context, call, request).await;
        let metrics = &services.metrics.requests;
        response.error_codes(&mut |error_code| metrics.error(call.api, error_code));
        let frame = encode_response(call.api, call.version, call.correlation_id, &response)
            .map_err(refused)?;
        Ok(Answer::from(frame))
    })))
}
